//! What a change has to ask outside before it can be compiled: tools of new servers, keys of new
//! providers. What cannot be had does not stop the change: it is told, and asked for again later.

use std::collections::BTreeMap;

use controlplane_api::objects::Pins;
use controlplane_api::wire::{Discovered, Outcome};
use controlplane_api::{ObjectSet, Problem};
use controlplane_store::Finding;
use tokio::task::JoinSet;

use crate::app::{App, Shared};
use crate::discover::{self, Found};
use crate::fault::Fault;
use crate::jwks;

/// What was asked, and what could not be had.
#[derive(Default)]
pub(crate) struct Asked {
    pub discovered: Vec<Discovered>,
    pub warnings: Vec<Problem>,
}

/// Completes a set that people wrote.
///
/// # Errors
/// Only our own faults: what others do wrong is told in `Asked`.
pub(crate) async fn complete(app: &Shared, set: &mut ObjectSet) -> Result<Asked, Fault> {
    let missing: Vec<String> =
        set.servers.keys().filter(|name| !set.pins.contains_key(*name)).cloned().collect();
    let mut asked = Asked::default();
    for (name, found) in ask_all(app, set, &missing).await? {
        asked.discovered.push(pin_first(set, name, found));
    }
    for discovered in &asked.discovered {
        let Some(fault) = &discovered.fault else { continue };
        let detail = format!("server `{}` has no tools yet: {fault}", discovered.server);
        asked.warnings.push(
            Problem::new(0, "Server not reached", detail)
                .help("start it; it is asked again every few minutes")
                .next(format!("portcullis servers refresh {}", discovered.server)),
        );
    }
    fetch_keys(app, set, &mut asked.warnings).await;
    Ok(asked)
}

fn pin_first(set: &mut ObjectSet, server: String, found: Result<Found, String>) -> Discovered {
    match found {
        Ok(Found { pins, skipped }) => {
            let answer = Discovered {
                server: server.clone(),
                outcome: Outcome::Pinned,
                era: Some(pins.era),
                protocol: Some(pins.revision.clone()),
                pinned: pins.tools.iter().map(|tool| tool.name.clone()).collect(),
                drift: Vec::new(),
                skipped,
                fault: None,
            };
            set.pins.insert(server, pins);
            answer
        }
        Err(fault) => failed(server, fault),
    }
}

pub(crate) fn failed(server: String, fault: String) -> Discovered {
    Discovered {
        server,
        outcome: Outcome::Failed,
        era: None,
        protocol: None,
        pinned: Vec::new(),
        drift: Vec::new(),
        skipped: Vec::new(),
        fault: Some(fault),
    }
}

/// Asks servers at the same time, and keeps what each said.
pub(crate) async fn ask_all(
    app: &Shared,
    set: &ObjectSet,
    names: &[String],
) -> Result<BTreeMap<String, Result<Found, String>>, Fault> {
    let mut asking = JoinSet::new();
    for name in names {
        let Some(server) = set.servers.get(name).cloned() else { continue };
        let secret = match &server.inject {
            Some(inject) => app.store.open_secret(&inject.secret).await?,
            None => None,
        };
        let (name, now) = (name.clone(), app.now());
        asking.spawn(async move {
            let credential = secret.map(|secret| secret.value);
            (name, discover::ask(&server, credential, now).await)
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(joined) = asking.join_next().await {
        let (name, found) = joined.map_err(Fault::ours)?;
        keep(app, &name, &found).await?;
        answers.insert(name, found);
    }
    Ok(answers)
}

async fn keep(app: &App, server: &str, found: &Result<Found, String>) -> Result<(), Fault> {
    let (pins, fault): (Option<Pins>, Option<String>) = match found {
        Ok(found) => (Some(found.pins.clone()), None),
        Err(fault) => (None, Some(fault.clone())),
    };
    let finding = Finding { server: server.to_owned(), asked_at: app.now(), fault, found: pins };
    Ok(app.store.keep_finding(&finding).await?)
}

async fn fetch_keys(app: &App, set: &mut ObjectSet, warnings: &mut Vec<Problem>) {
    for (name, identity) in &set.identity {
        if identity.jwks.is_some() || set.jwks.contains_key(name) {
            continue;
        }
        match jwks::fetch(identity, app.now()).await {
            Ok(keys) => {
                set.jwks.insert(name.clone(), keys);
            }
            Err(fault) => warnings.push(
                Problem::new(0, "Keys not fetched", format!("provider `{name}`: {fault}"))
                    .help("its tokens are refused until its keys are there; they are asked for again every few minutes"),
            ),
        }
    }
}
