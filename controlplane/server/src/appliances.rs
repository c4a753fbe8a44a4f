//! Appliances: enrolment, state, removal.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use controlplane_api::bounds::{ENROLMENT_LIFE_S, LABEL_BYTES_MAX};
use controlplane_api::names::check_label;
use controlplane_api::wire::{Appliance, ApplianceState, Enrolment, EnrolmentRequest, Page};
use controlplane_api::{Problem, Time};
use controlplane_rollout::ApplianceState as Live;
use controlplane_store::{ApplianceRow, PendingEnrolment};
use dataplane_bundle::ApplianceId;
use dataplane_bundle::message::Status;

use crate::app::Shared;
use crate::ask::{Body, Paging, Params};
use crate::auth::Who;
use crate::drops;
use crate::fault::Fault;
use crate::random::sha256_hex;
use crate::revisions::page;
use crate::route::Told;

/// A number may have to stand behind a name when its box is replaced: `-1000`.
const NUMBER_BYTES_MAX: usize = 5;

pub(crate) async fn enrolment(
    State(app): State<Shared>,
    who: Who,
    Body(request): Body<EnrolmentRequest>,
) -> Result<Told<Enrolment>, Fault> {
    let name = request.name;
    check_label("appliance", &name).map_err(|problem| problem.field("name"))?;
    if name.len() > LABEL_BYTES_MAX - NUMBER_BYTES_MAX {
        let detail = format!("appliance name `{name}` is too long");
        return Err(Problem::invalid(detail).field("name").help("use at most 58 letters").into());
    }
    let token = app.rollout()?.enrolment_token().map_err(Fault::ours)?;
    let now = app.now();
    let expires_at = now.plus_s(ENROLMENT_LIFE_S);
    let pending = PendingEnrolment {
        sha256: sha256_hex(token.secret.as_bytes()),
        name: name.clone(),
        created_by: who.name().to_owned(),
        expires_at,
    };
    app.store.add_enrolment(&pending, now).await?;
    let words = format!("enrolment for {name}");
    Ok(Told::created(Enrolment { name, token: token.to_string(), expires_at }).outcome(words))
}

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Appliance>>, Fault> {
    let limit = paging.limit()?;
    let items = all(&app).await?.into_iter().filter(|appliance| appliance.id > paging.after);
    let items = items.take(limit as usize + 1).collect();
    Ok(Told::ok(page(items, limit, |appliance: &Appliance| appliance.id.clone())))
}

pub(crate) async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<Told<Appliance>, Fault> {
    let found = all(&app).await?.into_iter().find(|appliance| appliance.id == id);
    Ok(Told::ok(found.ok_or_else(|| missing(&id))?))
}

/// No longer takes the box's certificate. The box goes on with what it has: unplug it, too.
pub(crate) async fn remove(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<Told<serde_json::Value>, Fault> {
    let appliance = ApplianceId::new(&id).map_err(|_| missing(&id))?;
    app.store.revoke_appliance(&id, app.now()).await?;
    app.rollout()?.dismiss(&appliance);
    let words = format!("appliance {id} removed");
    Ok(Told::ok(serde_json::json!({ "removed": id })).outcome(words))
}

fn missing(id: &str) -> Fault {
    Problem::not_found("appliance", id, "portcullis appliances").into()
}

/// Every box that was ever enrolled, with what it said last.
pub(crate) async fn all(app: &Shared) -> Result<Vec<Appliance>, Fault> {
    let live = app.rollout()?.appliances().into_iter();
    let live: BTreeMap<String, Live> =
        live.map(|state| (state.appliance.to_string(), state)).collect();
    let newest = app.in_force().stored.revision;
    let serial = app.store.kill_serial().await?;
    let rows = app.store.appliances().await?.into_iter();
    Ok(rows.map(|row| appliance(&row, live.get(&row.id), newest, serial)).collect())
}

fn appliance(row: &ApplianceRow, live: Option<&Live>, newest: u64, serial: u64) -> Appliance {
    let seen = live.map(|live| Time::from_nanos(live.last_contact.0));
    let refused = live.and_then(|live| {
        let of_bundle =
            live.refused.as_ref().map(|(revision, why)| format!("revision {revision}: {why}"));
        of_bundle.or_else(|| live.kills_refused.clone())
    });
    let state = match live {
        _ if row.revoked_at.is_some() => ApplianceState::Revoked,
        Some(live) if live.connected && refused.is_some() => ApplianceState::Refused,
        Some(live) if live.connected => {
            let current = live.revision.0 == newest && live.kill_serial >= serial;
            if current { ApplianceState::Current } else { ApplianceState::Behind }
        }
        _ => ApplianceState::Away,
    };
    Appliance {
        id: row.id.clone(),
        name: row.name.clone(),
        state,
        enrolled_at: row.enrolled_at,
        seen_at: seen.or(row.seen_at),
        revision: live.map(|live| live.revision.0),
        kill_serial: live.map(|live| live.kill_serial),
        refused,
        version: live.map(|live| live.version.clone()),
        cores: live.map(|live| u32::from(live.cores)),
        log_key: live.map(|live| live.log_key.clone()).filter(|key| !key.is_empty()),
        certificate_expires_at: row.certificate_expires_at,
        trouble: live.map(trouble).filter(|trouble| !trouble.is_empty()),
        counters: live.and_then(|live| live.status.as_ref()).map(counters).unwrap_or_default(),
        cards: live.map(drops::cards).unwrap_or_default(),
        drops: live.map(drops::counted).unwrap_or_default(),
    }
}

fn trouble(live: &Live) -> String {
    let said = live.status.as_ref().map(|status| status.trouble.as_str()).unwrap_or_default();
    let parts = [live.trouble.as_str(), said].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("; ")
}

fn counters(status: &Status) -> BTreeMap<String, u64> {
    let all = [
        ("uptime_s", status.uptime_s),
        ("calls", status.calls),
        ("allowed", status.allowed),
        ("denied", status.denied),
        ("over_quota", status.over_quota),
        ("killed", status.killed),
        ("faults", status.faults),
        ("connections", status.connections),
        ("in_flight", status.in_flight),
        ("records_durable", status.records_durable),
        ("resident_bytes", status.resident_bytes),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
