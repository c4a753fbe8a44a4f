//! HTTP as clients speak it, well and badly: pipelines, chunks, HTTP/1.0, and framing that two
//! parsers could read in two ways, which is answered once and closed.

use serde_json::{Value, json};
use tests_sim::http::{call, in_chunks, modern, post};
use tests_sim::{Client, Seed, World, WorldSpec};

fn result(request: &[u8]) -> Option<Vec<u8>> {
    Some(tests_sim::http::result(request, "done"))
}

fn orders(world: &World, id: Value) -> Vec<u8> {
    call("/mcp", world.key("ann"), id, "crm__get_orders", json!({}))
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for seed in 0..20 {
        let mut world = World::new(&WorldSpec::default());
        let mut client = Client::new(&world);
        client.cuts = (seed > 0).then(|| Seed::new(seed));
        let mut bytes = Vec::new();
        for id in 0..4 {
            bytes.extend(orders(&world, json!(id)));
            let key = world.key("ann").to_owned();
            bytes.extend(modern("/mcp", &key, json!(id + 10), "tools/list", json!({})));
        }
        client.send(&mut world, &bytes, &mut result);
        let text = String::from_utf8(client.received.clone()).unwrap();
        let ids: Vec<_> =
            text.match_indices("\"id\":").map(|(at, _)| &text[at + 5..at + 7]).collect();
        let ids: Vec<_> = ids.iter().map(|id| id.trim_end_matches(',')).collect();
        assert_eq!(ids, ["0", "10", "1", "11", "2", "12", "3", "13"], "seed {seed}");
    }
}

#[test]
fn a_body_in_chunks_is_the_same_body() {
    for seed in 0..50 {
        let mut world = World::new(&WorldSpec::default());
        let mut client = Client::new(&world);
        client.cuts = Some(Seed::new(seed));
        let plain = orders(&world, json!("c-1"));
        for _ in 0..2 {
            let reply = client.ask(&mut world, &in_chunks(&plain, &mut Seed::new(seed)));
            assert_eq!((reply.status, &reply.json()["id"]), (200, &json!("c-1")), "seed {seed}");
        }
        assert_eq!(client.forwarded.len(), 2);
        assert!(!client.is_closed);
    }
}

#[test]
fn framing_of_a_body_in_tiny_chunks_is_not_kept() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let plain = String::from_utf8(orders(&world, json!(1))).unwrap();
    let (head, body) = plain.split_once("\r\n\r\n").unwrap();
    let head: String =
        head.lines()
            .map(|line| {
                if line.starts_with("Content-Length") { "Transfer-Encoding: chunked" } else { line }
            })
            .flat_map(|line| [line, "\r\n"])
            .collect();
    let body = format!("{}{body}", " ".repeat(60_000));
    let mut most = 0;
    client.send(&mut world, format!("{head}\r\n").as_bytes(), &mut result);
    for byte in body.bytes() {
        let chunk = [b"00000001\r\n".as_slice(), &[byte], b"\r\n"].concat();
        client.send(&mut world, &chunk, &mut result);
        most = most.max(client.machine.inbox().len());
    }
    client.send(&mut world, b"0\r\n\r\n", &mut result);
    assert_eq!(client.reply().status, 200);
    assert!(most < 2 * body.len(), "{most} bytes for a body of {}", body.len());
}

#[test]
fn an_old_client_is_answered_and_closed() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let request = String::from_utf8(orders(&world, json!(1))).unwrap();
    let reply = client.ask(&mut world, request.replacen("HTTP/1.1", "HTTP/1.0", 1).as_bytes());
    assert_eq!((reply.status, reply.json()["result"]["isError"].clone()), (200, Value::Null));
    assert!(client.is_closed);
    let mut client = Client::new(&world);
    let last = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    assert_eq!(client.ask(&mut world, last.as_bytes()).header("Connection"), Some("close"));
    assert!(client.is_closed);
}

#[test]
fn what_can_be_read_two_ways_is_answered_once_and_closed() {
    let mut world = World::new(&WorldSpec::default());
    let request = String::from_utf8(orders(&world, json!(1))).unwrap();
    let with = |line: &str| request.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
    let long = format!("X: {}", "x".repeat(17_000));
    let cases = [
        ("both framings", with("Transfer-Encoding: chunked"), 400),
        ("two lengths", with("Content-Length: 5"), 400),
        ("a signed length", request.replacen("Content-Length: ", "Content-Length: +", 1), 400),
        (
            "a coding that is none",
            request.replacen("Content-Length", "Transfer-Encoding: gzip\r\nX-Length", 1),
            501,
        ),
        ("a bare LF", request.replacen("\r\nAccept", "\nAccept", 1), 400),
        ("a folded line", with("X: a\r\n b"), 400),
        ("space before the colon", with("X : a"), 400),
        ("an upgrade", with("Upgrade: websocket"), 400),
        ("an expectation", with("Expect: 100-continue"), 417),
        ("two credentials", with("Authorization: Bearer x"), 400),
        ("no host", request.replacen("Host: gateway.test\r\n", "", 1), 400),
        ("absolute form", request.replacen("POST /mcp", "POST http://gateway.test/mcp", 1), 400),
        ("a long head", with(&long), 431),
        ("a long body", request.replacen("Content-Length: ", "Content-Length: 99999", 1), 413),
    ];
    for (why, bytes, status) in cases {
        let mut client = Client::new(&world);
        // What follows must not be read as a request of its own.
        let bytes = format!("{bytes}{request}");
        client.send(&mut world, bytes.as_bytes(), &mut result);
        assert!(client.is_closed, "{why}");
        assert!(client.forwarded.is_empty(), "{why}");
        let text = String::from_utf8_lossy(&client.received).into_owned();
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{why}: {text}");
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{why}: {text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{why}: {text}");
    }
    assert!(world.log.is_empty());
}

#[test]
fn types_and_encodings_are_refused_and_the_connection_is_kept() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let request = String::from_utf8(orders(&world, json!(1))).unwrap();
    let cases = [
        (request.replacen("application/json\r\n", "text/plain\r\n", 1), 415),
        (request.replacen("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n", 1), 415),
        (request.replacen(", text/event-stream", "", 1), 406),
        (request.replacen("POST /mcp ", "POST /nowhere ", 1), 404),
    ];
    for (bytes, status) in cases {
        assert_eq!(client.ask(&mut world, bytes.as_bytes()).status, status, "{bytes}");
        assert!(!client.is_closed, "{bytes}");
    }
    assert_eq!(client.ask(&mut world, request.as_bytes()).status, 200);
}

#[test]
fn what_is_no_json_is_refused_with_its_place_kept() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let key = world.key("ann").to_owned();
    for body in ["", "{", "{} {}", "{\"id\":1,\"id\":2}", "\u{feff}{}", "\"\\ud800\""] {
        let reply = client.ask(&mut world, &post("/mcp", &key, &[], body));
        assert_eq!(reply.status, 400, "{body:?}: {reply:?}");
        assert!(!client.is_closed, "{body:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(client.ask(&mut world, &post("/mcp", &key, &[], &deep)).status, 400);
    assert_eq!(client.ask(&mut world, &orders(&world_of(&key), json!(1))).status, 200);
}

/// A world with the same keys, to write a request for.
fn world_of(key: &str) -> World {
    let world = World::new(&WorldSpec::default());
    assert_eq!(world.key("ann"), key);
    world
}
