//! A control plane and appliances in one process, over real QUIC on the loopback address.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use controlplane_rollout::{Authority, Config, Directory, Report, Rollout, Secret};
use dataplane_bundle::drops::{CardPackets, DropOrder, DropsReport, Order};
use dataplane_bundle::message::{Certified, Records, Status};
use dataplane_bundle::{
    ApplianceId, Bundle, Catalog, Draft, EnrolmentToken, GatewaySettings, Kill, KillList,
    KillTarget, Lease, Revision, Signer,
};
use dataplane_drops::Explained;
use dataplane_sync::{Dirs, Handle, RecordSource, Sink};
use dataplane_telemetry::WallNanos;

/// Longer than anything here takes, even where two cores build something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn wall() -> WallNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    WallNanos(since.as_nanos() as u64)
}

pub(crate) fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn id(name: &str) -> ApplianceId {
    ApplianceId::new(name).unwrap()
}

/// A bundle's contents; `table_bytes` makes it as large as wanted.
pub(crate) fn draft(revision: u64, table_bytes: usize) -> Arc<Draft> {
    let gateway = GatewaySettings {
        public_url: "https://gateway.example.com".to_owned(),
        hosts: vec!["gateway.example.com".to_owned()],
        origins: vec![],
    };
    let catalog = Catalog { gateway, ..Catalog::default() };
    Arc::new(Draft::new(Revision(revision), wall(), vec![7; table_bytes], &catalog, &[]).unwrap())
}

pub(crate) fn kills(serial: u64) -> KillList {
    let kill = Kill {
        id: format!("k{serial}"),
        target: KillTarget::Server { server: "crm".to_owned() },
        reason: "a test".to_owned(),
        author: "ann".to_owned(),
        at: wall(),
        expires_at: None,
    };
    KillList { serial, created_at: wall(), kills: vec![kill] }
}

/// The store, in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    /// Secret of each token that was not used yet.
    pub(crate) tokens: BTreeMap<String, ApplianceId>,
    pub(crate) certificates: BTreeSet<[u8; 32]>,
    pub(crate) removed: BTreeSet<ApplianceId>,
    pub(crate) bundle: Option<Arc<Draft>>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) reports: Vec<(ApplianceId, Report)>,
    /// Questions that fail before one is answered.
    pub(crate) failing: u32,
    /// Panics when this is asked for its bundle.
    pub(crate) panics_for: Option<ApplianceId>,
}

impl Memory {
    /// Waits until something was reported.
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn(&State) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap_or_else(|broken| broken.into_inner());
        while !is(&state) {
            let left = until.checked_duration_since(Instant::now());
            let Some(left) = left else { panic!("{what}: {:#?}", state.reports) };
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    pub(crate) fn reported(&self, appliance: &str, is: impl Fn(&Report) -> bool) {
        let appliance = id(appliance);
        self.wait_for("not reported", |state| {
            state.reports.iter().any(|(from, report)| *from == appliance && is(report))
        });
    }
}

impl Directory for Memory {
    async fn redeem(&self, secret: &str, _: SocketAddr) -> Result<ApplianceId, String> {
        let found = self.state.lock().unwrap().tokens.remove(secret);
        found.ok_or("this enrolment token is unknown, expired, or was used".to_owned())
    }

    async fn certified(
        &self,
        _: &ApplianceId,
        sha256: [u8; 32],
        _: &Certified,
    ) -> Result<(), String> {
        self.state.lock().unwrap().certificates.insert(sha256);
        self.changed.notify_all();
        Ok(())
    }

    async fn admit(&self, appliance: &ApplianceId, sha256: [u8; 32]) -> Result<(), String> {
        let state = self.state.lock().unwrap();
        if state.removed.contains(appliance) {
            return Err(format!("appliance {appliance} was removed"));
        }
        let known = state.certificates.contains(&sha256);
        if known { Ok(()) } else { Err("this certificate was never issued".to_owned()) }
    }

    async fn bundle(&self, appliance: &ApplianceId) -> Result<Option<Arc<Draft>>, String> {
        let mut state = self.state.lock().unwrap_or_else(|broken| broken.into_inner());
        if state.panics_for.as_ref() == Some(appliance) {
            drop(state);
            panic!("asked to");
        }
        if state.failing > 0 {
            state.failing -= 1;
            return Err("the database is away".to_owned());
        }
        Ok(state.bundle.clone())
    }

    async fn secrets(&self, _: &ApplianceId) -> Result<Vec<Secret>, String> {
        Ok(self.state.lock().unwrap().secrets.clone())
    }

    async fn records_next(&self, _: &ApplianceId) -> Result<u64, String> {
        Ok(self.state.lock().unwrap().records.len() as u64)
    }

    async fn keep_records(&self, _: &ApplianceId, batch: Records) -> Result<u64, String> {
        let mut state = self.state.lock().unwrap();
        let next = state.records.len() as u64;
        assert_eq!(batch.first_index, next, "batches follow each other");
        state.records.extend(batch.records);
        self.changed.notify_all();
        Ok(state.records.len() as u64)
    }

    fn report(&self, appliance: &ApplianceId, report: Report) {
        let mut state = self.state.lock().unwrap_or_else(|broken| broken.into_inner());
        state.reports.push((appliance.clone(), report));
        self.changed.notify_all();
    }
}

/// A control plane that can be stopped and started again on its port.
pub(crate) struct Control {
    pub(crate) memory: Arc<Memory>,
    pub(crate) rollout: Rollout,
    pub(crate) address: SocketAddr,
    runtime: tokio::runtime::Runtime,
    authority: Vec<u8>,
}

impl Control {
    pub(crate) fn start() -> Self {
        let authority = Authority::create(wall()).unwrap().to_secret().to_vec();
        Self::on((Ipv4Addr::LOCALHOST, 0).into(), Arc::default(), authority, &kills(1))
    }

    pub(crate) fn wait<F: Future>(&self, asked: F) -> F::Output {
        self.runtime.block_on(asked)
    }

    fn on(listen: SocketAddr, memory: Arc<Memory>, secret: Vec<u8>, kills: &KillList) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let authority = Authority::from_secret(&secret).unwrap();
        let config = Config { retry_ms: 200, ..Config::new(listen) };
        let rollout = Rollout::start(config, authority, signer(1), kills, memory.clone()).unwrap();
        let address = rollout.local_addr().unwrap();
        drop(_inside);
        Self { memory, rollout, address, runtime, authority: secret }
    }

    /// The same control plane in a new process: same port, store and authority.
    pub(crate) fn restart(self, kills: &KillList) -> Self {
        let Self { memory, rollout, address, runtime, authority } = self;
        runtime.block_on(rollout.stop());
        drop(rollout);
        runtime.shutdown_timeout(PATIENCE);
        Self::on(address, memory, authority, kills)
    }

    pub(crate) fn stop(self) -> (Arc<Memory>, Vec<u8>, SocketAddr) {
        self.runtime.block_on(self.rollout.stop());
        self.runtime.shutdown_timeout(PATIENCE);
        (self.memory, self.authority, self.address)
    }

    pub(crate) fn started(stopped: (Arc<Memory>, Vec<u8>, SocketAddr), kills: &KillList) -> Self {
        Self::on(stopped.2, stopped.0, stopped.1, kills)
    }

    pub(crate) fn token(&self, appliance: &str) -> EnrolmentToken {
        let token = self.rollout.enrolment_token().unwrap();
        self.memory.state.lock().unwrap().tokens.insert(token.secret.clone(), id(appliance));
        token
    }

    pub(crate) fn enrol(&self, appliance: &str, dirs: &Dirs) {
        let token = self.token(appliance);
        let enrolled = dataplane_sync::enrol(dirs, &self.address.to_string(), &token).unwrap();
        assert_eq!(enrolled, id(appliance));
    }

    pub(crate) fn push(&self, draft: Arc<Draft>) {
        self.memory.state.lock().unwrap().bundle = Some(draft);
        self.rollout.bundles_changed();
    }
}

/// A dataplane that remembers what it was handed.
#[derive(Default)]
pub(crate) struct Gateway {
    pub(crate) seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) bundles: Vec<Bundle>,
    pub(crate) kills: Vec<(KillList, Instant)>,
    pub(crate) leases: Vec<Vec<Lease>>,
    /// Refuses bundles with this reason.
    pub(crate) refusing: Option<String>,
    /// A bundle is being tried, and how long it may take: until this is false.
    pub(crate) trying: bool,
    pub(crate) hold: bool,
    pub(crate) panicking: bool,
    /// What it drops; none: it drops nobody.
    pub(crate) drops: Option<DropsReport>,
    pub(crate) packets: Vec<CardPackets>,
    pub(crate) orders: Vec<DropOrder>,
    /// Carries orders out when this is false.
    pub(crate) hold_orders: bool,
}

impl Gateway {
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn(&Seen) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap();
        while !is(&seen) {
            let left = until.checked_duration_since(Instant::now());
            let Some(left) = left else { panic!("{what}") };
            seen = self.changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    pub(crate) fn active(&self, revision: u64) {
        self.wait_for(&format!("revision {revision}"), |seen| {
            seen.bundles.last().is_some_and(|bundle| bundle.revision == Revision(revision))
        });
    }

    pub(crate) fn killed(&self, serial: u64) {
        self.wait_for(&format!("kill list {serial}"), |seen| {
            seen.kills.last().is_some_and(|(list, _)| list.serial == serial)
        });
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Sink for Gateway {
    fn on_bundle(&self, bundle: Bundle) -> Result<(), String> {
        let mut seen = self.seen.lock().unwrap();
        seen.trying = true;
        self.changed.notify_all();
        while seen.hold {
            seen = self.changed.wait_timeout(seen, PATIENCE).unwrap().0;
        }
        seen.trying = false;
        if seen.panicking {
            drop(seen);
            panic!("asked to");
        }
        if let Some(reason) = &seen.refusing {
            return Err(reason.clone());
        }
        seen.bundles.push(bundle);
        self.changed.notify_all();
        Ok(())
    }

    fn on_kills(&self, kills: &KillList) {
        self.seen.lock().unwrap().kills.push((kills.clone(), Instant::now()));
        self.changed.notify_all();
    }

    fn on_leases(&self, leases: Vec<Lease>) {
        self.seen.lock().unwrap().leases.push(leases);
        self.changed.notify_all();
    }

    fn status(&self) -> Status {
        Status { calls: 42, ..Status::default() }
    }

    fn drops(&self) -> Option<DropsReport> {
        self.seen.lock().unwrap().drops.clone()
    }

    fn on_drop_order(&self, order: &DropOrder) -> Result<u32, String> {
        let mut seen = self.seen.lock().unwrap();
        seen.orders.push(order.clone());
        self.changed.notify_all();
        while seen.hold_orders {
            seen = self.changed.wait_timeout(seen, PATIENCE).unwrap().0;
        }
        match &order.order {
            Order::Release(_) => Ok(3),
            Order::Pin { drop, .. } => Err(format!("there is no drop {drop}")),
        }
    }

    fn explain_address(&self, address: IpAddr) -> Option<Explained> {
        let rows = self.seen.lock().unwrap().drops.as_ref()?.rows.clone();
        let entries = rows.into_iter().map(|row| row.listed(wall())).collect();
        let sentence = format!("{address} is shared.");
        Some(Explained { address, seen: dataplane_drops::Seen::SeveralTenants, sentence, entries })
    }

    fn packets(&self) -> Vec<CardPackets> {
        self.seen.lock().unwrap().packets.clone()
    }
}

/// A log in memory.
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<Vec<u8>>>>);

impl RecordSource for Log {
    fn durable(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read(&mut self, first: u64, room: usize, out: &mut Vec<Vec<u8>>) -> Result<u64, String> {
        let mut room = room;
        for record in self.0.lock().unwrap().iter().skip(first as usize) {
            let cost = Records::cost(record);
            if cost > room {
                break;
            }
            room -= cost;
            out.push(record.clone());
        }
        Ok(first)
    }
}

/// A box: its directory, its dataplane, its channel.
pub(crate) struct Appliance {
    pub(crate) dirs: Dirs,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) channel: Option<Handle>,
    folder: tempfile::TempDir,
}

impl Appliance {
    pub(crate) fn enrolled(control: &Control, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(folder.path());
        control.enrol(name, &dirs);
        let gateway = Arc::default();
        Self { dirs, gateway, channel: None, folder }
    }

    pub(crate) fn connect(&mut self) {
        self.connect_with(None, |_| {});
    }

    pub(crate) fn connect_with(
        &mut self,
        records: Option<Box<dyn RecordSource>>,
        change: impl FnOnce(&mut dataplane_sync::Config),
    ) {
        let standing = dataplane_sync::load_from_disk(&self.dirs).map(|stored| stored.standing());
        let standing = standing.unwrap_or_default();
        let mut config = dataplane_sync::Config::new(self.dirs.clone(), standing, 7);
        config.good_after_ms = 0;
        change(&mut config);
        let sink = self.gateway.clone();
        self.channel = Some(dataplane_sync::start(config, sink, records).unwrap());
    }

    /// The process ends; its disk stays.
    pub(crate) fn halt(&mut self) {
        self.channel.take().unwrap().stop();
        self.gateway = Arc::default();
    }

    pub(crate) fn trouble(&self) -> String {
        self.channel.as_ref().unwrap().link().trouble
    }
}
