//! A restart of the gateway: what the card still drops is known again, or flushed.
//!
//! The shell keeps [`Kept`] in a file, by [`Drops::keep`], and finds what is pinned in the kernel.
//! An entry is adopted where both agree, its time is not over and within its cap, and the machine
//! was not booted in between; every other one is stale. Adopted subjects are refused like before.

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

    /// Adopts what is pinned and known. To be called once, before anything else; what it returns is
    /// stale, and the shell removes it from the maps.
    #[must_use]
    pub fn adopt(&mut self, pinned: &[Pinned], kept: &Kept, boot: &str, now: Now) -> Vec<Target> {
        let now = self.advance(now);
        // Numbers are not given twice, so that an old command cannot mean a new drop.
        self.ladder.next_drop = self.ladder.next_drop.max(kept.next_drop);
        let mut known: Vec<&KeptEntry> = kept.entries.iter().collect();
        if kept.boot != boot {
            known.clear();
        }
        let keys = self.keys;
        known.sort_unstable_by_key(|entry| entry.target.key(&keys));
        let mut stale = Vec::new();
        for found in pinned {
            let wanted = found.target.key(&keys);
            let place = known.binary_search_by_key(&wanted, |entry| entry.target.key(&keys));
            let entry = place.ok().and_then(|place| known.get(place));
            let is_taken = entry.is_some_and(|entry| self.adopt_one(found, entry, kept, now));
            if !is_taken {
                stale.push(found.target);
            }
        }
        stale
    }

    fn adopt_one(&mut self, found: &Pinned, entry: &KeptEntry, kept: &Kept, now: Now) -> bool {
        let subject = kept.subjects.iter().find(|subject| subject.drop == entry.drop);
        let Some(kept) = subject.filter(|kept| kept.is_sound(found, now.mono)) else {
            return false;
        };
        let Some(subject) = self.adopt_subject(kept, now) else { return false };
        let key = subject.key;
        let since = Now { mono: Nanos(entry.since_mono), wall: WallNanos(entry.since_wall) };
        let (target, until) = (found.target, found.until);
        let entry = Entry { target, subject, drop: kept.drop, since, until };
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
        let subject = self.keys.subject(kept.cause.clone(), kept.per, names, rule)?;
        if let Some(climb) = self.ladder.climbs.get(subject.key) {
            return (climb.drop == kept.drop).then(|| Arc::clone(&climb.subject));
        }
        let subject = Arc::new(subject);
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

    /// Whether an entry of it may go on: its time is to come, covered by the subject's, and not
    /// longer than a rule or a hand may make it.
    fn is_sound(&self, found: &Pinned, now: Nanos) -> bool {
        let cap_ms = match (&self.pinned_by, self.rule.drop) {
            (Some(_), _) => PIN_MS_MAX,
            (None, Some(drop)) => drop.drop_ms_max,
            (None, None) => return false,
        };
        let until = Nanos(self.until_mono);
        now < found.until && found.until <= until && until <= now.plus(cap_ms * MS)
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
