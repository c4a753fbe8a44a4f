//! The machine: what is heard of callers goes in, what the card shall drop comes out.
//!
//! One for the box, on a thread of its own; cores send what they hear through bounded queues, and
//! what is lost there is lost in the caller's favour. Time is clamped to go forward.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane_telemetry::{Nanos, Now};

use crate::entries::{Change, Entries, Entry, Event, Made, What, Why, wall};
use crate::ladder::{Heard, Ladder, Rung};
use crate::limits::{
    Attribution, ENTRIES_PER_SUBJECT_MAX, MS, SLOWED_MAX, SOURCES_PER_SUBJECT_KEPT, SWEEP_NS,
    Settings,
};
use crate::names::{Cause, Keys, Owner, Per, Subject};
use crate::place::{Flow, Prefix, Target};
use crate::places::{Place, PlaceFault, Places};
use crate::rule::RuleFault;
use crate::sightings::Sightings;
use crate::table::{Put, Table};

/// A connection that goes on is held against the configured places again after so long.
const PLACED_NS: u64 = 60_000 * MS;

/// A refused call: by a quota that says when to come back, by a kill, or by [`crate::Standings`].
#[derive(Clone, Debug)]
pub struct Refusal {
    pub subject: Arc<Subject>,
    /// Who called, and everybody who has called on this connection.
    pub caller: Owner,
    pub flow_owner: Owner,
    pub flow: Flow,
    /// When it was refused, and when its caller was told to come back.
    pub at: Nanos,
    pub told_until: Nanos,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    pub refusals: u64,
    /// Refusals whose call came before its time.
    pub ignored: u64,
    pub slowed: u64,
    /// Drops begun, and entries made, extended, ended in time, ended before it.
    pub drops: u64,
    pub made: u64,
    pub extended: u64,
    pub expired: u64,
    pub released: u64,
    /// Entries that were not made: the set, the subject's share or a queue was full.
    pub entries_refused: u64,
    /// New sources that were left alone because they are shared, uncertain or unknown.
    pub sources_spared: u64,
    /// Subjects and addresses for which there was no place.
    pub subjects_crowded: u64,
    pub sources_crowded: u64,
    /// Events that found no room; none of an entry's is ever among them.
    pub events_lost: u64,
}

/// How full each table is, for gauges.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fill {
    pub subjects: usize,
    pub told: usize,
    pub flows: usize,
    pub sources: usize,
    pub entries: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownFlow {
    flow: Flow,
    owner: Owner,
    last: Nanos,
    /// When it was last held against the configured places.
    placed: Nanos,
}

/// A source whose handshakes are delayed, for this subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slowed {
    pub(crate) subject: u128,
    pub(crate) seen: Nanos,
}

/// Who is slowed and dropped on this box.
#[derive(Debug)]
pub struct Drops {
    pub(crate) keys: Keys,
    pub(crate) settings: Settings,
    pub(crate) ladder: Ladder,
    flows: Table<KnownFlow>,
    pub(crate) sightings: Sightings,
    pub(crate) places: Places,
    pub(crate) entries: Entries,
    pub(crate) slowed: Table<Slowed>,
    generation: u64,
    latest: Nanos,
    next_sweep: Nanos,
    counters: Counters,
}

impl Drops {
    /// With nobody known. All memory is taken here.
    ///
    /// # Errors
    /// A setting out of its bounds.
    pub fn new(settings: Settings, keys: Keys) -> Result<Self, RuleFault> {
        settings.check()?;
        Ok(Self {
            keys,
            settings,
            ladder: Ladder::new(settings.subjects_max, settings.told_max),
            flows: Table::new(settings.flows_max),
            sightings: Sightings::new(&settings),
            places: Places::default(),
            entries: Entries::new(settings.entries_max, keys),
            slowed: Table::new(SLOWED_MAX),
            generation: 1,
            latest: Nanos(0),
            next_sweep: Nanos(0),
            counters: Counters::default(),
        })
    }

    /// A call was refused. How far up its subject is now, for whoever wants to act at once.
    pub fn on_refused(&mut self, refusal: &Refusal, now: Now) -> Rung {
        let now = self.advance(now);
        self.counters.refusals += 1;
        let Refusal { subject, caller, flow_owner, flow, at, told_until } = refusal;
        self.see(flow, flow_owner, caller, now);
        let heard = if subject.is_killed() {
            self.ladder.on_killed(subject, now)
        } else {
            let told = told_key(subject, caller);
            self.ladder.on_refused(subject, told, (*at).min(now.mono), *told_until, now)
        };
        self.generation += u64::from(heard.has_changed);
        match heard {
            Heard { rung: Rung::Tell, .. } => {}
            Heard { rung: Rung::Slow, has_risen, .. } => {
                self.on_slow(subject, flow, has_risen, now);
            }
            Heard { rung: Rung::Drop, has_risen: true, .. } => {
                self.begin(subject, now);
                self.drop_flow(subject, flow, flow_owner, now);
            }
            Heard { rung: Rung::Drop, has_risen: false, .. } => {
                self.on_flow_while_dropped(subject, flow, flow_owner, now);
            }
        }
        heard.rung
    }

    /// A request's credential was good. A connection says so with its first request, when its caller
    /// changes, and again each [`crate::REPORT_MS_MAX`] while it carries calls.
    pub fn on_authenticated(&mut self, flow: &Flow, flow_owner: &Owner, caller: &Owner, now: Now) {
        let now = self.advance(now);
        self.see(flow, flow_owner, caller, now);
    }

    /// A request's credential was missing or wrong, or a connection ended without a good one.
    pub fn on_unauthenticated(&mut self, peer: IpAddr, now: Now) {
        let now = self.advance(now);
        let source = Prefix::source(peer);
        let key = Target::Source(source).key(&self.keys);
        self.sightings.see(key, None, now.mono);
        self.spare(source, now);
    }

    /// The connection has ended: its ports may be another's next.
    pub fn on_flow_closed(&mut self, flow: &Flow, now: Now) {
        let now = self.advance(now);
        self.flows.remove(Target::Flow(*flow).key(&self.keys));
        self.release(&Target::Flow(*flow), Why::Closed, now);
    }

    /// A kill has come: its subject is dropped at once, where the subject's rule drops.
    pub fn on_kill(&mut self, subject: &Arc<Subject>, now: Now) -> Rung {
        let now = self.advance(now);
        let heard = self.ladder.on_killed(subject, now);
        self.generation += u64::from(heard.has_changed);
        if heard.has_risen {
            self.begin(subject, now);
        }
        heard.rung
    }

    /// How long what is seen at an address counts, from the configuration. What is dropped already is
    /// dropped until its end: it was judged by what counted then. Wrong: what was there stays.
    ///
    /// # Errors
    /// The field, and what it may be.
    pub fn on_attribution(&mut self, attribution: Attribution) -> Result<(), RuleFault> {
        self.settings.attribution = attribution.check()?;
        self.sightings.count(&attribution);
        Ok(())
    }

    /// What tenants have, from the configuration. Wrong: what was there stays.
    ///
    /// # Errors
    /// Two tenants' places with packets in common, too many, or no places at all.
    pub fn on_places(&mut self, places: &[Place], now: Now) -> Result<(), PlaceFault> {
        let now = self.advance(now);
        self.places = Places::new(places, &self.places, &self.keys)?;
        let mut from = 0;
        while let Some((next, target)) = self.entries.find(from, |entry| {
            entry.target.is_configured() && !self.places.has(&entry.target, entry.subject.tag)
        }) {
            from = next;
            self.release(&target, Why::Configuration, now);
        }
        Ok(())
    }

    /// A new configuration or list of kills: whose cause does not drop any more is released.
    pub fn on_causes(&mut self, still_drops: impl Fn(&Cause) -> bool, now: Now) {
        let now = self.advance(now);
        self.release_where(|subject| !still_drops(&subject.cause), &Why::Configuration, now);
    }

    /// Ends what is over. Early or twice: harmless.
    pub fn on_timer(&mut self, now: Now) {
        let now = self.advance(now);
        if now.mono >= self.next_sweep {
            self.next_sweep = now.mono.plus(SWEEP_NS);
            self.ladder.sweep(now.mono);
            self.sightings.sweep(now.mono);
        }
    }

    /// When `on_timer` has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Nanos {
        self.entries.next_end().min(self.next_sweep)
    }

    /// What the shell changes in the card's maps, one after the other.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.entries.poll_change()
    }

    /// What is put on record, one after the other.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.entries.poll_event()
    }

    /// Rises whenever cores have to be given new [`crate::Standings`].
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    #[must_use]
    pub const fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.ignored = self.ladder.ignored;
        counters.subjects_crowded = self.ladder.crowded;
        counters.sources_crowded = self.sightings.crowded;
        counters
    }

    #[must_use]
    pub fn fill(&self) -> Fill {
        Fill {
            subjects: self.ladder.climbs.len(),
            told: self.ladder.told_len(),
            flows: self.flows.len(),
            sources: self.sightings.len(),
            entries: self.entries.len(),
        }
    }

    /// Makes time go forward, and ends what is over before anything new is decided.
    pub(crate) fn advance(&mut self, now: Now) -> Now {
        self.latest = self.latest.max(now.mono);
        let now = Now { mono: self.latest, wall: now.wall };
        let mut from = 0;
        while let Some(entry) = self.entries.expire(&mut from, now) {
            self.counters.expired += 1;
            self.forget_one(entry.subject.key);
        }
        now
    }

    fn see(&mut self, flow: &Flow, flow_owner: &Owner, caller: &Owner, now: Now) {
        let key = Target::Flow(*flow).key(&self.keys);
        let owner = flow_owner.and(*caller);
        let mut known = KnownFlow { flow: *flow, owner, last: now.mono, placed: now.mono };
        let mut is_placed = false;
        match self.flows.get_mut(key) {
            Some(found) => {
                is_placed = found.owner == owner && now.mono.since(found.placed) < PLACED_NS;
                known.placed = if is_placed { found.placed } else { now.mono };
                *found = known;
            }
            None => drop(self.flows.put(key, known, |other| Some(other.last.0))),
        }
        let is_anothers = |entry: &Entry, owner: &Owner| !owner.is_of(&entry.subject);
        let of_flow = Target::Flow(*flow);
        if self.entries.get(&of_flow).is_some_and(|entry| is_anothers(entry, &known.owner)) {
            self.release(&of_flow, Why::Shared, now);
        }
        let source = Target::Source(flow.source());
        let source_key = source.key(&self.keys);
        self.sightings.see(source_key, Some(caller), now.mono);
        if self.entries.get(&source).is_some_and(|entry| is_anothers(entry, caller)) {
            self.release(&source, Why::Shared, now);
        }
        self.unslow_shared(source_key, now.mono);
        let shared_until = now.mono.plus(self.settings.attribution.memory_ms * MS);
        let places = if is_placed { 0 } else { self.places.len() };
        for number in 0..places {
            if let Some(place) = self.places.contradict(number, flow, &owner, shared_until) {
                self.release(&place, Why::Shared, now);
            }
        }
    }

    /// A source whose handshakes are delayed, and that is not one owner's any more, is spared.
    fn unslow_shared(&mut self, source: u128, now: Nanos) {
        let Some(slowed) = self.slowed.get(source) else { return };
        let subject = self.ladder.climbs.get(slowed.subject).map(|climb| &climb.subject);
        if !subject.is_some_and(|subject| self.sightings.is_of(source, subject, now)) {
            self.slowed.remove(source);
            self.generation += 1;
        }
    }

    fn on_slow(&mut self, subject: &Arc<Subject>, flow: &Flow, has_risen: bool, now: Now) {
        let source = flow.source();
        let key = Target::Source(source).key(&self.keys);
        if self.sightings.is_of(key, subject, now.mono) {
            let slowed = Slowed { subject: subject.key, seen: now.mono };
            match self.slowed.get_mut(key) {
                Some(found) if found.subject == subject.key => found.seen = now.mono,
                Some(found) => {
                    *found = slowed;
                    self.generation += 1;
                }
                None => {
                    let put = self.slowed.put(key, slowed, |other| Some(other.seen.0));
                    self.generation += u64::from(!matches!(put, Put::Full));
                }
            }
        }
        if !has_risen {
            return;
        }
        self.counters.slowed += 1;
        let Some(climb) = self.ladder.climbs.get(subject.key) else { return };
        let until = wall(climb.calm_at(), now);
        let is_noted = self.entries.note(Event {
            what: What::Slowed,
            why: Why::Ladder,
            subject: Arc::clone(subject),
            target: None,
            drop: 0,
            at: now.wall,
            since: now.wall,
            until,
        });
        self.counters.events_lost += u64::from(!is_noted);
    }

    /// A drop begins: what is configured to be the tenant's, where it is the tenant who is dropped,
    /// and every connection that is known to be the subject's.
    fn begin(&mut self, subject: &Arc<Subject>, now: Now) {
        self.counters.drops += 1;
        if subject.per == Per::Tenant {
            for number in 0..self.places.len() {
                if let Some(place) = self.places.of(number, subject.tag, now.mono) {
                    self.make(subject, place, now);
                }
            }
        }
        for place in 0..self.flows.places() {
            let found = self.flows.at(place).map(|(_, found)| *found);
            if let Some(found) = found.filter(|found| found.owner.is_of(subject)) {
                self.make(subject, Target::Flow(found.flow), now);
            }
        }
    }

    fn drop_flow(&mut self, subject: &Arc<Subject>, flow: &Flow, owner: &Owner, now: Now) -> Made {
        if !owner.is_of(subject) {
            return Made::AsBefore;
        }
        self.make(subject, Target::Flow(*flow), now)
    }

    /// It has come back by another connection: that one is dropped, too, and after a few of them new
    /// ones from there, if nobody else is behind that address.
    fn on_flow_while_dropped(
        &mut self,
        subject: &Arc<Subject>,
        flow: &Flow,
        owner: &Owner,
        now: Now,
    ) {
        let made = self.drop_flow(subject, flow, owner, now);
        let Some(climb) = self.ladder.climbs.get_mut(subject.key) else { return };
        if made == Made::AsBefore {
            return;
        }
        climb.flows = climb.flows.saturating_add(1);
        let after = subject.rule.written().drop.map_or(0, |drop| drop.flows_before_source);
        if after == 0 || climb.flows < after {
            return;
        }
        let source = Target::Source(flow.source());
        if self.sightings.is_of(source.key(&self.keys), subject, now.mono) {
            self.make(subject, source, now);
        } else {
            self.counters.sources_spared += 1;
        }
    }

    /// An entry until the end of the subject's drop: so long everything of it is refused.
    fn make(&mut self, subject: &Arc<Subject>, target: Target, now: Now) -> Made {
        let Some(climb) = self.ladder.climbs.get_mut(subject.key) else { return Made::NoRoom };
        let share = match target {
            Target::Flow(_) => ENTRIES_PER_SUBJECT_MAX - SOURCES_PER_SUBJECT_KEPT,
            _ => ENTRIES_PER_SUBJECT_MAX,
        };
        let is_full = climb.entries >= share;
        if climb.rung != Rung::Drop || climb.until <= now.mono {
            return Made::AsBefore;
        }
        let (drop, until) = (climb.drop, climb.until);
        let subject = Arc::clone(subject);
        let key = subject.key;
        if is_full && self.entries.get(&target).is_none() {
            self.counters.entries_refused += 1;
            return Made::NoRoom;
        }
        let entry = Entry { target, subject, drop, since: now, until };
        let made = self.entries.make(entry, What::Made, Why::Ladder, now);
        // Cores close what else comes from there: see `Standings::is_dropped_from`.
        let is_told = matches!(target, Target::Source(_)) && made != Made::AsBefore;
        self.generation += u64::from(is_told);
        match made {
            Made::New => {
                self.counters.made += 1;
                self.count_one(key);
            }
            Made::Longer(before) => {
                self.counters.extended += 1;
                self.forget_one(before);
                self.count_one(key);
            }
            Made::AsBefore => {}
            Made::NoRoom => self.counters.entries_refused += 1,
        }
        made
    }

    /// The address is not certainly one owner's any more.
    fn spare(&mut self, source: Prefix, now: Now) {
        let target = Target::Source(source);
        if self.slowed.remove(target.key(&self.keys)).is_some() {
            self.generation += 1;
        }
        self.release(&target, Why::Shared, now);
    }

    pub(crate) fn release(&mut self, target: &Target, why: Why, now: Now) {
        if let Some(entry) = self.entries.release(target, why, now) {
            self.generation += u64::from(matches!(target, Target::Source(_)));
            self.counters.released += 1;
            self.forget_one(entry.subject.key);
        }
    }

    /// Releases subjects with all their entries, and forgets that they ever climbed. How many.
    pub(crate) fn release_where(
        &mut self,
        wants: impl Fn(&Subject) -> bool,
        why: &Why,
        now: Now,
    ) -> usize {
        let mut from = 0;
        while let Some((next, target)) = self.entries.find(from, |entry| wants(&entry.subject)) {
            from = next;
            self.release(&target, why.clone(), now);
        }
        let before = self.ladder.climbs.len();
        let all = self.ladder.climbs.places();
        self.ladder.climbs.sweep(0, all, |climb| wants(&climb.subject));
        let released = before - self.ladder.climbs.len();
        self.generation += u64::from(released > 0);
        released
    }

    pub(crate) fn count_one(&mut self, subject: u128) {
        if let Some(climb) = self.ladder.climbs.get_mut(subject) {
            climb.entries = climb.entries.saturating_add(1);
        }
    }

    fn forget_one(&mut self, subject: u128) {
        if let Some(climb) = self.ladder.climbs.get_mut(subject) {
            climb.entries = climb.entries.saturating_sub(1);
        }
    }

    /// `extended` entries last longer, and cores have to be told.
    pub(crate) fn on_held(&mut self, extended: u64) {
        self.counters.extended += extended;
        self.generation += 1;
    }
}

/// What one caller was told under one subject. Both are keyed hashes already.
fn told_key(subject: &Subject, caller: &Owner) -> u128 {
    let tag = u128::from(caller.tag(Per::Caller).0);
    subject.key ^ (tag << 64) ^ tag
}
