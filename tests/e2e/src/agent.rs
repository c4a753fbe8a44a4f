//! An MCP client on one kept-alive connection, in either era.

use anyhow::Context;
use serde_json::{Value, json};

use crate::door::{Door, Wire};
use crate::message::{Era, Reply, Request, legacy, modern};

/// A caller with its connection. Legacy: with its session.
pub struct Agent {
    pub wire: Wire,
    pub token: String,
    pub path: String,
    era: Era,
    session: Option<String>,
    next_id: u64,
}

impl Agent {
    /// Connects at a path; a legacy agent initializes.
    ///
    /// # Errors
    /// When the gateway is not reached, or refuses.
    pub fn connect(door: &Door, era: Era, path: &str, token: &str) -> anyhow::Result<Self> {
        let mut agent = Self {
            wire: door.open()?,
            token: token.to_owned(),
            path: path.to_owned(),
            era,
            session: None,
            next_id: 1,
        };
        if era == Era::Legacy {
            agent.initialize()?;
        }
        Ok(agent)
    }

    fn initialize(&mut self) -> anyhow::Result<()> {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "portcullis-e2e", "version": "1.0.0"},
        });
        let reply = self.wire.ask(&self.request(&json!(0), "initialize", &params))?;
        let session = reply.header("mcp-session-id").map(ToOwned::to_owned);
        self.session = Some(session.with_context(|| format!("no session: {}", reply.text()))?);
        let notice = self.request(&Value::Null, "notifications/initialized", &json!({}));
        let reply = self.wire.ask(&notice)?;
        anyhow::ensure!(reply.status == 202, "initialized: {}", reply.status);
        Ok(())
    }

    /// The sealed id of a legacy session.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The request as this agent would send it.
    #[must_use]
    pub fn request(&self, id: &Value, method: &str, params: &Value) -> Request {
        match self.era {
            Era::Modern => modern(&self.path, &self.token, id, method, params),
            Era::Legacy => {
                legacy(&self.path, &self.token, self.session.as_deref(), id, method, params)
            }
        }
    }

    /// The request of a tool call.
    #[must_use]
    pub fn tool_request(&self, id: &Value, tool: &str, arguments: &Value) -> Request {
        self.request(id, "tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// Any method, with an id of its own; the HTTP answer.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn ask(&mut self, method: &str, params: &Value) -> anyhow::Result<Reply> {
        let id = json!(self.next_id);
        self.next_id += 1;
        let request = self.request(&id, method, params);
        let reply = self.wire.ask(&request)?;
        if let Ok(answer) = reply.answer()
            && answer["id"] != Value::Null
        {
            anyhow::ensure!(answer["id"] == id, "asked {id}, answered {answer}");
        }
        Ok(reply)
    }

    /// A tool call; the JSON-RPC answer.
    ///
    /// # Errors
    /// When the connection ends, or no JSON-RPC comes back.
    pub fn call(&mut self, tool: &str, arguments: Value) -> anyhow::Result<Value> {
        self.ask("tools/call", &json!({"name": tool, "arguments": arguments}))?.answer()
    }

    /// The names of the tools that are listed.
    ///
    /// # Errors
    /// When the list is refused.
    pub fn list(&mut self) -> anyhow::Result<Vec<String>> {
        let answer = self.ask("tools/list", &json!({}))?.answer()?;
        names_of(&answer).with_context(|| answer.to_string())
    }
}

/// Names in an answer to `tools/list`.
#[must_use]
pub fn names_of(answer: &Value) -> Option<Vec<String>> {
    let tools = answer["result"]["tools"].as_array()?;
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    Some(tools.iter().map(name).collect())
}

/// The code of an error; `None` for a result.
#[must_use]
pub fn code_of(answer: &Value) -> Option<i64> {
    answer["error"]["code"].as_i64()
}

/// The text of a tool's answer.
#[must_use]
pub fn text_of(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}
