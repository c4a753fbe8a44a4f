//! Servers as found: their state, their tools, drift, approval.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use controlplane_api::objects::{PinnedTool, Pins};
use controlplane_api::wire::{
    Applied, Approve, Change, Discovered, Drift, DriftKind, Outcome, Page, ServerState, Tool,
    ToolState,
};
use controlplane_api::{ObjectSet, Problem};
use controlplane_store::Finding;
use serde_json::Value;

use crate::app::Shared;
use crate::apply::told;
use crate::ask::{Body, Paging, Params};
use crate::auth::Who;
use crate::change::{self, Intent};
use crate::discover::{self, Found};
use crate::fault::Fault;
use crate::route::Told;
use crate::{catalog, outside};

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<ServerState>>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let (findings, secrets) = beside(&app).await?;
    let limit = paging.limit()? as usize;
    let mut after = set.servers.keys().filter(|name| **name > paging.after);
    let names: Vec<&String> = after.by_ref().take(limit).collect();
    let next = after.next().and_then(|_| names.last().map(|name| (*name).clone()));
    let items = names.into_iter().filter_map(|name| state(name, set, &findings, &secrets));
    Ok(Told::ok(Page { items: items.collect(), next }))
}

pub(crate) async fn show(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Told<ServerState>, Fault> {
    let in_force = app.in_force();
    let (findings, secrets) = beside(&app).await?;
    let state = state(&name, &in_force.stored.set, &findings, &secrets);
    Ok(Told::ok(state.ok_or_else(|| missing(&name))?))
}

fn missing(name: &str) -> Fault {
    Problem::not_found("server", name, "portcullis servers").into()
}

type Findings = BTreeMap<String, Finding>;

async fn beside(app: &Shared) -> Result<(Findings, BTreeSet<String>), Fault> {
    let findings = app.store.findings().await?.into_iter();
    let secrets = app.store.secrets().await?.into_iter();
    Ok((
        findings.map(|finding| (finding.server.clone(), finding)).collect(),
        secrets.map(|(name, ..)| name).collect(),
    ))
}

fn state(
    name: &str,
    set: &ObjectSet,
    findings: &Findings,
    secrets: &BTreeSet<String>,
) -> Option<ServerState> {
    let spec = set.servers.get(name)?.clone();
    let pins = set.pins.get(name);
    let finding = findings.get(name);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(ServerState {
        name: name.to_owned(),
        era: pins.map(|pins| pins.era),
        protocol: pins.map(|pins| pins.revision.clone()),
        tools: count(pins.map_or(0, |pins| pins.tools.len())),
        drifted: count(drift_of(pins, finding).len()),
        asked_at: finding.map(|finding| finding.asked_at),
        fault: finding.and_then(|finding| finding.fault.clone()),
        secret_set: spec.inject.as_ref().map(|inject| secrets.contains(&inject.secret)),
        spec,
    })
}

/// What differs, of a server that has pins and has answered since.
fn drift_of(pins: Option<&Pins>, finding: Option<&Finding>) -> Vec<Drift> {
    let found = finding.and_then(|finding| finding.found.as_ref());
    match (pins, found) {
        (Some(pins), Some(found)) if pins.url == found.url => discover::drift(pins, found),
        _ => Vec::new(),
    }
}

pub(crate) async fn drift(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Told<Vec<Drift>>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    if !set.servers.contains_key(&name) {
        return Err(missing(&name));
    }
    let finding = app.store.finding(&name).await?;
    Ok(Told::ok(drift_of(set.pins.get(&name), finding.as_ref())))
}

/// Asks the server again. A server without pins gets them; otherwise what differs waits.
pub(crate) async fn refresh(
    State(app): State<Shared>,
    who: Who,
    Path(name): Path<String>,
) -> Result<Told<Discovered>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    if !set.servers.contains_key(&name) {
        return Err(missing(&name));
    }
    if !set.pins.contains_key(&name) {
        return Ok(Told::ok(pin_missing(&app, who.name(), &name).await?));
    }
    let mut answers = outside::ask_all(&app, set, std::slice::from_ref(&name)).await?;
    let answer = match answers.remove(&name) {
        Some(Ok(found)) => compared(&name, set.pins.get(&name), found),
        Some(Err(fault)) => outside::failed(name, fault),
        None => return Err(missing(&name)),
    };
    let outcome = format!("{:?}", answer.outcome).to_lowercase();
    Ok(Told::ok(answer).outcome(outcome))
}

/// The first pins of a server that could not be asked before: a revision by whoever asked.
pub(crate) async fn pin_missing(
    app: &Shared,
    author: &str,
    name: &str,
) -> Result<Discovered, Fault> {
    let message = format!("first asked server {name}");
    let intent = Intent { author, how: Change::System, message: &message, dry_run: false };
    let applied = change::change(app, intent, |before| Ok(before.set.clone())).await?;
    let found = applied.discovered.into_iter().find(|found| found.server == name);
    found.ok_or_else(|| {
        Problem::new(409, "Changed meanwhile", "the server was asked already").into()
    })
}

fn compared(name: &str, pins: Option<&Pins>, found: Found) -> Discovered {
    let drift = pins.map(|pins| discover::drift(pins, &found.pins)).unwrap_or_default();
    Discovered {
        server: name.to_owned(),
        outcome: if drift.is_empty() { Outcome::Same } else { Outcome::Drifted },
        era: Some(found.pins.era),
        protocol: Some(found.pins.revision),
        pinned: Vec::new(),
        drift,
        skipped: found.skipped,
        fault: None,
    }
}

/// Makes what was found the pins, for some tools or for all that drifted.
pub(crate) async fn approve(
    State(app): State<Shared>,
    who: Who,
    Path(name): Path<String>,
    Body(approve): Body<Approve>,
) -> Result<Told<Applied>, Fault> {
    let finding = app.store.finding(&name).await?;
    let found = finding.and_then(|finding| finding.found);
    let found = found.ok_or_else(|| missing(&name))?;
    let now = app.now();
    let intent = Intent {
        author: who.name(),
        how: Change::Approve,
        message: &approve.message,
        dry_run: false,
    };
    let applied = change::change(&app, intent, |before| {
        let mut next = before.set.clone();
        let pins = next.pins.get_mut(&name).ok_or_else(|| missing(&name))?;
        let drift = discover::drift(pins, &found);
        for chosen in choose(&approve, &drift)? {
            take_over(pins, &found, chosen);
        }
        (pins.at, pins.era) = (now, found.era);
        pins.revision.clone_from(&found.revision);
        Ok(next)
    });
    Ok(told(applied.await?))
}

fn choose<'d>(approve: &Approve, drift: &'d [Drift]) -> Result<Vec<&'d Drift>, Problem> {
    let nothing = |detail: String| {
        Problem::new(409, "Nothing to approve", detail)
            .help("ask the server again, and look at what differs")
            .next("portcullis servers drift NAME")
    };
    if drift.is_empty() {
        return Err(nothing("every tool is as it was pinned".to_owned()));
    }
    if approve.tools.is_empty() && approve.digest.is_none() {
        return Ok(drift.iter().collect());
    }
    let mut chosen = Vec::new();
    for tool in &approve.tools {
        let found = drift.iter().find(|drift| drift.tool == *tool);
        chosen.push(found.ok_or_else(|| nothing(format!("tool `{tool}` has not drifted")))?);
    }
    let (Some(digest), chosen_one) = (&approve.digest, chosen.as_slice()) else {
        return Ok(chosen);
    };
    match chosen_one {
        [one] if one.digest.as_ref() == Some(digest) => Ok(chosen),
        [_] => {
            Err(nothing("the tool is no longer what you looked at: its digest differs".to_owned()))
        }
        _ => Err(Problem::invalid("`digest` stands with exactly one tool").field("digest")),
    }
}

fn take_over(pins: &mut Pins, found: &Pins, drift: &Drift) {
    pins.tools.retain(|tool| tool.name != drift.tool);
    if drift.kind != DriftKind::Gone {
        pins.tools.extend(found.tools.iter().find(|tool| tool.name == drift.tool).cloned());
        pins.tools.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

pub(crate) async fn tools(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Tool>>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let (findings, _) = beside(&app).await?;
    let limit = paging.limit()?;
    let key = |tool: &Tool| format!("{}/{}", tool.server, tool.name);
    let mut items: Vec<Tool> = Vec::new();
    for name in set.servers.keys() {
        items.extend(tools_of(name, set, findings.get(name)));
    }
    items.sort_by_key(key);
    items.retain(|tool| key(tool) > paging.after);
    items.truncate(limit as usize + 1);
    Ok(Told::ok(crate::revisions::page(items, limit, key)))
}

pub(crate) async fn tools_of_one(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Told<Vec<Tool>>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    if !set.servers.contains_key(&name) {
        return Err(missing(&name));
    }
    let finding = app.store.finding(&name).await?;
    Ok(Told::ok(tools_of(&name, set, finding.as_ref())))
}

fn tools_of(server: &str, set: &ObjectSet, finding: Option<&Finding>) -> Vec<Tool> {
    let pins = set.pins.get(server);
    let drift = drift_of(pins, finding);
    let flags = catalog::flags(server, set);
    let tool = |pinned: &PinnedTool, state: ToolState| {
        let definition: Value = serde_json::from_str(&pinned.definition).unwrap_or_default();
        let text = |name: &str| definition.get(name).and_then(Value::as_str).map(str::to_owned);
        let flags = flags(pinned);
        Tool {
            server: server.to_owned(),
            name: pinned.name.clone(),
            state,
            title: text("title"),
            description: text("description"),
            destructive: flags.destructive,
            read_only: flags.read_only,
            digest: pinned.digest.clone(),
        }
    };
    let state = |pinned: &PinnedTool| match drift
        .iter()
        .find(|drift| drift.tool == pinned.name)
        .map(|drift| drift.kind)
    {
        Some(DriftKind::Gone) => ToolState::Gone,
        Some(_) => ToolState::Changed,
        None => ToolState::Pinned,
    };
    let pinned = pins.iter().flat_map(|pins| &pins.tools);
    let mut tools: Vec<Tool> = pinned.map(|pinned| tool(pinned, state(pinned))).collect();
    let found = finding.and_then(|finding| finding.found.as_ref());
    let new = found.iter().flat_map(|found| &found.tools).filter(|found| {
        drift.iter().any(|drift| drift.kind == DriftKind::New && drift.tool == found.name)
    });
    tools.extend(new.map(|found| tool(found, ToolState::New)));
    tools
}
