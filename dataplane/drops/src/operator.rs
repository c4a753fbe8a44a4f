//! What an operator may do: end a drop, or hold it for a bounded time. Both are on record by name.
//!
//! Neither can make an entry: what was not dropped for its own refusals cannot be dropped by hand.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane_telemetry::{Nanos, Now};

use crate::drops::Drops;
use crate::entries::{Entry, Made, What, Why};
use crate::ladder::Rung;
use crate::limits::{MS, PIN_MS_MAX};

/// Which entries.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    All,
    /// Of the drop with this number.
    Drop(u64),
    Tenant(&'a str),
    /// Connections from here, the address itself, configured prefixes around it.
    Address(IpAddr),
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OperatorFault {
    /// Nobody is dropped under this number, or not any more.
    NoDrop(u64),
    /// A drop is held for at most [`PIN_MS_MAX`] at a time.
    TooLong { found_ms: u64 },
    /// The shell has not fetched what is to be recorded: try again.
    Busy,
}

impl std::fmt::Display for OperatorFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoDrop(drop) => {
                write!(out, "there is no drop {drop}; `portcullis drops` shows what there is")
            }
            Self::TooLong { found_ms } => write!(
                out,
                "a drop is held for {PIN_MS_MAX} ms at most, not {found_ms}; hold it again later, or \
                 kill the tenant"
            ),
            Self::Busy => out.write_str("too much waits to be recorded; try again in a second"),
        }
    }
}

impl std::error::Error for OperatorFault {}

impl Select<'_> {
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Drop(drop) => entry.drop == *drop,
            Self::Tenant(tenant) => *entry.subject.tenant == **tenant,
            Self::Address(address) => entry.target.touches(*address),
        }
    }
}

impl Drops {
    /// Ends what is selected, together with all else of the subjects that it belongs to: they begin
    /// again at the bottom. How many subjects.
    ///
    /// # Errors
    /// There is no drop of this number.
    pub fn release_by(
        &mut self,
        select: &Select<'_>,
        by: &str,
        now: Now,
    ) -> Result<usize, OperatorFault> {
        let now = self.advance(now);
        let mut keys: Vec<u128> = self.subjects_of(select, now.mono);
        if let (Select::Drop(drop), true) = (select, keys.is_empty()) {
            return Err(OperatorFault::NoDrop(*drop));
        }
        keys.sort_unstable();
        keys.dedup();
        let why = Why::Operator(by.into());
        Ok(self.release_where(|subject| keys.binary_search(&subject.key).is_ok(), &why, now))
    }

    /// Holds a drop for `for_ms` from now, if that is longer than it lasts anyway: its entries, and
    /// the refusal of everything of its subject. How many entries.
    ///
    /// # Errors
    /// There is no such drop, or the time is too long.
    pub fn pin(
        &mut self,
        drop: u64,
        for_ms: u64,
        by: &str,
        now: Now,
    ) -> Result<usize, OperatorFault> {
        let now = self.advance(now);
        if for_ms > PIN_MS_MAX {
            return Err(OperatorFault::TooLong { found_ms: for_ms });
        }
        let key = self.dropped(drop, now.mono).ok_or(OperatorFault::NoDrop(drop))?;
        let until = now.mono.plus(for_ms * MS);
        let who: Arc<str> = by.into();
        let Some(climb) = self.ladder.climbs.get_mut(key) else {
            return Err(OperatorFault::NoDrop(drop));
        };
        climb.until = climb.until.max(until);
        climb.pinned_by = Some(Arc::clone(&who));
        let mut held = 0;
        let mut from = 0;
        let shorter = |entry: &Entry| entry.drop == drop && entry.until < until;
        while let Some((next, target)) = self.entries.find(from, shorter) {
            from = next;
            let Some(entry) = self.entries.get(&target).cloned() else { continue };
            let wanted = Entry { until, ..entry };
            let why = Why::Operator(Arc::clone(&who));
            if self.entries.make(wanted, What::Extended, why, now) == Made::NoRoom {
                self.on_held(held);
                return Err(OperatorFault::Busy);
            }
            held += 1;
        }
        self.on_held(held);
        Ok(usize::try_from(held).unwrap_or(usize::MAX))
    }

    fn dropped(&self, drop: u64, now: Nanos) -> Option<u128> {
        let mut climbs = self.ladder.climbs.iter();
        let found = climbs
            .find(|(_, climb)| climb.rung == Rung::Drop && climb.drop == drop && now < climb.until);
        found.map(|(key, _)| key)
    }

    fn subjects_of(&self, select: &Select<'_>, now: Nanos) -> Vec<u128> {
        let entries = self.entries.iter().filter(|entry| select.has(entry));
        let mut keys: Vec<u128> = entries.map(|entry| entry.subject.key).collect();
        // A drop without entries still refuses: where the card could not do anything.
        keys.extend(self.ladder.climbs.iter().filter_map(|(key, climb)| {
            let is_dropped = climb.rung == Rung::Drop && now < climb.until;
            let is_chosen = match select {
                Select::All => true,
                Select::Drop(drop) => climb.drop == *drop && is_dropped,
                Select::Tenant(tenant) => *climb.subject.tenant == **tenant,
                Select::Address(_) => false,
            };
            is_chosen.then_some(key)
        }));
        keys
    }
}
