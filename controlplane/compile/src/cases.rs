//! Policy tests: a call, and what is expected of it.
//!
//! They run before every apply, on the table that is about to be pushed and with the evaluator that
//! appliances run, so a passing test is a promise about the appliance and not about a model of it.

use dataplane_policy::{Era, Table};
use dataplane_telemetry::WallNanos;
use serde_json::Value;

use crate::compile::Compiled;
use crate::explain::{Explanation, Question, explain_with};
use crate::input::Caller;

/// What a test expects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    Allow,
    Deny,
}

/// One `[[case]]` of a test file.
#[derive(Clone, Debug)]
pub struct Case {
    /// As results name it: the file and the case's number or name.
    pub name: String,
    pub caller: Caller,
    /// `server/tool`.
    pub tool: String,
    pub arguments: Value,
    pub now: WallNanos,
    pub era: Era,
    pub expect: Expect,
    /// The policy that must be the reason, if the test says so.
    pub rule: Option<String>,
}

/// What became of a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    pub name: String,
    /// `None` when it passed, else a sentence that says what was expected and what came.
    pub failure: Option<String>,
    /// How the call was decided, unless the case asks for what does not exist.
    pub explanation: Option<Explanation>,
}

/// Runs all cases with the evaluator that appliances run.
#[must_use]
pub fn run_tests(compiled: &Compiled, cases: &[Case]) -> Vec<Outcome> {
    let table = Table::load(&compiled.table);
    let run = |case: &Case| {
        let question = Question {
            caller: case.caller.clone(),
            tool: case.tool.clone(),
            arguments: case.arguments.clone(),
            now: case.now,
            era: case.era,
        };
        let explained = match &table {
            Ok(table) => explain_with(table, &compiled.sidecar, &question),
            Err(malformed) => Err((*malformed).into()),
        };
        match explained {
            Ok(explanation) => Outcome {
                name: case.name.clone(),
                failure: failure(case, &explanation),
                explanation: Some(explanation),
            },
            Err(unanswerable) => Outcome {
                name: case.name.clone(),
                failure: Some(unanswerable.to_string()),
                explanation: None,
            },
        }
    };
    cases.iter().map(run).collect()
}

fn failure(case: &Case, explanation: &Explanation) -> Option<String> {
    let came = &explanation.reason;
    if explanation.allow != (case.expect == Expect::Allow) {
        let expected = if case.expect == Expect::Allow { "allow" } else { "deny" };
        return Some(format!("expected {expected}, but {came}"));
    }
    let rule = case.rule.as_ref()?;
    let named = explanation.determining.iter().any(|(place, _)| place.policy == *rule);
    let first = explanation.rule.as_ref().is_some_and(|place| place.policy == *rule);
    (!named && !first).then(|| format!("expected the rule `{rule}`, but {came}"))
}
