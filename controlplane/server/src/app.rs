//! What every handler shares: the state, the clock, the push channel, and the one lock of changes.

use std::sync::{Arc, OnceLock};

use controlplane_api::Time;
use controlplane_compile::Compiled;
use controlplane_rollout::Rollout;
use controlplane_store::{Store, Stored};
use dataplane_bundle::Draft;
use tokio::sync::{Mutex, RwLock, watch};

use crate::config::Clock;
use crate::fault::Fault;
use crate::kept::Kept;

/// The process.
pub(crate) struct App {
    pub store: Store,
    pub clock: Clock,
    pub started_at: Time,
    /// Values of `Host` that are ours.
    pub hosts: Vec<String>,
    /// One change at a time: each sees what the one before made.
    pub changes: Mutex<()>,
    /// Read-locked by each change that is under way; whoever stops the process waits for the lock.
    pub(crate) under_way: RwLock<()>,
    in_force: watch::Sender<Arc<InForce>>,
    pub(crate) compiler: Arc<Kept>,
    /// Rises when records of calls arrive.
    pub news: watch::Sender<u64>,
    rollout: OnceLock<Rollout>,
}

pub(crate) type Shared = Arc<App>;

/// The revision in force, and what was made of it.
#[derive(Default)]
pub(crate) struct InForce {
    pub stored: Stored,
    /// Absent before the first revision, and when this release cannot compile what is stored.
    pub made: Option<Made>,
    /// Why it could not be made; appliances keep what they have.
    pub fault: Option<String>,
}

/// What is made of a revision.
pub(crate) struct Made {
    pub compiled: Arc<Compiled>,
    pub draft: Arc<Draft>,
}

impl App {
    pub(crate) fn new(store: Store, clock: Clock, hosts: Vec<String>) -> Self {
        Self {
            store,
            started_at: clock.now(),
            clock,
            hosts,
            changes: Mutex::new(()),
            under_way: RwLock::new(()),
            in_force: watch::Sender::new(Arc::default()),
            compiler: Arc::default(),
            news: watch::Sender::new(0),
            rollout: OnceLock::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.in_force.borrow().clone()
    }

    /// Makes a revision the one in force, and has it pushed.
    pub(crate) fn put_in_force(&self, next: InForce) {
        self.in_force.send_replace(Arc::new(next));
        if let Some(rollout) = self.rollout.get() {
            rollout.bundles_changed();
            // Other servers may use other secrets.
            rollout.secrets_changed();
        }
    }

    /// The push channel, once it listens.
    pub(crate) fn rollout(&self) -> Result<&Rollout, Fault> {
        self.rollout.get().ok_or_else(|| Fault::ours("the push channel is not started"))
    }

    /// Called once, at start.
    pub(crate) fn set_rollout(&self, rollout: Rollout) {
        let _ = self.rollout.set(rollout);
    }
}
