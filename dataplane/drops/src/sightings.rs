//! Who was seen at which address, so that nobody is dropped for a neighbour.
//!
//! An address is an owner's when that owner alone was seen there for long enough, and nobody without a
//! good credential lately. Whatever else is true, it counts as shared: so does an address that was
//! never seen, and one that a full table may have forgotten. A sighting that is still to be
//! remembered never gives its place away.

use dataplane_telemetry::Nanos;

use crate::limits::{Attribution, MS, Settings};
use crate::names::{Owner, Per, Subject, Tag};
use crate::table::{Put, Table};

#[derive(Debug)]
pub(crate) struct Sightings {
    table: Table<Sighting>,
    /// For each set of the table, when a sighting found no place there; 0 for never.
    lost: Box<[u64]>,
    memory_ns: u64,
    certain_after_ns: u64,
    unauthenticated_ns: u64,
    swept: usize,
    pub(crate) crowded: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sighting {
    first: Nanos,
    last: Nanos,
    /// Until then somebody without a good credential may be there.
    stranger_until: Nanos,
    /// Whether anybody was authenticated there: a first request without a credential is nobody's.
    has_owner: bool,
    tags: [Tag; 4],
    /// At each grain: until then there are several.
    several_until: [Nanos; 4],
}

/// What is known of an address at one grain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Known {
    /// Never seen, or not for long enough, or perhaps forgotten.
    Unsure,
    Several,
    /// Somebody was there without a good credential.
    Stranger,
    One(Tag),
}

impl Sightings {
    pub(crate) fn new(settings: &Settings) -> Self {
        let table = Table::new(settings.sources_max.saturating_mul(2));
        let mut sightings = Self {
            lost: vec![0; table.sets()].into(),
            table,
            memory_ns: 0,
            certain_after_ns: 0,
            unauthenticated_ns: 0,
            swept: 0,
            crowded: 0,
        };
        sightings.count(&settings.attribution);
        sightings
    }

    /// How long what is seen counts from now on. What was seen keeps the time that it was given, but
    /// nothing is remembered for longer than this.
    pub(crate) const fn count(&mut self, attribution: &Attribution) {
        self.memory_ns = attribution.memory_ms * MS;
        self.certain_after_ns = attribution.certain_after_ms * MS;
        self.unauthenticated_ns = attribution.unauthenticated_ms * MS;
    }

    /// `owner` was authenticated there, or, without one, somebody was not.
    pub(crate) fn see(&mut self, key: u128, owner: Option<&Owner>, now: Nanos) {
        let (memory_ns, stranger_until) = (self.memory_ns, now.plus(self.unauthenticated_ns));
        if let Some(found) = self.table.get_mut(key) {
            if found.is_over(memory_ns, now) {
                *found = Sighting::new(now);
            }
            match owner {
                Some(owner) => found.merge(owner, now.plus(memory_ns)),
                None => found.stranger_until = found.stranger_until.max(stranger_until),
            }
            found.last = found.last.max(now);
            return;
        }
        let mut new = Sighting::new(now);
        match owner {
            Some(owner) => new.merge(owner, Nanos(0)),
            None => new.stranger_until = stranger_until,
        }
        let is_over = |other: &Sighting| other.is_over(memory_ns, now).then_some(0);
        if let Put::Full = self.table.put(key, new, is_over) {
            self.crowded += 1;
            if let Some(lost) = self.lost.get_mut(self.table.set_of(key)) {
                *lost = now.0.max(1);
            }
        }
    }

    /// Whose an address is, at one grain.
    pub(crate) fn known(&self, key: u128, per: Per, now: Nanos) -> Known {
        let Some(found) = self.table.get(key) else { return Known::Unsure };
        let lost = self.lost.get(self.table.set_of(key)).copied().filter(|at| *at != 0).map(Nanos);
        // What was lost cannot have been an address that had its place already.
        let may_be_lost =
            lost.is_some_and(|at| found.first >= at && now.since(at) < self.memory_ns);
        let is_young = now.since(found.first) < self.certain_after_ns;
        let grain = per as usize;
        let several_until = found.several_until.get(grain).copied().unwrap_or(Nanos(u64::MAX));
        let tag = found.tags.get(grain).copied().unwrap_or(Tag::NOBODY);
        if found.is_over(self.memory_ns, now) {
            Known::Unsure
        } else if now < several_until {
            Known::Several
        } else if now < found.stranger_until {
            Known::Stranger
        } else if is_young || may_be_lost || tag == Tag::NOBODY {
            Known::Unsure
        } else {
            Known::One(tag)
        }
    }

    pub(crate) fn is_of(&self, key: u128, subject: &Subject, now: Nanos) -> bool {
        self.known(key, subject.per, now) == Known::One(subject.tag)
    }

    pub(crate) fn sweep(&mut self, now: Nanos) {
        let (slots, memory_ns) = (self.table.places() / 64 + 1, self.memory_ns);
        let is_over = |found: &mut Sighting| found.is_over(memory_ns, now);
        self.swept = self.table.sweep(self.swept, slots, is_over);
    }

    pub(crate) const fn len(&self) -> usize {
        self.table.len()
    }
}

impl Sighting {
    const fn new(now: Nanos) -> Self {
        Self {
            first: now,
            last: now,
            stranger_until: Nanos(0),
            has_owner: false,
            tags: [Tag::NOBODY; 4],
            several_until: [Nanos(0); 4],
        }
    }

    /// Whether there is nothing in it that must still be known.
    fn is_over(&self, memory_ns: u64, now: Nanos) -> bool {
        // `several_until` and `stranger_until` lie at most a memory behind `last`.
        now.since(self.last) >= memory_ns
    }

    fn merge(&mut self, owner: &Owner, several_until: Nanos) {
        if !self.has_owner {
            self.has_owner = true;
            self.tags = *owner.tags();
        }
        let grains = self.tags.iter_mut().zip(&mut self.several_until);
        for ((tag, until), seen) in grains.zip(owner.tags()) {
            if *tag != *seen {
                *until = several_until;
                *tag = *seen;
            }
        }
    }
}
