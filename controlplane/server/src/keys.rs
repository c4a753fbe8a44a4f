//! API keys for agents and services: issued once, kept as a hash, taken back by a revision.

use axum::extract::{Path, State};
use controlplane_api::objects::ApiKey;
use controlplane_api::wire::{Applied, CallerKind, Change, IssuedKey, Key, KeyRequest, Page};
use controlplane_api::{Kind, ObjectSet, Problem};

use crate::app::Shared;
use crate::apply::told;
use crate::ask::{Body, ChangeParams, Paging, Params};
use crate::auth::Who;
use crate::change::{self, Intent};
use crate::fault::Fault;
use crate::random::{self, to_hex};
use crate::revisions::page;
use crate::route::Told;

/// 90 days: long enough for a deployment, short enough to be rotated.
pub(crate) const LIFE_S_DEFAULT: u64 = 90 * 24 * 3_600;

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Key>>, Fault> {
    let limit = paging.limit()?;
    let in_force = app.in_force();
    let keys = in_force.stored.set.api_keys.iter().filter(|(id, _)| **id > paging.after);
    let items = keys.map(|(id, key)| info(id, key)).take(limit as usize + 1).collect();
    Ok(Told::ok(page(items, limit, |key: &Key| key.id.clone())))
}

pub(crate) async fn issue(
    State(app): State<Shared>,
    who: Who,
    Body(request): Body<KeyRequest>,
) -> Result<Told<IssuedKey>, Fault> {
    request.check()?;
    let minted = dataplane_auth::mint(random::bytes()?, &random::bytes()?);
    let life_s = request.expires_in_s.unwrap_or(LIFE_S_DEFAULT);
    let kind = CallerKind::of(request.user.is_some(), request.agent.is_some());
    let key = ApiKey {
        tenant: request.tenant,
        user: request.user,
        agent: request.agent,
        kind: request.kind.unwrap_or(kind),
        roles: request.roles,
        groups: request.groups,
        description: request.description,
        expires_at: app.now().plus_s(life_s),
        sha256: to_hex(&minted.secret_sha256),
    };
    let message = format!("issued API key {}", minted.id);
    let intent =
        Intent { author: who.name(), how: Change::Keys, message: &message, dry_run: false };
    let applied = change::change(&app, intent, |before| {
        let mut next = before.set.clone();
        next.api_keys.insert(minted.id.clone(), key.clone());
        Ok(next)
    });
    let revision = applied.await?.revision;
    let issued = IssuedKey { key: minted.text, info: info(&minted.id, &key), revision };
    Ok(Told::created(issued).outcome(message))
}

pub(crate) async fn remove(
    State(app): State<Shared>,
    who: Who,
    Path(id): Path<String>,
    Params(params): Params<ChangeParams>,
) -> Result<Told<Applied>, Fault> {
    let intent = Intent {
        author: who.name(),
        how: Change::Keys,
        message: &params.message,
        dry_run: params.dry_run,
    };
    let applied = change::change(&app, intent, |before| {
        let mut next: ObjectSet = before.set.clone();
        if !next.remove(Kind::ApiKey, &id) {
            return Err(Problem::not_found("API key", &id, "portcullis keys").into());
        }
        Ok(next)
    });
    Ok(told(applied.await?))
}

fn info(id: &str, key: &ApiKey) -> Key {
    Key {
        id: id.to_owned(),
        tenant: key.tenant.clone(),
        user: key.user.clone(),
        agent: key.agent.clone(),
        kind: key.kind,
        roles: key.roles.clone(),
        groups: key.groups.clone(),
        description: key.description.clone(),
        expires_at: key.expires_at,
    }
}
