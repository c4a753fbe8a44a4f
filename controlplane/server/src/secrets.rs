//! Secrets: set, listed without their values, removed. No answer and no log ever has a value.

use axum::extract::{Path, State};
use controlplane_api::names::check_label;
use controlplane_api::wire::{Page, Secret, SecretValue};
use controlplane_api::{ObjectSet, Time};
use zeroize::Zeroizing;

use crate::app::Shared;
use crate::ask::{Body, Paging, Params};
use crate::auth::Who;
use crate::fault::Fault;
use crate::revisions::page;
use crate::route::Told;

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Secret>>, Fault> {
    let limit = paging.limit()?;
    let items = all(&app).await?.into_iter().filter(|secret| secret.name > paging.after);
    let items = items.take(limit as usize + 1).collect();
    Ok(Told::ok(page(items, limit, |secret: &Secret| secret.name.clone())))
}

pub(crate) async fn set(
    State(app): State<Shared>,
    who: Who,
    Path(name): Path<String>,
    Body(body): Body<SecretValue>,
) -> Result<Told<Secret>, Fault> {
    check_label("secret", &name)?;
    body.check()?;
    let value = Zeroizing::new(body.value);
    let at = app.now();
    let revision = app.store.set_secret(&name, value.as_bytes(), who.name(), at).await?;
    app.rollout()?.secrets_changed();
    let used_by = users(&app.in_force().stored.set, &name);
    let secret = Secret { name, revision, set_at: at, set_by: who.name().to_owned(), used_by };
    let words = format!("secret {} set", secret.name);
    Ok(Told::ok(secret).outcome(words))
}

pub(crate) async fn remove(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Told<serde_json::Value>, Fault> {
    app.store.remove_secret(&name).await?;
    app.rollout()?.secrets_changed();
    let words = format!("secret {name} removed");
    Ok(Told::ok(serde_json::json!({ "removed": name })).outcome(words))
}

async fn all(app: &Shared) -> Result<Vec<Secret>, Fault> {
    let in_force = app.in_force();
    let stored = app.store.secrets().await?.into_iter();
    let secret = |(name, revision, set_at, set_by): (String, u64, Time, String)| {
        let used_by = users(&in_force.stored.set, &name);
        Secret { name, revision, set_at, set_by, used_by }
    };
    Ok(stored.map(secret).collect())
}

/// Servers whose calls carry the secret.
fn users(set: &ObjectSet, name: &str) -> Vec<String> {
    let uses = set
        .servers
        .iter()
        .filter(|(_, server)| server.inject.as_ref().is_some_and(|inject| inject.secret == name));
    uses.map(|(server, _)| server.clone()).collect()
}
