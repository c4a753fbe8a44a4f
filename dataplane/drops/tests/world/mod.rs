//! One box with a few callers, for tests that tell a story.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;

use dataplane_drops::{
    Attribution, Cause, Change, DropRule, Drops, Event, Flow, Keys, LadderRule, Names, Owner, Per,
    Prefix, Refusal, Rung, Settings, Standing, Standings, Subject, Target,
};
use dataplane_telemetry::{Nanos, Now, WallNanos};

pub(crate) const MS: u64 = 1_000_000;

pub(crate) struct World {
    pub(crate) keys: Keys,
    pub(crate) drops: Drops,
    pub(crate) now: Now,
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Event>,
}

pub(crate) const ANN: Names<'static> =
    Names { tenant: "acme", user: Some("ann"), agent: Some("bot") };
pub(crate) const BOB: Names<'static> =
    Names { tenant: "acme", user: Some("bob"), agent: Some("bot") };
pub(crate) const ZOE: Names<'static> = Names { tenant: "zeta", user: Some("zoe"), agent: None };

/// Slow after 3, drop after 2 more, for 1 s, 2 s, 4 s, 5 s.
pub(crate) fn rule() -> LadderRule {
    LadderRule {
        ignored_refusals: 3,
        window_ms: 1_000,
        grace_ms: 100,
        calm_ms: 10_000,
        drop: Some(DropRule {
            ignored_refusals: 2,
            drop_ms_first: 1_000,
            drop_growth_percent: 200,
            drop_ms_max: 5_000,
            flows_before_source: 2,
        }),
        ..LadderRule::default()
    }
}

/// Small tables, so that walks are quick.
pub(crate) fn settings() -> Settings {
    Settings {
        attribution: Attribution { certain_after_ms: 10_000, ..Attribution::default() },
        subjects_max: 64,
        told_max: 64,
        flows_max: 128,
        sources_max: 64,
        entries_max: 128,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let keys = Keys::new(*b"any process' key");
        let drops = Drops::new(settings(), keys).unwrap();
        let now = Now { mono: Nanos(1_000_000 * MS), wall: WallNanos::from_secs(1_800_000_000) };
        Self { keys, drops, now, changes: Vec::new(), events: Vec::new() }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now.mono.0 += ms * MS;
        self.now.wall.0 += ms * MS;
        self.drops.on_timer(self.now);
        self.fetch();
    }

    pub(crate) fn subject(&self, names: Names<'_>, per: Per, rule: LadderRule) -> Arc<Subject> {
        let cause = Cause::Quota("agents".into());
        let counts_all = rule.check(true).unwrap();
        Arc::new(self.keys.subject(cause, per, names, counts_all).unwrap())
    }

    pub(crate) fn kill(&self, names: Names<'_>, rule: LadderRule) -> Arc<Subject> {
        let rule = rule.check(true).unwrap();
        let cause = Cause::Kill("stop".into());
        Arc::new(self.keys.subject(cause, Per::Tenant, names, rule).unwrap())
    }

    pub(crate) fn owner(&self, names: Names<'_>) -> Owner {
        self.keys.owner(names)
    }

    /// Somebody calls on a connection of its own.
    pub(crate) fn seen(&mut self, names: Names<'_>, flow: Flow) {
        let owner = self.owner(names);
        self.drops.on_authenticated(&flow, &owner, &owner, self.now);
        self.fetch();
    }

    /// A call is refused, on a connection of its caller's own, and told to wait.
    pub(crate) fn refused(
        &mut self,
        subject: &Arc<Subject>,
        names: Names<'_>,
        flow: Flow,
        wait_ms: u64,
    ) -> Rung {
        let owner = self.owner(names);
        let told_until = self.now.mono.plus(wait_ms * MS);
        let (subject, at) = (Arc::clone(subject), self.now.mono);
        let refusal = Refusal { subject, caller: owner, flow_owner: owner, flow, at, told_until };
        let rung = self.drops.on_refused(&refusal, self.now);
        self.fetch();
        rung
    }

    /// Tells once, then hears calls that ignore it until the rung is reached.
    pub(crate) fn climb(&mut self, subject: &Arc<Subject>, names: Names<'_>, flow: Flow, to: Rung) {
        let mut rung = self.refused(subject, names, flow, 60_000);
        self.wait(100);
        for _ in 0..100 {
            if rung >= to {
                return;
            }
            rung = self.refused(subject, names, flow, 60_000);
        }
        panic!("stays at {rung:?}");
    }

    pub(crate) fn standing(&self, subject: &Subject) -> Standing {
        self.standings().of(subject, self.now.mono)
    }

    pub(crate) fn standings(&self) -> Standings {
        let mut standings = Standings::new(self.keys);
        self.drops.write_standings(&mut standings, self.now.mono);
        standings
    }

    pub(crate) fn fetch(&mut self) {
        self.changes.extend(std::iter::from_fn(|| self.drops.poll_change()));
        self.events.extend(std::iter::from_fn(|| self.drops.poll_event()));
    }

    /// What the card drops now, in words.
    pub(crate) fn dropped(&self) -> Vec<String> {
        let listed = self.drops.list(&dataplane_drops::Select::All, self.now);
        let mut targets: Vec<String> = listed.iter().map(|one| one.target.to_string()).collect();
        targets.sort();
        targets
    }
}

pub(crate) fn flow(peer: &str, port: u16) -> Flow {
    let peer = SocketAddr::new(peer.parse().unwrap(), port);
    Flow::new(peer, "198.51.100.1:443".parse().unwrap())
}

pub(crate) fn prefix(text: &str, bits: u8) -> Target {
    Target::Prefix(Prefix::new(text.parse().unwrap(), bits).unwrap())
}
