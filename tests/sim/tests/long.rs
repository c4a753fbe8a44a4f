//! Answers that are too long to be held: what a client gets of them, when, and what they cost.

use dataplane_audit::{End, Phase, Verdict};
use dataplane_bundle::{Era, Kill, KillTarget, Limits};
use dataplane_pipeline::limits::{HELD_ANSWER_BYTES_MAX, LONG_ANSWERS_HELD_MAX};
use dataplane_pipeline::{Connection, Fate, Step};
use dataplane_telemetry::WallNanos;
use serde_json::{Value, json};
use tests_sim::http::{call, initialize, legacy, legacy_server, message, whole};
use tests_sim::{Client, FLOW, Seed, World, WorldSpec};

/// What the kernel gives in one turn.
const TURN: usize = 16_384;

fn result_of(bytes: usize) -> Value {
    json!({"content": [{"type": "text", "text": "x".repeat(bytes)}], "resultType": "complete"})
}

/// An answer in JSON, in chunks or with its length.
fn http(body: &str, is_chunked: bool) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    if is_chunked {
        let mut out = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for piece in body.as_bytes().chunks(10_000) {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
        return out;
    }
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One call whose server answers bytes of the test's choice, a turn at a time.
struct Play {
    world: World,
    machine: Connection,
    said: Vec<u8>,
    /// The most that the connection's buffers held.
    held: usize,
    server: Vec<u8>,
}

impl Play {
    fn new(limits: Limits) -> Self {
        let mut world = World::new(&WorldSpec { limits, ..WorldSpec::default() });
        let mut machine = Connection::new(FLOW, world.now.mono);
        machine.inbox().extend(call(
            "/mcp",
            world.key("ann"),
            json!(7),
            "crm__get_orders",
            json!({}),
        ));
        machine.on_client_bytes(&mut world.core, world.now);
        assert!(matches!(machine.step(&world.core), Step::Forward(_)));
        drop(std::mem::take(machine.forward()));
        machine.on_forwarded(&world.core, world.now);
        Self { world, machine, said: Vec::new(), held: 0, server: Vec::new() }
    }

    /// Takes steps until one is of another kind than reading the server and writing to the client.
    fn run(&mut self) -> Step {
        loop {
            let machine = &mut self.machine;
            self.held = self.held.max(machine.buffer_bytes());
            match machine.step(&self.world.core) {
                Step::ReadUpstream if !self.server.is_empty() => {
                    let turn = TURN.min(self.server.len());
                    machine.answer().extend(self.server.drain(..turn));
                    machine.on_upstream_bytes(&mut self.world.core, self.world.now);
                }
                Step::WriteClient => {
                    self.said.extend_from_slice(machine.outbox());
                    machine.on_written(&mut self.world.core, self.world.now);
                }
                step => return step,
            }
        }
    }

    fn commit(&mut self) {
        self.world.commit();
        self.machine.on_recorded(&mut self.world.core, true, self.world.now);
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.said).unwrap()
    }

    /// The answer, if it has ended.
    fn answer(&self) -> Option<Value> {
        let (head, body) = self.text().split_once("\r\n\r\n")?;
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        serde_json::from_str(&whole(body)?).ok()
    }
}

#[test]
fn it_passes_behind_its_intent_and_ends_behind_its_outcome() {
    for is_chunked in [false, true] {
        let mut play = Play::new(Limits::default());
        let sent = json!({"jsonrpc": "2.0", "result": result_of(4 << 20), "id": 7});
        play.server = http(&sent.to_string(), is_chunked);
        assert!(matches!(play.run(), Step::AwaitRecord(_)), "the intent comes first");
        assert!(play.said.is_empty());
        play.commit();
        assert!(matches!(play.run(), Step::AwaitRecord(_)), "the outcome comes before the end");
        assert!(play.said.len() > (4 << 20) - 2 * TURN && play.answer().is_none());
        assert!(!play.text().ends_with("}}"), "its braces are kept back");
        play.commit();
        assert_eq!(play.run(), Step::ReadClient, "the connection goes on");
        assert_eq!(play.answer().unwrap(), sent);
        assert!(matches!(play.machine.take_fate(), Some(Fate::Reuse { .. })));
        let last = play.world.records().last().unwrap();
        assert_eq!((last.phase, last.ending.end), (Phase::Outcome, End::Answered));
        let body = sent.to_string().len() as u64;
        assert_eq!((last.ending.bytes_out, last.ending.upstream_status), (body, 200));
        // Announced, it passes from its first byte; else as much is held first as of any answer.
        let most = if is_chunked { 4 * HELD_ANSWER_BYTES_MAX } else { 8 * TURN };
        assert!(play.held <= most, "{} bytes are held", play.held);
    }
}

#[test]
fn one_byte_past_what_is_held_passes() {
    for is_chunked in [false, true] {
        for (more, passes) in [(0, false), (1, true)] {
            let mut play = Play::new(Limits::default());
            let frame = json!({"jsonrpc": "2.0", "id": 7, "result": result_of(0)}).to_string();
            let text = HELD_ANSWER_BYTES_MAX + more - frame.len();
            let sent = json!({"jsonrpc": "2.0", "id": 7, "result": result_of(text)});
            play.server = http(&sent.to_string(), is_chunked);
            while play.run() != Step::ReadClient {
                play.commit();
            }
            assert_eq!(play.text().contains("Transfer-Encoding"), passes, "{more}");
            if passes {
                assert_eq!(play.answer().unwrap(), sent);
            }
        }
    }
}

/// What ends a long answer badly: the client has a part of it, and no end.
fn assert_cut(play: &mut Play, end: End, why: &str) {
    assert_eq!(play.run(), Step::Close, "{why}");
    assert!(play.answer().is_none() && play.text().starts_with("HTTP/1.1 200 "), "{why}");
    assert!(!play.text().ends_with("0\r\n\r\n"), "{why}");
    assert_eq!(play.machine.take_fate(), Some(Fate::Close), "{why}");
    assert!(!play.machine.is_calling());
    play.world.commit();
    let last = play.world.records().last().unwrap();
    assert_eq!((last.phase, last.ending.end), (Phase::Outcome, end), "{why}");
}

#[test]
fn what_turns_out_wrong_is_cut_and_on_record() {
    let text = "x".repeat(1 << 20);
    let content = format!(r#"[{{"type":"text","text":"{text}"}}]"#);
    let body = |rest: &str| format!(r#"{{"jsonrpc":"2.0","result":{{"content":{content}{rest}"#);
    let too_long = "y".repeat(2 << 20);
    for (why, sent) in [
        ("another id", http(&body(r#"},"id":8}"#), true)),
        ("no id", http(&body("}}"), true)),
        ("both a result and an error", http(&body(r#"},"id":7,"error":{}}"#), true)),
        ("a task", http(&body(r#","resultType":"task"},"id":7}"#), true)),
        ("a second content", http(&body(r#","content":[]},"id":7}"#), true)),
        ("no JSON", http(&body(r#",},"id":7}"#), true)),
        ("more after it", http(&body(r#"},"id":7} {}"#), true)),
        ("an end too soon", http(&body(""), true)),
        ("too long", http(&body(&format!(r#","_meta":{{"a":"{too_long}"}}}},"id":7}}"#)), true)),
        ("broken framing", [&http(&body(""), true)[..900_000], b"zz\r\n"].concat()),
    ] {
        let mut play = Play::new(Limits { answer_bytes_max: 2 << 20, ..Limits::default() });
        play.server = sent;
        assert!(matches!(play.run(), Step::AwaitRecord(_)));
        play.commit();
        assert_cut(&mut play, End::ServerFault, why);
    }
}

/// A part of an answer is with the client, and the server goes on.
fn midway() -> Play {
    let mut play = Play::new(Limits::default());
    let sent = json!({"jsonrpc": "2.0", "id": 7, "result": result_of(4 << 20)});
    let mut server = http(&sent.to_string(), false);
    server.truncate(1 << 20);
    play.server = server;
    assert!(matches!(play.run(), Step::AwaitRecord(_)));
    play.commit();
    assert_eq!(play.run(), Step::ReadUpstream);
    play
}

#[test]
fn a_server_that_breaks_off_or_stalls_midway_cuts_it() {
    let mut play = midway();
    play.machine.on_upstream_closed(&mut play.world.core, play.world.now);
    assert_cut(&mut play, End::ServerFault, "broken off");
    let mut play = midway();
    play.world.now.mono = play.machine.deadline();
    play.machine.on_deadline(&mut play.world.core, play.world.now);
    assert_cut(&mut play, End::TimedOut, "stalled");
}

#[test]
fn a_kill_midway_cuts_it() {
    let mut play = midway();
    let target = KillTarget::Server { server: "crm".into() };
    let (reason, author) = ("now".into(), "ops".into());
    let kill = Kill { id: "k".into(), target, reason, author, at: WallNanos(0), expires_at: None };
    play.world.kill(vec![kill]);
    play.machine.on_upstream_closed(&mut play.world.core, play.world.now);
    assert_cut(&mut play, End::Refused, "killed");
    let last = play.world.records().last().unwrap();
    assert_eq!((last.decision.verdict, last.decision.kill), (Verdict::Killed, "k"));
}

#[test]
fn an_outcome_that_is_lost_cuts_it() {
    let mut play = Play::new(Limits::default());
    let sent = json!({"jsonrpc": "2.0", "id": 7, "result": result_of(1 << 20)});
    play.server = http(&sent.to_string(), false);
    play.run();
    play.commit();
    assert!(matches!(play.run(), Step::AwaitRecord(_)));
    play.machine.on_recorded(&mut play.world.core, false, play.world.now);
    assert_eq!(play.run(), Step::Close);
    assert!(play.answer().is_none());
    // Before anything has left, the client is told.
    let mut play = Play::new(Limits::default());
    play.server = http(&sent.to_string(), false);
    assert!(matches!(play.run(), Step::AwaitRecord(_)));
    play.machine.on_recorded(&mut play.world.core, false, play.world.now);
    assert_eq!(play.run(), Step::Close);
    assert!(play.text().starts_with("HTTP/1.1 503 ") && play.text().contains("-31507"));
}

#[test]
fn a_client_that_does_not_read_stops_its_server() {
    let mut play = Play::new(Limits::default());
    let sent = json!({"jsonrpc": "2.0", "id": 7, "result": result_of(4 << 20)});
    play.server = http(&sent.to_string(), false);
    let mut rest = play.server.split_off(2 * TURN);
    play.run();
    play.commit();
    assert_eq!(play.run(), Step::ReadUpstream);
    play.machine.answer().extend(rest.drain(..TURN));
    play.machine.on_upstream_bytes(&mut play.world.core, play.world.now);
    // Nothing more is asked of the server until what has come is written.
    for _ in 0..3 {
        assert_eq!(play.machine.step(&play.world.core), Step::WriteClient);
        play.machine.on_upstream_bytes(&mut play.world.core, play.world.now);
    }
    play.world.now.mono = play.machine.deadline();
    play.machine.on_deadline(&mut play.world.core, play.world.now);
    assert_cut(&mut play, End::CallerGone, "a reader too slow");
}

#[test]
fn what_is_wrong_from_its_start_is_told() {
    let long = "x".repeat(HELD_ANSWER_BYTES_MAX);
    let error = json!({"code": -1, "message": long});
    for (body, said) in [
        (json!({"jsonrpc": "2.0", "id": 7, "error": error}), "too long to be held"),
        (json!({"id": 7, "jsonrpc": "1.0", "result": result_of(1 << 20)}), "jsonrpc"),
        (json!([long]), "batch"),
    ] {
        for is_chunked in [false, true] {
            let mut play = Play::new(Limits::default());
            play.server = http(&body.to_string(), is_chunked);
            while matches!(play.run(), Step::AwaitRecord(_)) {
                play.commit();
            }
            let text = play.text();
            assert!(text.contains("-31502") && text.contains(said), "{text}");
        }
    }
    // A status that is no success needs no long text.
    let mut play = Play::new(Limits::default());
    play.server =
        format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{long}{long}", 2 * long.len()).into();
    while matches!(play.run(), Step::AwaitRecord(_)) {
        play.commit();
    }
    assert!(play.text().contains("-31502") && play.text().contains("500"), "{}", play.text());
}

/// A session of this revision with the gateway, and a call in it.
fn old_call(world: &mut World, revision: &str) -> Vec<u8> {
    let key = world.key("ann").to_owned();
    let mut opening = initialize();
    opening["params"]["protocolVersion"] = json!(revision);
    let opened = Client::new(world).ask(world, &legacy("/mcp", &key, None, &opening));
    let session = opened.header("Mcp-Session-Id").unwrap().to_owned();
    let body = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "crm__get_orders", "arguments": {}}});
    let request = String::from_utf8(legacy("/mcp", &key, Some(&session), &body)).unwrap();
    request.replace("2025-11-25", revision).into_bytes()
}

#[test]
fn an_old_revision_is_given_it_whole() {
    for (revision, passes) in [("2025-03-26", false), ("2025-06-18", true)] {
        let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
        let request = old_call(&mut world, revision);
        let result = json!({"content": [{"type": "text", "text": "x".repeat(1 << 19)}]});
        let mut server = |request: &[u8]| Some(legacy_server(request, None, &result));
        let mut client = Client::new(&world);
        client.send(&mut world, &request, &mut server);
        let reply = client.reply();
        assert_eq!(reply.header("Transfer-Encoding").is_some(), passes, "{revision}");
        let text = reply.json()["result"]["content"][0]["text"].clone();
        assert_eq!(text.as_str().map(str::len), Some(1 << 19), "{revision}");
    }
}

#[test]
fn so_many_are_held_for_old_revisions_and_no_more() {
    let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
    let request = old_call(&mut world, "2025-03-26");
    // The server's session is open from here on.
    let short = json!({"content": []});
    let mut server = |request: &[u8]| Some(legacy_server(request, None, &short));
    Client::new(&world).send(&mut world, &request, &mut server);
    let sent = json!({"jsonrpc": "2.0", "result": result_of(1 << 19), "id": 2}).to_string();
    let begin = |world: &mut World| {
        let mut machine = Connection::new(FLOW, world.now.mono);
        machine.inbox().extend_from_slice(&request);
        machine.on_client_bytes(&mut world.core, world.now);
        assert!(matches!(machine.step(&world.core), Step::Forward(_)));
        drop(std::mem::take(machine.forward()));
        machine.on_forwarded(&world.core, world.now);
        machine.answer().extend_from_slice(http(&sent, false).split_last().unwrap().1);
        machine.on_upstream_bytes(&mut world.core, world.now);
        machine
    };
    let mut held: Vec<_> = (0..LONG_ANSWERS_HELD_MAX).map(|_| begin(&mut world)).collect();
    assert!(held.iter().all(|machine| machine.step(&world.core) == Step::ReadUpstream));
    let mut refused = begin(&mut world);
    world.commit();
    assert_eq!(refused.step(&world.core), Step::WriteClient);
    let told = String::from_utf8(refused.outbox().clone()).unwrap();
    assert!(told.contains("16 such answers are held"), "{told}");
    // What is held until the client has it is given back then.
    let one = held.last_mut().unwrap();
    one.answer().push(b'}');
    one.on_upstream_bytes(&mut world.core, world.now);
    world.commit();
    assert_eq!(one.step(&world.core), Step::WriteClient);
    assert!(matches!(begin(&mut world).step(&world.core), Step::AwaitRecord(_)), "refused");
    one.on_written(&mut world.core, world.now);
    assert_eq!(begin(&mut world).step(&world.core), Step::ReadUpstream);
}

#[test]
fn however_it_is_cut_it_is_the_same() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    for seed in 0..20 {
        let mut client = Client::new(&world);
        client.cuts = Some(Seed::new(seed));
        for is_chunked in [false, true] {
            let request = call("/mcp", &key, json!(seed), "crm__get_orders", json!({}));
            let mut server = |request: &[u8]| {
                let id = message(request)["id"].clone();
                let sent = json!({"jsonrpc": "2.0", "id": id, "result": result_of(600_000)});
                Some(http(&sent.to_string(), is_chunked))
            };
            client.send(&mut world, &request, &mut server);
            let reply = client.reply();
            assert!(reply.header("Transfer-Encoding").is_some(), "seed {seed}");
            let answer = reply.json();
            assert_eq!((&answer["id"], &answer["result"]), (&json!(seed), &result_of(600_000)));
        }
    }
}
