//! A legacy server that has forgotten its session: the calls go on in a new one, and no call that may
//! have run is sent again. Steps are taken by hand, so that calls can run beside each other.

use dataplane_bundle::Era;
use dataplane_pipeline::{Connection, Step};
use serde_json::{Value, json};
use tests_sim::http::{ACCEPTED, initialize, initialized, legacy, message, ok};
use tests_sim::{Client, FLOW, World, WorldSpec};

const GONE: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

fn world() -> (World, String) {
    let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let opened = Client::new(&world).ask(&mut world, &legacy("/mcp", &key, None, &initialize()));
    let session = opened.header("Mcp-Session-Id").unwrap().to_owned();
    (world, session)
}

/// A call of the client's session, on a connection of its own.
fn begin(world: &mut World, session: &str, id: u64) -> Connection {
    let mut machine = Connection::new(FLOW, world.now.mono);
    let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": "crm__get_orders", "arguments": {}}});
    machine.inbox().extend(legacy("/mcp", world.key("ann"), Some(session), &body));
    machine.on_client_bytes(&mut world.core, world.now);
    machine
}

/// What the server is sent next: its method, and the session that it names.
fn sent(world: &mut World, machine: &mut Connection) -> (String, Option<String>) {
    assert!(matches!(machine.step(&world.core), Step::Forward(_)), "{:?}", machine.outbox());
    let request = std::mem::take(machine.forward());
    machine.on_forwarded(&world.core, world.now);
    let text = String::from_utf8_lossy(&request).into_owned();
    let session = text.lines().find_map(|line| line.strip_prefix("Mcp-Session-Id: "));
    (message(&request)["method"].as_str().unwrap().to_owned(), session.map(str::to_owned))
}

fn answer(world: &mut World, machine: &mut Connection, bytes: &[u8]) {
    assert_eq!(machine.step(&world.core), Step::ReadUpstream);
    machine.answer().extend_from_slice(bytes);
    machine.on_upstream_bytes(&mut world.core, world.now);
    let _ = machine.take_fate();
}

/// Through `initialize`, by which the server opens this session, to the call in it.
fn open(world: &mut World, machine: &mut Connection, session: &str) {
    assert_eq!(sent(world, machine), ("initialize".into(), None));
    let opened = ok(&[("Mcp-Session-Id", session)], &initialized(&json!(0)));
    answer(world, machine, &opened);
    assert_eq!(sent(world, machine).0, "notifications/initialized");
    answer(world, machine, ACCEPTED);
}

fn in_session(world: &mut World, machine: &mut Connection, session: &str) {
    assert_eq!(sent(world, machine), ("tools/call".into(), Some(session.to_owned())));
}

/// The server's result, as the client has it.
fn done(world: &mut World, machine: &mut Connection, id: u64) {
    let result = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    answer(world, machine, &ok(&[], &result));
    let told = told(world, machine);
    assert!(told["result"].is_object() && told["id"] == id, "{told}");
}

fn told(world: &mut World, machine: &mut Connection) -> Value {
    world.commit();
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    let answer = std::mem::take(machine.outbox());
    machine.on_written(&mut world.core, world.now);
    message(&answer)
}

/// Two calls that were sent in a session that the server then forgot.
fn two_in_a_dead_session() -> (World, Connection, Connection) {
    let (mut world, session) = world();
    let mut first = begin(&mut world, &session, 1);
    open(&mut world, &mut first, "s-1");
    in_session(&mut world, &mut first, "s-1");
    done(&mut world, &mut first, 1);
    let mut one = begin(&mut world, &session, 2);
    let mut other = begin(&mut world, &session, 3);
    in_session(&mut world, &mut one, "s-1");
    in_session(&mut world, &mut other, "s-1");
    (world, one, other)
}

#[test]
fn a_call_beside_another_goes_on_in_the_session_that_the_other_opened() {
    let (mut world, mut one, mut other) = two_in_a_dead_session();
    answer(&mut world, &mut one, GONE);
    open(&mut world, &mut one, "s-2");
    in_session(&mut world, &mut one, "s-2");
    // The other hears of it only now: the new session is not forgotten for the old one's end.
    answer(&mut world, &mut other, GONE);
    in_session(&mut world, &mut other, "s-2");
    done(&mut world, &mut one, 2);
    done(&mut world, &mut other, 3);
}

#[test]
fn calls_that_hear_of_it_at_once_each_open_a_session() {
    let (mut world, mut one, mut other) = two_in_a_dead_session();
    answer(&mut world, &mut one, GONE);
    answer(&mut world, &mut other, GONE);
    open(&mut world, &mut one, "s-2");
    in_session(&mut world, &mut one, "s-2");
    open(&mut world, &mut other, "s-3");
    in_session(&mut world, &mut other, "s-3");
    done(&mut world, &mut one, 2);
    done(&mut world, &mut other, 3);
}

#[test]
fn a_second_404_is_the_answer() {
    let (mut world, mut one, mut other) = two_in_a_dead_session();
    answer(&mut world, &mut one, GONE);
    open(&mut world, &mut one, "s-2");
    answer(&mut world, &mut other, GONE);
    in_session(&mut world, &mut other, "s-2");
    for machine in [&mut one, &mut other] {
        if matches!(machine.step(&world.core), Step::Forward(_)) {
            in_session(&mut world, machine, "s-2");
        }
        answer(&mut world, machine, GONE);
        let told = told(&mut world, machine);
        assert!(told["error"]["message"].as_str().unwrap().contains("404"), "{told}");
    }
}

#[test]
fn a_404_outside_of_a_session_is_the_answer() {
    let (mut world, session) = world();
    let mut first = begin(&mut world, &session, 1);
    assert_eq!(sent(&mut world, &mut first), ("initialize".into(), None));
    answer(&mut world, &mut first, &ok(&[], &initialized(&json!(0))));
    assert_eq!(sent(&mut world, &mut first).0, "notifications/initialized");
    answer(&mut world, &mut first, ACCEPTED);
    let mut second = begin(&mut world, &session, 2);
    assert_eq!(sent(&mut world, &mut second), ("tools/call".into(), None));
    answer(&mut world, &mut second, GONE);
    assert!(told(&mut world, &mut second)["error"].is_object());
}
