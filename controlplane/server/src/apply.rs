//! Applying a folder: what it holds is what is in force afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use controlplane_api::folder::{self, MAIN_FILE, Places};
use controlplane_api::wire::{Applied, Apply, Change, TestReport, TestRequest};

use crate::app::Shared;
use crate::ask::Body;
use crate::auth::Who;
use crate::change::{self, Intent};
use crate::fault::Fault;
use crate::route::Told;
use crate::{outside, policy_tests};

pub(crate) async fn apply(
    State(app): State<Shared>,
    who: Who,
    Body(apply): Body<Apply>,
) -> Result<Told<Applied>, Fault> {
    let written = folder::parse(&apply.files)?;
    let intent = Intent {
        author: who.name(),
        how: Change::Apply,
        message: &apply.message,
        dry_run: apply.dry_run,
    };
    let applied = change::change(&app, intent, |before| Ok(before.set.replaced_by(&written))).await;
    Ok(told(applied.map_err(|fault| located(fault, &apply.files))?))
}

/// Adds the place to what was found only after the folder was read: a field of the main file.
fn located(fault: Fault, files: &BTreeMap<String, String>) -> Fault {
    let Fault::Caller(mut problem) = fault else { return fault };
    if let (Some(field), None, Some(main)) = (&problem.field, &problem.file, files.get(MAIN_FILE)) {
        let path: Vec<&str> = field.split('.').collect();
        let (line, column) = Places::of(main).find(&path);
        *problem = problem.at(MAIN_FILE, line, column);
    }
    Fault::Caller(problem)
}

/// What came of a change, with its words for the admin log.
pub(crate) fn told(applied: Applied) -> Told<Applied> {
    let words = match (applied.dry_run, applied.changed) {
        (true, _) => "dry run".to_owned(),
        (false, true) => format!("revision {}", applied.revision),
        (false, false) => "nothing to change".to_owned(),
    };
    Told::ok(applied).outcome(words)
}

/// Runs a folder's tests against that folder, or those in force against what is in force.
pub(crate) async fn test(
    State(app): State<Shared>,
    Body(request): Body<TestRequest>,
) -> Result<Told<TestReport>, Fault> {
    let before = app.in_force();
    let set = if request.files.is_empty() {
        before.stored.set.clone()
    } else {
        let mut set = before.stored.set.replaced_by(&folder::parse(&request.files)?);
        outside::complete(&app, &mut set).await?;
        set
    };
    let (now, kept) = (app.now(), Arc::clone(&app.compiler));
    let report = tokio::task::spawn_blocking(move || policy_tests::report(&kept, &set, now)).await;
    Ok(Told::ok(report.map_err(Fault::ours)??))
}
