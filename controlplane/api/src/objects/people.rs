//! Tenants, roles and groups: who belongs to what, beside what tokens say themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_list;
use super::own::tags;
use crate::Problem;
use crate::bounds::{MEMBERS_MAX, ROLES_MAX};
use crate::names::{check_principal, check_text, split_member};

/// `[tenants.NAME]`. Tenants need not be listed to be served; a listed one can be switched off.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    #[serde(default)]
    pub description: String,
    /// Every call of a disabled tenant is denied, by a rule that says so.
    #[serde(default)]
    pub disabled: bool,
    /// Addresses and ports of the gateway that are this tenant's alone, as `10.0.0.5:443`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Where nobody but this tenant comes from, as `192.0.2.0/24`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// VLANs that are this tenant's alone, as `120`, or `"100.7"` for one in another.
    #[serde(default, deserialize_with = "tags", skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<String>,
}

/// `[roles.NAME]`: members get the role beside those that their token carries.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    #[serde(default)]
    pub description: String,
    /// As `tenant/user`.
    #[serde(default)]
    pub users: Vec<String>,
    /// As `tenant/agent`.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Everyone in these groups has the role.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// `[groups.NAME]`: members are in the group beside those groups that their token carries.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    #[serde(default)]
    pub description: String,
    /// As `tenant/user`.
    #[serde(default)]
    pub users: Vec<String>,
    /// As `tenant/agent`.
    #[serde(default)]
    pub agents: Vec<String>,
}

impl Tenant {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_text("description", &self.description)?;
        self.places().map(drop)
    }
}

impl Role {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_members(&self.description, &self.users, &self.agents)?;
        check_list("groups", &self.groups, ROLES_MAX)?;
        self.groups.iter().try_for_each(|group| check_principal("group", group))
    }
}

impl Group {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_members(&self.description, &self.users, &self.agents)
    }
}

fn check_members(description: &str, users: &[String], agents: &[String]) -> Result<(), Problem> {
    check_text("description", description)?;
    check_list("users", users, MEMBERS_MAX)?;
    check_list("agents", agents, MEMBERS_MAX)?;
    for user in users {
        split_member("user", user).map_err(|problem| problem.field("users"))?;
    }
    for agent in agents {
        split_member("agent", agent).map_err(|problem| problem.field("agents"))?;
    }
    Ok(())
}
