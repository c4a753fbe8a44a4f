//! What is off for everyone, ready to be asked on each call.
//!
//! A [`KillList`] can only deny. Tools and servers are flags looked up by index; callers are compared
//! with the list's names, if it has any: a call under a list of tools pays two loads. A kill of what
//! this configuration does not know waits for it. Whoever is refused is given a share of the kill,
//! so an agent that loops against it costs no memory.

use std::sync::Arc;

use dataplane_bundle::{Kill, KillList, KillTarget};
use dataplane_policy::{ServerIndex, ToolIndex};
use dataplane_telemetry::WallNanos;

use crate::configuration::Configuration;

/// A kill list as one configuration sees it.
#[derive(Debug, Default)]
pub struct Kills {
    /// Rises each time that a list or a configuration is taken; zero: nothing was ever killed.
    pub generation: u64,
    list: KillList,
    /// The list's kills, to be shared with whoever they refuse.
    kills: Vec<Arc<Kill>>,
    tools: Vec<Place>,
    servers: Vec<Place>,
    names_callers: bool,
}

/// Where in the list the kill of a thing stands, plus one; zero: nowhere.
type Place = u16;

impl Kills {
    #[must_use]
    pub fn new(generation: u64, list: KillList, configuration: &Configuration) -> Self {
        let mut tools = vec![0; configuration.tool_count()];
        let mut servers = vec![0; configuration.servers.len()];
        let mut names_callers = false;
        for (place, kill) in (1..).zip(&list.kills) {
            match &kill.target {
                KillTarget::Tool { server, tool } => {
                    let found = configuration.find_tool(server, tool.as_bytes());
                    if let Some(slot) = found.and_then(|tool| tools.get_mut(tool.0 as usize)) {
                        *slot = place;
                    }
                }
                KillTarget::Server { server } => {
                    let found = configuration.find_server(server);
                    let slot = found.and_then(|server| servers.get_mut(usize::from(server.0)));
                    if let Some(slot) = slot {
                        *slot = place;
                    }
                }
                KillTarget::Tenant { .. }
                | KillTarget::User { .. }
                | KillTarget::Agent { .. }
                | KillTarget::Client { .. }
                | KillTarget::Token { .. } => names_callers = true,
            }
        }
        let kills = list.kills.iter().cloned().map(Arc::new).collect();
        Self { generation, list, kills, tools, servers, names_callers }
    }

    /// How many are in force.
    #[must_use]
    pub fn active(&self, wall: WallNanos) -> usize {
        self.list.kills.iter().filter(|kill| kill.is_active(wall)).count()
    }

    #[must_use]
    pub fn serial(&self) -> u64 {
        self.list.serial
    }

    #[must_use]
    pub fn list(&self) -> &KillList {
        &self.list
    }

    /// The kill in force of a tool, or of its server.
    #[must_use]
    pub fn of_tool(
        &self,
        server: ServerIndex,
        tool: ToolIndex,
        wall: WallNanos,
    ) -> Option<&Arc<Kill>> {
        let tool = self.tools.get(tool.0 as usize).copied().unwrap_or(0);
        let server = self.servers.get(usize::from(server.0)).copied().unwrap_or(0);
        [tool, server].into_iter().find_map(|place| self.at(place, wall))
    }

    /// The first kill in force that names this caller.
    #[must_use]
    pub fn of_caller(&self, caller: &CallerKeys<'_>, wall: WallNanos) -> Option<&Arc<Kill>> {
        if !self.names_callers {
            return None;
        }
        let names = |kill: &&Arc<Kill>| kill.is_active(wall) && caller.is_named_by(&kill.target);
        self.kills.iter().find(names)
    }

    fn at(&self, place: Place, wall: WallNanos) -> Option<&Arc<Kill>> {
        let kill = self.kills.get(usize::from(place).checked_sub(1)?)?;
        kill.is_active(wall).then_some(kill)
    }
}

/// By what a kill may name a caller.
#[derive(Clone, Copy, Debug)]
pub struct CallerKeys<'a> {
    pub tenant: &'a str,
    pub user: Option<&'a str>,
    pub agent: Option<&'a str>,
    pub client: Option<&'a str>,
    pub token: Option<&'a str>,
}

impl CallerKeys<'_> {
    fn is_named_by(&self, target: &KillTarget) -> bool {
        match target {
            KillTarget::Tool { .. } | KillTarget::Server { .. } => false,
            KillTarget::Tenant { tenant } => self.tenant == tenant,
            KillTarget::User { tenant, user } => self.tenant == tenant && self.user == Some(user),
            KillTarget::Agent { tenant, agent } => {
                self.tenant == tenant && self.agent == Some(agent)
            }
            KillTarget::Client { client } => self.client == Some(client),
            KillTarget::Token { token } => self.token == Some(token),
        }
    }
}
