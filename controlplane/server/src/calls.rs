//! Recent calls: copies of appliances' audit records, filtered, and followed by waiting requests.

use std::time::Duration;

use axum::extract::State;
use controlplane_api::bounds::WAIT_MS_MAX;
use controlplane_api::wire::{Call, CallsPage};
use controlplane_api::{Problem, Time};
use controlplane_store::{CallFilter, NewCall};
use dataplane_audit::{Body, Phase, Record, Verdict};
use dataplane_bundle::message::Records;
use serde::Deserialize;

use crate::app::Shared;
use crate::ask::{self, Params};
use crate::fault::Fault;
use crate::random::to_hex;
use crate::route::Told;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CallsParams {
    tenant: String,
    user: String,
    agent: String,
    server: String,
    tool: String,
    decision: String,
    since: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
    wait_ms: u64,
}

pub(crate) const PARAMS: &[(&str, &str)] = &[
    ("tenant", "Only calls of this tenant"),
    ("user", "Only calls of this user"),
    ("agent", "Only calls of this agent"),
    ("server", "Only calls to this server"),
    ("tool", "Only calls of this tool (its own name)"),
    ("decision", "Only calls with this decision: `allow`, `deny`, `quota`, `kill`, …"),
    ("since", "Only calls from this time on, as 2026-01-02T03:04:05Z"),
    ("after", "Only calls after this id, oldest first; without it the newest calls"),
    ("limit", "Items at most; 100 unless told"),
    ("wait_ms", "With `after` and nothing new: wait this long for news, at most 30000"),
];

/// Without `after`: the newest calls, oldest of them first. With `after`: what came since.
pub(crate) async fn list(
    State(app): State<Shared>,
    Params(params): Params<CallsParams>,
) -> Result<Told<CallsPage>, Fault> {
    let wait_ms = params.wait_ms.min(WAIT_MS_MAX);
    let filter = filter(params)?;
    // Subscribed before the first look: what arrives in between is not missed.
    let mut news = app.news.subscribe();
    let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
    loop {
        news.mark_unchanged();
        let mut items = app.store.calls(&filter).await?;
        if filter.newest {
            items.reverse();
        }
        let is_over = !items.is_empty() || filter.newest || wait_ms == 0;
        if is_over || tokio::time::timeout_at(until, news.changed()).await.is_err() {
            let after = items.last().map_or(filter.after, |call| call.id);
            return Ok(Told::ok(CallsPage { items, after }));
        }
    }
}

fn filter(params: CallsParams) -> Result<CallFilter, Fault> {
    let wrong = |field: &str, detail: String| {
        Fault::from(Problem::new(400, "Query not understood", detail).field(field))
    };
    let since = params.since.as_deref().map(|text| {
        let read = Time::parse(text);
        read.ok_or_else(|| wrong("since", format!("`{text}` is no time like 2026-01-02T03:04:05Z")))
    });
    let known = DECISIONS.iter().any(|(_, word)| *word == params.decision);
    if !params.decision.is_empty() && !known {
        let words: Vec<&str> = DECISIONS.iter().map(|(_, word)| *word).collect();
        return Err(wrong("decision", format!("it is one of {}", words.join(", "))));
    }
    Ok(CallFilter {
        tenant: params.tenant,
        user: params.user,
        agent: params.agent,
        server: params.server,
        tool: params.tool,
        decision: params.decision,
        since: since.transpose()?,
        after: params.after.unwrap_or(0),
        limit: ask::limit(params.limit)?,
        newest: params.after.is_none(),
    })
}

/// How a verdict is said here.
const DECISIONS: [(Verdict, &str); 8] = [
    (Verdict::Undecided, "undecided"),
    (Verdict::Allowed, "allow"),
    (Verdict::Denied, "deny"),
    (Verdict::OverQuota, "quota"),
    (Verdict::Killed, "kill"),
    (Verdict::Unauthenticated, "unauthenticated"),
    (Verdict::Malformed, "malformed"),
    (Verdict::Unavailable, "unavailable"),
];

/// Records as they arrive, as copies for questions. What this release cannot read is passed over:
/// the evidence is at the appliance, and a newer control plane can read it there.
pub(crate) fn copies(appliance: &str, records: &Records) -> Vec<NewCall> {
    let indexed = (records.first_index..).zip(&records.records);
    let read = indexed.filter_map(|(index, bytes)| copy(appliance, index, bytes));
    read.collect()
}

fn copy(appliance: &str, index: u64, bytes: &[u8]) -> Option<NewCall> {
    let record = Record::decode(bytes).ok()?;
    let at = Time::from_nanos(record.stamp.wall.0);
    let base = Call { appliance: appliance.to_owned(), index, at, ..Call::default() };
    let Body::Call(call) = &record.body else {
        return Some(Call { phase: "control".to_owned(), ..base });
    };
    let decision = &call.decision;
    let by = [decision.rule, decision.quota, decision.kill, decision.reason];
    let ended = call.phase == Phase::Outcome;
    let word = DECISIONS.iter().find(|(verdict, _)| *verdict == decision.verdict);
    Some(Call {
        phase: match call.phase {
            Phase::Intent => "intent",
            Phase::Outcome => "outcome",
            Phase::Refused => "refused",
        }
        .to_owned(),
        call: format!("{}-{}", to_hex(&record.stamp.boot.0), call.call.0),
        tenant: call.caller.tenant.to_owned(),
        user: call.caller.user.to_owned(),
        agent: call.caller.agent.to_owned(),
        client: call.caller.client.to_owned(),
        server: call.server.to_owned(),
        tool: call.tool.to_owned(),
        method: call.method.to_owned(),
        decision: word.map_or("undecided", |(_, word)| word).to_owned(),
        rule: by.into_iter().find(|by| !by.is_empty()).unwrap_or_default().to_owned(),
        revision: decision.revision,
        status: (call.ending.status != 0).then_some(call.ending.status),
        upstream_status: (call.ending.upstream_status != 0).then_some(call.ending.upstream_status),
        latency_ns: ended.then_some(call.ending.latency_ns),
        trace_id: match call.trace_id {
            [0, ..] if call.trace_id == [0; 16] => String::new(),
            id => to_hex(&id),
        },
        ..base
    })
}
