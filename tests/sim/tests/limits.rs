//! Limits of one connection and of one core: each at its edge, and one past it.
//!
//! Time is the test's, so an hour takes no time. What a limit is and where it comes from is in
//! `dataplane_pipeline::limits` and in the catalog's `Limits` and `Timeouts`.

use dataplane_bundle::{Era, Limits, Timeouts};
use dataplane_pipeline::limits::{
    ANSWER_NS_MAX, BODY_BYTES_PER_S_MIN, BUFFER_BYTES_KEPT, ENDED_SESSIONS_MAX, HEAD_NS_MAX,
    IDLE_NS_MAX, UPSTREAM_SESSIONS_MAX,
};
use dataplane_pipeline::{Connection, Step};
use serde_json::{Value, json};
use tests_sim::http::{call, initialize, legacy, legacy_server, message, ok, post, result};
use tests_sim::{Client, FLOW, Reply, World, WorldSpec};

const MS: u64 = 1_000_000;

fn connect(world: &World) -> Connection {
    Connection::new(FLOW, world.now.mono)
}

fn give(world: &mut World, machine: &mut Connection, bytes: &[u8]) {
    machine.inbox().extend_from_slice(bytes);
    machine.on_client_bytes(&mut world.core, world.now);
}

/// A millisecond before its end nothing happens; then the deadline has its way.
fn let_it_end(world: &mut World, machine: &mut Connection, after_ns: u64) {
    let before = machine.step(&world.core);
    world.pass_ms(after_ns / MS - 1);
    machine.on_deadline(&mut world.core, world.now);
    assert_eq!(machine.step(&world.core), before, "too early");
    world.pass_ms(1);
    machine.on_deadline(&mut world.core, world.now);
}

/// What the connection says, as text, and its end.
fn last_words(world: &mut World, machine: &mut Connection) -> String {
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    let text = String::from_utf8(std::mem::take(machine.outbox())).unwrap();
    machine.on_written(&mut world.core, world.now);
    assert_eq!(machine.step(&world.core), Step::Close);
    text
}

#[test]
fn a_head_has_five_seconds_however_it_trickles() {
    let mut world = World::new(&WorldSpec::default());
    let mut machine = connect(&world);
    for byte in b"POST" {
        give(&mut world, &mut machine, &[*byte]);
        world.pass_ms(1_000);
    }
    let_it_end(&mut world, &mut machine, HEAD_NS_MAX - 4_000 * MS);
    assert!(last_words(&mut world, &mut machine).starts_with("HTTP/1.1 408 "));
    // Who says nothing is told nothing.
    let mut silent = connect(&world);
    let_it_end(&mut world, &mut silent, HEAD_NS_MAX);
    assert_eq!((silent.step(&world.core), silent.outbox().len()), (Step::Close, 0));
}

#[test]
fn a_body_comes_at_a_kibibyte_a_second() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let request = post("/mcp", &key, &[], &" ".repeat(10_240));
    let body = request.len() - 10_240;
    for come in [0, 4 * BODY_BYTES_PER_S_MIN, 9 * BODY_BYTES_PER_S_MIN] {
        let mut machine = connect(&world);
        give(&mut world, &mut machine, &request[..body]);
        give(&mut world, &mut machine, &request[body..body + come as usize]);
        let seconds = come / BODY_BYTES_PER_S_MIN;
        let_it_end(&mut world, &mut machine, HEAD_NS_MAX + seconds * 1_000 * MS);
        assert!(last_words(&mut world, &mut machine).starts_with("HTTP/1.1 408 "));
    }
}

#[test]
fn an_idle_connection_is_kept_for_its_time() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    ask(&mut world, &mut client, &request);
    let_it_end(&mut world, &mut client.machine, IDLE_NS_MAX);
    assert_eq!(client.machine.step(&world.core), Step::Close);
    assert!(client.machine.outbox().is_empty());
    // The first byte of a next request starts the clock of a head.
    let mut client = Client::new(&world);
    ask(&mut world, &mut client, &request);
    world.pass_ms(10_000);
    give(&mut world, &mut client.machine, b"P");
    let_it_end(&mut world, &mut client.machine, HEAD_NS_MAX);
    assert!(last_words(&mut world, &mut client.machine).starts_with("HTTP/1.1 408 "));
}

#[test]
fn an_answer_is_taken_within_its_time() {
    let mut world = World::new(&WorldSpec::default());
    let mut machine = connect(&world);
    give(&mut world, &mut machine, &post("/nowhere", "no key", &[], "{}"));
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    let_it_end(&mut world, &mut machine, ANSWER_NS_MAX);
    assert_eq!(machine.step(&world.core), Step::Close);
}

/// A call that its server is to be told, or has been told.
fn begin(world: &mut World, is_told: bool) -> Connection {
    let key = world.key("ann").to_owned();
    let mut machine = connect(world);
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    give(world, &mut machine, &request);
    assert!(matches!(machine.step(&world.core), Step::Forward(_)));
    if is_told {
        machine.on_forwarded(&world.core, world.now);
        assert_eq!(machine.step(&world.core), Step::ReadUpstream);
    }
    machine
}

/// The JSON-RPC error that the client is told once it is on record.
fn told(world: &mut World, machine: &mut Connection) -> Value {
    if let Step::AwaitRecord(_) = machine.step(&world.core) {
        world.commit();
        machine.on_recorded(&mut world.core, true, world.now);
    }
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    let text = String::from_utf8(std::mem::take(machine.outbox())).unwrap();
    let start = text.find("{\"jsonrpc\"").unwrap_or_else(|| panic!("{text}"));
    let value = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next();
    value.unwrap().unwrap()["error"].clone()
}

#[test]
fn a_server_has_its_time_to_be_reached_and_to_answer() {
    let Timeouts { connect_ms, response_head_ms, .. } = Timeouts::default();
    let mut world = World::new(&WorldSpec::default());
    let mut machine = begin(&mut world, false);
    let_it_end(&mut world, &mut machine, (connect_ms + response_head_ms) * MS);
    let error = told(&mut world, &mut machine);
    assert_eq!((&error["code"], &error["data"]["mayHaveRun"]), (&json!(-31504), &json!(false)));
    let mut machine = begin(&mut world, true);
    let_it_end(&mut world, &mut machine, response_head_ms * MS);
    let error = told(&mut world, &mut machine);
    assert_eq!((&error["code"], &error["data"]["mayHaveRun"]), (&json!(-31504), &json!(true)));
}

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const PROGRESS: &[u8] = b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
    \"params\":{\"progressToken\":1,\"progress\":1}}\n\n";

/// A piece of the server's stream, passed on to the client.
fn pass(world: &mut World, machine: &mut Connection, piece: &[u8]) {
    machine.answer().extend_from_slice(piece);
    machine.on_upstream_bytes(&mut world.core, world.now);
    if let Step::AwaitRecord(_) = machine.step(&world.core) {
        world.commit();
        machine.on_recorded(&mut world.core, true, world.now);
    }
    if machine.step(&world.core) == Step::WriteClient {
        machine.outbox().clear();
        machine.on_written(&mut world.core, world.now);
    }
    assert_eq!(machine.step(&world.core), Step::ReadUpstream);
}

#[test]
fn a_stream_has_its_time_between_pieces_and_in_all() {
    let Timeouts { idle_ms, call_ms, .. } = Timeouts::default();
    let mut world = World::new(&WorldSpec::default());
    let mut machine = begin(&mut world, true);
    pass(&mut world, &mut machine, STREAM);
    pass(&mut world, &mut machine, PROGRESS);
    let_it_end(&mut world, &mut machine, idle_ms * MS);
    assert_eq!(told(&mut world, &mut machine)["code"], -31504);
    // Events keep it alive, but not for ever.
    let mut machine = begin(&mut world, true);
    pass(&mut world, &mut machine, STREAM);
    let begun = world.now.mono;
    while world.now.mono.since(begun) + idle_ms * MS / 2 < call_ms * MS {
        pass(&mut world, &mut machine, PROGRESS);
        world.pass_ms(idle_ms / 2);
    }
    pass(&mut world, &mut machine, PROGRESS);
    let rest = call_ms * MS - world.now.mono.since(begun);
    assert!(rest < idle_ms * MS);
    let_it_end(&mut world, &mut machine, rest);
    assert_eq!(told(&mut world, &mut machine)["code"], -31504);
}

fn ask(world: &mut World, client: &mut Client, request: &[u8]) -> Reply {
    client.send(world, request, &mut |request: &[u8]| Some(result(request, "done")));
    client.reply()
}

#[test]
fn one_byte_past_a_request() {
    let max = Limits::default().request_bytes_max as usize;
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let mut status = |bytes| {
        let mut client = Client::new(&world);
        let request = post("/mcp", &key, &[], &format!("{{}}{}", " ".repeat(bytes - 2)));
        ask(&mut world, &mut client, &request).status
    };
    assert_ne!(status(max), 413);
    assert_eq!(status(max + 1), 413);
}

/// An answer of so many bytes to a call.
fn answer_of(request: &[u8], bytes: usize) -> Value {
    let answer = |text: &str| {
        let content = json!([{"type": "text", "text": text}]);
        let result = json!({"content": content, "resultType": "complete"});
        json!({"jsonrpc": "2.0", "id": message(request)["id"], "result": result})
    };
    let frame = answer("").to_string().len();
    answer(&"x".repeat(bytes - frame))
}

#[test]
fn one_byte_past_an_answer() {
    let max = Limits::default().answer_bytes_max as usize;
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    let mut answered = |bytes| {
        let mut client = Client::new(&world);
        let mut server = |request: &[u8]| Some(ok(&[], &answer_of(request, bytes)));
        client.send(&mut world, &request, &mut server);
        client.reply().json()
    };
    assert!(answered(max)["result"].is_object());
    let error = answered(max + 1)["error"].clone();
    assert_eq!(error["code"], -31502);
    assert!(error["message"].as_str().unwrap().contains(&max.to_string()), "{error}");
}

#[test]
fn an_event_past_its_limit_ends_its_stream() {
    let max = Limits::default().event_bytes_max as usize;
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    let mut answered = |bytes| {
        let mut client = Client::new(&world);
        let mut server = |request: &[u8]| {
            let event = format!("data: {}\n\n", answer_of(request, bytes));
            Some([STREAM, event.as_bytes()].concat())
        };
        client.send(&mut world, &request, &mut server);
        String::from_utf8(std::mem::take(&mut client.received)).unwrap()
    };
    assert!(answered(max - "data: \n\n".len()).contains("\"result\""));
    let refused = answered(max + 1);
    assert!(refused.contains("-31502") && !refused.contains("\"result\""));
}

#[test]
fn an_idle_connection_gives_its_memory_back() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let large = json!({"customer": "x".repeat(500_000)});
    let request = call("/mcp", &key, json!(1), "crm__get_orders", large);
    assert!(ask(&mut world, &mut client, &request).json()["result"].is_object());
    let machine = &mut client.machine;
    for buffer in [machine.inbox().capacity(), machine.forward().capacity()] {
        assert!(buffer <= BUFFER_BYTES_KEPT, "{buffer} bytes are kept");
    }
}

fn open_session(world: &mut World, client: &mut Client, key: &str) -> String {
    let opened = ask(world, client, &legacy("/mcp", key, None, &initialize()));
    opened.header("Mcp-Session-Id").unwrap().to_owned()
}

/// How often a legacy server is told `initialize` by a call in this session.
fn call_in(world: &mut World, client: &mut Client, key: &str, session: &str) -> usize {
    let body = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "crm__get_orders", "arguments": {}}});
    let result = json!({"content": []});
    let mut server = |request: &[u8]| Some(legacy_server(request, None, &result));
    client.forwarded.clear();
    client.send(world, &legacy("/mcp", key, Some(session), &body), &mut server);
    assert_eq!(client.reply().status, 200);
    let is_opening = |sent: &&Vec<u8>| message(sent)["method"] == "initialize";
    client.forwarded.iter().filter(is_opening).count()
}

#[test]
fn one_connection_too_many_is_not_taken() {
    let limits = Limits { connections_max: 3, ..Limits::default() };
    let world = World::new(&WorldSpec { limits, ..WorldSpec::default() });
    assert!(world.core.may_accept(2) && !world.core.may_accept(3));
    // Before the first bundle, too.
    let bare = tests_sim::Shared::default().core(0, 0);
    let default = Limits::default().connections_max as usize;
    assert!(bare.may_accept(default - 1) && !bare.may_accept(default));
}

#[test]
fn one_upstream_session_too_many_is_opened_again() {
    let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let first = open_session(&mut world, &mut client, &key);
    assert_eq!(call_in(&mut world, &mut client, &key, &first), 1);
    for _ in 1..UPSTREAM_SESSIONS_MAX {
        let session = open_session(&mut world, &mut client, &key);
        assert_eq!(call_in(&mut world, &mut client, &key, &session), 1);
    }
    assert_eq!(call_in(&mut world, &mut client, &key, &first), 0, "all are still open");
    let one_more = open_session(&mut world, &mut client, &key);
    assert_eq!(call_in(&mut world, &mut client, &key, &one_more), 1);
    assert_eq!(call_in(&mut world, &mut client, &key, &first), 1, "the oldest made place");
}

#[test]
fn one_ended_session_too_many_is_forgotten() {
    let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let session = open_session(&mut world, &mut client, &key);
    let ended = format!(
        "DELETE /mcp HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\
         Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-11-25\r\n\r\n"
    );
    assert_eq!(ask(&mut world, &mut client, ended.as_bytes()).status, 200);
    let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
    let mut pinged = |world: &mut World| {
        ask(world, &mut client, &legacy("/mcp", &key, Some(&session), &ping)).status
    };
    for number in 1..ENDED_SESSIONS_MAX as u128 {
        world.core.on_session_ended(number.to_be_bytes());
    }
    assert_eq!(pinged(&mut world), 404);
    world.core.on_session_ended([0xff; 16]);
    assert_eq!(pinged(&mut world), 200);
}
