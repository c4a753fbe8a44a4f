//! The one way of every change: edit, check, ask outside, compile, test, store, push.
//!
//! A change is refused whole or done whole. What does not differ makes no revision, so that an apply
//! can be repeated. One change at a time; kills do not wait for it.

use std::sync::Arc;

use controlplane_api::bounds::TEXT_BYTES_MAX;
use controlplane_api::names::check_text;
use controlplane_api::wire::{Applied, Change};
use controlplane_api::{Diff, ObjectSet, Problem};
use controlplane_store::{NewRevision, Stored};

use crate::app::{App, InForce, Made, Shared};
use crate::build::{self, Built};
use crate::fault::Fault;
use crate::outside;

/// Who wants what, and why.
pub(crate) struct Intent<'a> {
    pub author: &'a str,
    pub how: Change,
    pub message: &'a str,
    pub dry_run: bool,
}

/// Makes a change of the whole set. `edit` is given the revision in force.
///
/// # Errors
/// Everything that is wrong with the new set; nothing was changed then.
pub(crate) async fn change(
    app: &Shared,
    intent: Intent<'_>,
    edit: impl FnOnce(&Stored) -> Result<ObjectSet, Fault>,
) -> Result<Applied, Fault> {
    check_text("message", intent.message)?;
    let _one_at_a_time = app.changes.lock().await;
    let before = app.store.current().await?;
    let mut next = edit(&before)?;
    check(&next)?;
    let asked = outside::complete(app, &mut next).await?;
    let at = app.now();
    let built = match build_apart(app, before.revision + 1, at, &next).await? {
        Ok(built) => built,
        Err(mut problem) => {
            // A policy may name a tool only because its server could not be asked.
            problem.more.extend(asked.warnings);
            return Err(problem.into());
        }
    };
    let mut diff = Diff::between(&before.set, &next);
    diff.behaviour = behaviour(&app.in_force(), &before, &built.made);
    let changed = before.revision == 0 || !diff.is_empty();
    let mut answer = Applied {
        revision: before.revision,
        changed,
        dry_run: intent.dry_run,
        diff,
        warnings: [built.warnings, asked.warnings].concat(),
        tests: built.tests,
        discovered: asked.discovered,
        pushed_to: Vec::new(),
    };
    if !changed || intent.dry_run {
        return Ok(answer);
    }
    let new = NewRevision {
        before: &before,
        next: &next,
        author: intent.author,
        how: intent.how,
        message: intent.message,
        at,
    };
    answer.revision = app.store.commit(new).await?.revision;
    let gone: Vec<String> = before
        .set
        .servers
        .keys()
        .filter(|name| !next.servers.contains_key(*name))
        .cloned()
        .collect();
    app.store.forget_findings(&gone).await?;
    let stored = Stored { revision: answer.revision, at, set: next };
    app.put_in_force(InForce { stored, made: Some(built.made), fault: None });
    answer.pushed_to = connected(app);
    tracing::info!(revision = answer.revision, author = intent.author, "a revision is in force");
    Ok(answer)
}

/// Every object's own check; a folder was checked with its places before.
fn check(set: &ObjectSet) -> Result<(), Fault> {
    let problems = set.check().into_iter().map(|(kind, name, mut problem)| {
        let field = problem.field.take().map(|field| format!(".{field}")).unwrap_or_default();
        problem.field(format!("{}.{name}{field}", kind.word()))
    });
    Problem::gather(problems.collect()).map_or(Ok(()), |problem| Err(problem.into()))
}

/// Compiling takes the time it takes: not on the runtime's own threads.
pub(crate) async fn build_apart(
    app: &App,
    revision: u64,
    at: controlplane_api::Time,
    set: &ObjectSet,
) -> Result<Result<Built, Problem>, Fault> {
    let (set, kept) = (set.clone(), Arc::clone(&app.compiler));
    let built = tokio::task::spawn_blocking(move || build::build(&kept, revision, at, &set)).await;
    built.map_err(|error| Fault::ours(format!("the compiler failed: {error}")))
}

/// What changes for whom, in sentences.
fn behaviour(in_force: &InForce, before: &Stored, made: &Made) -> Vec<String> {
    let old = in_force.made.as_ref().filter(|_| in_force.stored.revision == before.revision);
    let Some(old) = old else {
        return Vec::new();
    };
    let changes = controlplane_compile::diff(&old.compiled, &made.compiled);
    let sentence = |change: controlplane_compile::Change| {
        let callers = change.callers.join(", ");
        let text =
            format!("{} for {callers}: was {}, now {}", change.tool, change.before, change.after);
        text.chars().take(TEXT_BYTES_MAX).collect()
    };
    changes.into_iter().map(sentence).collect()
}

fn connected(app: &App) -> Vec<String> {
    let Ok(rollout) = app.rollout() else { return Vec::new() };
    let connected = rollout.appliances().into_iter().filter(|state| state.connected);
    connected.map(|state| state.appliance.to_string()).collect()
}

/// Makes what is stored the revision in force: at start.
///
/// # Errors
/// When the database fails. What cannot be compiled is kept as the fault that `status` shows.
pub(crate) async fn resume(app: &Arc<App>) -> Result<(), Fault> {
    let stored = app.store.current().await?;
    if stored.revision == 0 {
        return Ok(());
    }
    // As of the revision's own time: the same bytes as when it was made.
    let next = match build_apart(app, stored.revision, stored.at, &stored.set).await? {
        Ok(built) => InForce { stored, made: Some(built.made), fault: None },
        Err(problem) => {
            tracing::error!(revision = stored.revision, %problem, "the stored revision cannot be made");
            InForce { stored, made: None, fault: Some(problem.to_string()) }
        }
    };
    app.put_in_force(next);
    Ok(())
}
