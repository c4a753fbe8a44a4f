//! What all appliances share: the address that clients use, and which hosts and origins are ours.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Attribution, Ladder, check_host, check_list, check_url};
use crate::Problem;
use crate::bounds::LIST_MAX;

/// `[gateway]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The address that clients are given, without a path: it names the protected resource.
    #[serde(default = "public_url")]
    pub public_url: String,
    /// Further `Host` values that are ours. The host of `public_url` always is.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// `Origin` values of browsers that may call. Without any, requests with an `Origin` are refused.
    #[serde(default)]
    pub origins: Vec<String>,
    /// What a kill of a tenant, user or agent leads to beside refusing: where it has a `drop`, to that
    /// at once, as soon as they call on. Absent: nobody is dropped for a kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_ladder: Option<Ladder>,
    /// How long what appliances saw at an address counts, before their network cards drop it. Absent:
    /// the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
}

fn public_url() -> String {
    "https://localhost:8443".to_owned()
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            public_url: public_url(),
            hosts: Vec::new(),
            origins: Vec::new(),
            kill_ladder: None,
            attribution: None,
        }
    }
}

impl Gateway {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_url("public_url", &self.public_url)?;
        let after_scheme = self.public_url.split_once("://").map_or("", |(_, rest)| rest);
        if after_scheme.trim_end_matches('/').contains(['/', '?']) {
            return Err(Problem::invalid("`public_url` has a path")
                .field("public_url")
                .help("write scheme, host and port only: the gateway adds `/mcp`"));
        }
        self.kill_ladder.map_or(Ok(()), |ladder| ladder.check("kill_ladder", true))?;
        self.attribution.map_or(Ok(()), |written| written.check("attribution"))?;
        check_list("hosts", &self.hosts, LIST_MAX)?;
        check_list("origins", &self.origins, LIST_MAX)?;
        self.hosts.iter().try_for_each(|host| check_host("hosts", host))?;
        self.origins.iter().try_for_each(|origin| check_url("origins", origin))
    }

    /// The host of `public_url`, with its port if one is written.
    #[must_use]
    pub fn public_host(&self) -> &str {
        let rest = self.public_url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}
