//! Why a call would be decided as it would: asked of the very evaluator that appliances run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use controlplane_api::Problem;
use controlplane_api::bounds::ARGUMENTS_BYTES_MAX;
use controlplane_api::names::{split_member, split_tool};
use controlplane_api::wire::{Caller, Explain, Explained, Kill, Target};
use controlplane_compile::{Explanation, Question};
use dataplane_policy::Era;
use dataplane_telemetry::WallNanos;
use serde_json::Value;

use crate::app::Shared;
use crate::ask::Body;
use crate::fault::Fault;
use crate::policy_tests;
use crate::route::Told;

pub(crate) async fn explain(
    State(app): State<Shared>,
    Body(ask): Body<Explain>,
) -> Result<Told<Explained>, Fault> {
    ask.caller.check()?;
    split_tool(&ask.tool)?;
    let arguments = Value::Object(ask.arguments);
    if arguments.to_string().len() > ARGUMENTS_BYTES_MAX {
        let detail = format!("the arguments are longer than {ARGUMENTS_BYTES_MAX} bytes");
        return Err(Problem::invalid(detail).field("arguments").into());
    }
    let now = app.now();
    let in_force = app.in_force();
    let Some(made) = &in_force.made else {
        let why = in_force.fault.clone().unwrap_or_else(|| "nothing was applied yet".to_owned());
        return Err(Problem::new(409, "No policy in force", why)
            .next("portcullis apply policy/")
            .into());
    };
    let question = Question {
        caller: policy_tests::caller(&ask.caller),
        tool: ask.tool.clone(),
        arguments,
        now: WallNanos(ask.at.unwrap_or(now).nanos()),
        era: Era::Modern,
    };
    let compiled = Arc::clone(&made.compiled);
    let asked = move || controlplane_compile::explain(&compiled, &question);
    let explanation = tokio::task::spawn_blocking(asked).await.map_err(Fault::ours)?;
    let explanation = explanation.map_err(|unanswerable| {
        Problem::new(404, "Not found", unanswerable.to_string()).next("portcullis tools")
    })?;
    let killed_by = app.store.kills().await?.into_iter();
    let killed_by = killed_by.filter(|kill| {
        kill.expires_at.is_none_or(|at| at > now) && hits(kill, &ask.caller, &ask.tool)
    });
    let killed_by = killed_by.collect();
    Ok(Told::ok(explained(&explanation, killed_by, in_force.stored.revision)))
}

fn explained(explanation: &Explanation, killed_by: Vec<Kill>, revision: u64) -> Explained {
    let determining = explanation.determining.iter().map(|(place, _)| policy_tests::rule(place));
    let obligations = explanation.obligations.iter().map(|obligation| {
        BTreeMap::from([
            ("policy".to_owned(), obligation.policy.clone()),
            (obligation.key.clone(), obligation.value.clone()),
        ])
    });
    Explained {
        decision: policy_tests::decision(explanation),
        why: explanation.reason.clone(),
        rule: explanation.rule.as_ref().map(policy_tests::rule),
        determining: determining.collect(),
        obligations: obligations.collect(),
        visible: explanation.visible,
        killed_by,
        revision,
    }
}

/// Whether a kill would refuse the call. A client's and a token's cannot be told from a caller.
fn hits(kill: &Kill, caller: &Caller, tool: &str) -> bool {
    let is = |member: &str, name: &Option<String>| {
        split_member("name", member)
            .is_ok_and(|(tenant, who)| tenant == caller.tenant && name.as_ref() == Some(&who))
    };
    match &kill.target {
        Target::Tool(killed) => killed == tool,
        Target::Server(server) => tool.split_once('/').is_some_and(|(of, _)| of == server),
        Target::Tenant(tenant) => *tenant == caller.tenant,
        Target::User(user) => is(user, &caller.user),
        Target::Agent(agent) => is(agent, &caller.agent),
        Target::Client(_) | Target::Token(_) => false,
    }
}
