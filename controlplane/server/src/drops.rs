//! Drops: what appliances said last of them, and orders that are asked of the appliances at once.
//!
//! Nothing of it is stored: an appliance knows what it drops, and keeps it over a restart. What is
//! ordered is in the admin log, with the reason, and in the appliance's own log.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::extract::{Path, State};
use controlplane_api::names::check_label;
use controlplane_api::rate::Rate;
use controlplane_api::wire::{
    AddressKnown, AddressSeen, Card, CardMode, DropCause, DropTarget, Dropped, DropsExplained,
    DropsOrdered, DropsOrderedOn, DropsPage, PinRequest, Release, ReleaseRequest, Thinned,
    check_address,
};
use controlplane_api::{Problem, Time};
use controlplane_rollout::{ApplianceState as Live, AskFault, Rollout};
use dataplane_bundle::ApplianceId;
use dataplane_bundle::drops::{AddressReport, CardMode as Mode, Chosen, DropRow, Order};
use dataplane_drops::{Cause, Counters, Fill, Seen, Target};
use dataplane_telemetry::WallNanos;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::app::{App, Shared};
use crate::ask::{Body, Params, limit};
use crate::auth::Who;
use crate::fault::Fault;
use crate::route::Told;

/// `?tenant=&address=&appliance=&after=&limit=`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    tenant: Option<String>,
    address: Option<String>,
    appliance: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

pub(crate) const FILTER: &[(&str, &str)] = &[
    ("tenant", "Drops of this tenant"),
    ("address", "Drops that touch this address"),
    ("appliance", "Drops of this appliance"),
    ("after", "`next` of the page before"),
    ("limit", "Items at most; 100 unless told"),
];

/// `?address=`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    address: String,
}

pub(crate) const ADDRESS: &[(&str, &str)] = &[("address", "Of whoever says that it is dropped")];

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(filter): Params<Filter>,
) -> Result<Told<DropsPage>, Fault> {
    let (limit, after) = (limit(filter.limit)? as usize, filter.after.unwrap_or(0));
    let address = filter.address.as_deref().map(check_address).transpose()?;
    let boxes = chosen(&app, filter.appliance.as_deref())?;
    let is_wanted = |row: &DropRow| {
        filter.tenant.as_ref().is_none_or(|tenant| row.tenant == *tenant)
            && address.is_none_or(|address| row.target.touches(address))
    };
    let mut items = Vec::new();
    let mut entries: u64 = 0;
    for live in &boxes {
        entries += live.drops.as_ref().map_or(0, |drops| u64::from(drops.report.entries));
        items.extend(rows(live, app.now()).filter(|row| is_wanted(row)).map(|row| (live, row)));
    }
    items.sort_by_key(|(_, row)| std::cmp::Reverse((row.since, row.drop)));
    let skip = usize::try_from(after).unwrap_or(usize::MAX);
    let has_more = items.len().saturating_sub(skip) > limit;
    let page = items.into_iter().skip(skip).take(limit);
    let page = page.map(|(live, row)| dropped(&live.appliance, row, app.now()));
    let bounds = boxes.iter().flat_map(cards).flat_map(|card| card.thinned);
    let is_thinned = |one: &Thinned| {
        address.is_none() && filter.tenant.as_ref().is_none_or(|tenant| one.tenant == *tenant)
    };
    let away = boxes.iter().filter(|live| !live.connected && live.drops.is_some());
    Ok(Told::ok(DropsPage {
        items: page.collect(),
        entries,
        away: away.map(|live| live.appliance.to_string()).collect(),
        thinned: bounds.filter(|one| after == 0 && is_thinned(one)).collect(),
        next: has_more.then(|| after.saturating_add(limit as u64).to_string()),
    }))
}

pub(crate) async fn explain(
    State(app): State<Shared>,
    Params(asked): Params<Address>,
) -> Result<Told<DropsExplained>, Fault> {
    let address = check_address(&asked.address)?;
    let boxes = chosen(&app, None)?;
    let rollout = app.rollout()?;
    let answers = ask_all(&boxes, |appliance| {
        let rollout = rollout.clone();
        async move { rollout.explain_address(&appliance, address).await }
    });
    let mut answers = answers.await;
    let appliances = boxes.iter().map(|live| {
        let answer = answers.remove(&live.appliance).unwrap_or(Err(AskFault::Silent));
        known(live, address, answer, app.now())
    });
    let appliances = appliances.collect();
    Ok(Told::ok(DropsExplained { address: address.to_canonical().to_string(), appliances }))
}

pub(crate) async fn release(
    State(app): State<Shared>,
    who: Who,
    Body(request): Body<ReleaseRequest>,
) -> Result<Told<DropsOrdered>, Fault> {
    request.check()?;
    let what = match &request.what {
        Release::All => Chosen::All,
        Release::Drop(drop) => Chosen::Drop(*drop),
        Release::Tenant(tenant) => Chosen::Tenant(tenant.clone()),
        Release::Address(address) => Chosen::Address(check_address(address)?),
    };
    let boxes = match (&request.what, &request.appliance) {
        (Release::Drop(drop), None) => vec![holder(&app, *drop)?],
        (_, appliance) => chosen(&app, appliance.as_deref())?,
    };
    let done = order(&app, &who, &boxes, &request.reason, &Order::Release(what)).await?;
    let words = format!("{} released, {}", request.what, said(&done, &request.reason));
    Ok(Told::ok(done).outcome(words))
}

pub(crate) async fn pin(
    State(app): State<Shared>,
    Path(drop): Path<u64>,
    who: Who,
    Body(request): Body<PinRequest>,
) -> Result<Told<DropsOrdered>, Fault> {
    request.check()?;
    let boxes = match &request.appliance {
        Some(appliance) => chosen(&app, Some(appliance))?,
        None => vec![holder(&app, drop)?],
    };
    let order_of = Order::Pin { drop, for_ms: request.for_ms };
    let done = order(&app, &who, &boxes, &request.reason, &order_of).await?;
    let words =
        format!("drop {drop} held for {} ms, {}", request.for_ms, said(&done, &request.reason));
    Ok(Told::ok(done).outcome(words))
}

/// For the admin log: where, how much, why.
fn said(done: &DropsOrdered, reason: &str) -> String {
    let boxes = done.appliances.iter().map(|one| match &one.trouble {
        None => format!("{}: {}", one.appliance, one.done),
        Some(trouble) => format!("{}: {trouble}", one.appliance),
    });
    format!("{}; {}", boxes.collect::<Vec<_>>().join(", "), reason.trim())
}

/// Asks every box at once. One that cannot is named; where none could, that is the answer.
async fn order(
    app: &App,
    who: &Who,
    boxes: &[Live],
    reason: &str,
    order: &Order,
) -> Result<DropsOrdered, Fault> {
    let rollout = app.rollout()?;
    let mut answers = ask_all(boxes, |appliance| {
        let (rollout, order): (Rollout, Order) = (rollout.clone(), order.clone());
        let (by, reason) = (who.name().to_owned(), reason.trim().to_owned());
        async move { rollout.order_drops(&appliance, &by, &reason, order).await }
    })
    .await;
    let mut ordered = DropsOrdered { done: 0, appliances: Vec::new() };
    for live in boxes {
        let answer = answers.remove(&live.appliance).unwrap_or(Err(AskFault::Silent));
        let (done, trouble) = match answer {
            Ok(done) => (u64::from(done), None),
            Err(fault) => (0, Some(fault.to_string())),
        };
        ordered.done += done;
        let appliance = live.appliance.to_string();
        ordered.appliances.push(DropsOrderedOn { appliance, done, trouble });
    }
    if ordered.appliances.iter().any(|one| one.trouble.is_none()) {
        return Ok(ordered);
    }
    let told = |one: &DropsOrderedOn| {
        format!("{}: {}", one.appliance, one.trouble.as_deref().unwrap_or_default())
    };
    let told: Vec<String> = ordered.appliances.iter().map(told).collect();
    let detail =
        if told.is_empty() { "no appliance has connected yet".into() } else { told.join("; ") };
    Err(Problem::new(409, "Not done", detail).next("portcullis appliances").into())
}

pub(crate) async fn ask_all<T, F>(
    boxes: &[Live],
    ask: impl Fn(ApplianceId) -> F,
) -> BTreeMap<ApplianceId, Result<T, AskFault>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, AskFault>> + Send + 'static,
{
    let mut asking = JoinSet::new();
    for live in boxes {
        let (appliance, asked) = (live.appliance.clone(), ask(live.appliance.clone()));
        asking.spawn(async move { (appliance, asked.await) });
    }
    asking.join_all().await.into_iter().collect()
}

/// The boxes that have connected since the start; the one of this name.
pub(crate) fn chosen(app: &App, name: Option<&str>) -> Result<Vec<Live>, Fault> {
    let mut boxes = app.rollout()?.appliances();
    let Some(name) = name else { return Ok(boxes) };
    check_label("appliance", name).map_err(|problem| problem.field("appliance"))?;
    boxes.retain(|live| live.appliance.as_str() == name);
    if boxes.is_empty() {
        let detail = format!("no appliance `{name}` has connected since the control plane's start");
        return Err(Problem::new(404, "Not found", detail).next("portcullis appliances").into());
    }
    Ok(boxes)
}

/// Which box a drop's number is of: each counts its own.
fn holder(app: &App, drop: u64) -> Result<Live, Fault> {
    let mut boxes = chosen(app, None)?;
    let has = |live: &Live| rows(live, app.now()).any(|row| row.drop == drop);
    let count = boxes.iter().filter(|live| has(live)).count();
    // A drop may have no entries, where no card could do anything.
    let only = boxes.len() == 1;
    boxes.retain(|live| only || has(live));
    match (count, boxes.pop()) {
        (0 | 1, Some(live)) => Ok(live),
        (_, None) => Err(Problem::new(404, "Not found", format!("there is no drop {drop}"))
            .help("it may have ended; a drop without entries needs its appliance's name")
            .next("portcullis drops")
            .into()),
        (_, Some(last)) => {
            boxes.push(last);
            let names: Vec<&str> = boxes.iter().map(|live| live.appliance.as_str()).collect();
            let detail = format!("several appliances have a drop {drop}: {}", names.join(", "));
            Err(Problem::new(409, "Which one", detail)
                .field("appliance")
                .help("say `appliance`: each counts its own drops")
                .into())
        }
    }
}

/// What it said last. Of a box that is away, what should not have ended since.
fn rows(live: &Live, now: Time) -> impl Iterator<Item = DropRow> {
    let rows = live.drops.iter().flat_map(|drops| drops.report.rows.iter().cloned());
    rows.filter(move |row| live.connected || row.until.0 > now.nanos())
}

fn dropped(appliance: &ApplianceId, row: DropRow, now: Time) -> Dropped {
    let listed = row.listed(WallNanos(now.nanos()));
    Dropped {
        appliance: appliance.to_string(),
        drop: listed.drop,
        target: target(&listed.target),
        tenant: listed.tenant,
        user: listed.user,
        agent: listed.agent,
        cause: match listed.cause {
            Cause::Quota(name) => DropCause::Quota(name.to_string()),
            Cause::Kill(name) => DropCause::Kill(name.to_string()),
        },
        since: Time::from_nanos(listed.since),
        until: Time::from_nanos(listed.until),
        ends_in_ms: listed.ends_in_ms,
        level: listed.level,
        pinned_by: listed.pinned_by,
        sentence: listed.sentence,
    }
}

fn target(target: &Target) -> DropTarget {
    match target {
        Target::Flow(flow) => {
            DropTarget::Flow { peer: flow.peer.to_string(), local: flow.local.to_string() }
        }
        Target::Source(prefix) => DropTarget::Source(prefix.to_string()),
        Target::Prefix(prefix) => DropTarget::Prefix(prefix.to_string()),
        Target::Service(service) => DropTarget::Service(service.to_string()),
        Target::Vlan { outer, inner: 0 } => DropTarget::Vlan(outer.to_string()),
        Target::Vlan { outer, inner } => DropTarget::Vlan(format!("{outer}.{inner}")),
    }
}

fn known(
    live: &Live,
    address: IpAddr,
    answer: Result<Option<AddressReport>, AskFault>,
    now: Time,
) -> AddressKnown {
    let appliance = live.appliance.to_string();
    let told = |rows: Vec<DropRow>| -> Vec<Dropped> {
        rows.into_iter().map(|row| dropped(&live.appliance, row, now)).collect()
    };
    match answer {
        Ok(Some(report)) => AddressKnown {
            appliance,
            seen: Some(match report.seen {
                Seen::OneTenant => AddressSeen::OneTenant,
                Seen::SeveralTenants => AddressSeen::SeveralTenants,
                Seen::Unauthenticated => AddressSeen::Unauthenticated,
                Seen::Unsure => AddressSeen::Unsure,
            }),
            sentence: report.sentence,
            entries: u64::from(report.entries),
            drops: told(report.rows),
            trouble: None,
        },
        Ok(None) => AddressKnown {
            appliance,
            sentence: "This appliance drops nobody.".to_owned(),
            ..AddressKnown::default()
        },
        Err(fault) => {
            let drops = told(rows(live, now).filter(|row| row.target.touches(address)).collect());
            let count = drops.len();
            let sentence = format!("By what it said last, {count} entries touch {address}.");
            let (entries, trouble) = (count as u64, Some(fault.to_string()));
            AddressKnown { appliance, seen: None, sentence, entries, drops, trouble }
        }
    }
}

/// The cards of a box, as it said last.
pub(crate) fn cards(live: &Live) -> Vec<Card> {
    let Some(drops) = &live.drops else { return Vec::new() };
    let card = |card: &dataplane_bundle::drops::CardState| Card {
        appliance: live.appliance.to_string(),
        interface: card.interface.clone(),
        mode: match card.mode {
            Mode::Native => CardMode::Native,
            Mode::Generic => CardMode::Generic,
        },
        program_sha256: card.program_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        drops: card.drops,
        drops_per_s: drops.drops_per_s(card),
        entries: card.entries,
        entries_max: card.entries_max,
        thinned: card.thinned.iter().map(|one| thinned(live, &card.interface, one)).collect(),
    };
    drops.report.cards.iter().map(card).collect()
}

fn thinned(live: &Live, interface: &str, one: &dataplane_bundle::drops::Thinned) -> Thinned {
    let rate = Rate { units: one.rate.units, period_ms: one.rate.period_ms };
    Thinned {
        appliance: live.appliance.to_string(),
        interface: interface.to_owned(),
        tenant: one.tenant.clone(),
        connections: rate.to_string(),
        burst: one.burst,
        drops: one.drops,
    }
}

/// What a box counts of ignored refusals, and how full its tables are.
pub(crate) fn counted(live: &Live) -> BTreeMap<String, u64> {
    let Some(drops) = &live.drops else { return BTreeMap::new() };
    let Counters { refusals, ignored, slowed, drops: begun, made, .. } = drops.report.counters;
    let Counters { extended, expired, released, entries_refused, .. } = drops.report.counters;
    let Counters { sources_spared, subjects_crowded, sources_crowded, .. } = drops.report.counters;
    let Fill { subjects, told, flows, sources, entries } = drops.report.fill;
    let size = |size: usize| size as u64;
    let all = [
        ("refusals", refusals),
        ("ignored", ignored),
        ("slowed", slowed),
        ("drops", begun),
        ("entries_made", made),
        ("entries_extended", extended),
        ("entries_expired", expired),
        ("entries_released", released),
        ("entries_refused", entries_refused),
        ("sources_spared", sources_spared),
        ("subjects_crowded", subjects_crowded),
        ("sources_crowded", sources_crowded),
        ("events_lost", drops.report.counters.events_lost),
        ("subjects_now", size(subjects)),
        ("told_now", size(told)),
        ("flows_now", size(flows)),
        ("sources_now", size(sources)),
        ("entries_now", size(entries)),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
