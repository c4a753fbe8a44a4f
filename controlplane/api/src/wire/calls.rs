//! Questions: what happened, why it would, and whether the tests agree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Caller;
use crate::Time;
use crate::folder::Decision;

/// `POST /v1/explain`: what would be decided, and why.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    pub caller: Caller,
    /// As `server/tool`.
    pub tool: String,
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// The time that policies see; now unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// A rule and its place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Rule {
    /// Its `@id`, or its number in the file.
    pub id: String,
    pub file: String,
    /// From 1.
    pub line: u32,
}

/// The decision of the dataplane's own evaluator, and all rules behind it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Explained {
    pub decision: Decision,
    /// Why, as a sentence.
    pub why: String,
    /// The rule that the appliance would name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// All rules that determine the decision.
    pub determining: Vec<Rule>,
    /// Obligations of the determining permits, each with its `policy`.
    #[serde(default)]
    pub obligations: Vec<BTreeMap<String, String>>,
    /// Whether the caller sees the tool in lists.
    pub visible: bool,
    /// Kills in force that would refuse the call before any policy.
    #[serde(default)]
    pub killed_by: Vec<super::Kill>,
    pub revision: u64,
}

/// `POST /v1/policies/test`: a folder's tests against that folder, or the revision's own when empty.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// What came of policy tests.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TestReport {
    pub passed: u32,
    pub failed: u32,
    /// Every case that failed; those that passed are only counted.
    #[serde(default)]
    pub failures: Vec<TestOutcome>,
}

/// A case that came out otherwise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TestOutcome {
    pub file: String,
    pub line: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub expected: Decision,
    /// Absent when the case could not be asked: `why` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<Decision>,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

/// One call as an appliance recorded it: a derived copy; the evidence is the appliance's own log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Call {
    /// Order of arrival here; give it as `after`.
    pub id: u64,
    pub appliance: String,
    /// Index of the record in the appliance's log.
    pub index: u64,
    pub at: Time,
    /// `intent`, `outcome`, `refused` or `control`.
    pub phase: String,
    /// Joins intent and outcome.
    pub call: String,
    pub tenant: String,
    pub user: String,
    pub agent: String,
    pub client: String,
    pub server: String,
    pub tool: String,
    pub method: String,
    /// `allow`, `deny`, `quota`, `kill`, `unauthenticated`, `malformed`, `unavailable`, `undecided`.
    pub decision: String,
    /// The rule, quota or kill that decided.
    pub rule: String,
    pub revision: u64,
    /// HTTP status that the client got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<u64>,
    pub trace_id: String,
}

/// `GET /v1/calls`: oldest first. With nothing to show and `wait_ms`, it waits for the next.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct CallsPage {
    pub items: Vec<Call>,
    /// Give as `after` to go on, also when there is nothing yet.
    pub after: u64,
}
