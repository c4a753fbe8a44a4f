//! What the card shall drop: a bounded set, the changes that make it so, and what is put on record.
//!
//! An entry is only made or extended while both queues keep room for the end of every entry that
//! there is. So no end is ever lost, and nothing is dropped that could not be recorded.

use std::collections::VecDeque;
use std::sync::Arc;

use dataplane_telemetry::{Nanos, Now, WallNanos};
use serde::Serialize;

use crate::names::{Keys, Subject};
use crate::place::Target;
use crate::table::{Put, Table};

/// What the shell changes in the card's maps. Carried out in order; each may be repeated.
#[derive(Clone, Debug)]
pub enum Change {
    /// From now until this time of the kernel's monotonic clock.
    Add {
        target: Target,
        until: Nanos,
        subject: Arc<Subject>,
    },
    /// The entry that is there lasts until then; it may be another subject's now.
    Extend {
        target: Target,
        until: Nanos,
        subject: Arc<Subject>,
    },
    Remove {
        target: Target,
    },
}

/// What is put on record: who, why, by what, until when.
#[derive(Clone, Debug)]
pub struct Event {
    pub what: What,
    pub why: Why,
    pub subject: Arc<Subject>,
    /// `None` for what concerns no entry: somebody is slowed.
    pub target: Option<Target>,
    /// The number of the drop that the entry belongs to; see [`crate::Listed`].
    pub drop: u64,
    pub at: WallNanos,
    pub since: WallNanos,
    /// When it ends by itself, or would have.
    pub until: WallNanos,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Slowed,
    Made,
    Extended,
    /// Before its time.
    Released,
    /// In its time.
    Expired,
    /// Found in the card's maps after a restart, and known.
    Adopted,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Refusals were ignored, or a time was over.
    Ladder,
    /// This operator did it.
    Operator(Arc<str>),
    /// The connection has ended: its ports may be another's next.
    Closed,
    /// Somebody else was seen there, or somebody without a good credential.
    Shared,
    /// The quota or the kill is gone, or drops no more; the place is another's.
    Configuration,
    Restart,
}

impl What {
    /// As it is written in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slowed => "slowed",
            Self::Made => "made",
            Self::Extended => "extended",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Adopted => "adopted",
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ladder => out.write_str("ladder"),
            Self::Operator(name) => write!(out, "operator {name}"),
            Self::Closed => out.write_str("closed"),
            Self::Shared => out.write_str("shared"),
            Self::Configuration => out.write_str("configuration"),
            Self::Restart => out.write_str("restart"),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) subject: Arc<Subject>,
    pub(crate) drop: u64,
    pub(crate) since: Now,
    pub(crate) until: Nanos,
}

/// What became of a wish for an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Made {
    New,
    /// It was there; it lasts longer now, and was this subject's.
    Longer(u128),
    AsBefore,
    /// The table or a queue is full.
    NoRoom,
}

#[derive(Debug)]
pub(crate) struct Entries {
    table: Table<Entry>,
    keys: Keys,
    entries_max: usize,
    queue_max: usize,
    changes: VecDeque<Change>,
    events: VecDeque<Event>,
    /// None ends before.
    next_end: Nanos,
}

impl Entries {
    pub(crate) fn new(entries_max: usize, keys: Keys) -> Self {
        let queue_max = 2 * entries_max;
        Self {
            table: Table::new(2 * entries_max),
            keys,
            entries_max,
            queue_max,
            changes: VecDeque::with_capacity(queue_max),
            events: VecDeque::with_capacity(queue_max),
            next_end: Nanos(u64::MAX),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) const fn next_end(&self) -> Nanos {
        self.next_end
    }

    pub(crate) fn get(&self, target: &Target) -> Option<&Entry> {
        self.table.get(target.key(&self.keys))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter().map(|(_, entry)| entry)
    }

    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Makes the entry, or lets the one that is there last as long and be this subject's.
    pub(crate) fn make(&mut self, wanted: Entry, what: What, why: Why, now: Now) -> Made {
        let key = wanted.target.key(&self.keys);
        let there = self.table.get(key).map(|entry| entry.until);
        if there.is_some_and(|there| there >= wanted.until) {
            return Made::AsBefore;
        }
        if !self.has_room(if there.is_some() { 1 } else { 2 }) {
            return Made::NoRoom;
        }
        let (target, until) = (wanted.target, wanted.until);
        let subject = Arc::clone(&wanted.subject);
        if let Some(entry) = self.table.get_mut(key) {
            let before = entry.subject.key;
            (entry.subject, entry.drop, entry.until) = (wanted.subject, wanted.drop, until);
            let entry = entry.clone();
            self.changes.push_back(Change::Extend { target, until, subject });
            self.record(What::Extended, why, &entry, now);
            return Made::Longer(before);
        }
        let entry = wanted.clone();
        if self.table.len() >= self.entries_max
            || matches!(self.table.put(key, wanted, |_| None), Put::Full)
        {
            return Made::NoRoom;
        }
        self.next_end = self.next_end.min(until);
        self.changes.push_back(Change::Add { target, until, subject });
        self.record(what, why, &entry, now);
        Made::New
    }

    /// Takes an entry that the card has already: nothing is to be changed there.
    pub(crate) fn adopt(&mut self, entry: Entry, now: Now) -> Made {
        let made = self.make(entry, What::Adopted, Why::Restart, now);
        if made == Made::New {
            self.changes.pop_back();
        }
        made
    }

    pub(crate) fn release(&mut self, target: &Target, why: Why, now: Now) -> Option<Entry> {
        self.end(target.key(&self.keys), What::Released, why, now)
    }

    /// One entry that `is_over`, at or behind the place `from` of a walk; where the walk goes on.
    pub(crate) fn find(
        &self,
        from: usize,
        wants: impl Fn(&Entry) -> bool,
    ) -> Option<(usize, Target)> {
        let places = from..self.table.places();
        let mut found = places.filter_map(|place| Some((place, self.table.at(place)?.1)));
        found.find(|(_, entry)| wants(entry)).map(|(place, entry)| (place + 1, entry.target))
    }

    /// The next entry whose time is over, taken out; then, once there is none, when the next one is.
    pub(crate) fn expire(&mut self, from: &mut usize, now: Now) -> Option<Entry> {
        if now.mono < self.next_end {
            return None;
        }
        if let Some((next, target)) = self.find(*from, |entry| entry.until <= now.mono) {
            *from = next;
            return self.end(target.key(&self.keys), What::Expired, Why::Ladder, now);
        }
        let ends = self.table.iter().map(|(_, entry)| entry.until);
        self.next_end = ends.min().unwrap_or(Nanos(u64::MAX));
        None
    }

    /// Puts on record what concerns no entry, where there is room.
    pub(crate) fn note(&mut self, event: Event) -> bool {
        let has_room = self.events.len() + self.table.len() < self.queue_max;
        if has_room {
            self.events.push_back(event);
        }
        has_room
    }

    fn end(&mut self, key: u128, what: What, why: Why, now: Now) -> Option<Entry> {
        let entry = self.table.remove(key)?;
        self.changes.push_back(Change::Remove { target: entry.target });
        self.record(what, why, &entry, now);
        Some(entry)
    }

    /// Room for this and for the end of every entry, once `more` places are taken.
    fn has_room(&self, more: usize) -> bool {
        let waiting = self.changes.len().max(self.events.len());
        waiting + self.table.len() + more <= self.queue_max
    }

    fn record(&mut self, what: What, why: Why, entry: &Entry, now: Now) {
        self.events.push_back(Event {
            what,
            why,
            subject: Arc::clone(&entry.subject),
            target: Some(entry.target),
            drop: entry.drop,
            at: now.wall,
            since: entry.since.wall,
            until: wall(entry.until, now),
        });
    }
}

/// A time of the monotonic clock as people say it.
pub(crate) const fn wall(at: Nanos, now: Now) -> WallNanos {
    let (later, earlier) = (at.since(now.mono), now.mono.since(at));
    WallNanos(now.wall.0.saturating_add(later).saturating_sub(earlier))
}
