//! A real MCP client over HTTP that also keeps what `tools/list` said, byte for byte.
//!
//! rmcp speaks the protocol, in both eras. Its types know today's fields of a tool only, and what is
//! pinned must be all of it: so the answers to `tools/list` pass through here as JSON first.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_core::Stream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use serde_json::Value;
use sse_stream::{Error as SseError, Sse};

type SseStream = Pin<Box<dyn Stream<Item = Result<Sse, SseError>> + Send>>;
type Failed = StreamableHttpError<reqwest::Error>;

/// One page of a list of tools; twice what all pages of a usual server have.
const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// reqwest, with an ear on lists of tools.
#[derive(Clone)]
pub(crate) struct Listening {
    pub http: reqwest::Client,
    /// The tools of all pages, as JSON.
    pub heard: Arc<Mutex<Vec<Value>>>,
}

impl Listening {
    pub(crate) fn new(http: reqwest::Client) -> Self {
        Self { http, heard: Arc::default() }
    }

    /// What was heard.
    pub(crate) fn tools(&self) -> Vec<Value> {
        self.heard.lock().map(|tools| tools.clone()).unwrap_or_default()
    }

    async fn list(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let mut request =
            self.http.post(uri).header(ACCEPT, "application/json, text/event-stream").json(message);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(session_id) = &session_id {
            request = request.header("mcp-session-id", session_id.as_ref());
        }
        let response = request.send().await?.error_for_status()?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let answer = read_answer(response, is_stream).await?;
        if let (Some(Value::Array(tools)), Ok(mut heard)) =
            (answer.pointer("/result/tools"), self.heard.lock())
        {
            heard.extend(tools.iter().cloned());
        }
        let message: ServerJsonRpcMessage = serde_json::from_value(answer)
            .map_err(|error| unexpected(format!("the list of tools cannot be read: {error}")))?;
        Ok(StreamableHttpPostResponse::Json(message, session_id.map(|id| id.to_string())))
    }
}

fn unexpected(what: String) -> Failed {
    StreamableHttpError::UnexpectedServerResponse(what.into())
}

/// Reads a JSON body, or a stream's events until the response is among them.
async fn read_answer(mut response: reqwest::Response, is_stream: bool) -> Result<Value, Failed> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > LIST_BYTES_MAX {
            return Err(unexpected(format!("the list is longer than {LIST_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
        if is_stream && let Some(answer) = response_event(&bytes) {
            return Ok(answer);
        }
    }
    if is_stream {
        return Err(unexpected("the stream ended without an answer".to_owned()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| unexpected(format!("the list of tools is no JSON: {error}")))
}

/// The first whole event that is a response; requests and notifications are passed over.
fn response_event(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?.replace("\r\n", "\n");
    let whole = text.rfind("\n\n")?;
    text.get(..whole)?.split("\n\n").find_map(|event| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let value: Value = serde_json::from_str(&data.join("\n")).ok()?;
        (value.get("result").is_some() || value.get("error").is_some()).then_some(value)
    })
}

impl StreamableHttpClient for Listening {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let is_list = matches!(
            &message,
            JsonRpcMessage::Request(request)
                if matches!(request.request, ClientRequest::ListToolsRequest(_))
        );
        if is_list {
            return self.list(&uri, &message, session_id, headers).await;
        }
        StreamableHttpClient::post_message(&self.http, uri, message, session_id, auth, headers)
            .await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        self.http.delete_session(uri, session_id, auth, headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<SseStream, Failed> {
        self.http.get_stream(uri, session_id, last_event_id, auth, headers).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_events_and_only_when_whole() {
        let stream = "event: message\ndata: {\"method\":\"x\"}\n\ndata: {\"id\":1,\ndata: \"result\":{}}\n\n";
        let found = response_event(stream.as_bytes()).unwrap();
        assert_eq!(found["id"], 1);
        for cut in 0..stream.len() - 1 {
            assert_eq!(response_event(&stream.as_bytes()[..cut]), None, "cut at {cut}");
        }
        let dos = stream.replace('\n', "\r\n");
        assert!(response_event(dos.as_bytes()).is_some());
    }
}
