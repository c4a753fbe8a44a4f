//! What is sent, and what counts as a right answer.
//!
//! A job is one traversal of a script: one call, or one whole legacy session. Every answer is
//! checked (status, the request's id, what must be in it), so a target cannot look fast by being
//! wrong. The modern call has the sizes of an ordinary one: a head of about 1.3 kB with its token,
//! a body of 282 bytes, an answer of about 488.

use std::io::Write;

use anyhow::ensure;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::origin::{CALL_MARK, TOOL, TOOL_DENIED};

/// Ids have ten digits, so that a request has one length.
pub(crate) const FIRST_ID: u64 = 1_000_000_000;
/// Bytes of the modern call's body.
const BODY_BYTES: usize = 282;

/// Kinds of work.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mix {
    /// One `tools/call` of the modern era on a kept connection.
    Call,
    /// A legacy session: `initialize`, `notifications/initialized`, `tools/call`, `DELETE`.
    Churn,
    /// A `tools/call` that policy forbids.
    Denial,
}

impl Mix {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Call => "modern keep-alive call",
            Self::Churn => "legacy session churn",
            Self::Denial => "denial",
        }
    }
}

/// Where the mixes go at one target.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub host: String,
    pub modern: String,
    pub legacy: String,
    /// `Authorization`, without the scheme.
    pub token: String,
}

/// Requests of one job, in order, for each caller.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    callers: Vec<Vec<Step>>,
}

/// One request and what its answer must be.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pieces: Vec<Piece>,
    expect: Expect,
}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Id,
    Session,
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    /// 200, the request's id, and this in the body.
    Has(&'static [u8]),
    /// 200 or 403 with the request's id and an error, and none of the server's answer.
    Denied,
    /// Any of 200 to 204.
    Done,
}

impl Script {
    /// Of one caller.
    pub(crate) fn new(mix: Mix, paths: &Paths) -> Self {
        Self { callers: vec![steps(mix, paths)] }
    }

    /// Of several callers, one on a connection; what they share is all but the token.
    pub(crate) fn of_callers(mix: Mix, paths: &Paths, tokens: &[String]) -> Self {
        let paths = tokens.iter().map(|token| Paths { token: token.clone(), ..paths.clone() });
        Self { callers: paths.map(|paths| steps(mix, &paths)).collect() }
    }

    /// What is done on the connection with this number.
    pub(crate) fn steps(&self, connection: usize) -> &[Step] {
        let at = connection.checked_rem(self.callers.len()).unwrap_or(0);
        self.callers.get(at).map_or(&[], Vec::as_slice)
    }
}

fn steps(mix: Mix, paths: &Paths) -> Vec<Step> {
    match mix {
        Mix::Call => vec![modern_call(paths, TOOL, Expect::Has(CALL_MARK))],
        Mix::Denial => vec![modern_call(paths, TOOL_DENIED, Expect::Denied)],
        Mix::Churn => vec![
            legacy(paths, false, INITIALIZE, Expect::Has(b"\"protocolVersion\"")),
            legacy(paths, true, INITIALIZED, Expect::Done),
            legacy(paths, true, &legacy_call(), Expect::Has(CALL_MARK)),
            legacy_delete(paths),
        ],
    }
}

impl Step {
    /// Writes the request of the call `id` into `out`.
    pub(crate) fn write(&self, id: u64, session: &[u8], out: &mut Vec<u8>) {
        out.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Id => {
                    let _ = write!(out, "{id}");
                }
                Piece::Session => out.extend_from_slice(session),
            }
        }
    }

    /// # Errors
    /// What is wrong with the answer.
    pub(crate) fn check(&self, id: u64, answer: &Answer, received: &[u8]) -> anyhow::Result<()> {
        let body = received.get(answer.body.clone()).unwrap_or_default();
        let right = match self.expect {
            Expect::Has(mark) => answer.status == 200 && has_id(body, id) && has(body, mark),
            Expect::Denied => {
                matches!(answer.status, 200 | 403)
                    && has_id(body, id)
                    && !has(body, CALL_MARK)
                    && (has(body, b"\"error\"") || has(body, b"\"isError\":true"))
            }
            Expect::Done => matches!(answer.status, 200..=204),
        };
        ensure!(
            right,
            "call {id}: wanted {:?}, got status {}: {}",
            self.expect,
            answer.status,
            String::from_utf8_lossy(body.get(..body.len().min(400)).unwrap_or_default())
        );
        Ok(())
    }
}

fn has(body: &[u8], mark: &[u8]) -> bool {
    memchr::memmem::find(body, mark).is_some()
}

fn has_id(body: &[u8], id: u64) -> bool {
    let mut text = [0_u8; 16];
    let mut rest = &mut text[..];
    let _ = write!(rest, "\"id\":{id}");
    let left = rest.len();
    has(body, text.get(..text.len() - left).unwrap_or_default())
}

/// The body with a hole for the id; `sort` is filled up to the wanted length.
fn call_body(tool: &str) -> String {
    let body = |sort: &str| {
        let arguments =
            json!({"customer_id": "C-4711", "status": "open", "limit": 10, "sort": sort});
        modern_body("tools/call", json!({"name": tool, "arguments": arguments}))
    };
    let short = body("date").len();
    body(&format!("date{}", "x".repeat(BODY_BYTES.saturating_sub(short))))
}

fn modern_call(paths: &Paths, tool: &str, expect: Expect) -> Step {
    let about = format!("Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n");
    modern(paths, &about, &call_body(tool), expect)
}

/// One `tools/list` of the modern era: no quota counts it.
pub(crate) fn modern_list(paths: &Paths) -> Step {
    let body = modern_body("tools/list", json!({}));
    modern(paths, "Mcp-Method: tools/list\r\n", &body, Expect::Has(b"\"tools\""))
}

fn modern_body(method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": FIRST_ID, "method": method, "params": params}).to_string()
}

/// `about` are the headers that say what the body asks.
fn modern(paths: &Paths, about: &str, body: &str, expect: Expect) -> Step {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         {about}Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        paths.modern,
        paths.host,
        paths.token,
        body.len()
    );
    Step { pieces: around_id(head + body), expect }
}

/// The revision of the legacy mix.
const LEGACY: &str = "2025-11-25";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1000000000,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"portcullis-bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn legacy_call() -> String {
    json!({
        "jsonrpc": "2.0", "id": FIRST_ID, "method": "tools/call",
        "params": {
            "name": TOOL,
            "arguments": {"customer_id": "C-4711", "status": "open", "limit": 10, "sort": "date"},
        },
    })
    .to_string()
}

fn legacy(paths: &Paths, in_session: bool, body: &str, expect: Expect) -> Step {
    let (before, after) = (
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nAuthorization: Bearer {}\r\n",
            paths.legacy, paths.host, paths.token
        ),
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
    );
    let mut pieces = vec![Piece::Bytes(before.into_bytes())];
    if in_session {
        pieces.extend(session_headers());
    }
    pieces.extend(around_id(after));
    Step { pieces, expect }
}

fn legacy_delete(paths: &Paths) -> Step {
    let head = format!(
        "DELETE {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n",
        paths.legacy, paths.host, paths.token
    );
    let mut pieces = vec![Piece::Bytes(head.into_bytes())];
    pieces.extend(session_headers());
    pieces.push(Piece::Bytes(b"\r\n".to_vec()));
    Step { pieces, expect: Expect::Done }
}

fn session_headers() -> [Piece; 3] {
    [
        Piece::Bytes(format!("MCP-Protocol-Version: {LEGACY}\r\nMcp-Session-Id: ").into_bytes()),
        Piece::Session,
        Piece::Bytes(b"\r\n".to_vec()),
    ]
}

/// Cuts the placeholder of the id out.
fn around_id(text: String) -> Vec<Piece> {
    match text.split_once(&FIRST_ID.to_string()) {
        Some((before, after)) => vec![
            Piece::Bytes(before.as_bytes().to_vec()),
            Piece::Id,
            Piece::Bytes(after.as_bytes().to_vec()),
        ],
        None => vec![Piece::Bytes(text.into_bytes())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths {
            host: "localhost:8443".into(),
            modern: "/servers/orders/mcp".into(),
            legacy: "/servers/legacy/mcp".into(),
            token: "t".repeat(1_028),
        }
    }

    fn sent(mix: Mix, step: usize, id: u64) -> String {
        let mut out = Vec::new();
        Script::new(mix, &paths()).steps(0)[step].write(id, b"s-9", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_call_has_the_sizes_that_are_quoted() {
        for mix in [Mix::Call, Mix::Denial] {
            let text = sent(mix, 0, FIRST_ID + 7);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), BODY_BYTES);
            assert!((1_250..1_400).contains(&(head.len() + 4)), "{}", head.len());
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["id"], FIRST_ID + 7);
        }
    }

    #[test]
    fn a_session_goes_on_under_its_id() {
        assert!(!sent(Mix::Churn, 0, FIRST_ID).contains("Mcp-Session-Id"));
        for step in 1..4 {
            assert!(sent(Mix::Churn, step, FIRST_ID).contains("\r\nMcp-Session-Id: s-9\r\n"));
        }
        assert!(sent(Mix::Churn, 3, FIRST_ID).ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_wrong_answer_is_seen() {
        let script = Script::new(Mix::Call, &paths());
        let denial = Script::new(Mix::Denial, &paths());
        let check = |script: &Script, status, body: &str| {
            let answer =
                Answer { status, body: 0..body.len(), session: None, last: false, consumed: 0 };
            script.steps(0)[0].check(1_000_000_001, &answer, body.as_bytes()).is_ok()
        };
        let mark = String::from_utf8_lossy(CALL_MARK);
        let right = format!(r#"{{"id":1000000001,"result":"{mark}"}}"#);
        assert!(check(&script, 200, &right));
        assert!(!check(&script, 500, &right));
        assert!(!check(&script, 200, &right.replace("001", "002")));
        assert!(!check(&script, 200, r#"{"id":1000000001,"error":{}}"#));
        assert!(check(&denial, 200, r#"{"id":1000000001,"error":{}}"#));
        assert!(!check(&denial, 200, &right));
        assert!(!check(&denial, 502, r#"{"id":1000000001,"error":{}}"#));
    }
}
