//! A box under a seed: the scheduler, the news, and the end, at which everything must come to rest.

use std::sync::{Arc, OnceLock};

use dataplane_bundle::{Kill, KillList, KillTarget};
use dataplane_pipeline::{Announcement, Configuration, Kills};
use dataplane_telemetry::{Nanos, Now, WallNanos};

use crate::core_sim::CoreSim;
use crate::link::Link;
use crate::model::{Policy, TOOLS, has_server, secret, spec};
use crate::scene::{Scene, Seen};
use crate::{Compiled, Mix, Seed, Shared, lease};

/// Steps in which anything may happen.
const STEPS: u64 = 300;
/// Turns within which everything rests once faults have stopped.
const TURNS_TO_REST_MAX: u64 = 2_000;
const MS: u64 = 1_000_000;

/// How a run went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Equal runs have equal traces.
    pub trace: u64,
    pub seen: Seen,
}

/// One run.
pub struct Swarm<'c> {
    scene: Scene<'c>,
    cores: Vec<CoreSim>,
    links: Vec<Link>,
    made: u64,
    had_log_trouble: bool,
    leases: u64,
}

/// Both bundles, compiled once.
fn compiled() -> &'static [Compiled; 2] {
    static COMPILED: OnceLock<[Compiled; 2]> = OnceLock::new();
    COMPILED.get_or_init(|| [Policy::A, Policy::B].map(|policy| Compiled::new(&spec(policy))))
}

impl Swarm<'static> {
    /// Runs a seed from its start to its rest.
    ///
    /// # Panics
    /// When an invariant does not hold.
    #[must_use]
    pub fn run(seed: u64) -> Outcome {
        let mut swarm = Self::new(seed);
        for _ in 0..STEPS {
            swarm.step();
        }
        swarm.rest();
        Outcome { trace: swarm.scene.trace, seen: swarm.scene.seen }
    }

    fn new(seed: u64) -> Self {
        let mut seed = Seed::new(seed);
        let mix = Mix::of(&mut seed);
        let now = Now { mono: Nanos(1_000_000_000), wall: WallNanos::from_secs(1_790_000_000) };
        let shared = Shared::default();
        let cores =
            (0..mix.cores).map(|lane| CoreSim::new(shared.core(lane as u16, 4_096))).collect();
        let scene = Scene {
            seed,
            mix,
            now,
            step: 1,
            policy: Policy::A,
            compiled: compiled(),
            kills: Vec::new(),
            is_draining: false,
            swapped: 0,
            killed: 0,
            log_trouble: 0,
            session_ended: 0,
            may_send: Default::default(),
            sent: Default::default(),
            sessions: Vec::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            seen: Seen::default(),
        };
        let mut swarm =
            Self { scene, cores, links: Vec::new(), made: 0, had_log_trouble: false, leases: 0 };
        swarm.deploy(Policy::A);
        for _ in 0..mix.connections {
            swarm.connect();
        }
        swarm
    }

    fn connect(&mut self) {
        self.made += 1;
        self.links.push(Link::new(&mut self.scene, self.made));
    }

    fn step(&mut self) {
        self.scene.step += 1;
        let mix = self.scene.mix;
        self.news(&mix);
        if !self.scene.seed.per_mille(mix.log_stalls * 10) {
            self.commit();
        }
        let ms = if self.scene.seed.per_mille(mix.jumps) { 90_000 } else { 20 };
        self.pass_ms(ms);
        if !self.links.is_empty() {
            let place = self.scene.seed.below(self.links.len() as u64) as usize;
            self.turn(place, true);
        }
    }

    fn turn(&mut self, place: usize, asks: bool) {
        let link = &mut self.links[place];
        let core = &mut self.cores[link.core];
        let goes_on = link.turn(&mut self.scene, core, asks);
        if !goes_on {
            self.links.swap_remove(place);
            if asks && !self.scene.is_draining {
                self.connect();
            }
        }
        self.announce();
    }

    /// Carries what one core has to tell to all of them.
    fn announce(&mut self) {
        let mut news = Vec::new();
        for core in &mut self.cores {
            while let Some(announcement) = core.core.announcement() {
                news.push(announcement);
            }
        }
        for announcement in news {
            if let Announcement::SessionEnded(session) = &announcement {
                self.cores.iter_mut().for_each(|core| core.core.on_session_ended(*session));
            }
            for link in &mut self.links {
                link.on_announcement(&mut self.scene, &mut self.cores[link.core], &announcement);
            }
        }
    }

    fn news(&mut self, mix: &Mix) {
        if self.scene.seed.per_mille(mix.swaps) {
            let other = if self.scene.policy == Policy::A { Policy::B } else { Policy::A };
            self.deploy(other);
        }
        if self.scene.seed.per_mille(mix.kills) {
            self.change_kills();
        }
        if !self.scene.kills.is_empty() {
            self.scene.killed = self.scene.step;
        }
        if self.scene.seed.per_mille(mix.leases) {
            let has_leases = self.scene.seed.per_mille(500);
            self.lend(has_leases);
        }
        for place in 0..self.cores.len() {
            let is_lost = !self.cores[place].is_lost;
            // It comes back sooner than it fails.
            if self.scene.seed.per_mille(if is_lost { mix.log_fails } else { 100 }) {
                self.cores[place].set_lost(is_lost);
            }
            if self.cores[place].is_lost {
                (self.scene.log_trouble, self.had_log_trouble) = (self.scene.step, true);
            }
        }
        if mix.drains && self.scene.step > STEPS / 2 && !self.scene.is_draining {
            self.scene.is_draining = true;
            self.cores.iter_mut().for_each(|core| core.core.drain());
        }
    }

    fn deploy(&mut self, policy: Policy) {
        (self.scene.policy, self.scene.swapped) = (policy, self.scene.step);
        for core in &mut self.cores {
            core.core.on_configuration(Arc::clone(configuration(policy))).unwrap();
        }
        self.lend(true);
        self.tell_kills();
    }

    fn lend(&mut self, has_leases: bool) {
        self.leases += 1;
        let wall = self.scene.now.wall;
        let servers = ["aaa", "crm", "old"].into_iter();
        let servers = servers.filter(|server| has_leases && has_server(self.scene.policy, server));
        let leases: Vec<_> = servers
            .map(|server| lease(server, secret(server).as_bytes(), self.leases, wall))
            .collect();
        self.cores.iter_mut().for_each(|core| core.core.on_leases(&leases, wall));
    }

    fn change_kills(&mut self) {
        if !self.scene.kills.is_empty() {
            self.scene.kills.clear();
            return self.tell_kills();
        }
        let (server, tool, _) = TOOLS[self.scene.seed.below(TOOLS.len() as u64) as usize];
        let tenant = || "acme".to_owned();
        let target = match self.scene.seed.below(6) {
            0 => KillTarget::Server { server: server.into() },
            1 => KillTarget::Tenant { tenant: tenant() },
            2 => KillTarget::User { tenant: tenant(), user: "ann".into() },
            3 => KillTarget::Agent { tenant: tenant(), agent: "bot".into() },
            _ => KillTarget::Tool { server: server.into(), tool: tool.into() },
        };
        self.scene.kills.push(Kill {
            id: "k-1".into(),
            target,
            reason: "simulated".into(),
            author: "sim".into(),
            at: WallNanos(0),
            expires_at: None,
        });
        self.tell_kills();
    }

    fn tell_kills(&mut self) {
        self.scene.killed =
            self.scene.killed.max(if self.scene.kills.is_empty() { 0 } else { self.scene.step });
        let list =
            KillList { serial: 1, created_at: WallNanos(0), kills: self.scene.kills.clone() };
        let kills = Arc::new(Kills::new(1, list, configuration(self.scene.policy)));
        self.cores.iter_mut().for_each(|core| core.core.on_kills(Arc::clone(&kills)));
        for link in &mut self.links {
            link.on_change(&mut self.scene, &mut self.cores[link.core]);
        }
    }

    fn commit(&mut self) {
        for core in &mut self.cores {
            if !core.is_lost {
                core.commit(1 + self.scene.seed.below(4));
            }
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        let now = &mut self.scene.now;
        *now = Now { mono: now.mono.plus(ms * MS), wall: WallNanos(now.wall.0 + ms * MS) };
        for link in &mut self.links {
            link.on_time(&mut self.scene, &mut self.cores[link.core]);
        }
    }

    /// Faults stop; then everything that was begun ends, with its outcome on record.
    fn rest(&mut self) {
        self.scene.mix = Mix { cores: self.cores.len(), ..Mix::default() };
        self.scene.kills.clear();
        self.tell_kills();
        self.cores.iter_mut().for_each(|core| core.set_lost(false));
        self.lend(true);
        for turn in 0.. {
            self.scene.step += 1;
            self.commit();
            let quiet = |link: &Link| link.is_quiet(&self.cores[link.core]);
            let busy: Vec<_> =
                (0..self.links.len()).filter(|place| !quiet(&self.links[*place])).collect();
            let Some(place) = busy.get(turn as usize % busy.len().max(1)) else { break };
            assert!(
                turn < TURNS_TO_REST_MAX,
                "no rest: {}",
                self.links[*place].describe(self.scene.policy)
            );
            self.turn(*place, false);
            self.pass_ms(if turn % 50 == 49 { 30_000 } else { 20 });
        }
        for core in &mut self.cores {
            let bytes = core.hand_over();
            assert!(bytes.is_empty(), "records that nobody handed over");
            let unfinished = core.unfinished();
            assert!(unfinished == 0 || self.had_log_trouble, "{unfinished} calls without outcome");
        }
    }
}

fn configuration(policy: Policy) -> &'static Arc<Configuration> {
    &compiled()[policy as usize].configuration
}
