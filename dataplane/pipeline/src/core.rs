//! What one core knows and has: the configuration, the callers, the quotas, the leases, the ledger.
//!
//! A core is used by one thread; what cores share is given to each (buckets, the sealing key) and is
//! free of locks. The shell tells it of changes by `on_*`; connections ask it on each request.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use dataplane_audit::{Batch, BootId, DigestKey, End};
use dataplane_auth::{Cache, MissBudget, TOKENS_CACHED_DEFAULT};
use dataplane_bundle::Lease;
use dataplane_drops::{Keys, Standings};
use dataplane_ingress::Limits;
use dataplane_parse::Parser;
use dataplane_quota::Buckets;
use dataplane_telemetry::{Nanos, WallNanos};
use dataplane_upstream::{Health, HealthState};
use dataplane_vault::Leases;

use crate::admit::verifier;
use crate::configuration::{Configuration, Unfit};
use crate::kills::Kills;
use crate::ladder::Heard;
use crate::ledger::{Ledger, RecordNumber};
use crate::limits::HEARD_MAX;
use crate::passing::Held;
use crate::random::Random;
use crate::session::Sealer;
use crate::stages::{Ended, Stages};
use crate::upstream_sessions::UpstreamSessions;
use crate::wire::Teller;

/// What a core is made with.
pub struct Resources {
    pub lane: u16,
    pub boot: BootId,
    /// Keys the digests of arguments in records.
    pub digest: DigestKey,
    pub quotas: Arc<Buckets>,
    pub misses: Arc<MissBudget>,
    pub sealer: Arc<Sealer>,
    /// Locked memory for leases.
    pub lease_memory: &'static mut [u8],
    /// 32 random bytes of this process and core.
    pub seed: [u8; 32],
    /// The box's, for ladders: cores and their machine mean the same callers.
    pub drop_keys: Keys,
}

/// One core's state.
pub struct Core {
    pub(crate) parser: Parser,
    pub(crate) answers: Parser,
    pub(crate) stages: Stages,
}

/// What one core has to tell the others, itself included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Announcement {
    /// A legacy session is over.
    SessionEnded([u8; 16]),
    /// The request with this id, as it was sent, of this session is cancelled.
    Cancelled { session: [u8; 16], id: Box<[u8]> },
}

/// What this core has counted since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub requests: u64,
    pub refused: u64,
    pub allowed: u64,
    pub denied: u64,
    pub over_quota: u64,
    /// What the ladder's machine was not told for want of room.
    pub heard_lost: u64,
    pub killed: u64,
    pub unauthenticated: u64,
    pub verified: u64,
    pub cache_hits: u64,
    pub answered: u64,
    pub tool_errors: u64,
    pub server_faults: u64,
    pub callers_gone: u64,
}

impl Counters {
    pub(crate) fn on_end(&mut self, end: End) {
        match end {
            End::Answered => self.answered += 1,
            End::ToolError | End::RpcError => self.tool_errors += 1,
            End::ServerFault | End::TimedOut => self.server_faults += 1,
            End::Cancelled | End::CallerGone => self.callers_gone += 1,
            End::Pending | End::Refused => {}
        }
    }
}

impl Core {
    /// A core that refuses everything until it has a configuration.
    ///
    /// # Errors
    /// Never with an empty catalog; passed on rather than panicked over.
    pub fn new(resources: Resources) -> Result<Self, Unfit> {
        let Resources { lane, boot, digest, quotas, misses, sealer, lease_memory, seed, drop_keys } =
            resources;
        let mut random = Random::new(&seed);
        let cache_key = random.bytes16();
        Ok(Self {
            parser: Parser::new(dataplane_parse::Limits::REQUEST),
            answers: Parser::new(dataplane_parse::Limits::ANSWER),
            stages: Stages {
                configuration: None,
                kills: Arc::default(),
                limits: Limits::default(),
                verifier: verifier(&dataplane_bundle::Catalog::default())?,
                callers: Cache::new(TOKENS_CACHED_DEFAULT, cache_key),
                misses,
                epoch: 0,
                quotas,
                sealer,
                ended: Ended::default(),
                upstream_sessions: UpstreamSessions::default(),
                ledger: Ledger::new(boot, lane, digest),
                random,
                counters: Counters::default(),
                is_draining: false,
                announcements: VecDeque::new(),
                held: Held::default(),
                drop_keys,
                standings: Arc::new(Standings::new(drop_keys)),
                heard: VecDeque::with_capacity(HEARD_MAX),
                audience: String::with_capacity(256),
                page: Vec::with_capacity(4_096),
                teller: Teller::default(),
                wanted: Vec::with_capacity(16),
                wanted_rules: Vec::with_capacity(16),
                leases: Leases::new(lease_memory),
                secrets: Vec::new(),
                health: Vec::new(),
            },
        })
    }

    /// A new bundle decides from here on. Calls that run keep the one that they began with.
    ///
    /// # Errors
    /// An identity provider that cannot be used: the bundle is refused, the old one stays.
    pub fn on_configuration(&mut self, configuration: Arc<Configuration>) -> Result<(), Unfit> {
        let stages = &mut self.stages;
        stages.verifier = verifier(&configuration.catalog)?;
        let names = |name: &str| {
            let mut rules = configuration.servers.iter().filter_map(|one| one.inject.as_ref());
            rules.any(|rule| &*rule.secret == name)
        };
        stages.leases.retain(names);
        stages.secrets.clear();
        for server in &configuration.servers {
            let rule = server.inject.as_ref();
            stages.secrets.push(rule.and_then(|rule| stages.leases.index(&rule.secret).ok()));
        }
        stages.health = vec![Health::default(); configuration.servers.len()];
        stages.upstream_sessions.clear();
        let body_bytes = u64::from(configuration.catalog.limits.request_bytes_max);
        stages.limits = Limits { body_bytes, ..Limits::default() };
        let bytes_max = configuration.catalog.limits.request_bytes_max as usize;
        if self.parser.limits().bytes_max != bytes_max {
            let limits = dataplane_parse::Limits { bytes_max, ..dataplane_parse::Limits::REQUEST };
            self.parser = Parser::new(limits);
        }
        let bytes_max = configuration.catalog.limits.answer_bytes_max as usize;
        if self.answers.limits().bytes_max != bytes_max {
            let limits = dataplane_parse::Limits { bytes_max, ..dataplane_parse::Limits::ANSWER };
            self.answers = Parser::new(limits);
        }
        stages.epoch += 1;
        // Until the shell brings a newer list, what is off stays off under the new numbers.
        let kills = &stages.kills;
        let kills = Kills::new(kills.generation, kills.list().clone(), &configuration);
        stages.kills = Arc::new(kills);
        stages.configuration = Some(Rc::new(configuration));
        Ok(())
    }

    /// A new list of kills, made for the configuration in force.
    pub fn on_kills(&mut self, kills: Arc<Kills>) {
        self.stages.kills = kills;
    }

    /// All secrets that are lent to this box. What is not among them is taken back.
    pub fn on_leases(&mut self, leases: &[Lease], wall: WallNanos) {
        let held = &mut self.stages.leases;
        for lease in leases {
            // A lease that is over, or older than what is held, changes nothing: the call that needs
            // it is refused with the lease's own words.
            let _ = held.put(&lease.secret, lease.revision, &lease.value, lease.expires_at, wall);
        }
        let lent = |name: &str| leases.iter().any(|lease| lease.secret == name);
        let configured = self.stages.configuration.as_ref();
        let named = configured.iter().flat_map(|one| one.servers.iter());
        for rule in named.filter_map(|server| server.inject.as_ref()) {
            if !lent(&rule.secret) {
                held.revoke(&rule.secret);
            }
        }
    }

    /// The first `records` of this core are durable.
    pub fn on_durable(&mut self, records: u64) {
        self.stages.ledger.on_durable(records);
    }

    /// The log takes records again, or no longer and why.
    pub fn on_log(&mut self, lost: Option<Box<str>>) {
        self.stages.ledger.on_log(lost);
    }

    /// A legacy session was ended, on whichever core.
    pub fn on_session_ended(&mut self, session: [u8; 16]) {
        self.stages.ended.insert(session);
        self.stages.upstream_sessions.forget_client(&session);
    }

    /// What the shell carries to every core, this one included. Ask until `None`.
    pub fn announcement(&mut self) -> Option<Announcement> {
        self.stages.announcements.pop_front()
    }

    /// What the ladder's machine is to hear. Ask until `None`.
    pub fn heard(&mut self) -> Option<Heard> {
        self.stages.heard.pop_front()
    }

    /// Where callers stand by the machine's last word.
    pub fn on_standings(&mut self, standings: Arc<Standings>) {
        self.stages.standings = standings;
    }

    /// How long the handshake of a connection from here waits; zero for nearly everybody.
    #[must_use]
    pub fn handshake_delay_ms(&self, peer: IpAddr, now: Nanos) -> u64 {
        self.stages.standings.handshake_delay_ms(peer, now)
    }

    /// No new requests are taken.
    pub fn drain(&mut self) {
        self.stages.is_draining = true;
    }

    /// Records that wait to be handed to the log.
    pub fn batch(&mut self) -> &mut Batch {
        self.stages.ledger.batch()
    }

    #[must_use]
    pub fn is_durable(&self, record: RecordNumber) -> bool {
        self.stages.ledger.is_durable(record)
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.stages.counters
    }

    #[must_use]
    pub fn configuration(&self) -> Option<&Arc<Configuration>> {
        self.stages.configuration.as_deref()
    }

    #[must_use]
    pub fn kills(&self) -> &Arc<Kills> {
        &self.stages.kills
    }

    #[must_use]
    pub fn leases_held(&self) -> usize {
        self.stages.leases.held()
    }

    /// Names of the servers that rest after failures.
    #[must_use]
    pub fn resting(&self, now: Nanos) -> Vec<String> {
        let servers = self.configuration().map(|one| one.servers()).unwrap_or_default();
        let resting = |health: &Health| matches!(health.state(now), HealthState::Resting { .. });
        let found = servers.iter().zip(&self.stages.health).filter(|(_, health)| resting(health));
        found.map(|(server, _)| server.name.to_string()).collect()
    }

    /// Whether one more client connection may be held beside those that are open.
    #[must_use]
    pub fn may_accept(&self, open: usize) -> bool {
        let configured = self.configuration().map(|one| one.catalog.limits.connections_max);
        let max = configured.unwrap_or(dataplane_bundle::Limits::default().connections_max);
        open < max as usize
    }
}
