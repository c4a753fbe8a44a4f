//! What a core's stages know while they judge, and what they ask of one another.
//!
//! The parsers lend what they have read while this is changed, so it stands apart from them. Servers
//! and secrets are known by their numbers in the configuration in force: whoever holds a number from
//! before asks [`Stages::is_current`] first.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use dataplane_auth::{Cache, MissBudget, Verifier};
use dataplane_bundle::Kill;
use dataplane_drops::{Keys, Standings};
use dataplane_ingress::{Head, Limits};
use dataplane_policy::{ServerIndex, ToolIndex};
use dataplane_quota::{BucketKey, Buckets, Limit};
use dataplane_telemetry::{Nanos, WallNanos};
use dataplane_upstream::Health;
use dataplane_vault::{Leases, SecretIndex};

use crate::admit::{Admitted, Counted, Kept, wait_ms};
use crate::configuration::Configuration;
use crate::core::{Announcement, Counters};
use crate::fault::{Fault, Incident, Refusal, ServerFault};
use crate::judge::Asked;
use crate::kills::Kills;
use crate::ladder::Heard;
use crate::ledger::Ledger;
use crate::limits::ENDED_SESSIONS_MAX;
use crate::passing::Held;
use crate::random::Random;
use crate::session::Sealer;
use crate::upstream_sessions::UpstreamSessions;
use crate::wire::Teller;

/// A configuration on one core. Cores share the inner count and touch it once a bundle, not a call.
pub(crate) type Shared = Rc<Arc<Configuration>>;

/// Everything but the parsers, which lend what they read while the stages judge it.
pub(crate) struct Stages {
    pub configuration: Option<Shared>,
    pub kills: Arc<Kills>,
    pub limits: Limits,
    pub verifier: Verifier,
    pub callers: Cache<Kept>,
    pub misses: Arc<MissBudget>,
    /// Rises with each configuration: what was verified under an older one is verified again.
    pub epoch: u64,
    pub quotas: Arc<Buckets>,
    pub sealer: Arc<Sealer>,
    pub ended: Ended,
    pub upstream_sessions: UpstreamSessions,
    pub ledger: Ledger,
    pub random: Random,
    pub counters: Counters,
    pub is_draining: bool,
    pub announcements: VecDeque<Announcement>,
    pub held: Held,
    pub drop_keys: Keys,
    pub standings: Arc<Standings>,
    pub heard: VecDeque<Heard>,
    /// Kept for their memory.
    pub audience: String,
    pub page: Vec<u8>,
    pub teller: Teller,
    pub wanted: Vec<(BucketKey, Limit)>,
    pub wanted_rules: Vec<usize>,
    pub leases: Leases<&'static mut [u8]>,
    /// By server: which lease is injected.
    pub secrets: Vec<Option<SecretIndex>>,
    pub health: Vec<Health>,
}

/// Legacy sessions that were ended before their time, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    ids: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl Ended {
    pub(crate) fn contains(&self, id: &[u8; 16]) -> bool {
        self.ids.contains(id)
    }

    pub(crate) fn insert(&mut self, id: [u8; 16]) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > ENDED_SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

impl Stages {
    pub(crate) fn configuration(&self) -> Result<Shared, Incident> {
        self.configuration.clone().ok_or(Incident::NoConfiguration)
    }

    /// Whether a call that began under this configuration finds its server, its secret and its
    /// session under the same numbers.
    pub(crate) fn is_current(&self, configuration: &Shared) -> bool {
        let current = self.configuration.as_ref();
        current.is_some_and(|current| Rc::ptr_eq(current, configuration))
    }

    /// Tells a caller what happened, in the names of the configuration in force.
    pub(crate) fn tell(
        &mut self,
        fault: &Fault<'_>,
        head: &Head,
        id: Option<&[u8]>,
        is_modern: bool,
        out: &mut Vec<u8>,
    ) {
        let configuration = self.configuration.as_deref().map(Arc::as_ref);
        self.teller.answer(configuration, fault, head, id, is_modern, out);
    }

    /// Tells that the log took no record, or not in time.
    pub(crate) fn log_fault(&self) -> Box<str> {
        match self.ledger.is_open() {
            Err(why) => why.to_string().into(),
            Ok(()) => "the record of this call did not become durable".into(),
        }
    }

    /// The kill in force of whoever calls: it refuses every method.
    pub(crate) fn kill_of_caller(&self, caller: &Admitted, wall: WallNanos) -> Option<Arc<Kill>> {
        self.kills.of_caller(&caller.kill_keys(), wall).cloned()
    }

    /// The kill in force of a tool or its server: it refuses calls, and hides nothing from lists.
    pub(crate) fn kill_of_tool(
        &self,
        server: ServerIndex,
        tool: ToolIndex,
        configuration: &Shared,
        wall: WallNanos,
    ) -> Option<Arc<Kill>> {
        if self.is_current(configuration) {
            return self.kills.of_tool(server, tool, wall).cloned();
        }
        // The call began under another bundle, whose numbers mean other tools: go by name.
        let (_, tool) = configuration.table.tool(tool)?;
        let server = configuration.table.server(server)?;
        let current = self.configuration.as_ref()?;
        let server_now = current.find_server(server)?;
        let tool_now = current.table.find_tool(server_now, tool.as_bytes())?;
        self.kills.of_tool(server_now, tool_now, wall).cloned()
    }

    /// Takes one call from every bucket that counts it, or from none.
    pub(crate) fn take_quotas<'m>(
        &mut self,
        asked: &Asked<'_>,
        server: ServerIndex,
        tool: ToolIndex,
    ) -> Result<(), Refusal<'m>> {
        let now = asked.now;
        let Some(configuration) = &self.configuration else { return Ok(()) };
        self.wanted.clear();
        self.wanted_rules.clear();
        for Counted { quota, bucket, .. } in &asked.caller.counted {
            let Some(rule) = configuration.quotas.get(*quota) else { continue };
            if !rule.counts(server, tool) {
                continue;
            }
            let per_tool = rule.per == dataplane_bundle::Per::CallerTool;
            let key = if per_tool { bucket.with_tool(tool.0) } else { *bucket };
            self.wanted.push((key, rule.limit));
            self.wanted_rules.push(*quota);
        }
        self.quotas.take_all(&self.wanted, 1, now.mono).map_err(|refused| {
            self.counters.over_quota += 1;
            let quota = self.wanted_rules.get(refused.limit).copied().unwrap_or(usize::MAX);
            self.on_over_quota(asked, quota, refused.why);
            Refusal::Quota { quota, wait_ms: wait_ms(refused.why, now) }
        })
    }

    /// A client has ended its session: told to this core now, to the others by the shell.
    pub(crate) fn end_session(&mut self, session: [u8; 16]) {
        self.ended.insert(session);
        self.upstream_sessions.forget_client(&session);
        self.announcements.push_back(Announcement::SessionEnded(session));
    }

    /// A client has cancelled a request of its session, wherever that runs.
    pub(crate) fn cancel(&mut self, session: [u8; 16], id: &[u8]) {
        self.announcements.push_back(Announcement::Cancelled { session, id: id.into() });
    }

    /// The secret that is injected at a server; `None` where none is.
    pub(crate) fn lend(
        &self,
        server: ServerIndex,
        wall: WallNanos,
    ) -> Result<Option<&[u8]>, ServerFault> {
        let Some(Some(index)) = self.secrets.get(usize::from(server.0)) else { return Ok(None) };
        self.leases.lend(*index, wall).map(Some).map_err(|fault| match fault.why {
            dataplane_vault::Why::Expired { since } => ServerFault::LeaseExpired { since },
            dataplane_vault::Why::Missing | dataplane_vault::Why::Revoked => ServerFault::NoLease,
        })
    }

    /// Whether a server is worth asking; else in how many milliseconds.
    pub(crate) fn may_try(&mut self, server: ServerIndex, now: Nanos) -> Result<(), u64> {
        match self.health.get_mut(usize::from(server.0)) {
            Some(health) => {
                health.may_try(now).map_err(|at| at.since(now).div_ceil(1_000_000).max(1))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn on_server_success(&mut self, server: ServerIndex) {
        if let Some(health) = self.health.get_mut(usize::from(server.0)) {
            health.on_success();
        }
    }

    pub(crate) fn on_server_failure(&mut self, server: ServerIndex, now: Nanos) {
        if let Some(health) = self.health.get_mut(usize::from(server.0)) {
            health.on_failure(now);
        }
    }
}
