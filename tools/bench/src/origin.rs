//! An MCP server that does next to nothing, so that what stands before it is the bottleneck.
//!
//! One thread over epoll. `/mcp` is modern (2026-07-28, stateless), `/legacy` is of 2025-11-25 with
//! sessions. Both offer the same tools; a `tools/call` is answered with 488 bytes of JSON. It reads
//! requests as loosely as its only clients allow (`Content-Length`, first `"id"`): no model for a
//! real server.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Context;
use serde_json::{Value, json};

use crate::poll::{Interest, Poll};

/// The tool that callers may call.
pub(crate) const TOOL: &str = "get_orders";
/// The tool that policy forbids.
pub(crate) const TOOL_DENIED: &str = "delete_orders";
/// What only a server's own answer to a call has in it.
pub(crate) const CALL_MARK: &[u8] = b"O-100231";

const CALL_RESULT: &str = r#"{"content":[{"type":"text","text":"{\"orders\":[{\"id\":\"O-100231\",\"customer\":\"C-4711\",\"status\":\"open\",\"total\":129.90,\"currency\":\"EUR\"},{\"id\":\"O-100240\",\"customer\":\"C-4711\",\"status\":\"open\",\"total\":58.00,\"currency\":\"EUR\"},{\"id\":\"O-100266\",\"customer\":\"C-4711\",\"status\":\"open\",\"total\":7.45,\"currency\":\"EUR\"}],\"next\":null,\"note\":\"ok, as of today\"}"}],"isError":false,"resultType":"complete"}"#;
const DISCOVERED: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"bench-origin","version":"1"},"resultType":"complete","ttlMs":60000,"cacheScope":"private"}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench-origin","version":"1"}}"#;
/// The token of the listening socket.
const LISTENER: u64 = 0;
const READ_BYTES: usize = 16 * 1024;

/// Serves for ever.
///
/// # Errors
/// When the address is taken, or epoll fails.
pub(crate) fn serve(listen: SocketAddr, tools: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| listen.to_string())?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(&listener, LISTENER, Interest::Read)?;
    let mut server = Server { tools: tools_result(tools), peers: HashMap::new(), last: LISTENER };
    let (mut ready, mut piece) = (Vec::new(), vec![0_u8; READ_BYTES]);
    loop {
        poll.wait(true, &mut ready)?;
        for event in &ready {
            if event.token == LISTENER {
                server.accept(&listener, &poll)?;
            } else {
                server.turn(event.token, &mut piece);
            }
        }
    }
}

struct Server {
    /// The result of `tools/list`.
    tools: String,
    peers: HashMap<u64, Peer>,
    last: u64,
}

struct Peer {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> anyhow::Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            self.last += 1;
            poll.add(&socket, self.last, Interest::Read)?;
            let peer = Peer { socket, input: Vec::new(), output: Vec::new() };
            self.peers.insert(self.last, peer);
        }
        Ok(())
    }

    /// Reads and answers; a connection that ends or misbehaves is dropped.
    fn turn(&mut self, token: u64, piece: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        if !peer.turn(piece, &self.tools, token) {
            self.peers.remove(&token);
        }
    }
}

impl Peer {
    /// False when the connection is over.
    fn turn(&mut self, piece: &mut [u8], tools: &str, token: u64) -> bool {
        match self.socket.read(piece) {
            Ok(0) => return false,
            Ok(count) => self.input.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(fault) => return fault.kind() == ErrorKind::WouldBlock,
        }
        self.output.clear();
        let mut used = 0;
        while let Some(len) =
            answer_one(self.input.get(used..).unwrap_or_default(), tools, token, &mut self.output)
        {
            used += len;
        }
        self.input.drain(..used);
        // An answer is far smaller than a socket's buffer, and its reader waits for it.
        self.output.is_empty() || self.socket.write_all(&self.output).is_ok()
    }
}

/// Answers the first whole request; its length, or `None` when more has to come.
fn answer_one(input: &[u8], tools: &str, token: u64, output: &mut Vec<u8>) -> Option<usize> {
    let head_len = memchr::memmem::find(input, b"\r\n\r\n")? + 4;
    let head = input.get(..head_len)?;
    let body_len = content_length(head);
    let body = input.get(head_len..head_len + body_len)?;
    let legacy = memchr::memmem::find(head.get(..64).unwrap_or(head), b" /legacy ").is_some();
    match (head.first(), raw_id(body)) {
        (Some(b'P'), Some(id)) => answer_call(body, id, legacy, tools, token, output),
        (Some(b'P'), None) => empty("202 Accepted", output),
        (Some(b'D'), _) if legacy => empty("204 No Content", output),
        _ => empty("405 Method Not Allowed", output),
    }
    Some(head_len + body_len)
}

fn answer_call(
    body: &[u8],
    id: &[u8],
    legacy: bool,
    tools: &str,
    token: u64,
    output: &mut Vec<u8>,
) {
    let asks = |method: &[u8]| memchr::memmem::find(body, method).is_some();
    if asks(b"\"tools/call\"") {
        respond("200 OK", None, id, "result", CALL_RESULT, output);
    } else if asks(b"\"tools/list\"") {
        respond("200 OK", None, id, "result", tools, output);
    } else if legacy && asks(b"\"initialize\"") {
        respond("200 OK", Some(token), id, "result", INITIALIZED, output);
    } else if legacy && asks(b"\"ping\"") {
        respond("200 OK", None, id, "result", "{}", output);
    } else if !legacy && asks(b"\"server/discover\"") {
        respond("200 OK", None, id, "result", DISCOVERED, output);
    } else {
        let error = r#"{"code":-32601,"message":"no such method here"}"#;
        let status = if legacy { "200 OK" } else { "404 Not Found" };
        respond(status, None, id, "error", error, output);
    }
}

fn respond(
    status: &str,
    session: Option<u64>,
    id: &[u8],
    member: &str,
    value: &str,
    output: &mut Vec<u8>,
) {
    const BEFORE: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
    let length = BEFORE.len() + id.len() + member.len() + value.len() + 5;
    let _ = write!(output, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
    if let Some(session) = session {
        let _ = write!(output, "Mcp-Session-Id: session-{session:020}\r\n");
    }
    let _ = write!(output, "Content-Length: {length}\r\n\r\n");
    output.extend_from_slice(BEFORE);
    output.extend_from_slice(id);
    let _ = write!(output, ",\"{member}\":{value}}}");
}

fn empty(status: &str, output: &mut Vec<u8>) {
    let end = if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
    let _ = write!(output, "HTTP/1.1 {status}\r\n{end}\r\n");
}

fn content_length(head: &[u8]) -> usize {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(head).is_err() {
        return 0;
    }
    let mut all = request.headers.iter();
    let found = all.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    found.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).unwrap_or(0)
}

/// The text of the message's `id`; clients of this server write it before any other.
fn raw_id(body: &[u8]) -> Option<&[u8]> {
    let start = memchr::memmem::find(body, b"\"id\":")? + 5;
    let rest = body.get(start..)?;
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    rest.get(..end)
}

/// The result of `tools/list` with `count` tools.
fn tools_result(count: usize) -> String {
    let mut tools = vec![tool(TOOL, true), tool(TOOL_DENIED, false)];
    let mut name = String::new();
    for number in tools.len()..count {
        name.clear();
        let _ = write!(name, "tool_{number:04}");
        tools.push(tool(&name, number % 2 == 0));
    }
    json!({
        "tools": tools, "resultType": "complete", "ttlMs": 60_000, "cacheScope": "private",
    })
    .to_string()
}

fn tool(name: &str, read_only: bool) -> Value {
    json!({
        "name": name,
        "description": format!("Works on the orders of one customer ({name})."),
        "inputSchema": {
            "type": "object",
            "properties": {
                "customer_id": {"type": "string"},
                "status": {"type": "string", "enum": ["open", "closed"]},
                "limit": {"type": "integer"},
                "sort": {"type": "string"},
            },
            "required": ["customer_id"],
        },
        "annotations": {"readOnlyHint": read_only, "destructiveHint": false},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &str) -> (String, Option<usize>) {
        let mut output = Vec::new();
        let used = answer_one(request.as_bytes(), "{\"tools\":[]}", 5, &mut output);
        (String::from_utf8(output).unwrap(), used)
    }

    fn post(path: &str, body: &str) -> String {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[test]
    fn a_call_is_answered_with_488_bytes_under_its_id() {
        let request = post("/mcp", r#"{"jsonrpc":"2.0","id":1000000007,"method":"tools/call"}"#);
        let (text, used) = answer(&request);
        assert_eq!(used, Some(request.len()));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert_eq!(body.len(), 488);
        let value: Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["id"], 1_000_000_007);
        assert!(memchr::memmem::find(body.as_bytes(), CALL_MARK).is_some());
    }

    #[test]
    fn it_waits_for_the_whole_request() {
        let request = post("/mcp", r#"{"id":1,"method":"tools/list"}"#);
        for cut in 0..request.len() {
            assert_eq!(answer(&request[..cut]).1, None);
        }
    }

    #[test]
    fn eras_are_kept_apart() {
        let initialize = r#"{"id":1,"method":"initialize"}"#;
        assert!(answer(&post("/legacy", initialize)).0.contains("Mcp-Session-Id: session-0"));
        assert!(answer(&post("/mcp", initialize)).0.starts_with("HTTP/1.1 404"));
        let notice = r#"{"method":"notifications/initialized"}"#;
        assert!(answer(&post("/legacy", notice)).0.starts_with("HTTP/1.1 202"));
        assert!(answer("DELETE /legacy HTTP/1.1\r\n\r\n").0.starts_with("HTTP/1.1 204"));
        assert!(answer("GET /mcp HTTP/1.1\r\n\r\n").0.starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn five_hundred_tools() {
        let value: Value = serde_json::from_str(&tools_result(500)).unwrap();
        assert_eq!(value["tools"].as_array().unwrap().len(), 500);
    }
}
