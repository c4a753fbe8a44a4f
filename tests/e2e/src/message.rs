//! Requests of either era as bytes, and what comes back.
//!
//! Built by hand and not by an SDK, so that a test can also send what no SDK would.

use anyhow::Context;
use serde_json::{Value, json};

/// The two ways of speaking.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Era {
    Modern,
    Legacy,
}

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    /// In order; `Host` and `Content-Length` are added.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    #[must_use]
    pub fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As the holder of a credential; an empty one sends none.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        if token.is_empty() {
            self
        } else {
            self.header("Authorization", &format!("Bearer {token}"))
        }
    }

    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("Content-Type", "application/json")
            .header("Accept", "application/json, text/event-stream")
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A request of 2026-07-28: stateless, its version in header and body.
#[must_use]
pub fn modern(path: &str, token: &str, id: &Value, method: &str, params: &Value) -> Request {
    let mut params = params.clone();
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let name = params["name"].as_str().or_else(|| params["uri"].as_str());
    let request = Request::new("POST", path)
        .bearer(token)
        .json(&body)
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", method);
    match name {
        Some(name) => request.header("Mcp-Name", name),
        None => request,
    }
}

/// A request of 2025-11-25, in a session where there is one.
#[must_use]
pub fn legacy(
    path: &str,
    token: &str,
    session: Option<&str>,
    id: &Value,
    method: &str,
    params: &Value,
) -> Request {
    let mut body = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if !id.is_null() {
        body["id"] = id.clone();
    }
    let request = Request::new("POST", path).bearer(token).json(&body);
    match session {
        Some(session) => {
            request.header("MCP-Protocol-Version", "2025-11-25").header("Mcp-Session-Id", session)
        }
        None => request,
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All JSON-RPC messages, of a JSON body or of an event stream.
    ///
    /// # Errors
    /// When the body is neither.
    pub fn messages(&self) -> anyhow::Result<Vec<Value>> {
        let text = self.text();
        let is_stream =
            self.header("content-type").is_some_and(|kind| kind.contains("event-stream"));
        if !is_stream {
            let one = serde_json::from_str(&text);
            return Ok(vec![one.with_context(|| format!("status {}: {text:?}", self.status))?]);
        }
        let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let data = lines.map(str::trim).filter(|data| !data.is_empty());
        data.map(|data| serde_json::from_str(data).with_context(|| data.to_owned())).collect()
    }

    /// The answer: the last message that is a result or an error.
    ///
    /// # Errors
    /// When there is none.
    pub fn answer(&self) -> anyhow::Result<Value> {
        let is_answer =
            |message: &Value| message.get("result").is_some() || message.get("error").is_some();
        let found = self.messages()?.into_iter().rfind(is_answer);
        found.with_context(|| format!("no answer in status {}: {:?}", self.status, self.text()))
    }
}
