//! Revisions: list, show, compare, go back. Going back is a new revision with old content.

use axum::extract::{Path, State};
use controlplane_api::wire::{Applied, Change, Page, Revision, Rollback};
use controlplane_api::{Diff, Kind};
use controlplane_store::Slice;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::apply::told;
use crate::ask::{Body, Paging, Params};
use crate::auth::Who;
use crate::change::{self, Intent};
use crate::fault::Fault;
use crate::route::Told;

/// A revision with its objects.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevisionContent {
    pub revision: Revision,
    pub objects: Vec<RevisionObject>,
}

/// An object of a revision. Pinned tools are shown by name and digest only.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevisionObject {
    pub kind: Kind,
    pub name: String,
    pub body: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Against {
    against: Option<u64>,
}

pub(crate) const AGAINST: &[(&str, &str)] =
    &[("against", "The older revision; the one before unless told")];

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Revision>>, Fault> {
    let limit = paging.limit()?;
    let items = app.store.revisions(Slice { after: paging.number()?, limit: limit + 1 }).await?;
    Ok(Told::ok(page(items, limit, |revision| revision.revision.to_string())))
}

/// A page from one item more than it holds.
pub(crate) fn page<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(key);
    Page { items, next }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    Path(revision): Path<u64>,
) -> Result<Told<RevisionContent>, Fault> {
    let stored = app.store.at_revision(revision).await?;
    let objects = stored.set.entries().into_iter().map(|(kind, name, mut body)| {
        if let (Kind::Pins, Some(tools)) =
            (kind, body.get_mut("tools").and_then(Value::as_array_mut))
        {
            for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
                tool.remove("definition");
            }
        }
        RevisionObject { kind, name, body }
    });
    let content = RevisionContent {
        revision: app.store.revision(revision).await?,
        objects: objects.collect(),
    };
    Ok(Told::ok(content))
}

pub(crate) async fn diff(
    State(app): State<Shared>,
    Path(revision): Path<u64>,
    Params(params): Params<Against>,
) -> Result<Told<Diff>, Fault> {
    let new = app.store.at_revision(revision).await?.set;
    let old = match params.against.unwrap_or(revision.saturating_sub(1)) {
        0 => Default::default(),
        against => app.store.at_revision(against).await?.set,
    };
    Ok(Told::ok(Diff::between(&old, &new)))
}

pub(crate) async fn rollback(
    State(app): State<Shared>,
    who: Who,
    Path(revision): Path<u64>,
    Body(rollback): Body<Rollback>,
) -> Result<Told<Applied>, Fault> {
    let old = app.store.at_revision(revision).await?.set;
    let message = match rollback.message.as_str() {
        "" => format!("back to revision {revision}"),
        message => message.to_owned(),
    };
    let intent = Intent {
        author: who.name(),
        how: Change::Rollback,
        message: &message,
        dry_run: rollback.dry_run,
    };
    let applied = change::change(&app, intent, |before| Ok(before.set.replaced_by(&old))).await?;
    Ok(told(applied))
}
