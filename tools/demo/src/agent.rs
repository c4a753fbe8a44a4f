//! An agent without an SDK between: it sees status and headers, and does not heed them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tests_fixtures::stack::System;

/// How long it waits for an answer. On one machine an answer takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(700);

/// It keeps its connection for as long as the gateway does.
pub(crate) struct Agent {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What came back.
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: String,
    pub body: String,
}

impl Agent {
    /// `at` is where the gateway is to be found, if not on this host.
    pub(crate) fn new(system: &System, token: String, at: Option<IpAddr>) -> anyhow::Result<Self> {
        let pem = std::fs::read(system.certificate())?;
        let trusted = reqwest::Certificate::from_pem_bundle(&pem)?;
        let mut http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        if let Some(at) = at {
            http = http.resolve("localhost", SocketAddr::new(at, 0));
        }
        let http = http.tls_certs_only(trusted).build()?;
        Ok(Self { http, url: system.url("/mcp"), token })
    }

    pub(crate) async fn call(&self, tool: &str) -> anyhow::Result<Answer> {
        self.try_call(tool).await?.context("no answer")
    }

    /// Nothing where no answer comes.
    pub(crate) async fn try_call(&self, tool: &str) -> anyhow::Result<Option<Answer>> {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"name": tool, "arguments": {"customer": "c-1"}, "_meta": meta});
        let body =
            json!({"jsonrpc": "2.0", "id": "loop", "method": "tools/call", "params": params});
        let request = self
            .http
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("Accept", "application/json, text/event-stream")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", tool)
            .json(&body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(fault) if fault.is_timeout() => return Ok(None),
            Err(fault) => return Err(fault.into()),
        };
        let retry_after = answer.headers().get("Retry-After").map(|value| value.to_str());
        let retry_after = retry_after.transpose()?.unwrap_or_default().to_owned();
        let status = answer.status().as_u16();
        Ok(Some(Answer { status, retry_after, body: answer.text().await? }))
    }
}
