//! Requests to the control plane's REST API, one connection each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::answer;

/// An apply compiles policies and asks servers for their tools.
const TIMEOUT_S: u64 = 120;

/// The API with a token.
pub(crate) struct Rest {
    pub address: SocketAddr,
    pub token: String,
}

impl Rest {
    /// # Errors
    /// When nobody answers, or the answer is not a success: then with what it says.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, "")
    }

    /// # Errors
    /// As [`Rest::get`].
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask("POST", path, &body.to_string())
    }

    fn ask(&self, verb: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let mut socket = TcpStream::connect(self.address)
            .with_context(|| format!("the control plane at {}", self.address))?;
        socket.set_read_timeout(Some(Duration::from_secs(TIMEOUT_S)))?;
        write!(
            socket,
            "{verb} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        )?;
        let (mut bytes, mut piece) = (Vec::new(), [0_u8; 65_536]);
        let answer = loop {
            let count = socket.read(&mut piece)?;
            ensure!(count > 0, "{verb} {path}: the connection ended before the answer");
            bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
            if let Some(answer) = answer::read(&bytes)? {
                break answer;
            }
        };
        let text = String::from_utf8_lossy(bytes.get(answer.body).unwrap_or_default()).into_owned();
        ensure!(matches!(answer.status, 200..=299), "{verb} {path}: {} {text}", answer.status);
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{verb} {path}: {text}"))
    }
}
