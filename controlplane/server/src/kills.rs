//! Kills: they wait for no change, no compile and no page; they are pushed at once.

use axum::extract::{Path, State};
use controlplane_api::names::{split_member, split_tool};
use controlplane_api::wire::{Kill, KillRequest, Page, Target};
use controlplane_api::{Problem, Time};
use controlplane_store::NewKill;
use dataplane_bundle::{KillList, KillTarget};
use dataplane_telemetry::WallNanos;

use crate::app::{App, Shared};
use crate::ask::{Body, Paging, Params};
use crate::auth::Who;
use crate::fault::Fault;
use crate::revisions::page;
use crate::route::Told;

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(paging): Params<Paging>,
) -> Result<Told<Page<Kill>>, Fault> {
    let (after, limit) = (paging.number()?, paging.limit()?);
    let items = app.store.kills().await?.into_iter().filter(|kill| kill.id > after);
    let items = items.take(limit as usize + 1).collect();
    Ok(Told::ok(page(items, limit, |kill: &Kill| kill.id.to_string())))
}

pub(crate) async fn kill(
    State(app): State<Shared>,
    who: Who,
    Body(request): Body<KillRequest>,
) -> Result<Told<Kill>, Fault> {
    request.check()?;
    // A target that the list itself would refuse must not get into it.
    target(&request.target)?;
    let at = app.now();
    let kill = app
        .store
        .add_kill(NewKill {
            target: &request.target,
            reason: request.reason.trim(),
            author: who.name(),
            at,
            expires_at: request.expires_in_s.map(|seconds| at.plus_s(seconds)),
        })
        .await?;
    push(&app).await?;
    let words = format!("kill {}: {}", kill.id, kill.target);
    Ok(Told::created(kill).outcome(words))
}

pub(crate) async fn unkill(
    State(app): State<Shared>,
    who: Who,
    Path(id): Path<u64>,
) -> Result<Told<Kill>, Fault> {
    let kill = app.store.end_kill(id, who.name(), app.now()).await?;
    push(&app).await?;
    Ok(Told::ok(kill).outcome(format!("kill {id} taken back")))
}

/// Pushes the list as it is stored.
pub(crate) async fn push(app: &App) -> Result<(), Fault> {
    let list = stored(app).await?;
    app.rollout()?.set_kills(&list).map_err(Fault::ours)?;
    Ok(())
}

/// The list in force, as appliances are sent it.
pub(crate) async fn stored(app: &App) -> Result<KillList, Fault> {
    // The serial first: were it read after, it could name a list that has more than this one.
    let serial = app.store.kill_serial().await?;
    let mut kills = Vec::new();
    for kill in app.store.kills().await? {
        kills.push(as_sent(kill)?);
    }
    Ok(KillList { serial, created_at: nanos(app.now()), kills })
}

fn as_sent(kill: Kill) -> Result<dataplane_bundle::Kill, Fault> {
    Ok(dataplane_bundle::Kill {
        id: format!("kill-{}", kill.id),
        target: target(&kill.target)?,
        reason: kill.reason,
        author: kill.author,
        at: nanos(kill.at),
        expires_at: kill.expires_at.map(nanos),
    })
}

fn target(target: &Target) -> Result<KillTarget, Problem> {
    Ok(match target {
        Target::Tool(tool) => {
            let (server, tool) = split_tool(tool)?;
            KillTarget::Tool { server, tool }
        }
        Target::Server(server) => KillTarget::Server { server: server.clone() },
        Target::Tenant(tenant) => KillTarget::Tenant { tenant: tenant.clone() },
        Target::User(user) => {
            let (tenant, user) = split_member("user", user)?;
            KillTarget::User { tenant, user }
        }
        Target::Agent(agent) => {
            let (tenant, agent) = split_member("agent", agent)?;
            KillTarget::Agent { tenant, agent }
        }
        Target::Client(client) => KillTarget::Client { client: client.clone() },
        Target::Token(token) => KillTarget::Token { token: token.clone() },
    })
}

fn nanos(at: Time) -> WallNanos {
    WallNanos(at.nanos())
}
