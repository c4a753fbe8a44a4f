//! The ladder: tell, slow, drop; up by refusals that were ignored, down by calm.
//!
//! A refusal is *ignored* when its call came before the time that its caller had been told, from a
//! caller that has gone on without waiting for at least the rule's grace: calls that were under way
//! while the refusal travelled ignore nothing. Told is a caller; the ladder is of whoever shares the
//! bucket. Time in a drop is no calm, for nothing is heard then.

use std::sync::Arc;

use dataplane_telemetry::{Nanos, Now, WallNanos};
use serde::{Deserialize, Serialize};

use crate::limits::{FRESH_MS_MAX, MS};
use crate::names::Subject;
use crate::rule::{LEVEL_MAX, Rule};
use crate::table::{Put, Table};

/// How far up. `Tell` is what the quota does by itself.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    #[default]
    Tell,
    /// Connections are closed after the refusal; handshakes of unshared sources are delayed.
    Slow,
    /// Every method is refused until a time, and the card drops what it can.
    Drop,
}

/// Everybody who is not at the bottom, and who was told what.
#[derive(Debug)]
pub(crate) struct Ladder {
    pub(crate) climbs: Table<Climb>,
    told: Table<Told>,
    /// The next drop's number.
    pub(crate) next_drop: u64,
    swept: (usize, usize),
    pub(crate) ignored: u64,
    /// Subjects for whom there was no place.
    pub(crate) crowded: u64,
}

/// One subject's way up.
#[derive(Clone, Debug)]
pub(crate) struct Climb {
    pub(crate) subject: Arc<Subject>,
    pub(crate) rung: Rung,
    /// In the window that began then.
    ignored: u32,
    window_began: Nanos,
    /// Since it is slowed, and how often that were the rule's `ignored_refusals`.
    slowed: u32,
    pub(crate) strikes: u8,
    /// Drops that are remembered: the next one lasts as long as the rule's growth says.
    pub(crate) level: u8,
    calm_from: Nanos,
    /// Until when cores know that it is slowed.
    announced: Nanos,
    /// Of the last drop: its number, its time, the flows that came during it, who holds it.
    pub(crate) drop: u64,
    pub(crate) since: Now,
    pub(crate) until: Nanos,
    pub(crate) flows: u32,
    pub(crate) pinned_by: Option<Arc<str>>,
    pub(crate) entries: u32,
}

/// What a caller was told last under one subject.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Since then it has gone on without waiting.
    since: Nanos,
    last: Nanos,
    until: Nanos,
    wait_ns_max: u64,
}

/// What a refusal led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Heard {
    pub(crate) rung: Rung,
    /// It is higher than before this refusal.
    pub(crate) has_risen: bool,
    /// Cores have to be told: it is higher, or the delay has grown.
    pub(crate) has_changed: bool,
}

impl Ladder {
    pub(crate) fn new(subjects_max: usize, told_max: usize) -> Self {
        Self {
            // Half full, a set of eight is over-full once in a hundred.
            climbs: Table::new(subjects_max.saturating_mul(2)),
            told: Table::new(told_max),
            next_drop: 1,
            swept: (0, 0),
            ignored: 0,
            crowded: 0,
        }
    }

    /// A refusal that was told at `at` to `caller`, who shall come back at `told_until`.
    pub(crate) fn on_refused(
        &mut self,
        subject: &Arc<Subject>,
        caller: u128,
        at: Nanos,
        told_until: Nanos,
        now: Now,
    ) -> Heard {
        let grace_ns = subject.rule.written().grace_ms * MS;
        let has_ignored = self.tell(caller, grace_ns, at, told_until);
        self.ignored += u64::from(has_ignored);
        let is_fresh = now.mono < told_until || now.mono.since(at) <= FRESH_MS_MAX * MS;
        if !has_ignored {
            return self.heard(subject.key, now.mono);
        }
        let next_drop = self.next_drop;
        let Some(climb) = self.climb(subject, now.mono) else { return Heard::TOLD };
        let before = (climb.rung, climb.strikes);
        climb.on_ignored(is_fresh, next_drop, now);
        let has_changed = before != (climb.rung, climb.strikes) || climb.is_stale();
        if has_changed {
            climb.announced = climb.calm_at();
        }
        let heard = Heard { rung: climb.rung, has_risen: climb.rung > before.0, has_changed };
        self.next_drop += u64::from(heard.has_risen && heard.rung == Rung::Drop);
        heard
    }

    /// Straight to dropping, where the subject's rule drops.
    pub(crate) fn on_killed(&mut self, subject: &Arc<Subject>, now: Now) -> Heard {
        if subject.rule.drop_ms(0).is_none() {
            return self.heard(subject.key, now.mono);
        }
        let next_drop = self.next_drop;
        let Some(climb) = self.climb(subject, now.mono) else { return Heard::TOLD };
        let has_risen = climb.rung != Rung::Drop;
        if has_risen {
            climb.begin_drop(next_drop, now);
        }
        self.next_drop += u64::from(has_risen);
        Heard { rung: Rung::Drop, has_risen, has_changed: has_risen }
    }

    /// Looks at a part of the tables for what is over.
    pub(crate) fn sweep(&mut self, now: Nanos) {
        let climbs = self.climbs.places() / 64 + 1;
        self.swept.0 = self.climbs.sweep(self.swept.0, climbs, |climb| climb.is_forgotten(now));
        let told = self.told.places() / 64 + 1;
        let is_over = |told: &mut Told| now > told.until && now.since(told.last) > 10_000 * MS;
        self.swept.1 = self.told.sweep(self.swept.1, told, is_over);
    }

    pub(crate) fn told_len(&self) -> usize {
        self.told.len()
    }

    fn heard(&mut self, key: u128, now: Nanos) -> Heard {
        let Some(climb) = self.climbs.get_mut(key) else { return Heard::TOLD };
        climb.settle(now);
        Heard { rung: climb.rung, has_risen: false, has_changed: false }
    }

    /// The subject's climb as of now; a new one at the bottom, if there is a place.
    fn climb(&mut self, subject: &Arc<Subject>, now: Nanos) -> Option<&mut Climb> {
        let key = subject.key;
        if self.climbs.get(key).is_none() {
            let rank = |other: &Climb| {
                // Who is slowed or dropped, or soon will be dropped for longer, keeps its place.
                let may_go = other.rung == Rung::Tell && other.entries == 0;
                may_go.then_some((u64::from(other.level) << 56) | (other.calm_from.0 >> 8))
            };
            let climb = Climb::new(Arc::clone(subject), now);
            if let Put::Full = self.climbs.put(key, climb, rank) {
                self.crowded += 1;
                return None;
            }
        }
        let climb = self.climbs.get_mut(key)?;
        climb.settle(now);
        // A new bundle may have brought another rule.
        if !Arc::ptr_eq(&climb.subject, subject) {
            climb.subject = Arc::clone(subject);
        }
        Some(climb)
    }

    /// Remembers what the caller was told, and says whether this call ignored what it was told before.
    fn tell(&mut self, caller: u128, grace_ns: u64, at: Nanos, until: Nanos) -> bool {
        let wait_ns = until.since(at);
        let new = Told { since: at, last: at, until, wait_ns_max: wait_ns };
        let Some(told) = self.told.get_mut(caller) else {
            self.told.put(caller, new, |told| Some(told.last.0));
            return false;
        };
        let has_waited = at >= told.until && at.since(told.last) >= grace_ns.min(told.wait_ns_max);
        if has_waited {
            *told = new;
            return false;
        }
        let has_ignored = at < told.until && at >= told.since.plus(grace_ns);
        told.last = told.last.max(at);
        told.until = told.until.max(until);
        told.wait_ns_max = told.wait_ns_max.max(wait_ns);
        has_ignored
    }
}

impl Heard {
    const TOLD: Self = Self { rung: Rung::Tell, has_risen: false, has_changed: false };
}

impl Climb {
    pub(crate) fn new(subject: Arc<Subject>, now: Nanos) -> Self {
        Self {
            subject,
            rung: Rung::Tell,
            ignored: 0,
            window_began: now,
            slowed: 0,
            strikes: 0,
            level: 0,
            calm_from: now,
            announced: now,
            drop: 0,
            since: Now { mono: now, wall: WallNanos(0) },
            until: Nanos(0),
            flows: 0,
            pinned_by: None,
            entries: 0,
        }
    }

    fn rule(&self) -> &Rule {
        &self.subject.rule
    }

    pub(crate) fn calm_ns(&self) -> u64 {
        self.rule().written().calm_ms * MS
    }

    /// When it comes down from slowing, if it stays calm.
    pub(crate) fn calm_at(&self) -> Nanos {
        self.calm_from.plus(self.calm_ns())
    }

    /// Whether cores would take it for calm too soon.
    fn is_stale(&self) -> bool {
        let shown = self.rung == Rung::Slow;
        shown && self.calm_at().since(self.announced) > self.calm_ns() / 2
    }

    /// What time alone has changed: a drop that is over, a step down for each calm.
    pub(crate) fn settle(&mut self, now: Nanos) {
        if self.rung == Rung::Drop && now >= self.until {
            self.rung = Rung::Slow;
            self.calm_from = self.until;
            self.restart_window(self.until);
            self.slowed = 0;
            self.strikes = 0;
            self.pinned_by = None;
        }
        if self.rung == Rung::Slow && now >= self.calm_at() {
            self.rung = Rung::Tell;
            self.calm_from = self.calm_at();
            self.restart_window(self.calm_from);
            self.slowed = 0;
            self.strikes = 0;
        }
        while self.rung == Rung::Tell && self.level > 0 && now >= self.calm_at() {
            self.calm_from = self.calm_at();
            self.level -= 1;
        }
    }

    /// Whether nothing is left to remember.
    pub(crate) fn is_forgotten(&mut self, now: Nanos) -> bool {
        self.settle(now);
        let window_ns = self.rule().written().window_ms * MS;
        let is_over = now.since(self.window_began) >= window_ns && now >= self.calm_at();
        self.rung == Rung::Tell && self.level == 0 && self.entries == 0 && is_over
    }

    fn on_ignored(&mut self, is_fresh: bool, next_drop: u64, now: Now) {
        if self.rung == Rung::Drop {
            return;
        }
        let rule = *self.rule().written();
        self.calm_from = self.calm_from.max(now.mono);
        // A window begins with the first that is counted in it.
        if self.ignored == 0 || now.mono.since(self.window_began) >= rule.window_ms * MS {
            self.restart_window(now.mono);
        }
        self.ignored = self.ignored.saturating_add(1);
        if self.rung == Rung::Tell {
            if self.ignored >= rule.ignored_refusals {
                self.rung = Rung::Slow;
                self.since = now;
                self.restart_window(now.mono);
            }
            return;
        }
        self.slowed = self.slowed.saturating_add(1);
        if self.slowed >= rule.ignored_refusals {
            self.slowed = 0;
            self.strikes = self.strikes.saturating_add(1).min(LEVEL_MAX);
        }
        if rule.drop.is_some_and(|drop| self.ignored >= drop.ignored_refusals) && is_fresh {
            self.begin_drop(next_drop, now);
        }
    }

    fn begin_drop(&mut self, number: u64, now: Now) {
        let Some(drop_ms) = self.rule().drop_ms(self.level) else { return };
        self.rung = Rung::Drop;
        self.level = self.level.saturating_add(1).min(LEVEL_MAX);
        self.drop = number;
        self.since = now;
        self.until = now.mono.plus(drop_ms * MS);
        self.flows = 0;
        self.restart_window(now.mono);
    }

    fn restart_window(&mut self, from: Nanos) {
        self.ignored = 0;
        self.window_began = from;
    }
}
