//! Policy tests: a call, and what is expected of it.

use dataplane_policy::Era;
use dataplane_telemetry::WallNanos;
use serde_json::Value;

use crate::compile::Compiled;
use crate::explain::Explanation;
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
pub fn run_tests(_compiled: &Compiled, _cases: &[Case]) -> Vec<Outcome> {
    Vec::new()
}
