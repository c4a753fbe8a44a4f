//! What the process knows, between the control plane and the cores.
//!
//! A bundle is made ready here, off the cores, and handed to all of them as one piece of news;
//! kills and leases likewise. Nothing here is on the path of a call.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dataplane_audit_writer::Writer;
use dataplane_bundle::drops::{CardPackets, DropOrder, DropsReport};
use dataplane_bundle::message::Status;
use dataplane_bundle::{Bundle, KillList, Lease};
use dataplane_drops::Explained;
use dataplane_pipeline::{Configuration, Kills, Unfit};
use dataplane_sync::{BackedOut, Sink};

use crate::addresses::Addresses;
use crate::ladder::Ladder;
use crate::mailbox::{Deployment, Mailbox, News};
use crate::snapshot::Snapshot;
use crate::tls;

pub(crate) struct Hub {
    mailboxes: Arc<Vec<Mailbox>>,
    pub snapshots: Vec<Arc<Mutex<Snapshot>>>,
    pub log: Arc<Writer>,
    pub ladder: Ladder,
    state: Mutex<State>,
    start: Instant,
}

#[derive(Default)]
struct State {
    deployment: Option<Arc<Deployment>>,
    kill_list: KillList,
    generation: u64,
    bundles_refused: u64,
    /// Until a newer bundle is taken.
    backed_out: Option<BackedOut>,
}

impl Hub {
    pub(crate) fn new(
        mailboxes: Arc<Vec<Mailbox>>,
        snapshots: Vec<Arc<Mutex<Snapshot>>>,
        log: Arc<Writer>,
        ladder: Ladder,
    ) -> Self {
        Self { mailboxes, snapshots, log, ladder, state: Mutex::default(), start: Instant::now() }
    }

    pub(crate) fn tell_all(&self, news: &News) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(news.clone());
        }
    }

    /// Makes a bundle ready and hands it out.
    ///
    /// # Errors
    /// Why it cannot be used; what was in force stays.
    pub(crate) fn deploy(&self, bundle: Bundle) -> Result<(), String> {
        self.hand_out(Self::ready(Configuration::new(bundle)))
    }

    /// Hands out a bundle that was made ready, or counts that it could not be.
    ///
    /// # Errors
    /// Those of making it ready.
    pub(crate) fn hand_out(&self, made: Result<Arc<Deployment>, String>) -> Result<(), String> {
        let mut state = self.state();
        let deployment = made.inspect_err(|_| state.bundles_refused += 1)?;
        let revision = deployment.configuration.revision;
        state.backed_out = state.backed_out.filter(|backed_out| revision < backed_out.revision);
        state.deployment = Some(Arc::clone(&deployment));
        let kills = state.kills(&deployment.configuration);
        self.ladder.on_configuration(Arc::clone(&deployment.configuration));
        self.tell_all(&News::Deployment { deployment, kills });
        Ok(())
    }

    /// Everything that does not need the cores.
    ///
    /// # Errors
    /// Why the configuration cannot be used.
    pub(crate) fn ready(made: Result<Configuration, Unfit>) -> Result<Arc<Deployment>, String> {
        let configuration = Arc::new(made.map_err(|unfit| unfit.to_string())?);
        let client_tls = tls::for_servers(&configuration).map_err(|fault| fault.to_string())?;
        let addresses = Addresses::of(&configuration);
        Ok(Arc::new(Deployment { configuration, client_tls, addresses }))
    }

    /// What was put off at the start: nobody's call is to wait for it.
    pub(crate) fn read_definitions(&self) {
        let deployment = self.state().deployment.clone();
        if let Some(Err(fault)) = deployment.map(|one| one.configuration.read_definitions()) {
            tracing::error!(%fault, "a tool is not listed; have its server's tools approved again");
        }
    }

    /// The box went back from a bundle that it died by.
    pub(crate) fn on_backed_out(&self, backed_out: BackedOut) {
        self.state().backed_out = Some(backed_out);
    }

    pub(crate) fn backed_out(&self) -> Option<BackedOut> {
        self.state().backed_out
    }

    pub(crate) fn kill(&self, list: &KillList) {
        let mut state = self.state();
        state.kill_list = list.clone();
        self.ladder.on_kills(list);
        if let Some(deployment) = state.deployment.clone() {
            let kills = state.kills(&deployment.configuration);
            self.tell_all(&News::Kills(kills));
        }
    }

    pub(crate) fn server_names(&self) -> Vec<String> {
        let deployment = self.state().deployment.clone();
        let servers = deployment.as_ref().map(|one| one.configuration.servers());
        servers.unwrap_or_default().iter().map(|server| server.name.to_string()).collect()
    }

    pub(crate) fn bundles_refused(&self) -> u64 {
        self.state().bundles_refused
    }

    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let read =
            |one: &Arc<Mutex<Snapshot>>| one.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.snapshots.iter().map(read).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kills(&mut self, configuration: &Configuration) -> Arc<Kills> {
        self.generation += 1;
        Arc::new(Kills::new(self.generation, self.kill_list.clone(), configuration))
    }
}

impl Sink for Hub {
    fn on_bundle(&self, bundle: Bundle) -> Result<(), String> {
        let revision = bundle.revision;
        let deployed = self.deploy(bundle);
        match &deployed {
            Ok(()) => tracing::info!(%revision, "a new bundle decides"),
            Err(reason) => tracing::error!(%revision, reason, "a bundle was refused"),
        }
        deployed
    }

    fn on_kills(&self, kills: &KillList) {
        self.kill(kills);
        tracing::info!(serial = kills.serial, kills = kills.kills.len(), "kills in force");
    }

    fn on_leases(&self, leases: Vec<Lease>) {
        self.tell_all(&News::Leases(Arc::new(leases)));
    }

    fn drops(&self) -> Option<DropsReport> {
        let report = self.ladder.report();
        let cards = report.card.into_iter().collect();
        Some(DropsReport::new(report.listed, report.counters, report.fill, cards))
    }

    fn on_drop_order(&self, order: &DropOrder) -> Result<u32, String> {
        self.ladder.on_order(order)
    }

    fn explain_address(&self, address: IpAddr) -> Option<Explained> {
        self.ladder.explain(address)
    }

    fn packets(&self) -> Vec<CardPackets> {
        self.ladder.packets()
    }

    fn status(&self) -> Status {
        let snapshots = self.snapshots();
        let sum = |pick: fn(&Snapshot) -> u64| snapshots.iter().map(pick).sum();
        let mut trouble = Vec::new();
        trouble.extend(self.backed_out().map(|backed_out| backed_out.to_string()));
        if let Some(fault) = self.log.fault() {
            trouble.push(fault.to_string());
        }
        for name in snapshots.iter().flat_map(|one| &one.resting) {
            let text = format!("server {name} rests after failures");
            if !trouble.contains(&text) {
                trouble.push(text);
            }
        }
        Status {
            uptime_s: self.start.elapsed().as_secs(),
            calls: sum(|one| one.counters.requests),
            allowed: sum(|one| one.counters.allowed),
            denied: sum(|one| one.counters.denied),
            over_quota: sum(|one| one.counters.over_quota),
            killed: sum(|one| one.counters.killed),
            faults: sum(|one| one.counters.server_faults),
            connections: sum(|one| one.connections),
            in_flight: 0,
            records_durable: self.log.size(),
            resident_bytes: resident_bytes(),
            trouble: trouble.join("; "),
        }
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
