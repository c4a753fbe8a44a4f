//! What is compiled: servers and their pinned tools, the directory, the policy files.
//!
//! Plain data. The control plane fills it from a revision; nothing here is read from anywhere else.

use std::collections::{BTreeMap, BTreeSet};

use dataplane_policy::CallerKind;
use serde_json::Value;

use crate::cases::Case;

/// The desired state, as far as policy is concerned.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub servers: Vec<Server>,
    pub directory: Directory,
    pub policies: Vec<PolicyFile>,
    /// Names that `@quota("…")` may use; `None` accepts any.
    pub quotas: Option<BTreeSet<String>>,
    /// Obligations that the appliances carry out (`approval`, `audit`, `dry_run`, `quota`). A policy
    /// that asks for another is refused: an obligation that nobody keeps is a hole.
    pub obligations: BTreeSet<String>,
}

/// An upstream MCP server.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub name: String,
    pub tools: Vec<Tool>,
}

/// A tool as pinned.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    pub name: String,
    /// `inputSchema` of its definition.
    pub input_schema: Value,
    pub destructive: bool,
    pub read_only: bool,
}

/// Who exists, as far as anybody has said. Identity providers may know more callers; roles, groups
/// and tenants that policies name must be known here.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub tenants: BTreeSet<String>,
    /// Declared (`[roles.NAME]`) roles. Roles of members and groups need not be repeated.
    pub roles: BTreeSet<String>,
    /// Declared groups, and the roles that each brings.
    pub groups: BTreeMap<String, BTreeSet<String>>,
    pub members: Vec<Member>,
}

/// A caller that the directory knows, and what it adds to the caller's claims.
#[derive(Clone, Debug)]
pub struct Member {
    pub kind: CallerKind,
    pub tenant: String,
    pub name: String,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
}

/// One file of policies.
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// As complaints name it.
    pub path: String,
    pub text: String,
}

/// A caller in a question or a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    pub tenant: String,
    pub kind: CallerKind,
    /// The person, or the service.
    pub user: Option<String>,
    pub agent: Option<String>,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
}

impl Directory {
    /// Takes over what tests say about callers: a role that a test's caller claims is one that an
    /// identity provider is expected to claim, so policies may name it.
    pub fn note_cases(&mut self, cases: &[Case]) {
        for Case { caller, .. } in cases {
            self.tenants.insert(caller.tenant.clone());
            self.roles.extend(caller.roles.iter().cloned());
            for group in &caller.groups {
                self.groups.entry(group.clone()).or_default();
            }
        }
    }

    /// Every role that somebody has, or that is declared.
    pub(crate) fn known_roles(&self) -> BTreeSet<&str> {
        let of_members = self.members.iter().flat_map(|member| &member.roles);
        let of_groups = self.groups.values().flatten();
        self.roles.iter().chain(of_members).chain(of_groups).map(String::as_str).collect()
    }

    /// Every group that somebody is in, or that is declared.
    pub(crate) fn known_groups(&self) -> BTreeSet<&str> {
        let of_members = self.members.iter().flat_map(|member| &member.groups);
        self.groups.keys().chain(of_members).map(String::as_str).collect()
    }

    /// Every tenant that somebody belongs to, or that is declared.
    pub(crate) fn known_tenants(&self) -> BTreeSet<&str> {
        let of_members = self.members.iter().map(|member| &member.tenant);
        self.tenants.iter().chain(of_members).map(String::as_str).collect()
    }
}
