//! How everything is: for probes, and for people who want to know what to look at.

use std::collections::BTreeMap;

use axum::extract::State;
use controlplane_api::wire::{ApplianceState, Health, Status};
use controlplane_api::{Kind, Problem};

use crate::app::Shared;
use crate::appliances;
use crate::fault::Fault;
use crate::route::Told;

pub(crate) async fn health(State(app): State<Shared>) -> Result<Told<Health>, Fault> {
    app.store.ping().await.map_err(|fault| {
        tracing::error!(%fault, "the database does not answer");
        Problem::new(503, "Not healthy", "the database does not answer")
    })?;
    Ok(Told::ok(Health { health: "ok".to_owned() }))
}

pub(crate) async fn status(State(app): State<Shared>) -> Result<Told<Status>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let objects = Kind::ALL.map(|kind| (kind.word().to_owned(), count(set.names(kind).len())));
    let mut by_state: BTreeMap<String, u32> = BTreeMap::new();
    let mut cards = Vec::new();
    for appliance in appliances::all(&app).await? {
        *by_state.entry(word(appliance.state).to_owned()).or_default() += 1;
        cards.extend(appliance.cards);
    }
    Ok(Told::ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: app.started_at,
        revision: in_force.stored.revision,
        kill_serial: app.store.kill_serial().await?,
        kills: count(app.store.kills().await?.len()),
        objects: objects.into(),
        appliances: by_state,
        cards,
        attention: attention(&app).await?,
    }))
}

fn word(state: ApplianceState) -> &'static str {
    match state {
        ApplianceState::Current => "current",
        ApplianceState::Behind => "behind",
        ApplianceState::Refused => "refused",
        ApplianceState::Away => "away",
        ApplianceState::Revoked => "revoked",
    }
}

async fn attention(app: &Shared) -> Result<Vec<String>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let mut list = Vec::new();
    if in_force.stored.revision == 0 {
        list.push("nothing was applied yet: portcullis apply policy/".to_owned());
    }
    list.extend(
        in_force.fault.iter().map(|fault| {
            format!("the revision in force cannot be compiled by this release: {fault}")
        }),
    );
    let secrets: Vec<String> =
        app.store.secrets().await?.into_iter().map(|(name, ..)| name).collect();
    for (name, server) in &set.servers {
        if !set.pins.contains_key(name) {
            list.push(format!(
                "server {name} was never reached: portcullis servers refresh {name}"
            ));
        }
        if let Some(inject) = &server.inject
            && !secrets.contains(&inject.secret)
        {
            let secret = &inject.secret;
            list.push(format!(
                "server {name} needs the secret {secret}: portcullis secrets set {secret}"
            ));
        }
    }
    for finding in app.store.findings().await? {
        let (Some(pins), Some(found)) = (set.pins.get(&finding.server), &finding.found) else {
            continue;
        };
        let drift = crate::discover::drift(pins, found).len();
        if pins.url == found.url && drift > 0 {
            let name = &finding.server;
            list.push(format!(
                "server {name}: {drift} tools drifted: portcullis servers drift {name}"
            ));
        }
    }
    for (name, identity) in &set.identity {
        if identity.jwks.is_none() && !set.jwks.contains_key(name) {
            list.push(format!(
                "provider {name} has no keys, its tokens are refused; `portcullis identity refresh {name}` asks for them now"
            ));
        }
    }
    for appliance in appliances::all(app).await? {
        if let Some(refused) = &appliance.refused {
            list.push(format!("appliance {} refused: {refused}", appliance.id));
        }
        if appliance.state == ApplianceState::Away {
            list.push(format!("appliance {} is not connected", appliance.id));
        }
    }
    Ok(list)
}
