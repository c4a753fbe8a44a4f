//! API keys of agents and services: who the holder is. The key itself is shown once and not kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_list;
use crate::bounds::ROLES_MAX;
use crate::names::{check_principal, check_tenant, check_text};
use crate::wire::CallerKind;
use crate::{Problem, Time};

/// An API key as stored: everything but the secret part.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    pub tenant: String,
    /// On whose behalf; a key of a service may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Which agent holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A service's name stands in `user`.
    pub kind: CallerKind,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub description: String,
    pub expires_at: Time,
    /// SHA-256 of the secret part, in hexadecimal.
    pub sha256: String,
}

impl ApiKey {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_tenant(&self.tenant)?;
        for (what, name) in [("user", &self.user), ("agent", &self.agent)] {
            if let Some(name) = name {
                check_principal(what, name).map_err(|problem| problem.field(what))?;
            }
        }
        let (field, name) = match self.kind {
            CallerKind::Agent => ("agent", &self.agent),
            CallerKind::User | CallerKind::Service => ("user", &self.user),
        };
        if name.is_none() {
            return Err(Problem::invalid(format!(
                "nothing says who holds the key: `{field}` is missing"
            ))
            .field(field)
            .help("name the agent, the user, or with `kind = service` the service as `user`"));
        }
        check_list("roles", &self.roles, ROLES_MAX)?;
        check_list("groups", &self.groups, ROLES_MAX)?;
        self.roles.iter().try_for_each(|role| check_principal("role", role))?;
        self.groups.iter().try_for_each(|group| check_principal("group", group))?;
        check_text("description", &self.description)
    }
}
