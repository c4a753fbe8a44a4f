//! The channel's thread: connect, serve, wait, again, until it is stopped.
//!
//! Each connection is a task, so that a panic in it is a lost connection and nothing more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dataplane_bundle::Revision;
use dataplane_bundle::message::Hello;
use dataplane_telemetry::WallNanos;
use tokio::sync::{Notify, watch};

use crate::accept::Acceptor;
use crate::backoff::Backoff;
use crate::files::{Dirs, Floor};
use crate::identity::Identity;
use crate::marks::Marks;
use crate::sink::{RecordSource, Sink};
use crate::stored::Standing;
use crate::{session, stream, tls};

/// A connection that served for this long was a success: the next wait is short again.
const SERVED_MS_MIN: u64 = 5_000;

/// What the channel has to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    pub dirs: Dirs,
    /// What the dataplane has taken up from disk ([`crate::Stored::standing`]).
    pub standing: Standing,
    /// The gateway's release, and its cores: shown to the operator.
    pub version: String,
    pub cores: u16,
    /// With which the log is signed, as a verifier key: kept by the control plane for the operator.
    pub log_key: String,
    /// Where the waits' jitter starts.
    pub seed: u64,
    /// A bundle is good, and older ones are refused for ever, after so long in service.
    pub good_after_ms: u64,
    /// How often the status is sent.
    pub status_ms: u64,
}

impl Config {
    /// With a good mark after 10 s and a status each 5 s.
    #[must_use]
    pub fn new(dirs: Dirs, standing: Standing, seed: u64) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let log_key = String::new();
        let (good_after_ms, status_ms) = (10_000, 5_000);
        Self { dirs, standing, version, cores: 1, log_key, seed, good_after_ms, status_ms }
    }
}

/// Why the channel cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error("this box is not enrolled: get a token from the control plane and enrol")]
    NotEnrolled,
    #[error("{0}")]
    Identity(String),
    #[error("{0}")]
    Floor(String),
    #[error("the channel's thread: {0}")]
    Thread(std::io::Error),
}

/// How the channel is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LinkState {
    pub connected: bool,
    /// When `connected` last changed.
    pub since: WallNanos,
    /// When the control plane was last known to be there; zero: not since the start.
    pub last_contact: WallNanos,
    /// Connections that were made.
    pub connections: u64,
    /// Why there is no connection, or what the last message was refused for; empty: nothing.
    pub trouble: String,
    /// What is active, and in force.
    pub revision: Revision,
    pub kill_serial: u64,
}

/// The running channel. Dropping it stops it.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.shared.link()
    }

    /// There may be new durable records: ship them now rather than at the next poll.
    pub fn records_ready(&self) {
        self.shared.records_ready.notify_one();
    }

    /// The process is told to stop: that it ends says nothing about a bundle that is on trial, and
    /// nothing new is tried.
    pub fn on_stop(&self) {
        self.shared.acceptor.on_stop();
    }

    /// Closes the connection and ends the thread, in order.
    pub fn stop(mut self) {
        self.on_stop();
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

/// What every task of the channel sees.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) records: Option<Arc<Mutex<Box<dyn RecordSource>>>>,
    pub(crate) acceptor: Acceptor,
    pub(crate) records_ready: Notify,
    identity: Mutex<Identity>,
    link: Mutex<LinkState>,
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Channel({:?})", self.identity())
    }
}

impl Shared {
    pub(crate) fn identity(&self) -> Identity {
        held(&self.identity).clone()
    }

    pub(crate) fn set_identity(&self, identity: Identity) {
        *held(&self.identity) = identity;
    }

    pub(crate) fn link(&self) -> LinkState {
        let standing = self.acceptor.standing();
        let mut link = held(&self.link).clone();
        link.revision = standing.revision;
        link.kill_serial = standing.kill_serial;
        link
    }

    pub(crate) fn on_contact(&self) {
        held(&self.link).last_contact = wall();
    }

    pub(crate) fn on_trouble(&self, trouble: &str) {
        tracing::warn!(trouble, "push channel");
        held(&self.link).trouble = trouble.to_owned();
    }

    pub(crate) fn hello(&self) -> Hello {
        let Standing { revision, content, kill_serial } = self.acceptor.standing();
        let Config { version, cores, log_key, .. } = self.config.clone();
        Hello { revision, content, kill_serial, version, cores, log_key }
    }

    fn on_connected(&self) {
        let mut link = held(&self.link);
        let now = wall();
        *link = LinkState {
            connected: true,
            since: now,
            last_contact: now,
            connections: link.connections + 1,
            trouble: String::new(),
            ..LinkState::default()
        };
    }

    fn on_lost(&self, reason: &str) {
        tracing::warn!(reason, "no control plane; the last bundle stays in force");
        let mut link = held(&self.link);
        if link.connected || link.since == WallNanos(0) {
            link.since = wall();
        }
        link.connected = false;
        link.trouble = reason.to_owned();
    }
}

/// A panic while a lock was held leaves whole values behind: each is replaced, never half written.
pub(crate) fn held<T: ?Sized>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn wall() -> WallNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Starts the channel's thread. Without `records` none are shipped.
pub fn start(
    config: Config,
    sink: Arc<dyn Sink>,
    records: Option<Box<dyn RecordSource>>,
) -> Result<Handle, StartFault> {
    let identity = Identity::load(&config.dirs).map_err(StartFault::Identity)?;
    let identity = identity.ok_or(StartFault::NotEnrolled)?;
    let floor = Floor::load(&config.dirs).map_err(StartFault::Floor)?.unwrap_or_default();
    // Damaged marks were told of when the disk was read.
    let marks = Marks::load(&config.dirs).unwrap_or_default();
    let acceptor = Acceptor::new(&config, &identity, floor, marks);
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        config,
        sink,
        records: records.map(|source| Arc::new(Mutex::new(source))),
        acceptor,
        records_ready: Notify::new(),
        identity: Mutex::new(identity),
        link: Mutex::default(),
        stop,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_name("portcullis-sync")
        .build()
        .map_err(StartFault::Thread)?;
    let theirs = shared.clone();
    let thread = std::thread::Builder::new()
        .name("portcullis-sync".to_owned())
        .spawn(move || {
            runtime.block_on(run(theirs, stopped));
            runtime.shutdown_timeout(Duration::from_secs(1));
        })
        .map_err(StartFault::Thread)?;
    Ok(Handle { shared, thread: Some(thread) })
}

async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(shared.config.seed);
    tokio::spawn(crate::accept::keep_marking(shared.clone()));
    loop {
        let since = Instant::now();
        let reason = match tokio::spawn(serve(shared.clone(), stop.clone())).await {
            Ok(reason) => reason,
            Err(panic) => format!("the connection's task failed: {panic}"),
        };
        if *stop.borrow() {
            return;
        }
        shared.on_lost(&reason);
        if since.elapsed() >= Duration::from_millis(SERVED_MS_MIN) {
            backoff.reset();
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(backoff.wait_ms())) => {}
            _ = stop.changed() => return,
        }
    }
}

/// One connection, from the look-up to why it ended.
async fn serve(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) -> String {
    let identity = shared.identity();
    let config = match tls::enrolled(&identity) {
        Ok(config) => config,
        Err(reason) => return reason,
    };
    let connected = tokio::select! {
        connected = stream::connect(&identity.control, config) => connected,
        _ = stop.changed() => return String::new(),
    };
    let link = match connected {
        Ok(link) => link,
        Err(reason) => return reason,
    };
    shared.on_connected();
    let reason = tokio::select! {
        reason = session::run(&shared, &link.connection) => reason,
        _ = stop.changed() => String::new(),
    };
    link.close().await;
    reason
}
