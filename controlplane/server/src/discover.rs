//! Asking a server for its tools, and comparing what it says with what was pinned.
//!
//! Nothing of an answer is believed further than it was checked: names, sizes, counts, and that a
//! schema is an object. Redirects are not followed: the address that was configured is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use controlplane_api::Time;
use controlplane_api::bounds::{TOOL_DEFINITION_BYTES_MAX, TOOLS_OF_A_SERVER_MAX};
use controlplane_api::names::{check_tool_name, shown};
use controlplane_api::objects::{Era, PinnedTool, Pins, Server};
use controlplane_api::wire::{Drift, DriftKind};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::{PaginatedRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::mcp_client::Listening;
use crate::random::sha256_hex;

/// The whole conversation. The probe for the modern era alone may take ten seconds at a server that
/// does not answer what it does not know.
const CONVERSATION: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);
/// Pages of one list.
const PAGES_MAX: usize = 100;

/// What a server said.
pub(crate) struct Found {
    pub pins: Pins,
    /// Tools that cannot be offered, each with the reason.
    pub skipped: Vec<String>,
}

/// Asks a server. `credential` is the value of its secret, when it has one.
///
/// # Errors
/// A sentence for people: what failed and where.
pub(crate) async fn ask(
    server: &Server,
    credential: Option<Zeroizing<Vec<u8>>>,
    now: Time,
) -> Result<Found, String> {
    let http = client(server, credential)?;
    match tokio::time::timeout(CONVERSATION, converse(server, http, now)).await {
        Ok(found) => found,
        Err(_) => Err(format!("{} did not answer within {CONVERSATION:?}", server.url)),
    }
}

fn client(
    server: &Server,
    credential: Option<Zeroizing<Vec<u8>>>,
) -> Result<reqwest::Client, String> {
    let mut headers = HeaderMap::new();
    if let (Some(inject), Some(value)) = (&server.inject, credential) {
        let name = HeaderName::from_bytes(inject.header.as_bytes());
        let line = Zeroizing::new([inject.prefix().as_bytes(), value.as_slice()].concat());
        let value = HeaderValue::from_bytes(&line);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err("the secret cannot be sent in its header".to_owned());
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut builder = crate::outbound::builder(CONNECT).default_headers(headers);
    if let Some(pem) = &server.ca_pem {
        let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| format!("`ca_pem` cannot be read: {error}"))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| crate::outbound::plain(&error))
}

async fn converse(server: &Server, http: reqwest::Client, now: Time) -> Result<Found, String> {
    let listening = Listening::new(http);
    let config = StreamableHttpClientTransportConfig::with_uri(server.url.as_str());
    let transport = StreamableHttpClientTransport::with_client(listening.clone(), config);
    let modern = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match server.era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover { preferred_versions: modern },
        Era::Auto => ClientLifecycleMode::Auto { preferred_versions: modern, legacy_version: None },
    };
    let mut running = ()
        .serve_with_lifecycle(transport, lifecycle)
        .await
        .map_err(|error| format!("{} could not be asked: {}", server.url, root_cause(&error)))?;
    let listed = list(&running).await;
    let version = running.peer_info().map(|info| info.protocol_version.as_str().to_owned());
    let _ = running.close().await;
    listed?;
    let revision = version.ok_or("the server did not say which protocol it speaks")?;
    if dataplane_parse::Revision::parse(revision.as_bytes()).is_none() {
        return Err(format!("it speaks MCP {}, which the gateway does not", shown(&revision)));
    }
    // Revisions are dates, so their order is the order of their texts.
    let is_modern = revision.as_str() >= ProtocolVersion::V_2026_07_28.as_str();
    let (tools, skipped) = pin(listening.tools())?;
    let era = if is_modern { Era::Modern } else { Era::Legacy };
    let pins = Pins { url: server.url.clone(), era, revision, at: now, tools };
    Ok(Found { pins, skipped })
}

async fn list(running: &RunningService<rmcp::RoleClient, ()>) -> Result<(), String> {
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = PaginatedRequestParams::default().with_cursor(cursor.take());
        let answer = running.list_tools(Some(page)).await;
        let answer = answer
            .map_err(|error| format!("it would not list its tools: {}", root_cause(&error)))?;
        cursor = answer.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
    Err(format!("its list of tools has more than {PAGES_MAX} pages"))
}

/// The end of the chain of causes says what happened; what stands before it names rmcp's types.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    shown(&cause.to_string())
}

/// Checks and digests definitions.
fn pin(definitions: Vec<Value>) -> Result<(Vec<PinnedTool>, Vec<String>), String> {
    if definitions.len() > TOOLS_OF_A_SERVER_MAX {
        return Err(format!(
            "it offers {} tools; at most {TOOLS_OF_A_SERVER_MAX} are taken",
            definitions.len()
        ));
    }
    let mut tools: BTreeMap<String, PinnedTool> = BTreeMap::new();
    let mut skipped = Vec::new();
    for definition in &definitions {
        let name = definition.get("name").and_then(Value::as_str).unwrap_or_default();
        match usable(definition, name) {
            Ok(_) if tools.contains_key(name) => {
                return Err(format!("it offers two tools named `{name}`"));
            }
            Ok(tool) => {
                tools.insert(name.to_owned(), tool);
            }
            Err(why) => skipped.push(format!("`{}`: {why}", shown(name))),
        }
    }
    Ok((tools.into_values().collect(), skipped))
}

fn usable(definition: &Value, name: &str) -> Result<PinnedTool, String> {
    check_tool_name(name).map_err(|problem| problem.detail)?;
    if !definition.get("inputSchema").is_some_and(Value::is_object) {
        return Err("its inputSchema is no object".to_owned());
    }
    let definition = canonical(definition);
    if definition.len() > TOOL_DEFINITION_BYTES_MAX {
        return Err(format!("its definition is longer than {TOOL_DEFINITION_BYTES_MAX} bytes"));
    }
    let digest = sha256_hex(definition.as_bytes());
    Ok(PinnedTool { name: name.to_owned(), digest, definition })
}

/// JSON with keys sorted and no spaces: equal definitions have equal bytes.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let members = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

/// How what was found differs from what was pinned, by name.
pub(crate) fn drift(pinned: &Pins, found: &Pins) -> Vec<Drift> {
    let old: BTreeMap<&str, &PinnedTool> =
        pinned.tools.iter().map(|tool| (tool.name.as_str(), tool)).collect();
    let new: BTreeMap<&str, &PinnedTool> =
        found.tools.iter().map(|tool| (tool.name.as_str(), tool)).collect();
    let names: std::collections::BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let differs = names.into_iter().filter_map(|name| {
        let (pinned, now) = (old.get(name), new.get(name));
        let kind = match (pinned, now) {
            (Some(pinned), Some(now)) if pinned.digest == now.digest => return None,
            (Some(_), Some(_)) => DriftKind::Changed,
            (Some(_), None) => DriftKind::Gone,
            (None, _) => DriftKind::New,
        };
        Some(Drift {
            tool: name.to_owned(),
            kind,
            pinned: pinned.map(|tool| tool.definition.clone()),
            found: now.map(|tool| tool.definition.clone()),
            digest: now.map(|tool| tool.digest.clone()),
            since: found.at,
        })
    });
    differs.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pins(definitions: &[Value]) -> Pins {
        let (tools, _) = pin(definitions.to_vec()).unwrap();
        Pins {
            url: "http://a/".into(),
            era: Era::Legacy,
            revision: "2025-11-25".into(),
            at: Time(1),
            tools,
        }
    }

    #[test]
    fn order_of_keys_is_no_drift_and_every_other_byte_is() {
        let base = json!({"name": "a", "description": "x", "inputSchema": {"type": "object"}, "later": {"b": 1, "a": 2}});
        let text = r#"{"later":{"a":2,"b":1},"inputSchema":{"type":"object"},"description":"x","name":"a"}"#;
        let same: Value = serde_json::from_str(text).unwrap();
        assert_eq!(drift(&pins(std::slice::from_ref(&base)), &pins(&[same])), []);
        for (pointer, value) in [
            ("/description", json!("y")),
            ("/inputSchema/type", json!("Object")),
            ("/later/a", json!(3)),
        ] {
            let mut changed = base.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let found = drift(&pins(std::slice::from_ref(&base)), &pins(&[changed]));
            assert_eq!(found.len(), 1, "{pointer}");
            assert_eq!(found[0].kind, DriftKind::Changed);
        }
    }

    #[test]
    fn new_and_gone_tools_drift() {
        let tool = |name: &str| json!({"name": name, "inputSchema": {}});
        let found = drift(&pins(&[tool("a"), tool("b")]), &pins(&[tool("b"), tool("c")]));
        let kinds: Vec<_> = found.iter().map(|drift| (drift.tool.as_str(), drift.kind)).collect();
        assert_eq!(kinds, [("a", DriftKind::Gone), ("c", DriftKind::New)]);
    }

    #[test]
    fn what_cannot_be_offered_is_told_and_two_of_a_name_refuse_all() {
        let good = json!({"name": "a", "inputSchema": {}});
        let long = "x".repeat(TOOL_DEFINITION_BYTES_MAX);
        let bad = [
            json!({"name": "a b", "inputSchema": {}}),
            json!({"name": "c"}),
            json!({"name": "d", "inputSchema": {}, "description": long}),
        ];
        let (tools, skipped) = pin([std::slice::from_ref(&good), &bad[..]].concat()).unwrap();
        assert_eq!((tools.len(), skipped.len()), (1, 3));
        assert!(pin(vec![good.clone(), good]).is_err());
    }
}
