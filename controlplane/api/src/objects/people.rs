//! Tenants, roles and groups: who belongs to what, beside what tokens say themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_list;
use super::own::tags;
use crate::Problem;
use crate::bounds::{MEMBERS_MAX, ROLES_MAX};
use crate::names::{check_principal, check_text, split_member};
use crate::rate::Rate;

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
    /// How many new connections the network card lets pass, as `200/s`: to the tenant's services, from
    /// its prefixes, of its VLANs. Those past it are dropped there. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<String>,
    /// How many may be saved up; the units of `connections` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_burst: Option<u32>,
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
        let places = self.places()?;
        if self.new_connections()?.is_some() && places.is_empty() {
            let problem = Problem::invalid(
                "`connections` bounds nothing: the network card cannot tell whose connections they are",
            );
            return Err(problem.field("connections").help(
                "write the tenant's `services`, `prefixes` or `vlans`, or leave `connections` out",
            ));
        }
        Ok(())
    }

    /// `connections` and its burst, read.
    ///
    /// # Errors
    /// Names the field that is not usable.
    pub fn new_connections(&self) -> Result<Option<(Rate, u32)>, Problem> {
        let Some(text) = &self.connections else {
            return match self.connections_burst {
                None => Ok(None),
                Some(_) => {
                    Err(Problem::invalid("`connections_burst` is written without `connections`")
                        .field("connections_burst")
                        .help("write the rate too, for example `connections = \"200/s\"`"))
                }
            };
        };
        let rate = Rate::parse(text).map_err(|problem| problem.field("connections"))?;
        match self.connections_burst.unwrap_or(rate.units) {
            0 => Err(Problem::invalid("`connections_burst` is zero, so that nobody could connect")
                .field("connections_burst")
                .help("write how many may come at once, at least 1")),
            burst => Ok(Some((rate, burst))),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_connections_are_bounded_by_a_rate_where_they_can_be_told() {
        let tenant = |text: &str| toml::from_str::<Tenant>(text).unwrap();
        let read = |text: &str| tenant(text).new_connections().unwrap();
        assert_eq!(read("vlans = [1]"), None);
        let (rate, burst) = read("connections = \"200/s\"").unwrap();
        assert_eq!((rate.units, rate.period_ms, burst), (200, 1_000, 200));
        let (_, burst) = read("connections = \"200/s\"\nconnections_burst = 400").unwrap();
        assert_eq!(burst, 400);
        let full = "vlans = [1]\nconnections = \"1/day\"\nconnections_burst = 4294967295";
        assert_eq!(tenant(full).check(), Ok(()));
        for (text, field) in [
            ("vlans = [1]\nconnections = \"200\"", "connections"),
            ("vlans = [1]\nconnections = \"0/s\"", "connections"),
            ("vlans = [1]\nconnections = \"1/s\"\nconnections_burst = 0", "connections_burst"),
            ("vlans = [1]\nconnections_burst = 9", "connections_burst"),
            ("connections = \"1/s\"", "connections"),
        ] {
            let problem = tenant(text).check().unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
            assert!(problem.help.is_some(), "{problem:?}");
        }
    }
}
