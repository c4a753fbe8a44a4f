//! How each appliance is, for people and for tests: always what it said last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use dataplane_bundle::drops::DropsReport;
use dataplane_bundle::message::Status;
use dataplane_bundle::{ApplianceId, Revision};
use dataplane_telemetry::WallNanos;
use tokio::sync::watch;

/// One appliance that has connected since the control plane's start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApplianceState {
    pub appliance: ApplianceId,
    pub connected: bool,
    /// When `connected` last changed.
    pub since: WallNanos,
    pub last_contact: WallNanos,
    pub address: SocketAddr,
    pub version: String,
    pub cores: u16,
    /// The public key that its log is signed with; empty: it did not say.
    pub log_key: String,
    /// The revision that it says is active.
    pub revision: Revision,
    pub kill_serial: u64,
    /// The last refused bundle and why; none once a newer one is active.
    pub refused: Option<(Revision, String)>,
    /// The last refused kill list's reason.
    pub kills_refused: Option<String>,
    pub status: Option<Status>,
    /// What it said that it drops, and when; none: it never said.
    pub drops: Option<DropsState>,
    /// Why it is not connected.
    pub trouble: String,
}

/// What an appliance said last of what it drops.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DropsState {
    pub report: Arc<DropsReport>,
    /// When it came.
    pub at: WallNanos,
    /// What its cards dropped between this report and the one before, and how long that was.
    pub drops_since: u64,
    pub since_ms: u64,
}

impl DropsState {
    pub(crate) fn after(before: Option<&Self>, report: DropsReport, at: WallNanos) -> Self {
        let sum = |report: &DropsReport| -> u64 {
            report.cards.iter().fold(0, |sum, card| sum.saturating_add(card.drops))
        };
        let drops_since = before.map_or(0, |one| sum(&report).saturating_sub(sum(&one.report)));
        let since_ms = before.map_or(0, |one| at.0.saturating_sub(one.at.0) / 1_000_000);
        Self { report: Arc::new(report), at, drops_since, since_ms }
    }

    /// Packets that the cards drop each second, by the last two reports. A box that drops says so each
    /// second; one that has been silent for longer drops nothing.
    #[must_use]
    pub const fn drops_per_s(&self, now: WallNanos) -> u64 {
        /// Three reports that did not come.
        const SILENT_MS: u64 = 3_000;
        if self.since_ms == 0 || now.0.saturating_sub(self.at.0) / 1_000_000 > SILENT_MS {
            return 0;
        }
        self.drops_since.saturating_mul(1_000) / self.since_ms
    }
}

#[derive(Debug)]
pub(crate) struct Fleet {
    states: Mutex<BTreeMap<ApplianceId, ApplianceState>>,
    changes: watch::Sender<u64>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self { states: Mutex::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn all(&self) -> Vec<ApplianceState> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn set(&self, state: ApplianceState) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(state.appliance.clone(), state);
        drop(states);
        self.changed();
    }

    pub(crate) fn update(&self, appliance: &ApplianceId, update: impl FnOnce(&mut ApplianceState)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(appliance) {
            update(state);
        }
        drop(states);
        self.changed();
    }

    pub(crate) fn forget(&self, appliance: &ApplianceId) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(appliance);
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}
