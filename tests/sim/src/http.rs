//! Requests and answers as clients and servers of both eras write them.

use serde_json::{Value, json};

use crate::Seed;

/// A POST with these headers besides those that every client sends.
#[must_use]
pub fn post(path: &str, key: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!(
        "POST {path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// A modern request.
#[must_use]
pub fn modern(path: &str, key: &str, id: Value, method: &str, mut params: Value) -> Vec<u8> {
    let name = params.get("name").and_then(Value::as_str).map(str::to_owned);
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    if let Some(name) = &name {
        headers.push(("Mcp-Name", name));
    }
    post(path, key, &headers, &body)
}

/// A modern `tools/call`.
#[must_use]
pub fn call(path: &str, key: &str, id: Value, tool: &str, arguments: Value) -> Vec<u8> {
    modern(path, key, id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

/// The same request with its body in chunks.
///
/// # Panics
/// When it is none of [`post`]'s.
#[must_use]
pub fn in_chunks(request: &[u8], seed: &mut Seed) -> Vec<u8> {
    let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, mut body) = request.split_at(end);
    let head = String::from_utf8(head.to_vec()).unwrap();
    let mut out = Vec::new();
    for line in head.split_inclusive("\r\n") {
        let is_length = line.starts_with("Content-Length:");
        out.extend_from_slice(if is_length {
            b"Transfer-Encoding: chunked\r\n"
        } else {
            line.as_bytes()
        });
    }
    while !body.is_empty() {
        let (piece, rest) = body.split_at(1 + seed.below(body.len() as u64) as usize);
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        body = rest;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// A legacy request, in a session or to open one.
#[must_use]
pub fn legacy(path: &str, key: &str, session: Option<&str>, body: &Value) -> Vec<u8> {
    let mut headers = Vec::new();
    if let Some(session) = session {
        headers.push(("Mcp-Session-Id", session));
        headers.push(("MCP-Protocol-Version", "2025-11-25"));
    }
    post(path, key, &headers, &body.to_string())
}

/// `initialize`, as a legacy client sends it.
#[must_use]
pub fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "sim", "version": "1"},
    }})
}

/// A server's JSON answer.
#[must_use]
pub fn ok(headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let mut text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(&body);
    text.into_bytes()
}

/// A chunked body without its framing; `None` when it has not ended.
///
/// # Panics
/// When it is framed in no way.
#[must_use]
pub fn whole(mut body: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).unwrap();
        let (data, rest) = (rest.get(..size)?, rest.get(size..)?);
        body = rest.strip_prefix("\r\n")?;
        if size == 0 {
            assert!(body.is_empty(), "{} bytes after the end", body.len());
            return Some(text);
        }
        text.push_str(data);
    }
}

/// The JSON-RPC message that a forwarded request carries.
///
/// # Panics
/// When it carries none.
#[must_use]
pub fn message(request: &[u8]) -> Value {
    let start = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    serde_json::from_slice(&request[start..]).unwrap()
}

/// A result with one text, for the request that is answered.
#[must_use]
pub fn result(request: &[u8], text: &str) -> Vec<u8> {
    let id = message(request)["id"].clone();
    let content = json!({"content": [{"type": "text", "text": text}], "resultType": "complete"});
    ok(&[], &json!({"jsonrpc": "2.0", "id": id, "result": content}))
}

/// A server's answer to a message that needs none.
pub const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// What a legacy server says to `initialize`.
#[must_use]
pub fn initialized(id: &Value) -> Value {
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

/// A legacy server that opens this session, or none, and gives every call this result.
///
/// # Panics
/// When the request carries no message.
#[must_use]
pub fn legacy_server(request: &[u8], session: Option<&str>, result: &Value) -> Vec<u8> {
    let asked = message(request);
    let opened = session.map(|session| ("Mcp-Session-Id", session));
    match asked["method"].as_str().unwrap() {
        "initialize" => ok(opened.as_slice(), &initialized(&asked["id"])),
        "notifications/initialized" => ACCEPTED.to_vec(),
        _ => ok(&[], &json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})),
    }
}
