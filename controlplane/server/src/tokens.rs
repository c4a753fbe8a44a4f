//! API tokens of the control plane, and the log of what is done with them.

use axum::extract::{Path, State};
use controlplane_api::wire::{AdminEntry, IssuedToken, Me, Page, Token, TokenRequest};
use controlplane_store::Slice;

use crate::app::Shared;
use crate::ask::{Body, Paging, Params};
use crate::auth::{self, Who};
use crate::fault::Fault;
use crate::random;
use crate::revisions::page;
use crate::route::Told;

pub(crate) async fn me(who: Who) -> Told<Me> {
    Told::ok(Me { token: who.token })
}

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Token>>, Fault> {
    let limit = paging.limit()?;
    let items = app.store.tokens().await?.into_iter().filter(|token| token.id > paging.after);
    let items = items.take(limit as usize + 1).collect();
    Ok(Told::ok(page(items, limit, |token: &Token| token.id.clone())))
}

pub(crate) async fn create(
    State(app): State<Shared>,
    who: Who,
    Body(request): Body<TokenRequest>,
) -> Result<Told<IssuedToken>, Fault> {
    request.check()?;
    let now = app.now();
    let life_s = request.expires_in_s.unwrap_or(crate::keys::LIFE_S_DEFAULT);
    let info = Token {
        id: random::hex::<8>()?,
        name: request.name,
        role: request.role,
        created_at: now,
        created_by: who.name().to_owned(),
        expires_at: Some(now.plus_s(life_s)),
    };
    let (token, row) = auth::issue(info.clone())?;
    app.store.add_token(&row).await?;
    let words = format!("token {} for {}", info.id, info.name);
    Ok(Told::created(IssuedToken { token, info }).outcome(words))
}

pub(crate) async fn remove(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<Told<serde_json::Value>, Fault> {
    app.store.remove_token(&id, app.now()).await?;
    let words = format!("token {id} removed");
    Ok(Told::ok(serde_json::json!({ "removed": id })).outcome(words))
}

pub(crate) async fn admin_log(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<AdminEntry>>, Fault> {
    let limit = paging.limit()?;
    let slice = Slice { after: paging.number()?, limit: limit + 1 };
    let items = app.store.admin_entries(slice).await?;
    Ok(Told::ok(page(items, limit, |entry: &AdminEntry| entry.id.to_string())))
}
