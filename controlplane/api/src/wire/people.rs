//! Who: callers of the gateway, holders of its API keys, and users of this API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::deny::check_life;
use crate::bounds::ROLES_MAX;
use crate::names::{check_principal, check_tenant, check_text};
use crate::{Problem, Time};

/// A caller, as a policy sees one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    pub tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// As the parts say unless told: an agent where only an agent is named, else a user. A service's
    /// name stands in `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallerKind>,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallerKind {
    User,
    Agent,
    Service,
}

impl CallerKind {
    /// What the parts say: an agent where only an agent is named, else a user.
    #[must_use]
    pub const fn of(has_user: bool, has_agent: bool) -> Self {
        if has_agent && !has_user { Self::Agent } else { Self::User }
    }
}

impl Caller {
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        check_tenant(&self.tenant).map_err(|problem| problem.field("caller.tenant"))?;
        for (field, name) in [("caller.user", &self.user), ("caller.agent", &self.agent)] {
            if let Some(name) = name {
                check_principal("name", name).map_err(|problem| problem.field(field))?;
            }
        }
        for (field, list) in [("caller.roles", &self.roles), ("caller.groups", &self.groups)] {
            if list.len() > ROLES_MAX {
                return Err(Problem::invalid(format!("`{field}` has {} entries", list.len()))
                    .field(field)
                    .help(format!("at most {ROLES_MAX} are taken")));
            }
            for name in list {
                check_principal("name", name).map_err(|problem| problem.field(field))?;
            }
        }
        Ok(())
    }

    /// The kind as told or as the parts say.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.kind.unwrap_or_else(|| CallerKind::of(self.user.is_some(), self.agent.is_some()))
    }
}

/// `POST /v1/keys`: an API key for an agent or a service.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    pub tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// As the parts say unless told; a service's name stands in `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallerKind>,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub description: String,
    /// 90 days unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// An API key without its secret part.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Key {
    pub id: String,
    pub tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    pub kind: CallerKind,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    pub description: String,
    pub expires_at: Time,
}

/// The answer to issuing a key: the only time that it is shown.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct IssuedKey {
    /// `pck_<id>_<secret>`: what the agent sends as bearer token.
    pub key: String,
    pub info: Key,
    /// The revision that makes it valid.
    pub revision: u64,
}

impl KeyRequest {
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        check_life(self.expires_in_s)?;
        check_text("description", &self.description)
    }
}

/// What the holder of an API token may do: each may do what those after it may.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RoleOfToken {
    /// Reads.
    Auditor,
    /// Changes what the gateway does: applies, kills, approves, sets secrets, issues keys.
    Operator,
    /// Also decides who may: tokens, appliances.
    Admin,
}

/// `POST /v1/tokens`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who holds it; the author of what is done with it.
    pub name: String,
    pub role: RoleOfToken,
    /// 90 days unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// An API token without its secret part.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub role: RoleOfToken,
    pub created_at: Time,
    pub created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// The answer to issuing a token: the only time that it is shown.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct IssuedToken {
    /// `pct_<id>_<secret>`.
    pub token: String,
    pub info: Token,
}

impl TokenRequest {
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        crate::names::check_name("token", &self.name).map_err(|problem| problem.field("name"))?;
        check_life(self.expires_in_s)
    }
}

/// `GET /v1/me`: whose token this is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Me {
    pub token: Token,
}

/// One line of the admin log: a request that changes something, whatever came of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AdminEntry {
    pub id: u64,
    pub at: Time,
    /// Name of the token; `(none)` when the request brought no valid one.
    pub who: String,
    pub token_id: String,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// What came of it, in a few words: a revision, or the title of a problem.
    pub outcome: String,
}
