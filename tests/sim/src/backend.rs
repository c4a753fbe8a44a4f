//! Servers: what they answer to a forwarded request, well or badly.

use serde_json::{Value, json};

use crate::http::{ACCEPTED, initialized, message, ok};
use crate::{Mix, Seed};

/// The answer of a server on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// What is still to be sent.
    pub(crate) bytes: Vec<u8>,
    /// Closes after the bytes; else it keeps silent.
    pub(crate) closes: bool,
    /// It may have answered 404 for a session: the call has not run.
    pub(crate) is_no_session: bool,
}

/// What a server does with a request that it has read.
///
/// # Panics
/// When the request is none.
#[must_use]
pub(crate) fn answer(request: &[u8], is_modern: bool, mix: &Mix, seed: &mut Seed) -> Answer {
    let asked = message(request);
    let closes = !seed.per_mille(500);
    if seed.per_mille(mix.stall) {
        return Answer::default();
    }
    if seed.per_mille(mix.bad_server) {
        return bad(&asked, request, seed);
    }
    let bytes = match asked["method"].as_str() {
        Some("initialize") => {
            let body = initialized(&asked["id"]);
            let session = format!("upstream-{}", seed.below(1_000));
            match seed.below(3) {
                0 => sse(&[body], true),
                1 => ok(&[], &body),
                _ => ok(&[("Mcp-Session-Id", &session)], &body),
            }
        }
        Some("notifications/initialized") => ACCEPTED.to_vec(),
        _ if seed.per_mille(400) => {
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": 1, "progress": seed.below(9)}});
            let mut events = vec![progress; seed.below(4) as usize];
            events.push(result(&asked, is_modern));
            sse(&events, seed.per_mille(500))
        }
        _ => ok(&[], &result(&asked, is_modern)),
    };
    Answer { bytes, closes, is_no_session: false }
}

/// Says the canary of its arguments, so that whose answer it is can be seen.
fn result(asked: &Value, is_modern: bool) -> Value {
    let canary = &asked["params"]["arguments"]["customer"];
    let mut result = json!({"content": [{"type": "text", "text": canary}]});
    if is_modern {
        result["resultType"] = json!("complete");
    }
    json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})
}

fn sse(events: &[Value], is_chunked: bool) -> Vec<u8> {
    let mut body = String::from("id: 1\ndata:\n\n");
    for event in events {
        body.push_str(&format!("event: message\ndata: {event}\n\n"));
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    match is_chunked {
        true => {
            format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        }
        false => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
    }
    .into_bytes()
}

fn bad(asked: &Value, request: &[u8], seed: &mut Seed) -> Answer {
    let id = &asked["id"];
    let status = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let with = |result: Value| ok(&[], &json!({"jsonrpc": "2.0", "id": id, "result": result}));
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}});
    let mut is_no_session = false;
    let mut bytes = match seed.below(16) {
        0 => Vec::new(),
        1 => ok(&[], &json!({"jsonrpc": "2.0", "id": "another", "result": {"content": []}})),
        2 => b"what is HTTP?\r\n\r\n".to_vec(),
        3 => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        4 => ok(&[], &json!("no answer")),
        5 => with(json!({"content": [{"type": "text", "text": "x".repeat(20 << 10)}]})),
        6 => {
            is_no_session = String::from_utf8_lossy(request).contains("\r\nMcp-Session-Id: ");
            status("404 Not Found")
        }
        7 => status("500 Oops"),
        8 => status("302 Found"),
        9 => with(json!({"resultType": "input_required", "inputRequests": {}})),
        10 => sse(&[progress.clone(), progress], true),
        11 => sse(&[progress, json!({"jsonrpc": "2.0", "id": 77, "result": {}})], false),
        12 => sse(&[json!({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage"})], true),
        13 => ok(&[], &json!([{"jsonrpc": "2.0", "id": id, "result": {}}])),
        14 => b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"half".to_vec(),
        _ => with(json!({"content": [], "isError": true})),
    };
    if seed.per_mille(300) {
        bytes.truncate(seed.below(bytes.len() as u64 + 1) as usize);
    }
    Answer { bytes, closes: seed.per_mille(700), is_no_session }
}
