//! Policy tests: run before every change, and sent along so that appliances run them too.

use controlplane_api::folder::{self, Decision};
use controlplane_api::names::split_tool;
use controlplane_api::wire::{self, Caller, Rule, TestOutcome, TestReport};
use controlplane_api::{ObjectSet, Problem, Time};
use controlplane_compile::{Case, Compiled, Expect, Explanation, Place, run_tests};
use dataplane_bundle::limits::{SELF_TEST_ARGUMENTS_BYTES_MAX, SELF_TESTS_MAX};
use dataplane_bundle::{Expect as BundleExpect, SelfTest, TestCaller};
use dataplane_policy::{CallerKind, Era};
use dataplane_telemetry::WallNanos;
use serde_json::Value;

use crate::kept::Kept;
use crate::{build, catalog};

/// A case with its place.
pub(crate) struct Placed {
    pub file: String,
    pub written: folder::Case,
    pub case: Case,
}

/// All cases of a set. A case without a time of its own is asked as of `now`.
///
/// # Errors
/// File, line and column of what cannot be read.
pub(crate) fn cases(set: &ObjectSet, now: Time) -> Result<Vec<Placed>, Problem> {
    let mut all = Vec::new();
    for (file, test) in &set.tests {
        for written in folder::parse_cases(file, &test.text)? {
            let case = Case {
                name: format!("{file}:{}", written.line),
                caller: caller(&written.caller),
                tool: written.call.tool.clone(),
                arguments: Value::Object(written.call.arguments.clone()),
                now: WallNanos(written.at.unwrap_or(now).nanos()),
                era: Era::Modern,
                expect: match written.expect {
                    Decision::Allow => Expect::Allow,
                    Decision::Deny => Expect::Deny,
                },
                rule: written.rule.clone(),
            };
            all.push(Placed { file: file.clone(), written, case });
        }
    }
    Ok(all)
}

pub(crate) fn all(cases: &[Placed]) -> Vec<Case> {
    cases.iter().map(|placed| placed.case.clone()).collect()
}

/// A caller as the compiler's evaluator takes it.
pub(crate) fn caller(caller: &Caller) -> controlplane_compile::Caller {
    controlplane_compile::Caller {
        tenant: caller.tenant.clone(),
        kind: kind(caller.kind()),
        user: caller.user.clone(),
        agent: caller.agent.clone(),
        roles: caller.roles.clone(),
        groups: caller.groups.clone(),
    }
}

pub(crate) fn kind(kind: wire::CallerKind) -> CallerKind {
    match kind {
        wire::CallerKind::User => CallerKind::User,
        wire::CallerKind::Agent => CallerKind::Agent,
        wire::CallerKind::Service => CallerKind::Service,
    }
}

pub(crate) fn rule(place: &Place) -> Rule {
    Rule { id: place.policy.clone(), file: place.file.clone(), line: place.line }
}

pub(crate) fn decision(explanation: &Explanation) -> Decision {
    if explanation.allow { Decision::Allow } else { Decision::Deny }
}

/// Runs the cases with the evaluator that appliances run.
pub(crate) fn run(compiled: &Compiled, cases: &[Placed]) -> TestReport {
    let outcomes = run_tests(compiled, &all(cases));
    let mut report = TestReport::default();
    for (placed, outcome) in cases.iter().zip(outcomes) {
        let Some(why) = outcome.failure else {
            report.passed += 1;
            continue;
        };
        let explanation = outcome.explanation;
        report.failed += 1;
        report.failures.push(TestOutcome {
            file: placed.file.clone(),
            line: placed.written.line,
            name: placed.written.name.clone(),
            expected: placed.written.expect,
            got: explanation.as_ref().map(decision),
            why,
            rule: explanation.and_then(|explanation| explanation.rule.as_ref().map(rule)),
        });
    }
    report
}

/// Compiles a set and runs its tests; failed ones are no error here.
///
/// # Errors
/// When the set cannot be compiled.
pub(crate) fn report(kept: &Kept, set: &ObjectSet, now: Time) -> Result<TestReport, Problem> {
    let cases = cases(set, now)?;
    Ok(run(&build::compile(kept, set, &cases)?, &cases))
}

/// Failed tests as the refusal of a change.
pub(crate) fn failed(report: &TestReport) -> Problem {
    let problems = report.failures.iter().map(|failure| {
        Problem::new(422, "Policy test failed", failure.why.clone())
            .at(failure.file.clone(), failure.line, 1)
            .help("change the policy, or what the test expects")
    });
    Problem::gather(problems.collect())
        .unwrap_or_else(|| Problem::invalid("a policy test failed"))
        .next("portcullis policy test policy/")
}

/// The cases as appliances try them; what is too long for a bundle stays here.
pub(crate) fn self_tests(set: &ObjectSet, cases: &[Placed]) -> Vec<SelfTest> {
    let known = |placed: &&Placed| {
        let parts = split_tool(&placed.case.tool).ok();
        parts.is_some_and(|(server, tool)| {
            let pins = set.pins.get(&server);
            pins.is_some_and(|pins| pins.tools.iter().any(|pinned| pinned.name == tool))
        })
    };
    let tests = cases.iter().filter(known).filter_map(self_test);
    tests.take(SELF_TESTS_MAX).collect()
}

fn self_test(placed: &Placed) -> Option<SelfTest> {
    let Case { tool, arguments, now, expect, .. } = &placed.case;
    let caller = &placed.written.caller;
    let (server, tool) = split_tool(tool).ok()?;
    let arguments = arguments.to_string();
    (arguments.len() <= SELF_TEST_ARGUMENTS_BYTES_MAX).then(|| SelfTest {
        caller: TestCaller {
            tenant: caller.tenant.clone(),
            user: caller.user.clone(),
            agent: caller.agent.clone(),
            kind: catalog::kind(caller.kind()),
            roles: caller.roles.clone(),
            groups: caller.groups.clone(),
        },
        server,
        tool,
        arguments: Some(arguments),
        at: *now,
        expect: match expect {
            Expect::Allow => BundleExpect::Allow,
            Expect::Deny => BundleExpect::Deny,
        },
    })
}
