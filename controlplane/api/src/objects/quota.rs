//! Quotas: how often, for whom, where.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Ladder;
use crate::Problem;
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
    /// Only calls to this server; to all when neither this nor `tool` is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only calls of this tool, as `server/tool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What ignoring its refusals leads to; absent: slowing, and no dropping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
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
        let is_whole = self.server.is_none() && self.tool.is_none() && self.per != Per::CallerTool;
        self.ladder.map_or(Ok(()), |ladder| ladder.check("ladder", is_whole))?;
        match (&self.server, &self.tool) {
            (Some(_), Some(_)) => Err(Problem::invalid("`server` and `tool` are both written")
                .field("tool")
                .help("keep one: `tool = \"crm/refund\"` names its server already")),
            (Some(server), None) => check_server(server).map_err(|found| found.field("server")),
            (None, Some(tool)) => split_tool(tool).map(drop).map_err(|found| found.field("tool")),
            (None, None) => Ok(()),
        }
    }

    /// `calls`, read.
    ///
    /// # Errors
    /// Says what of it cannot be read.
    pub fn rate(&self) -> Result<Rate, Problem> {
        Rate::parse(&self.calls).map_err(|problem| problem.field("calls"))
    }
}
