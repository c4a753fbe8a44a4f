//! What waits for a record, and what becomes of it when the record, the policy or the server changes
//! meanwhile. Each test takes the machine's steps by hand.

use dataplane_audit::{End, Phase, Verdict};
use dataplane_bundle::{Kill, KillTarget};
use dataplane_pipeline::{Connection, Fate, RecordNumber, ServerTrouble, Step};
use dataplane_telemetry::WallNanos;
use serde_json::{Value, json};
use tests_sim::http::{call, message, ok};
use tests_sim::model::{Policy, secret, spec};
use tests_sim::{Compiled, FLOW, World, lease};

fn world(policy: Policy) -> World {
    let mut world = World::new(&spec(policy));
    lend(&mut world, 2);
    world
}

fn lend(world: &mut World, revision: u64) {
    let one = |name: &str| lease(name, secret(name).as_bytes(), revision, world.now.wall);
    let leases = ["aaa", "crm", "old"].map(one);
    world.core.on_leases(&leases, world.now.wall);
}

fn ask(world: &mut World, caller: &str, tool: &str, arguments: Value) -> Connection {
    let mut machine = Connection::new(FLOW, world.now.mono);
    let request = call("/mcp", world.key(caller), json!("id-7"), tool, arguments);
    machine.inbox().extend(request);
    machine.on_client_bytes(&mut world.core, world.now);
    machine
}

fn forward(world: &mut World, machine: &mut Connection) -> String {
    assert!(matches!(machine.step(&world.core), Step::Forward(_)));
    let sent = std::mem::take(machine.forward());
    machine.on_forwarded(&world.core, world.now);
    String::from_utf8(sent).unwrap()
}

fn answer(world: &mut World, machine: &mut Connection, bytes: &[u8]) {
    assert_eq!(machine.step(&world.core), Step::ReadUpstream);
    machine.answer().extend_from_slice(bytes);
    machine.on_upstream_bytes(&mut world.core, world.now);
}

fn awaited(world: &World, machine: &Connection) -> RecordNumber {
    let Step::AwaitRecord(record) = machine.step(&world.core) else {
        panic!("waits for no record: {:?}", machine.step(&world.core))
    };
    record
}

fn text(machine: &mut Connection) -> String {
    String::from_utf8(std::mem::take(machine.outbox())).unwrap()
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const PROGRESS: &str =
    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n";
const LAST: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":\"id-7\",\"result\":{\"content\":[]}}\n\n";

#[test]
fn a_destructive_call_waits_and_a_plain_one_does_not() {
    let plain = json!({"customer": "c"});
    let refund = json!({"customer": "c", "amount": 1});
    for (policy, tool, arguments, waits) in [
        (Policy::A, "crm__get_orders", &plain, false),
        (Policy::A, "crm__refund", &refund, true),
        (Policy::B, "crm__get_orders", &plain, true),
        (Policy::B, "aaa__get_orders", &plain, false),
    ] {
        let mut world = world(policy);
        let mut machine = ask(&mut world, "ann", tool, arguments.clone());
        assert_eq!(matches!(machine.step(&world.core), Step::AwaitRecord(_)), waits, "{tool}");
        world.commit();
        machine.on_recorded(&mut world.core, true, world.now);
        let sent = forward(&mut world, &mut machine);
        let id = message(sent.as_bytes())["id"].clone();
        let result = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
        answer(&mut world, &mut machine, &ok(&[], &result));
        awaited(&world, &machine);
        world.commit();
        assert_eq!(machine.step(&world.core), Step::WriteClient, "{tool}");
    }
}

#[test]
fn an_answer_whose_record_is_lost_is_replaced_and_keeps_its_id() {
    let mut world = world(Policy::A);
    let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
    forward(&mut world, &mut machine);
    let result = json!({"jsonrpc": "2.0", "id": "id-7", "result": {"content": "private"}});
    answer(&mut world, &mut machine, &ok(&[], &result));
    awaited(&world, &machine);
    world.core.on_log(Some("no space left".into()));
    machine.on_recorded(&mut world.core, false, world.now);
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    let said = text(&mut machine);
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"id\":\"id-7\""), "{said}");
    assert!(said.contains("may have run") && said.contains("no space left"), "{said}");
    assert!(!said.contains("private"), "{said}");
    machine.on_written(&mut world.core, world.now);
    assert_eq!(machine.step(&world.core), Step::Close);
}

#[test]
fn a_stream_whose_record_is_lost_stays_a_stream() {
    for (is_first, piece) in [(true, ""), (false, PROGRESS)] {
        let mut world = world(Policy::A);
        let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
        forward(&mut world, &mut machine);
        answer(&mut world, &mut machine, format!("{STREAM}{PROGRESS}").as_bytes());
        awaited(&world, &machine);
        let mut said = String::new();
        if !is_first {
            world.commit();
            said = text(&mut machine);
            machine.on_written(&mut world.core, world.now);
            answer(&mut world, &mut machine, format!("{piece}{LAST}").as_bytes());
            awaited(&world, &machine);
        }
        machine.on_recorded(&mut world.core, false, world.now);
        said += &text(&mut machine);
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "one head: {said}");
        assert!(said.contains("-31507") && said.contains("\"id\":\"id-7\""), "{said}");
        assert!(!said.contains("\"result\""), "{said}");
        assert_eq!(said.ends_with("0\r\n\r\n"), !is_first, "a stream ends as one: {said}");
        machine.on_written(&mut world.core, world.now);
        assert_eq!(machine.step(&world.core), Step::Close);
    }
}

#[test]
fn a_log_that_stalls_is_not_the_servers_fault() {
    let mut world = world(Policy::A);
    let mut machine = ask(&mut world, "ann", "crm__refund", json!({"customer": "c", "amount": 1}));
    awaited(&world, &machine);
    world.now.mono = machine.deadline();
    machine.on_deadline(&mut world.core, world.now);
    assert_eq!(machine.step(&world.core), Step::WriteClient, "nobody waits for ever");
    let said = text(&mut machine);
    assert!(said.contains("-31507") && !said.contains("may have run"), "{said}");
    assert!(world.core.resting(world.now.mono).is_empty());
}

#[test]
fn a_reader_too_slow_for_its_stream_has_its_outcome() {
    let mut world = world(Policy::A);
    let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
    forward(&mut world, &mut machine);
    answer(&mut world, &mut machine, format!("{STREAM}{PROGRESS}").as_bytes());
    world.commit();
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    world.now.mono = machine.deadline();
    machine.on_deadline(&mut world.core, world.now);
    assert_eq!(machine.step(&world.core), Step::Close);
    assert!(!machine.is_calling());
    world.commit();
    let last = world.records().last().unwrap();
    assert_eq!((last.phase, last.ending.end), (Phase::Outcome, End::CallerGone));
}

#[test]
fn a_call_that_waits_is_judged_by_the_bundle_that_came() {
    // The second bundle has another server in the first place: the old number means another one.
    let mut world = world(Policy::B);
    let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
    let Step::AwaitRecord(first) = machine.step(&world.core) else { panic!("not gated") };
    world.deploy(&Compiled::new(&spec(Policy::A)));
    lend(&mut world, 3);
    world.commit();
    assert!(world.core.is_durable(first));
    assert!(
        matches!(machine.step(&world.core), Step::AwaitRecord(_)),
        "asked again before it is sent"
    );
    machine.on_recorded(&mut world.core, true, world.now);
    let sent = forward(&mut world, &mut machine);
    assert!(sent.contains(&secret("crm")) && !sent.contains(&secret("aaa")), "{sent}");
    world.commit();
    let phases: Vec<_> = world.records().map(|record| record.phase).collect();
    assert_eq!(phases, [Phase::Intent, Phase::Outcome, Phase::Intent]);
    // And what it does not allow any more is not sent.
    let mut machine = ask(&mut world, "ann", "crm__refund", json!({"customer": "c", "amount": 1}));
    world.deploy(&Compiled::new(&spec(Policy::B)));
    machine.on_change(&mut world.core, world.now);
    world.commit();
    assert_eq!(machine.step(&world.core), Step::WriteClient);
    assert!(text(&mut machine).contains("-32602"));
}

#[test]
fn a_call_that_is_being_sent_while_a_bundle_comes_goes_on() {
    let mut world = world(Policy::B);
    let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
    world.commit();
    let step = machine.step(&world.core);
    assert!(matches!(step, Step::Forward(_)), "{step:?}");
    let _with_the_kernel = std::mem::take(machine.forward());
    world.deploy(&Compiled::new(&spec(Policy::A)));
    machine.on_change(&mut world.core, world.now);
    assert_eq!(machine.step(&world.core), step, "it is asked for ever");
    machine.on_forwarded(&world.core, world.now);
    assert_eq!(machine.step(&world.core), Step::ReadUpstream);
}

#[test]
fn a_caller_of_another_bundle_is_admitted_anew() {
    let mut world = world(Policy::A);
    let mut machine = Connection::new(FLOW, world.now.mono);
    let request = call("/mcp", world.key("bob"), json!(1), "aaa__get_orders", json!({}));
    let (head, body) = request.split_at(request.len() - 10);
    machine.inbox().extend_from_slice(head);
    machine.on_client_bytes(&mut world.core, world.now);
    world.deploy(&Compiled::new(&spec(Policy::B)));
    lend(&mut world, 3);
    machine.inbox().extend_from_slice(body);
    machine.on_client_bytes(&mut world.core, world.now);
    assert!(forward(&mut world, &mut machine).contains(&secret("aaa")));
}

fn kill_of(target: KillTarget) -> Kill {
    Kill {
        id: "k".into(),
        target,
        reason: "now".into(),
        author: "ops".into(),
        at: WallNanos(0),
        expires_at: None,
    }
}

#[test]
fn a_kill_stops_what_waits_and_what_runs() {
    let kill = kill_of(KillTarget::Tool { server: "crm".into(), tool: "refund".into() });
    for is_running in [false, true] {
        let mut world = world(Policy::A);
        let arguments = json!({"customer": "c", "amount": 1});
        let mut machine = ask(&mut world, "ann", "crm__refund", arguments);
        world.commit();
        if is_running {
            forward(&mut world, &mut machine);
        }
        world.kill(vec![kill.clone()]);
        machine.on_change(&mut world.core, world.now);
        if is_running {
            assert!(machine.is_over(&world.core, None, world.now));
            machine.on_upstream_closed(&mut world.core, world.now);
        }
        world.commit();
        assert_eq!(machine.step(&world.core), Step::WriteClient);
        let said = text(&mut machine);
        assert!(said.contains("-31410") && said.contains("now"), "{said}");
        let last = world.records().last().unwrap();
        assert_eq!((last.phase, last.ending.end), (Phase::Outcome, End::Refused));
        assert_eq!((last.decision.verdict, last.decision.kill), (Verdict::Killed, "k"));
        assert_eq!(last.decision.rule, world.records().next().unwrap().decision.rule);
        assert!(!last.decision.rule.is_empty(), "the rule that had allowed it");
    }
}

#[test]
fn an_answer_that_a_kill_overtook_is_not_given() {
    let target = KillTarget::Server { server: "crm".into() };
    for is_stream in [false, true] {
        let mut world = world(Policy::A);
        let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
        forward(&mut world, &mut machine);
        let mut said = String::new();
        if is_stream {
            // The rest comes while the client is slow to take the first piece.
            answer(&mut world, &mut machine, format!("{STREAM}{PROGRESS}").as_bytes());
            world.commit();
            said += &text(&mut machine);
            machine.answer().extend_from_slice(LAST.as_bytes());
        } else {
            let result = json!({"jsonrpc": "2.0", "id": "id-7", "result": {"content": "late"}});
            machine.answer().extend_from_slice(&ok(&[], &result));
        }
        world.kill(vec![kill_of(target.clone())]);
        machine.on_change(&mut world.core, world.now);
        if is_stream {
            machine.on_written(&mut world.core, world.now);
        } else {
            machine.on_upstream_bytes(&mut world.core, world.now);
        }
        assert_eq!(machine.take_fate(), Some(Fate::Close));
        world.commit();
        assert_eq!(machine.step(&world.core), Step::WriteClient);
        said += &text(&mut machine);
        assert!(said.contains("-31410") && !said.contains("\"result\""), "{said}");
    }
}

#[test]
fn bytes_that_were_taken_may_have_run() {
    for is_taken in [false, true] {
        let mut world = world(Policy::A);
        let mut machine = ask(&mut world, "ann", "crm__get_orders", json!({"customer": "c"}));
        if is_taken {
            assert!(!machine.forward().is_empty());
        }
        world.now.mono = machine.deadline();
        machine.on_deadline(&mut world.core, world.now);
        world.commit();
        let said = text(&mut machine);
        assert!(said.contains(&format!("\"mayHaveRun\":{is_taken}")), "{said}");
        // The shell comes back from its write, and is told nothing new.
        machine.on_forwarded(&world.core, world.now);
        machine.on_upstream_failed(&mut world.core, ServerTrouble::TimedOut, world.now);
        assert_eq!(machine.step(&world.core), Step::WriteClient);
    }
}
