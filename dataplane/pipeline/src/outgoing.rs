//! What a server is told, written anew: the call, or what a legacy session begins with.
//!
//! No header of the client crosses but those the protocol says must; the client's credential never
//! does. The body is the client's own bytes, with the tool's name in place of `server__tool`.

use dataplane_ingress::{FieldName, FieldValue};
use dataplane_parse::Revision;
use dataplane_relay::sse;
use dataplane_telemetry::Now;
use dataplane_upstream::{Content, Inject, Request};

use crate::core::Core;
use crate::exchange::{Exchange, Stage};
use crate::fault::ServerFault;
use crate::incoming::{Heard, Incoming};
use crate::stages::Stages;
use crate::upstream_sessions::SessionNumber;

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
/// The id of our `initialize`; its answer is matched against it.
const OPENING_ID: &[u8] = b"0";

/// Writes the request of the exchange's stage. Says which session of the server a call names.
pub(crate) fn write(
    exchange: &Exchange,
    stages: &Stages,
    inbox: &[u8],
    forward: &mut Vec<u8>,
    now: Now,
) -> Result<Option<SessionNumber>, ServerFault> {
    forward.clear();
    let mut named = None;
    let server = exchange.server;
    let upstream = exchange.configuration.upstream(server).ok_or(ServerFault::Unreachable)?;
    let secret = stages.lend(server, now.wall)?;
    let inject = match (&upstream.inject, secret) {
        (Some(rule), Some(secret)) => {
            let unfit = |_| ServerFault::NoLease;
            Some(Inject {
                header: FieldName::new(rule.header.as_bytes()).map_err(unfit)?,
                prefix: FieldValue::new(rule.prefix.as_bytes()).map_err(unfit)?,
                secret: FieldValue::new(secret).map_err(unfit)?,
            })
        }
        (Some(_), None) => return Err(ServerFault::NoLease),
        (None, _) => None,
    };
    let trace = exchange.trace.to_header();
    let value = |text| FieldValue::new(text).ok();
    let mut request = Request::new(&upstream.origin, 0);
    (request.inject, request.traceparent) = (inject, Some(&trace));
    let key = (exchange.session.unwrap_or_default(), server);
    let session = stages.upstream_sessions.find(key);
    match exchange.stage {
        Stage::Opening => {
            let opening = opening(upstream.protocol);
            request.body_bytes = opening.len() as u64;
            request.write(forward);
            forward.extend_from_slice(opening.as_bytes());
        }
        Stage::Announcing => {
            let session = session.ok_or(ServerFault::NoSession)?;
            request.protocol_version = value(session.revision.as_str().as_bytes());
            request.session_id = session.id.as_deref().and_then(value);
            request.body_bytes = INITIALIZED.len() as u64;
            request.write(forward);
            forward.extend_from_slice(INITIALIZED);
        }
        Stage::Calling => {
            let body = inbox.get(exchange.body.clone()).unwrap_or_default();
            let (_, tool) =
                exchange.configuration.table.tool(exchange.tool).unwrap_or((server, ""));
            // The name's place counts from the body's start.
            let before = body.get(..exchange.name.start).unwrap_or_default();
            let after = body.get(exchange.name.end..).unwrap_or_default();
            request.body_bytes = (before.len() + tool.len() + after.len()) as u64;
            if exchange.is_modern() {
                request.protocol_version = value(exchange.revision.as_str().as_bytes());
                request.mcp_method = value(b"tools/call");
                request.mcp_name = Some(tool);
                request.mcp_params = Some((&exchange.head.headers.mcp_params, inbox));
            } else {
                let session = session.ok_or(ServerFault::NoSession)?;
                named = session.id.as_ref().map(|_| session.number);
                request.protocol_version = value(session.revision.as_str().as_bytes());
                request.session_id = session.id.as_deref().and_then(value);
            }
            request.write(forward);
            for part in [before, tool.as_bytes(), after] {
                forward.extend_from_slice(part);
            }
        }
    }
    Ok(named)
}

/// No capabilities are declared: what a server might ask of a client is not carried yet.
fn opening(revision: Revision) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{{\
         \"protocolVersion\":\"{}\",\"capabilities\":{{}},\
         \"clientInfo\":{{\"name\":\"portcullis\",\"version\":\"{}\"}}}}}}",
        revision.as_str(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The revision that a server agreed to, once its answer is there.
pub(crate) fn read_opening(
    core: &mut Core,
    incoming: &Incoming,
    heard: Heard,
) -> Result<Option<Revision>, ServerFault> {
    let Some(head) = incoming.head() else { return Ok(None) };
    if head.status != 200 {
        return Err(ServerFault::Status(head.status));
    }
    if head.content != Content::EventStream {
        return match heard {
            Heard::More => Ok(None),
            Heard::Complete => agreed(core, &incoming.body).map(Some),
        };
    }
    // Read from the start each time: it is short, and there is only one such answer a session.
    let mut reader = sse::Reader::new(sse::Limits::default());
    let mut rest = incoming.body.as_slice();
    while let Ok(Some(event)) = reader.next(&mut rest) {
        if let Ok(revision) = agreed(core, event.data) {
            return Ok(Some(revision));
        }
    }
    match heard {
        Heard::More => Ok(None),
        Heard::Complete => Err(ServerFault::NoSession),
    }
}

fn agreed(core: &mut Core, text: &[u8]) -> Result<Revision, ServerFault> {
    let read = core.answers.with(text, |message| {
        let matches = message.id_text() == Some(OPENING_ID);
        let document = message.document;
        let result = message.result.filter(|_| matches)?;
        let version = document.get(result.index, "protocolVersion")?;
        Revision::parse(document.text(version)?.as_bytes()).filter(|found| !found.is_modern())
    });
    read.ok().flatten().ok_or(ServerFault::Nonsense("its answer to initialize is none"))
}
