//! Sizes and times that are the box's, not a quota's: each with its source.

use serde::{Deserialize, Serialize};

use crate::rule::{DROP_MS_MAX, RuleFault};

/// Subjects on their way up or down, in twice as many places of some 300 bytes. Whoever finds none is
/// told, and no more.
pub const SUBJECTS_MAX: usize = 8_192;
/// Callers whose last refusal is remembered. Past it the longest silent is forgotten, and told anew.
pub const TOLD_MAX: usize = 32_768;
/// Authenticated connections that are known: three cores' worth of `connections_max`.
pub const FLOWS_MAX: usize = 32_768;
/// Addresses and /64s whose owners are known, in twice as many places. One that finds none counts as
/// shared.
pub const SOURCES_MAX: usize = 32_768;
/// Entries of the card at once: below the size of the card's own maps.
pub const ENTRIES_MAX: usize = 8_192;
/// Entries of one subject at once, so that one cannot take everyone's.
pub const ENTRIES_PER_SUBJECT_MAX: u32 = 1_024;
/// Of these, what is kept for addresses and places: each is worth more than any connection, and who has
/// many connections must not thereby keep its address.
pub const SOURCES_PER_SUBJECT_KEPT: u32 = 64;
/// Sources whose handshakes are delayed at once.
pub const SLOWED_MAX: usize = 1_024;
/// Changes and events that wait for the shell: each entry has room for its end kept free.
pub const QUEUE_MAX: usize = 2 * ENTRIES_MAX;
/// What an operator may configure to be tenants'.
pub const PLACES_MAX: usize = 1_024;
/// How long an operator may hold a drop at once: until the morning.
pub const PIN_MS_MAX: u64 = 12 * 3_600_000;
/// A refusal that is older when it is heard is no reason for an entry: a core that was stuck.
pub const FRESH_MS_MAX: u64 = 100;
/// A connection that carries calls says again whose it is after so long: see
/// [`crate::Drops::on_authenticated`].
pub const REPORT_MS_MAX: u64 = 600_000;
/// Between two looks for what is over.
pub(crate) const SWEEP_NS: u64 = 1_000_000_000;

/// How long owners are remembered: longer than any entry, held by hand or not, can live.
pub const MEMORY_MS_MIN: u64 = PIN_MS_MAX + DROP_MS_MAX;
pub const MEMORY_MS_MAX: u64 = 31 * 24 * 3_600_000;
/// An address that somebody has had for less than a second tells nothing.
pub const ATTRIBUTION_MS_MIN: u64 = 1_000;

pub(crate) const MS: u64 = 1_000_000;

const _: () = assert!(MEMORY_MS_MIN > PIN_MS_MAX && MEMORY_MS_MIN > 2 * REPORT_MS_MAX);

/// How long what was seen at an address counts. An operator writes it; every key has a default.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attribution {
    /// Two owners of an address make it shared for so long.
    pub memory_ms: u64,
    /// With one owner only for so long, an address is that owner's.
    pub certain_after_ms: u64,
    /// After a request without a good credential an address is nobody's for so long.
    pub unauthenticated_ms: u64,
}

impl Default for Attribution {
    fn default() -> Self {
        Self { memory_ms: 24 * 3_600_000, certain_after_ms: 600_000, unauthenticated_ms: 600_000 }
    }
}

impl Attribution {
    /// # Errors
    /// The field, and what it may be.
    pub fn check(self) -> Result<Self, RuleFault> {
        let Self { memory_ms, certain_after_ms, unauthenticated_ms } = self;
        within("memory_ms", memory_ms, MEMORY_MS_MIN, MEMORY_MS_MAX)?;
        within("certain_after_ms", certain_after_ms, ATTRIBUTION_MS_MIN, memory_ms)?;
        within("unauthenticated_ms", unauthenticated_ms, ATTRIBUTION_MS_MIN, memory_ms)?;
        Ok(self)
    }
}

fn within(field: &'static str, found: u64, min: u64, max: u64) -> Result<(), RuleFault> {
    let fits = (min..=max).contains(&found);
    if fits { Ok(()) } else { Err(RuleFault::Bounds { field, found, min, max }) }
}

/// What the box is set to. The defaults are for production; tests and small boxes choose less.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Until a configuration says otherwise.
    pub attribution: Attribution,
    pub subjects_max: usize,
    pub told_max: usize,
    pub flows_max: usize,
    pub sources_max: usize,
    pub entries_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attribution: Attribution::default(),
            subjects_max: SUBJECTS_MAX,
            told_max: TOLD_MAX,
            flows_max: FLOWS_MAX,
            sources_max: SOURCES_MAX,
            entries_max: ENTRIES_MAX,
        }
    }
}

impl Settings {
    /// # Errors
    /// The field, and what it may be.
    pub(crate) fn check(&self) -> Result<(), RuleFault> {
        let size = |field, found: usize, max: usize| within(field, found as u64, 1, max as u64);
        self.attribution.check()?;
        size("subjects_max", self.subjects_max, SUBJECTS_MAX)?;
        size("told_max", self.told_max, TOLD_MAX)?;
        size("flows_max", self.flows_max, FLOWS_MAX)?;
        size("sources_max", self.sources_max, SOURCES_MAX)?;
        size("entries_max", self.entries_max, ENTRIES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_past_each_bound() {
        let check = |edit: fn(&mut Settings)| {
            let mut settings = Settings::default();
            edit(&mut settings);
            settings.check()
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|one| one.attribution.memory_ms = MEMORY_MS_MIN), Ok(()));
        assert_eq!(check(|one| one.attribution.memory_ms = MEMORY_MS_MAX), Ok(()));
        let wrong: [fn(&mut Settings); 12] = [
            |one| one.attribution.memory_ms = MEMORY_MS_MIN - 1,
            |one| one.attribution.memory_ms = MEMORY_MS_MAX + 1,
            |one| one.attribution.certain_after_ms = 999,
            |one| one.attribution.unauthenticated_ms = 999,
            |one| one.attribution.certain_after_ms = one.attribution.memory_ms + 1,
            |one| one.attribution.unauthenticated_ms = one.attribution.memory_ms + 1,
            |one| one.subjects_max = SUBJECTS_MAX + 1,
            |one| one.told_max = TOLD_MAX + 1,
            |one| one.flows_max = FLOWS_MAX + 1,
            |one| one.sources_max = SOURCES_MAX + 1,
            |one| one.entries_max = ENTRIES_MAX + 1,
            |one| one.entries_max = 0,
        ];
        for (place, edit) in wrong.into_iter().enumerate() {
            assert!(check(edit).is_err(), "{place}");
        }
    }
}
