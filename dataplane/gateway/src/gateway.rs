//! The running process: what is made in which order, what all of it serves, what ends it.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dataplane_audit::{BootId, DigestKey, NoteSigner};
use dataplane_audit_writer::{GroupMemory, Lane, LossAcceptance, Writer};
use dataplane_auth::MissBudget;
use dataplane_drops::Drops;
use dataplane_pipeline::Resources;
use dataplane_pipeline::session::Sealer;
use dataplane_quota::Buckets;
use dataplane_sync::{Dirs, Identity};

use crate::admin::Admin;
use crate::hub::Hub;
use crate::kept::KeptFile;
use crate::keys::{Keys, random};
use crate::ladder::{self, Ear, Ladder};
use crate::mailbox::{Mailbox, News};
use crate::ready::Ready;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::steering::{self, Steering};
use crate::tls::Certificate;
use crate::{Signals, capabilities, card, listen, memory, records, serve};

/// How often the certificate's file is looked at, and signals at the latest.
const TICK: Duration = Duration::from_millis(250);
/// Who is dropped, below the data directory.
const KEPT: &str = "drops.json";
/// What is not needed for calls starts so much later: its handshake would share the processor with the
/// first ones.
const FIRST_CALLS: Duration = Duration::from_millis(20);

/// The running process.
pub(crate) struct Gateway {
    cores: Vec<Core>,
    hub: Arc<Hub>,
    link: Arc<dataplane_sync::Handle>,
    certificate: Certificate,
    log: Arc<Writer>,
    steering: Steering,
}

impl Gateway {
    /// Serves once this returns; the channel to the control plane is on its way.
    ///
    /// # Errors
    /// What is missing, taken or forbidden.
    pub(crate) fn start(
        settings: &Settings,
        dirs: Dirs,
        identity: Identity,
    ) -> anyhow::Result<Self> {
        let (kept_file, kept) = KeptFile::open(settings.data_dir.join(KEPT));
        let card = card(settings, kept.tenants)?;
        let processors = processors(settings)?;
        let steering = steering::Loading::begin(processors.len());
        capabilities::give_up().context("capabilities cannot be given up")?;
        // Before anything is freed: of memory that nobody has had these need not be wiped.
        let log_memory = GroupMemory::default();
        let drop_keys = dataplane_drops::Keys::new(random()?);
        let drops = Drops::new(dataplane_drops::Settings::default(), drop_keys);
        let drops = drops.context("the ladder")?;
        let keys = Keys::open(&settings.data_dir)?;
        let boot = BootId(random()?);
        let origin = format!("portcullis/{}", identity.appliance);
        let signer = NoteSigner::from_seed(&origin, &keys.log).context("the log's key")?;
        let log_key = signer.verifier().to_text();
        // One lane for each core, and one for the ladder's thread.
        let open = || open_log(settings, signer, boot, processors.len() + 1, log_memory);
        let ready = || Ready::new(settings, &dirs, &identity);
        let ((log, mut lanes), ready) = beside(open, ready)?;
        let mut ready = ready?;
        let ladders_lane = lanes.pop().context("the audit log has no lane for the ladder")?;
        let (mailboxes, snapshots) = of_each_core(processors.len())?;
        let ladder = Ladder::start(ladder::Start {
            drops,
            keys: drop_keys,
            boot,
            lane: ladders_lane,
            lane_number: u16::try_from(processors.len()).context("too many cores")?,
            mailboxes: Arc::clone(&mailboxes),
            card,
            kept: kept.drops,
            kept_file,
        })?;
        let ear = ladder.ear();
        let hub = Hub::new(Arc::clone(&mailboxes), snapshots.clone(), Arc::clone(&log), ladder);
        let hub = Arc::new(hub);
        ready.hand_out(&hub);
        let Ready { standing, certificate, tls, quotas, misses, .. } = ready;
        let shared = Shared {
            boot,
            keys,
            quotas,
            misses,
            drop_keys,
            certificate: tls,
            mailboxes,
            snapshots,
            ear,
        };
        let (cores, listeners) = shared.serve(settings.listen, processors, lanes)?;
        tracing::info!(listen = %settings.listen, cores = cores.len(), "serving MCP");
        log.wait_until_written().context("the audit log")?;
        tracing::info!(key = log_key, "the audit log is written; its public key");
        std::thread::sleep(FIRST_CALLS);
        hub.read_definitions();
        let steering = steering.attach(&listeners);
        // A core's own ends with the core.
        drop(listeners);
        let mut config = dataplane_sync::Config::new(dirs, standing, u64::from_le_bytes(random()?));
        config.cores = u16::try_from(cores.len()).unwrap_or(u16::MAX);
        config.log_key = log_key;
        let link = start_link(config, &hub, settings, &log)?;
        start_admin(settings.admin_listen, &hub, &link, &steering)?;
        Ok(Self { cores, hub, link, certificate, log, steering })
    }

    /// Until a signal says to stop, or a core ends by itself.
    ///
    /// # Errors
    /// Those that a core ended by.
    pub(crate) fn run(mut self, settings: &Settings, signals: &Signals) -> anyhow::Result<()> {
        let Signals { stop, reload } = signals;
        while !stop.load(Ordering::Relaxed) && !self.cores.iter().any(JoinHandle::is_finished) {
            std::thread::sleep(TICK);
            self.steering.tell(&self.hub.snapshots());
            if reload.swap(false, Ordering::Relaxed) || self.certificate.has_changed() {
                match self.certificate.load() {
                    Ok(tls) => {
                        self.hub.tell_all(&News::Certificate(tls));
                        tracing::info!("the certificate was read again");
                    }
                    Err(error) => tracing::error!("the old certificate stays: {error:#}"),
                }
            }
        }
        if stop.load(Ordering::Relaxed) {
            self.link.on_stop();
        }
        self.stop(Duration::from_secs(settings.drain_s))
    }

    fn stop(self, patience: Duration) -> anyhow::Result<()> {
        tracing::info!("stopping: running calls may finish");
        self.hub.tell_all(&News::Drain);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.cores.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut fault = None;
        for core in self.cores {
            if core.is_finished() {
                match core.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => fault = Some(anyhow::Error::from(error)),
                    Err(_) => fault = Some(anyhow::anyhow!("a core panicked")),
                }
            } else {
                tracing::warn!("calls still run after the time to drain; they are cut off");
            }
        }
        drop(self.link);
        self.hub.ladder.stop();
        match self.log.stop() {
            Ok(checkpoint) => {
                tracing::info!(records = checkpoint.size, "stopped; the log is closed")
            }
            Err(error) => tracing::error!(%error, "the log was not closed in order"),
        }
        fault.map_or(Ok(()), Err)
    }
}

/// What all cores are made with.
struct Shared {
    boot: BootId,
    keys: Keys,
    quotas: Arc<Buckets>,
    misses: Arc<MissBudget>,
    drop_keys: dataplane_drops::Keys,
    certificate: Arc<rustls::ServerConfig>,
    mailboxes: Arc<Vec<Mailbox>>,
    snapshots: Snapshots,
    ear: Ear,
}

type Core = JoinHandle<std::io::Result<()>>;
type Snapshots = Vec<Arc<Mutex<Snapshot>>>;

impl Shared {
    /// Starts a core on each processor, and hands out their listeners once more.
    fn serve(
        &self,
        listen: SocketAddr,
        processors: Vec<usize>,
        lanes: Vec<Lane>,
    ) -> anyhow::Result<(Vec<Core>, Vec<TcpListener>)> {
        let mut cores = Vec::new();
        let mut listeners = Vec::new();
        for (number, (processor, lane)) in processors.into_iter().zip(lanes).enumerate() {
            let listener = listen::listener(listen)?;
            listeners.push(listener.try_clone()?);
            let start = serve::Start {
                number,
                processor: Some(processor),
                listener,
                resources: self.resources(number)?,
                lane,
                certificate: Arc::clone(&self.certificate),
                mailboxes: Arc::clone(&self.mailboxes),
                snapshot: Arc::clone(&self.snapshots[number]),
                ear: self.ear.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("core-{number}"));
            cores.push(thread.spawn(move || serve::run(start))?);
        }
        Ok((cores, listeners))
    }

    fn resources(&self, number: usize) -> anyhow::Result<Resources> {
        let sealer = Sealer::new(&self.keys.session).context("the session key")?;
        Ok(Resources {
            lane: u16::try_from(number).context("too many cores")?,
            boot: self.boot,
            digest: DigestKey::new(1, &self.keys.digest),
            quotas: Arc::clone(&self.quotas),
            misses: Arc::clone(&self.misses),
            sealer: Arc::new(sealer),
            lease_memory: memory::locked(memory::LOCKED_BYTES)?,
            seed: random()?,
            drop_keys: self.drop_keys,
        })
    }
}

/// The log waits for its disk, the bundle for the processor: both take the time of one.
fn beside<A: Send, B>(
    first: impl FnOnce() -> anyhow::Result<A> + Send,
    second: impl FnOnce() -> B,
) -> anyhow::Result<(A, B)> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("open-log".into()).spawn_scoped(scope, first);
        let second = second();
        let first = thread?.join().unwrap_or_else(|_| bail!("opening the audit log panicked"))?;
        Ok((first, second))
    })
}

fn open_log(
    settings: &Settings,
    signer: NoteSigner,
    boot: BootId,
    lanes: usize,
    memory: GroupMemory,
) -> anyhow::Result<(Arc<Writer>, Vec<Lane>)> {
    let dir = settings.data_dir.join("audit");
    let mut config = dataplane_audit_writer::Config::new(dir, signer, boot, lanes);
    config.accept_loss = (!settings.accept_audit_loss.is_empty()).then(|| LossAcceptance {
        losses: settings.accept_audit_loss.clone(),
        operator: "the gateway's command line".to_owned(),
    });
    let (log, lanes) = dataplane_audit_writer::open(config, memory).context("the audit log")?;
    Ok((Arc::new(log), lanes))
}

fn start_link(
    config: dataplane_sync::Config,
    hub: &Arc<Hub>,
    settings: &Settings,
    log: &Arc<Writer>,
) -> anyhow::Result<Arc<dataplane_sync::Handle>> {
    let records = records::LogRecords::new(settings.data_dir.join("audit"), Arc::clone(log));
    let sink = Arc::clone(hub) as Arc<dyn dataplane_sync::Sink>;
    let link = dataplane_sync::start(config, sink, Some(Box::new(records)));
    Ok(Arc::new(link.context("the channel to the control plane")?))
}

/// What operators and probes ask.
fn start_admin(
    listen: SocketAddr,
    hub: &Arc<Hub>,
    link: &Arc<dataplane_sync::Handle>,
    steering: &Steering,
) -> anyhow::Result<()> {
    let link = Arc::clone(link);
    let is_connected = Box::new(move || link.link().connected);
    let admin = Admin::bind(listen, Arc::clone(hub), is_connected, steering.is_at_work())?;
    std::thread::Builder::new().name("admin".into()).spawn(move || admin.serve())?;
    Ok(())
}

/// Where each core is told, and where it tells.
fn of_each_core(cores: usize) -> std::io::Result<(Arc<Vec<Mailbox>>, Snapshots)> {
    let mailboxes = (0..cores).map(|_| Mailbox::new()).collect::<std::io::Result<_>>()?;
    let snapshots = (0..cores).map(|_| Arc::new(Mutex::new(Snapshot::default()))).collect();
    Ok((Arc::new(mailboxes), snapshots))
}

/// The network card's program, where one is asked for. Without it the gateway refuses by itself.
fn card(settings: &Settings, tenants: Vec<Box<str>>) -> anyhow::Result<Option<card::Card>> {
    let Some(interface) = &settings.card_interface else { return Ok(None) };
    let card = card::Card::open(interface, &settings.card_pins, tenants, settings.listen);
    card.map(Some).with_context(|| format!("the network card's program on {interface}"))
}

/// The processors to serve on: those asked for, or all that this process may use.
fn processors(settings: &Settings) -> anyhow::Result<Vec<usize>> {
    if !settings.cores.is_empty() {
        return Ok(settings.cores.clone());
    }
    let set = rustix::thread::sched_getaffinity(None)?;
    let all: Vec<_> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|one| set.is_set(*one)).collect();
    if all.is_empty() {
        bail!("this process may use no processor");
    }
    Ok(all)
}
