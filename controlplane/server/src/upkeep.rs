//! What happens by itself: kills expire, keys are fetched again, servers are asked again.
//!
//! Each round is repeated for ever and may fail: it says so and tries again the next time.

use std::time::Duration;

use axum::extract::{Path, State};
use controlplane_api::Problem;
use controlplane_api::objects::Jwks;
use controlplane_api::wire::{Applied, Change};

use crate::app::Shared;
use crate::apply::told;
use crate::auth::Who;
use crate::change::{self, Intent};
use crate::config::Config;
use crate::fault::Fault;
use crate::route::Told;
use crate::{discover, jwks, kills, outside};

/// An appliance ends an expired kill by itself; this is for the list and its readers.
const KILLS_EVERY: Duration = Duration::from_secs(1);
/// What could not be reached is asked for again sooner than what could.
const MISSING_EVERY: Duration = Duration::from_secs(30);

/// Who makes the changes that nobody asked for.
const AUTHOR: &str = "system";

/// Runs until its task is aborted.
pub(crate) async fn run(app: Shared, config: Config) {
    let mut kills = tokio::time::interval(KILLS_EVERY);
    let mut missing = tokio::time::interval(MISSING_EVERY);
    let mut keys = tokio::time::interval(Duration::from_secs(config.keys_every_s));
    let mut servers = tokio::time::interval(Duration::from_secs(config.servers_every_s));
    for interval in [&mut kills, &mut missing, &mut keys, &mut servers] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        let (what, done) = tokio::select! {
            _ = kills.tick() => ("expire kills", expire_kills(&app).await),
            // Apart from the loop: a server that does not answer must not hold up an expiry.
            _ = missing.tick() => ("ask again for what is missing", apart(&app, ask_missing)),
            _ = keys.tick() => ("fetch keys", apart(&app, fetch_keys)),
            _ = servers.tick() => ("ask servers", apart(&app, ask_servers)),
        };
        if let Err(fault) = done {
            tracing::error!(?fault, "could not {what}");
        }
    }
}

fn apart<F>(app: &Shared, work: fn(Shared) -> F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let app = app.clone();
    tokio::spawn(async move {
        if let Err(fault) = work(app).await {
            tracing::warn!(?fault, "upkeep failed; it is tried again");
        }
    });
    Ok(())
}

async fn expire_kills(app: &Shared) -> Result<(), Fault> {
    if app.store.expire_kills(app.now()).await? > 0 {
        kills::push(app).await?;
    }
    Ok(())
}

async fn ask_missing(app: Shared) -> Result<(), Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let missing: Vec<String> =
        set.servers.keys().filter(|name| !set.pins.contains_key(*name)).cloned().collect();
    // Tried first without the lock of changes: nobody's apply waits for a server that is away.
    let mut is_there = outside::ask_all(&app, set, &missing).await?.values().any(Result::is_ok);
    for (name, identity) in &set.identity {
        if identity.jwks.is_none() && !set.jwks.contains_key(name) {
            is_there |= jwks::fetch(identity, app.now()).await.is_ok();
        }
    }
    if !is_there {
        return Ok(());
    }
    // A change of nothing asks for all that is missing.
    let intent =
        Intent { author: AUTHOR, how: Change::System, message: "first reached", dry_run: false };
    change::change(&app, intent, |before| Ok(before.set.clone())).await.map(drop)
}

async fn fetch_keys(app: Shared) -> Result<(), Fault> {
    let in_force = app.in_force();
    for (name, old) in &in_force.stored.set.jwks {
        let Some(identity) = in_force.stored.set.identity.get(name) else { continue };
        match jwks::fetch(identity, app.now()).await {
            Ok(new) => keep_keys(&app, AUTHOR, name, old, new).await.map(drop)?,
            Err(fault) => {
                tracing::warn!(provider = name, fault, "keys are not fetched; the old ones stay")
            }
        }
    }
    Ok(())
}

/// A new revision, if the keys are others.
async fn keep_keys(
    app: &Shared,
    author: &str,
    name: &str,
    old: &Jwks,
    new: Jwks,
) -> Result<Applied, Fault> {
    let message = format!("keys of {name}");
    let intent = Intent { author, how: Change::System, message: &message, dry_run: false };
    let is_same = old.document == new.document && old.url == new.url;
    change::change(app, intent, |before| {
        let mut next = before.set.clone();
        if !is_same && next.identity.contains_key(name) {
            next.jwks.insert(name.to_owned(), new);
        }
        Ok(next)
    })
    .await
}

pub(crate) async fn refresh_keys(
    State(app): State<Shared>,
    who: Who,
    Path(name): Path<String>,
) -> Result<Told<Applied>, Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let missing =
        || Problem::new(404, "Not found", format!("there is no identity provider `{name}`"));
    let identity = set.identity.get(&name).ok_or_else(missing)?;
    if identity.jwks.is_some() {
        return Err(Problem::new(
            409,
            "Nothing to fetch",
            "the provider's keys are written inline",
        )
        .help("change `jwks` and apply")
        .into());
    }
    let new = jwks::fetch(identity, app.now()).await;
    let new = new.map_err(|fault| {
        Problem::new(502, "Keys not fetched", fault).help("look at `issuer` and `jwks_url`")
    })?;
    let none = Jwks { document: String::new(), url: String::new(), since: app.now() };
    let old = set.jwks.get(&name).unwrap_or(&none);
    Ok(told(keep_keys(&app, who.name(), &name, old, new).await?))
}

async fn ask_servers(app: Shared) -> Result<(), Fault> {
    let in_force = app.in_force();
    let set = &in_force.stored.set;
    let pinned: Vec<String> = set.pins.keys().cloned().collect();
    for (name, found) in outside::ask_all(&app, set, &pinned).await? {
        let Some(pins) = set.pins.get(&name) else { continue };
        match found {
            Ok(found) => {
                let drift = discover::drift(pins, &found.pins);
                if !drift.is_empty() {
                    tracing::warn!(server = name, tools = drift.len(), "tools drifted");
                }
            }
            Err(fault) => tracing::warn!(server = name, fault, "a server was not reached"),
        }
    }
    Ok(())
}
