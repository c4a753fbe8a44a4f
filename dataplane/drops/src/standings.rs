//! Where subjects stand, as cores ask on each request: a small list that is mostly empty.
//!
//! Filled by the machine's thread, then read only. A standing ends at its time by itself, so a core
//! with an old list is wrong in the caller's favour, and not for long.

use std::net::IpAddr;

use dataplane_telemetry::Nanos;

use crate::drops::Drops;
use crate::ladder::{Climb, Rung};
use crate::limits::MS;
use crate::names::{Keys, Subject};
use crate::place::{Prefix, Target};

/// Where one subject stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    pub rung: Rung,
    /// When it ends by itself. While dropped, everything is refused until then, with this time told.
    pub until: Nanos,
    /// What a handshake from an unshared source of it waits. Zero below `Slow`.
    pub delay_ms: u64,
}

/// Everybody who is above `Tell`.
#[derive(Clone, Debug)]
pub struct Standings {
    /// See [`Drops::generation`].
    pub generation: u64,
    keys: Keys,
    /// By key, ascending.
    subjects: Vec<Row>,
    sources: Vec<Row>,
    /// Sources whose new connections the card drops, and until when.
    dropped: Vec<(u128, Nanos)>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: u128,
    standing: Standing,
    /// What follows a drop: slowed until then, by the first delay.
    then: Standing,
}

impl Standings {
    /// Nobody.
    #[must_use]
    pub const fn new(keys: Keys) -> Self {
        Self { generation: 0, keys, subjects: Vec::new(), sources: Vec::new(), dropped: Vec::new() }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.subjects.is_empty() && self.sources.is_empty()
    }

    /// Where this subject stands.
    #[must_use]
    pub fn of(&self, subject: &Subject, now: Nanos) -> Standing {
        find(&self.subjects, subject.key, now)
    }

    /// On a box without a card: what would be dropped comes, and is refused on connections that stay.
    pub fn without_card(&mut self) {
        self.dropped.clear();
    }

    /// Whether the card drops new connections from here. One that is open still had no place on the card:
    /// closed after its refusal, it does not come back.
    #[must_use]
    pub fn is_dropped_from(&self, peer: IpAddr, now: Nanos) -> bool {
        if self.dropped.is_empty() {
            return false;
        }
        let key = Target::Source(Prefix::source(peer)).key(&self.keys);
        let found = self.dropped.binary_search_by_key(&key, |(key, _)| *key).ok();
        found.and_then(|place| self.dropped.get(place)).is_some_and(|(_, until)| now < *until)
    }

    /// How long a handshake from here waits; zero for nearly everybody.
    #[must_use]
    pub fn handshake_delay_ms(&self, peer: IpAddr, now: Nanos) -> u64 {
        if self.sources.is_empty() {
            return 0;
        }
        let key = Target::Source(Prefix::source(peer)).key(&self.keys);
        find(&self.sources, key, now).delay_ms
    }
}

fn find(sorted: &[Row], key: u128, now: Nanos) -> Standing {
    let found = sorted.binary_search_by_key(&key, |row| row.key).ok();
    let Some(row) = found.and_then(|place| sorted.get(place)) else { return Standing::default() };
    let all = [row.standing, row.then];
    all.into_iter().find(|standing| now < standing.until).unwrap_or_default()
}

impl Row {
    fn of(key: u128, climb: &Climb) -> Option<Self> {
        let delay_ms = |strikes| climb.subject.rule.delay_ms(strikes);
        let slow = |until| Standing { rung: Rung::Slow, until, delay_ms: delay_ms(climb.strikes) };
        let (standing, then) = match climb.rung {
            Rung::Tell => return None,
            Rung::Slow => (slow(climb.calm_at()), Standing::default()),
            Rung::Drop => {
                let until = climb.until;
                let dropped =
                    Standing { rung: Rung::Drop, until, delay_ms: delay_ms(climb.strikes) };
                let after = slow(until.plus(climb.calm_ns()));
                (dropped, Standing { delay_ms: delay_ms(0), ..after })
            }
        };
        Some(Self { key, standing, then })
    }
}

impl Drops {
    /// Writes down where everybody stands, in memory that is used again.
    pub fn write_standings(&self, standings: &mut Standings, now: Nanos) {
        standings.generation = self.generation();
        standings.keys = self.keys;
        standings.subjects.clear();
        standings.sources.clear();
        standings.dropped.clear();
        let sources = self.entries.iter().filter(|entry| matches!(entry.target, Target::Source(_)));
        let keyed = sources.map(|entry| (entry.target.key(&self.keys), entry.until));
        standings.dropped.extend(keyed);
        standings.dropped.sort_unstable_by_key(|(key, _)| *key);
        let subjects = self.ladder.climbs.iter();
        standings.subjects.extend(subjects.filter_map(|(key, climb)| Row::of(key, climb)));
        standings.subjects.sort_unstable_by_key(|row| row.key);
        let (sources, subjects) = (&mut standings.sources, &standings.subjects);
        sources.extend(self.slowed.iter().filter_map(|(key, slowed)| {
            let place = subjects.binary_search_by_key(&slowed.subject, |row| row.key).ok()?;
            subjects.get(place).map(|row| Row { key, ..*row })
        }));
        sources.sort_unstable_by_key(|row| row.key);
        standings.subjects.retain(|row| now < row.standing.until.max(row.then.until));
        standings.sources.retain(|row| now < row.standing.until.max(row.then.until));
    }
}

impl Standing {
    /// What is left of it in milliseconds, as a refusal tells it: rounded up, at least one.
    #[must_use]
    pub fn wait_ms(&self, now: Nanos) -> u64 {
        self.until.since(now).div_ceil(MS).max(1)
    }
}
