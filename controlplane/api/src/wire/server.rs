//! Servers and tools as found: discovery, drift, approval.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Time;
use crate::objects::{Era, Server};

/// A server, and what is known of it beside what people wrote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ServerState {
    pub name: String,
    pub spec: Server,
    /// Era and protocol revision as found; absent until it first answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Tools that are pinned, that is, offered.
    pub tools: u32,
    /// Tools that differ from their pin, or that have none, or that are gone.
    pub drifted: u32,
    /// When it was last asked, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Time>,
    /// Why the last discovery failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether the secret that it needs is set; absent when it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_set: Option<bool>,
}

/// What a discovery found at one server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Discovered {
    pub server: String,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Names of the tools that were pinned now.
    #[serde(default)]
    pub pinned: Vec<String>,
    /// What differs from the pins and waits for approval.
    #[serde(default)]
    pub drift: Vec<Drift>,
    /// Tools that cannot be offered, each with the reason.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// Why it failed, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// First seen; all tools were pinned.
    Pinned,
    /// As pinned.
    Same,
    /// Differs from the pins: see `drift`.
    Drifted,
    /// Could not be asked: see `fault`.
    Failed,
}

/// A tool that is not as it was approved.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Drift {
    pub tool: String,
    pub kind: DriftKind,
    /// The pinned definition, as canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The definition that the server gives now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Digest to approve exactly this; absent when the tool is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub since: Time,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftKind {
    /// Not pinned: not offered.
    New,
    /// Differs from its pin: the pinned definition is still what callers see.
    Changed,
    /// Pinned, and gone at the server.
    Gone,
}

/// `POST /v1/servers/{name}/approve`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Tools to approve; all that drifted when empty.
    #[serde(default)]
    pub tools: Vec<String>,
    /// With one tool: approve only this very definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default)]
    pub message: String,
}

/// A tool as callers may see it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Tool {
    pub server: String,
    pub name: String,
    pub state: ToolState,
    pub title: Option<String>,
    pub description: Option<String>,
    pub destructive: bool,
    pub read_only: bool,
    pub digest: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolState {
    Pinned,
    /// Pinned, and its server now says something else.
    Changed,
    /// Pinned, and gone at its server.
    Gone,
    /// Not pinned, so not offered.
    New,
}
