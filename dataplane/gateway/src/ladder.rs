//! The ladder's thread: hears of refusals from every core, decides, and has the card do it.
//!
//! It looks a hundred times a second, so that no core pays for waking it. Decisions come back to the
//! cores as standings, go to the card as changes, and to the log as records before anything else is
//! heard. Without a card callers are told, slowed and refused all the same; nothing is dropped.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use dataplane_audit::{Body, BootId, Control, Record, Stamp};
use dataplane_audit_writer::Lane;
use dataplane_drops::{
    Cause, Counters, Drops, Event, Fill, Keys, Listed, Select, Settings, Standings,
};
use dataplane_pipeline::{Configuration, Heard};
use dataplane_telemetry::Now;

use crate::card::Card;
use crate::clock;
use crate::kept::KeptFile;
use crate::mailbox::{Mailbox, News};

/// Between two looks. From an offence to its entry it is one look and two system calls.
const TURN: Duration = Duration::from_millis(10);
/// What waits to be heard; more is lost, and counted.
const WAITING_MAX: usize = 8_192;

/// What a core tells by.
#[derive(Clone)]
pub(crate) struct Ear {
    sender: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

impl Ear {
    /// Never waits.
    pub(crate) fn tell(&self, heard: Heard) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Order::Heard(heard)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the thread is told.
enum Order {
    Heard(Heard),
    Configuration(Arc<Configuration>),
}

/// What the thread last published, for metrics and people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub counters: Counters,
    pub fill: Fill,
    pub listed: Vec<Listed>,
    /// Packets that the card has dropped; `None` without a card.
    pub dropped_packets: Option<u64>,
    pub lost: u64,
}

/// The thread, from outside.
pub(crate) struct Ladder {
    ear: Ear,
    report: Arc<Mutex<Report>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What it is started with.
pub(crate) struct Start {
    pub keys: Keys,
    pub boot: BootId,
    pub lane: Lane,
    pub lane_number: u16,
    pub mailboxes: Arc<Vec<Mailbox>>,
    pub card: Option<Card>,
    pub kept: PathBuf,
}

impl Ladder {
    pub(crate) fn start(start: Start) -> anyhow::Result<Self> {
        let (sender, orders) = sync_channel(WAITING_MAX);
        let ear = Ear { sender, lost: Arc::default() };
        let report = Arc::new(Mutex::new(Report::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, ends) = (Arc::clone(&report), Arc::clone(&stop));
        let lost = Arc::clone(&ear.lost);
        let mut thread = Thread::new(start, orders, theirs, lost)?;
        let thread = std::thread::Builder::new().name("ladder".into()).spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(TURN);
                thread.turn();
            }
        });
        let thread = Mutex::new(Some(thread.context("the ladder's thread")?));
        Ok(Self { ear, report, stop, thread })
    }

    pub(crate) fn ear(&self) -> Ear {
        self.ear.clone()
    }

    /// A bundle decides: its ladders and places are in force.
    pub(crate) fn on_configuration(&self, configuration: Arc<Configuration>) {
        // The thread takes all within a turn, so it is not full for long.
        let _ = self.ear.sender.send(Order::Configuration(configuration));
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is pinned stays at work until it ends by itself, or the next process adopts it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the ladder's thread panicked");
        }
    }
}

struct Thread {
    drops: Drops,
    card: Option<Card>,
    orders: Receiver<Order>,
    lost: Arc<AtomicU64>,
    keys: Keys,
    /// Of the standings that the cores have.
    told: u64,
    boot: BootId,
    lane: Lane,
    lane_number: u16,
    batch: dataplane_audit::Batch,
    mailboxes: Arc<Vec<Mailbox>>,
    kept: KeptFile,
    report: Arc<Mutex<Report>>,
}

impl Thread {
    fn new(
        start: Start,
        orders: Receiver<Order>,
        report: Arc<Mutex<Report>>,
        lost: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let Start { keys, boot, lane, lane_number, mailboxes, card, kept } = start;
        let drops = Drops::new(Settings::default(), keys).context("the ladder")?;
        let batch = dataplane_audit::Batch::default();
        let kept = KeptFile::new(kept);
        let mut made = Self {
            drops,
            card,
            orders,
            lost,
            keys,
            told: 0,
            boot,
            lane,
            lane_number,
            batch,
            mailboxes,
            kept,
            report,
        };
        made.adopt();
        Ok(made)
    }

    /// Takes up what a process before this one has left.
    fn adopt(&mut self) {
        let pinned = self.card.as_ref().map(Card::pinned).unwrap_or_default();
        let kept = self.kept.read();
        let stale = self.drops.adopt(&pinned, &kept.drops, self.kept.boot(), clock::now());
        let Some(card) = &mut self.card else { return };
        for target in stale {
            let released = card.release(&target);
            warn(released, "an entry of an earlier process was not removed");
        }
    }

    fn turn(&mut self) {
        let now = clock::now();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Heard(heard) => self.hear(&heard, now),
                Order::Configuration(configuration) => self.configure(&configuration, now),
            }
        }
        if now.mono >= self.drops.next_timer() {
            self.drops.on_timer(now);
        }
        let has_changed = self.carry_out(now);
        if self.drops.generation() != self.told {
            self.publish_standings(now);
        }
        if has_changed {
            self.keep(now);
        }
        self.publish(now, has_changed);
    }

    fn hear(&mut self, heard: &Heard, now: Now) {
        match heard {
            Heard::Refused(refusal) => {
                self.drops.on_refused(refusal, now);
            }
            Heard::Authenticated { flow, flow_owner, caller } => {
                if let Some(card) = &mut self.card {
                    warn(card.on_local(flow.local), "the card was not told of an address of ours");
                }
                self.drops.on_authenticated(flow, flow_owner, caller, now);
            }
            Heard::Unauthenticated { peer } => self.drops.on_unauthenticated(*peer, now),
            Heard::Closed { flow } => self.drops.on_flow_closed(flow, now),
        }
    }

    fn configure(&mut self, configuration: &Configuration, now: Now) {
        let places = configuration.places();
        if let Err(fault) = self.drops.on_places(&places, now) {
            tracing::error!(%fault, "the places of tenants are not taken");
        }
        let drops = |cause: &Cause| match cause {
            Cause::Quota(name) => configuration.drops_by_quota(name),
            Cause::Kill(_) => false,
        };
        self.drops.on_causes(drops, now);
        if let Some(card) = &mut self.card {
            warn(card.on_places(places), "the card was not told of the places of tenants");
        }
    }

    /// Records first, so that nothing is dropped that is not in the log's hands.
    fn carry_out(&mut self, now: Now) -> bool {
        let mut has_changed = false;
        while let Some(event) = self.drops.poll_event() {
            has_changed = true;
            self.record(&event, now);
        }
        while let Some(change) = self.drops.poll_change() {
            if let Some(card) = &mut self.card {
                warn(card.carry_out(&change), "the card did not take a change");
            }
        }
        if let Some(card) = &mut self.card {
            warn(card.beat(now.mono), "the card takes no heartbeat");
        }
        has_changed
    }

    fn record(&mut self, event: &Event, now: Now) {
        let (what, why) = (event.what.as_str(), event.why.to_string());
        let (who, cause) = (event.subject.to_string(), event.subject.cause_name());
        let target = event.target.map(|target| target.to_string()).unwrap_or_default();
        tracing::warn!(what, why, who, cause, target, drop = event.drop, "the ladder");
        let control = Control::LadderStep {
            what,
            why: &why,
            who: &who,
            cause,
            target: &target,
            drop: event.drop,
            until: event.until.0,
        };
        let (boot, lane) = (self.boot, self.lane_number);
        let stamp = Stamp { boot, lane, wall: now.wall, mono: now.mono };
        let record = Record::new(stamp, Body::Control(control));
        if self.batch.push(&record).is_err() {
            // It is full: the log takes it, or has stopped taking anything and says so itself.
            let _ = self.lane.submit(&mut self.batch);
            let _ = self.batch.push(&record);
        }
        let _ = self.lane.submit(&mut self.batch);
    }

    fn publish_standings(&mut self, now: Now) {
        let mut standings = Standings::new(self.keys);
        self.drops.write_standings(&mut standings, now.mono);
        self.told = standings.generation;
        let standings = Arc::new(standings);
        for mailbox in self.mailboxes.iter() {
            mailbox.send(News::Standings(Arc::clone(&standings)));
        }
    }

    fn keep(&mut self, now: Now) {
        let drops = self.drops.keep(self.kept.boot(), now.mono);
        let tenants = self.card.as_ref().map(|card| card.tenants().to_vec()).unwrap_or_default();
        if let Err(error) = self.kept.write(drops, tenants) {
            tracing::error!(%error, "who is dropped would not be known after a restart");
        }
    }

    fn publish(&mut self, now: Now, has_changed: bool) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.counters = self.drops.counters();
        report.fill = self.drops.fill();
        report.lost = self.lost.load(Ordering::Relaxed);
        if has_changed || !report.listed.is_empty() {
            report.listed = self.drops.list(&Select::All, now);
            report.dropped_packets = self.card.as_ref().map(Card::dropped);
        }
    }
}

fn warn(done: Result<(), ebpf_loader::Fault>, what: &str) {
    if let Err(fault) = done {
        tracing::warn!(%fault, "{what}");
    }
}
