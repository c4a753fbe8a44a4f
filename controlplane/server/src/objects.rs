//! Single objects of the revision: list, show, put, delete. The same for every kind.

use axum::extract::{Path, State};
use controlplane_api::bounds::PAGE_ITEMS_MAX;
use controlplane_api::objects::{
    Gateway, Group, Identity, Policy, PolicyTest, Quota, Role, Tenant,
};
use controlplane_api::wire::{Applied, Change, Item, Page};
use controlplane_api::{GATEWAY_NAME, Kind, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::Shared;
use crate::apply::told;
use crate::ask::{Body, ChangeParams, Paging, Params};
use crate::auth::Who;
use crate::change::{self, Intent};
use crate::fault::Fault;
use crate::openapi::Described;
use crate::route::Told;

/// A kind of object that people write, with requests of its own.
pub(crate) trait Object:
    Serialize + DeserializeOwned + Described + Send + Sync + 'static
{
    const KIND: Kind;
    /// The command that lists what there is.
    const LIST: &'static str;
}

macro_rules! objects {
    ($($name:ident $kind:ident $list:literal,)*) => {
        $(impl Object for $name {
            const KIND: Kind = Kind::$kind;
            const LIST: &'static str = $list;
        })*
    };
}

objects! {
    Gateway Gateway "portcullis gateway",
    Tenant Tenant "portcullis tenants",
    Identity Identity "portcullis identity",
    Role Role "portcullis roles",
    Group Group "portcullis groups",
    Policy Policy "portcullis policies",
    PolicyTest PolicyTest "portcullis revisions",
    Quota Quota "portcullis quotas",
}

impl Object for controlplane_api::objects::Server {
    const KIND: Kind = Kind::Server;
    const LIST: &'static str = "portcullis servers";
}

pub(crate) async fn list<T: Object>(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Item<T>>>, Fault> {
    let stored = &app.in_force().stored;
    let limit = paging.limit()? as usize;
    let names = stored.set.names(T::KIND);
    let mut after = names.into_iter().filter(|name| *name > paging.after.as_str());
    let mut items = Vec::new();
    for name in after.by_ref().take(limit) {
        items.push(item::<T>(&app, name)?);
    }
    let next = after.next().and_then(|_| items.last().map(|item| item.name.clone()));
    Ok(Told::ok(Page { items, next }))
}

pub(crate) async fn show<T: Object>(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Told<Item<T>>, Fault> {
    Ok(Told::ok(item(&app, &name)?))
}

pub(crate) async fn put<T: Object>(
    State(app): State<Shared>,
    who: Who,
    Path(name): Path<String>,
    Params(params): Params<ChangeParams>,
    Body(object): Body<T>,
) -> Result<Told<Applied>, Fault> {
    put_named(&app, &who, &name, &params, &object).await
}

pub(crate) async fn delete<T: Object>(
    State(app): State<Shared>,
    who: Who,
    Path(name): Path<String>,
    Params(params): Params<ChangeParams>,
) -> Result<Told<Applied>, Fault> {
    let intent = Intent {
        author: who.name(),
        how: Change::Delete,
        message: &params.message,
        dry_run: params.dry_run,
    };
    let applied = change::change(&app, intent, |before| {
        let mut next = before.set.clone();
        if !next.remove(T::KIND, &name) {
            return Err(missing::<T>(&name));
        }
        Ok(next)
    });
    Ok(told(applied.await?))
}

pub(crate) async fn show_gateway(State(app): State<Shared>) -> Result<Told<Item<Gateway>>, Fault> {
    Ok(Told::ok(item(&app, GATEWAY_NAME)?))
}

pub(crate) async fn put_gateway(
    State(app): State<Shared>,
    who: Who,
    Params(params): Params<ChangeParams>,
    Body(object): Body<Gateway>,
) -> Result<Told<Applied>, Fault> {
    put_named(&app, &who, GATEWAY_NAME, &params, &object).await
}

async fn put_named<T: Object>(
    app: &Shared,
    who: &Who,
    name: &str,
    params: &ChangeParams,
    object: &T,
) -> Result<Told<Applied>, Fault> {
    let body = serde_json::to_value(object).map_err(Fault::ours)?;
    let intent = Intent {
        author: who.name(),
        how: Change::Put,
        message: &params.message,
        dry_run: params.dry_run,
    };
    let applied = change::change(app, intent, |before| {
        let mut next = before.set.clone();
        next.put(T::KIND, name, body)?;
        // A server at another address, a provider with another issuer: what was kept of the one
        // before says nothing of it.
        Ok(before.set.replaced_by(&next))
    });
    Ok(told(applied.await?))
}

fn item<T: Object>(app: &Shared, name: &str) -> Result<Item<T>, Fault> {
    let in_force = app.in_force();
    let stored = &in_force.stored;
    let body = stored.set.get(T::KIND, name).ok_or_else(|| missing::<T>(name))?;
    let spec = serde_json::from_value(body).map_err(Fault::ours)?;
    Ok(Item { name: name.to_owned(), revision: stored.revision, spec })
}

fn missing<T: Object>(name: &str) -> Fault {
    let name: String = name.chars().take(PAGE_ITEMS_MAX as usize).collect();
    Problem::not_found(T::KIND.word(), &name, T::LIST).into()
}
