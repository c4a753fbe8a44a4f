//! A restart of the gateway: what the card still drops is known again, or flushed.
//!
//! The shell keeps [`Kept`] in a file, by [`Drops::keep`], and finds what is pinned in the kernel.
//! Who was dropped stays refused for the rest of its time. An entry is adopted where file and card
//! agree and its subject was adopted; every other one is stale. So is each connection's: it has ended
//! with the process, and behind a NAT its ports may be a neighbour's next.

use std::sync::Arc;

use dataplane_telemetry::{Nanos, Now, WallNanos};
use serde::{Deserialize, Serialize};

use crate::drops::Drops;
use crate::entries::{Entry, Made};
use crate::ladder::{Climb, Rung};
use crate::limits::{MS, PIN_MS_MAX};
use crate::names::{Cause, Names, Per, Subject};
use crate::place::Target;
use crate::rule::{LEVEL_MAX, LadderRule};
use crate::table::Put;

/// What is kept beside the kernel's maps.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The kernel's boot id: monotonic times of another boot mean nothing.
    pub boot: String,
    pub next_drop: u64,
    pub subjects: Vec<KeptSubject>,
    pub entries: Vec<KeptEntry>,
}

/// A subject that is dropped.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSubject {
    pub drop: u64,
    pub cause: Cause,
    pub per: Per,
    pub tenant: String,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub rule: LadderRule,
    pub level: u8,
    /// Nanoseconds of the monotonic clock, and of the wall clock.
    pub since_mono: u64,
    pub since_wall: u64,
    pub until_mono: u64,
    pub pinned_by: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeptEntry {
    pub drop: u64,
    pub target: Target,
    pub since_mono: u64,
    pub since_wall: u64,
    pub until_mono: u64,
}

/// What was found in the kernel's maps.
#[derive(Clone, Copy, Debug)]
pub struct Pinned {
    pub target: Target,
    pub until: Nanos,
}

impl Drops {
    /// What would be needed after a restart. To be written whenever [`Drops::generation`] or the
    /// entries have changed.
    #[must_use]
    pub fn keep(&self, boot: &str, now: Nanos) -> Kept {
        let climbs = self.ladder.climbs.iter().map(|(_, climb)| climb);
        let dropped = climbs.filter(|climb| climb.rung == Rung::Drop && now < climb.until);
        let entries = self.entries.iter().filter(|entry| now < entry.until);
        Kept {
            boot: boot.to_owned(),
            next_drop: self.ladder.next_drop,
            subjects: dropped.map(KeptSubject::of).collect(),
            entries: entries.map(KeptEntry::of).collect(),
        }
    }

    /// Adopts whoever was dropped, and what is pinned and known. To be called once, before anything
    /// else; what it returns is stale, and the shell removes it from the maps.
    #[must_use]
    pub fn adopt(&mut self, pinned: &[Pinned], kept: &Kept, boot: &str, now: Now) -> Vec<Target> {
        let now = self.advance(now);
        // Numbers are not given twice, so that an old command cannot mean a new drop.
        self.ladder.next_drop = self.ladder.next_drop.max(kept.next_drop);
        let is_this_boot = kept.boot == boot;
        let subjects =
            kept.subjects.iter().filter(|subject| is_this_boot && subject.is_sound(now.mono));
        let mut adopted: Vec<(u64, Arc<Subject>)> =
            subjects.filter_map(|kept| Some((kept.drop, self.adopt_subject(kept, now)?))).collect();
        adopted.sort_by_key(|(drop, _)| *drop);
        let keys = self.keys;
        let mut known: Vec<(u128, &KeptEntry)> =
            kept.entries.iter().map(|entry| (entry.target.key(&keys), entry)).collect();
        known.sort_unstable_by_key(|(key, _)| *key);
        let mut stale = Vec::new();
        for found in pinned {
            let place = known.binary_search_by_key(&found.target.key(&keys), |(key, _)| *key);
            let entry = place.ok().and_then(|place| known.get(place)).map(|(_, entry)| *entry);
            if !entry.is_some_and(|entry| self.adopt_entry(found, entry, &adopted, now)) {
                stale.push(found.target);
            }
        }
        stale
    }

    fn adopt_entry(
        &mut self,
        found: &Pinned,
        entry: &KeptEntry,
        adopted: &[(u64, Arc<Subject>)],
        now: Now,
    ) -> bool {
        let place = adopted.binary_search_by_key(&entry.drop, |(drop, _)| *drop);
        let subject = place.ok().and_then(|place| adopted.get(place)).map(|(_, subject)| subject);
        let Some(subject) = subject.filter(|_| !matches!(found.target, Target::Flow(_))) else {
            return false;
        };
        let until = self.ladder.climbs.get(subject.key).map_or(Nanos(0), |climb| climb.until);
        if found.until <= now.mono || found.until > until {
            return false;
        }
        let key = subject.key;
        let since = Now { mono: Nanos(entry.since_mono), wall: WallNanos(entry.since_wall) };
        let (target, until, subject) = (found.target, found.until, Arc::clone(subject));
        let entry = Entry { target, subject, drop: entry.drop, since, until };
        let is_new = self.entries.adopt(entry, now) == Made::New;
        if is_new {
            self.count_one(key);
        }
        is_new
    }

    /// The subject under this process' keys, dropped as before.
    fn adopt_subject(&mut self, kept: &KeptSubject, now: Now) -> Option<Arc<Subject>> {
        let names = Names {
            tenant: &kept.tenant,
            user: kept.user.as_deref(),
            agent: kept.agent.as_deref(),
        };
        let rule = kept.rule.check(true).ok()?;
        let subject = Arc::new(self.keys.subject(kept.cause.clone(), kept.per, names, rule)?);
        if self.ladder.climbs.get(subject.key).is_some() {
            return None;
        }
        let mut climb = Climb::new(Arc::clone(&subject), now.mono);
        climb.rung = Rung::Drop;
        climb.level = kept.level.min(LEVEL_MAX);
        climb.drop = kept.drop;
        climb.since = Now { mono: Nanos(kept.since_mono), wall: WallNanos(kept.since_wall) };
        climb.until = Nanos(kept.until_mono);
        climb.pinned_by = kept.pinned_by.as_deref().map(Arc::from);
        let put = self.ladder.climbs.put(subject.key, climb, |_| None);
        self.on_held(0);
        matches!(put, Put::Taken).then_some(subject)
    }
}

impl KeptSubject {
    fn of(climb: &Climb) -> Self {
        let subject = &climb.subject;
        let names = subject.names();
        Self {
            drop: climb.drop,
            cause: subject.cause.clone(),
            per: subject.per,
            tenant: names.tenant.to_owned(),
            user: names.user.map(str::to_owned),
            agent: names.agent.map(str::to_owned),
            rule: *subject.rule.written(),
            level: climb.level,
            since_mono: climb.since.mono.0,
            since_wall: climb.since.wall.0,
            until_mono: climb.until.0,
            pinned_by: climb.pinned_by.as_deref().map(str::to_owned),
        }
    }

    /// Whether it may go on: its end is to come, and not later than a rule or a hand may make it.
    fn is_sound(&self, now: Nanos) -> bool {
        let cap_ms = match (&self.pinned_by, self.rule.drop) {
            (Some(_), Some(_)) => PIN_MS_MAX,
            (None, Some(drop)) => drop.drop_ms_max,
            (_, None) => return false,
        };
        let until = Nanos(self.until_mono);
        now < until && until <= now.plus(cap_ms * MS)
    }
}

impl KeptEntry {
    const fn of(entry: &Entry) -> Self {
        Self {
            drop: entry.drop,
            target: entry.target,
            since_mono: entry.since.mono.0,
            since_wall: entry.since.wall.0,
            until_mono: entry.until.0,
        }
    }
}
