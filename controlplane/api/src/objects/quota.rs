//! Quotas: how often, for whom, where.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_list;
use crate::Problem;
use crate::bounds::LIST_MAX;
use crate::names::{check_server, split_tool};
use crate::rate::Rate;

/// `[quotas.NAME]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Who has a bucket of their own.
    pub per: Per,
    /// As `600/min`.
    pub calls: String,
    /// How much may be saved up; the units of `calls` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Only calls to these servers; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Only calls of these tools, as `server/tool`; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
}

/// Whose calls are counted together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Tenant,
    /// Tenant, user and agent together.
    Caller,
    /// A caller at one tool.
    CallerTool,
    User,
    Agent,
}

impl Quota {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        self.rate()?;
        if self.burst == Some(0) {
            return Err(Problem::invalid("`burst` is zero, so that no call could ever pass")
                .field("burst")
                .help("write how many calls may come at once, at least 1"));
        }
        check_list("servers", &self.servers, LIST_MAX)?;
        check_list("tools", &self.tools, LIST_MAX)?;
        for server in &self.servers {
            check_server(server).map_err(|problem| problem.field("servers"))?;
        }
        for tool in &self.tools {
            split_tool(tool).map_err(|problem| problem.field("tools"))?;
        }
        Ok(())
    }

    /// `calls`, read.
    ///
    /// # Errors
    /// Says what of it cannot be read.
    pub fn rate(&self) -> Result<Rate, Problem> {
        Rate::parse(&self.calls).map_err(|problem| problem.field("calls"))
    }
}
