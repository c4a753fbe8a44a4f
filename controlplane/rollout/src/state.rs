//! How each appliance is, for people and for tests: always what it said last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use dataplane_bundle::drops::{CardState, DropsReport};
use dataplane_bundle::message::Status;
use dataplane_bundle::{ApplianceId, Revision};
use dataplane_telemetry::WallNanos;
use tokio::sync::watch;

use crate::rollout::wall;

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
    /// The cards as the report before had them, and when that came.
    before: Option<(Vec<CardState>, WallNanos)>,
}

impl DropsState {
    pub(crate) fn after(before: Option<&Self>, report: DropsReport, at: WallNanos) -> Self {
        let before = before.map(|one| (one.report.cards.clone(), one.at));
        Self { report: Arc::new(report), at, before }
    }

    /// Packets that this card drops each second, by the last two reports. A box that drops says so
    /// each second; one that has been silent for longer drops nothing.
    #[must_use]
    pub fn drops_per_s(&self, card: &CardState) -> u64 {
        self.drops_per_s_at(card, wall())
    }

    fn drops_per_s_at(&self, card: &CardState, now: WallNanos) -> u64 {
        /// Three reports that did not come.
        const SILENT_NS: u64 = 3_000_000_000;
        let Some((before, told)) = &self.before else { return 0 };
        let same = before.iter().find(|other| other.interface == card.interface);
        let drops = same.map_or(0, |same| card.drops.saturating_sub(same.drops));
        let took = self.at.0.saturating_sub(told.0) / 1_000_000;
        if took == 0 || now.0.saturating_sub(self.at.0) > SILENT_NS {
            return 0;
        }
        drops.saturating_mul(1_000) / took
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

#[cfg(test)]
mod tests {
    use dataplane_bundle::drops::CardMode;

    use super::*;

    fn report(drops: u64) -> DropsReport {
        let card = CardState {
            interface: "eth0".to_owned(),
            mode: CardMode::Native,
            program_sha256: [0; 32],
            drops,
            entries: 0,
            entries_max: 16_384,
            thinned: Vec::new(),
        };
        DropsReport { cards: vec![card], ..DropsReport::default() }
    }

    fn seconds(seconds: u64) -> WallNanos {
        WallNanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_rate_is_between_two_reports_and_ends_with_them() {
        let first = DropsState::after(None, report(100), seconds(10));
        let rate = |state: &DropsState, now| state.drops_per_s_at(&state.report.cards[0], now);
        assert_eq!(rate(&first, seconds(10)), 0, "nothing to compare with");
        let next = DropsState::after(Some(&first), report(5_100), seconds(12));
        assert_eq!(rate(&next, seconds(12)), 2_500);
        assert_eq!(rate(&next, seconds(15)), 2_500);
        assert_eq!(rate(&next, seconds(16)), 0, "silent for longer than three reports");
        let again = DropsState::after(Some(&next), report(7), seconds(13));
        assert_eq!(rate(&again, seconds(13)), 0, "the program was loaded anew");
        let same_time = DropsState::after(Some(&next), report(9_000), seconds(12));
        assert_eq!(rate(&same_time, seconds(12)), 0);
    }
}
