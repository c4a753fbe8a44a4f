//! Changes: applying a folder, putting an object, revisions and going back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TestReport;
use super::server::Discovered;
use crate::diff::Diff;
use crate::{Problem, Time};

/// `POST /v1/apply`: the whole folder; what it does not hold is removed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Path → text.
    pub files: BTreeMap<String, String>,
    /// Answer as if, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for those who read the revisions later.
    #[serde(default)]
    pub message: String,
}

/// What came of a change: of an apply, a put, a delete, a rollback, an approval.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Applied {
    /// The revision in force now; of a dry run, the one in force before.
    pub revision: u64,
    /// False when nothing differed: then there is no new revision.
    pub changed: bool,
    pub dry_run: bool,
    pub diff: Diff,
    /// What is not wrong and still worth reading.
    #[serde(default)]
    pub warnings: Vec<Problem>,
    /// Policy tests that ran before.
    pub tests: TestReport,
    /// Servers that were asked for their tools.
    #[serde(default)]
    pub discovered: Vec<Discovered>,
    /// Appliances that are connected and are being sent the revision.
    #[serde(default)]
    pub pushed_to: Vec<String>,
}

/// The body of `PUT /v1/policies/{path}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPolicy {
    pub text: String,
}

/// How a revision came about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Apply,
    Put,
    Delete,
    Rollback,
    Approve,
    Keys,
    /// By the control plane itself: a provider's keys changed, a server was first asked.
    System,
}

/// A revision without its content.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Revision {
    /// Rises by one.
    pub revision: u64,
    pub at: Time,
    /// Name of the API token, or `system`.
    pub author: String,
    pub how: Change,
    pub message: String,
    pub added: u32,
    pub changed: u32,
    pub removed: u32,
}

/// `POST /v1/revisions/{revision}/rollback`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub dry_run: bool,
}

/// A page of a list. `next` is what to give as `after` for the next page; absent on the last.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An object with its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Item<T> {
    pub name: String,
    /// The revision in force when it was read.
    pub revision: u64,
    pub spec: T,
}
