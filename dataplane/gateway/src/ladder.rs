//! The ladder's thread: hears of refusals from every core, decides, and has the card do it.
//!
//! It looks a hundred times a second, so that no core pays for waking it. Decisions come back to the
//! cores as standings, go to the card as changes, and to the log as records before anything else is
//! heard. Without a card callers are told, slowed and refused all the same; nothing is dropped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use dataplane_audit::{Body, BootId, Control, Record, Stamp};
use dataplane_audit_writer::Lane;
use dataplane_bundle::drops::{CardPackets, CardState, DropOrder, Order as Do};
use dataplane_bundle::{KillList, KillTarget};
use dataplane_drops::{
    Cause, Counters, Drops, Event, Explained, Fill, Kept, Keys, Listed, Names, Per, Refusal,
    Select, Standings, Subject,
};
use dataplane_pipeline::{Configuration, Heard};
use dataplane_telemetry::Now;

use crate::card::{Card, Dropped};
use crate::clock;
use crate::kept::{self, Keeper, KeptFile};
use crate::mailbox::{Mailbox, News};

/// Between two looks. From an offence to its entry it is one look and two system calls.
const TURN: Duration = Duration::from_millis(10);
/// The card is asked for its counters each half a second.
const LOOKS_PER_CARD: u64 = 50;
/// What is dropped is written down ten times a second at most, and listed for people once: with thousands
/// of entries that takes longer than a look.
const LOOKS_PER_KEEP: u64 = 10;
const LOOKS_PER_LIST: u64 = 100;
/// What waits to be heard; more is lost, and counted: 200,000 a second.
const WAITING_MAX: usize = 2_048;

/// An order is carried out in the next look.
const ANSWER: Duration = Duration::from_secs(5);

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
    Kills(KillList),
    Operator(DropOrder, SyncSender<Result<u32, String>>),
    Explain(IpAddr, SyncSender<Explained>),
    Packets(SyncSender<Vec<CardPackets>>),
}

/// What the thread last published, for metrics and people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub counters: Counters,
    pub fill: Fill,
    pub listed: Vec<Listed>,
    pub card: Option<CardState>,
    pub dropped: Vec<Dropped>,
    pub samples_lost: u64,
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
    pub drops: Drops,
    pub keys: Keys,
    pub boot: BootId,
    pub lane: Lane,
    pub lane_number: u16,
    pub mailboxes: Arc<Vec<Mailbox>>,
    pub card: Option<Card>,
    pub kept: Kept,
    pub kept_file: KeptFile,
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
            thread.stop();
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

    pub(crate) fn on_kills(&self, kills: &KillList) {
        let _ = self.ear.sender.send(Order::Kills(kills.clone()));
    }

    /// Carries an operator's order out.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn on_order(&self, order: &DropOrder) -> Result<u32, String> {
        self.ask(|answer| Order::Operator(order.clone(), answer))
            .unwrap_or_else(|| Err("the ladder's thread has ended; restart the gateway".to_owned()))
    }

    /// What is known of an address.
    pub(crate) fn explain(&self, address: IpAddr) -> Option<Explained> {
        self.ask(|answer| Order::Explain(address, answer))
    }

    /// The newest packets that the card has dropped; none without a card.
    pub(crate) fn packets(&self) -> Vec<CardPackets> {
        self.ask(Order::Packets).unwrap_or_default()
    }

    fn ask<T>(&self, order: impl FnOnce(SyncSender<T>) -> Order) -> Option<T> {
        let (answer, answered) = sync_channel(1);
        self.ear.sender.send(order(answer)).ok()?;
        answered.recv_timeout(ANSWER).ok()
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
    keeper: Keeper,
    /// The kernel's: what is kept is of this one.
    kernel_boot: String,
    report: Arc<Mutex<Report>>,
    configuration: Option<Arc<Configuration>>,
    kills: KillList,
    looks: u64,
    /// Since the entries were written down.
    is_to_keep: bool,
    /// Since they were listed, and from which look on they may be listed again.
    is_to_list: bool,
    list_from: u64,
    /// By the kill's id.
    killed: BTreeMap<String, Arc<Subject>>,
}

impl Thread {
    fn new(
        start: Start,
        orders: Receiver<Order>,
        report: Arc<Mutex<Report>>,
        lost: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let Start { drops, keys, boot, lane, lane_number, mailboxes, card, kept, kept_file } =
            start;
        let batch = dataplane_audit::Batch::default();
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
            keeper: Keeper::start(kept_file).context("the thread that keeps who is dropped")?,
            kernel_boot: kept::kernel_boot(),
            report,
            configuration: None,
            kills: KillList::default(),
            looks: 0,
            is_to_keep: false,
            is_to_list: false,
            list_from: 0,
            killed: BTreeMap::new(),
        };
        made.adopt(&kept);
        Ok(made)
    }

    /// Takes up what a process before this one has left.
    fn adopt(&mut self, kept: &Kept) {
        let pinned = self.card.as_ref().map(Card::pinned).unwrap_or_default();
        let stale = self.drops.adopt(&pinned, kept, &self.kernel_boot, clock::now());
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
                Order::Configuration(configuration) => self.configure(configuration, now),
                Order::Kills(kills) => {
                    self.kills = kills;
                    self.on_causes(now);
                }
                Order::Operator(order, answer) => {
                    let _ = answer.send(self.on_operator(&order, now));
                }
                Order::Explain(address, answer) => {
                    let _ = answer.send(self.drops.explain(address, now));
                }
                Order::Packets(answer) => {
                    let told = self.card.iter().map(|card| card.packets(now)).collect();
                    let _ = answer.send(told);
                }
            }
        }
        if now.mono >= self.drops.next_timer() {
            self.drops.on_timer(now);
        }
        let has_changed = self.carry_out(now);
        self.is_to_keep |= has_changed;
        self.is_to_list |= has_changed;
        if self.drops.generation() != self.told {
            self.publish_standings(now);
        }
        self.looks = self.looks.wrapping_add(1);
        if self.is_to_keep && self.looks.is_multiple_of(LOOKS_PER_KEEP) {
            self.keep(now);
            self.is_to_keep = false;
        }
        self.publish(now);
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
            Heard::Killed { kill, flow, flow_owner, caller, at } => {
                let Some(subject) = self.killed.get(&kill.id) else { return };
                let (subject, caller, flow_owner) = (Arc::clone(subject), *caller, *flow_owner);
                let (flow, at) = (*flow, *at);
                let told_until = at;
                let refusal = Refusal { subject, caller, flow_owner, flow, at, told_until };
                self.drops.on_refused(&refusal, now);
            }
            Heard::Unauthenticated { peer } => self.drops.on_unauthenticated(*peer, now),
            Heard::Closed { flow } => self.drops.on_flow_closed(flow, now),
        }
    }

    fn configure(&mut self, configuration: Arc<Configuration>, now: Now) {
        let attribution = configuration.catalog.attribution.unwrap_or_default();
        if let Err(fault) = self.drops.on_attribution(attribution) {
            tracing::error!(%fault, "how long addresses are remembered stays as it was");
        }
        let places = configuration.places();
        if let Err(fault) = self.drops.on_places(places, now) {
            tracing::error!(%fault, "the places of tenants are not taken");
        }
        if let Some(card) = &mut self.card {
            let told = card.on_places(places.to_vec());
            warn(told, "the card was not told of the places of tenants");
            let told = card.on_connections(&configuration.catalog.connections);
            warn(told, "the card was not told how many new connections tenants may make");
        }
        // Tenants have numbers in the card's counters, which go on after a restart.
        self.keep(now);
        self.configuration = Some(configuration);
        self.on_causes(now);
    }

    /// Quotas and kills as they are in force now: who is dropped by none of them is released, and
    /// whom a new kill names is dropped at once, where its ladder drops.
    fn on_causes(&mut self, now: Now) {
        let Some(configuration) = &self.configuration else { return };
        let Ok(rule) = configuration.catalog.kill_ladder() else { return };
        let in_force = self.kills.kills.iter().filter(|kill| kill.is_active(now.wall));
        let subjects = in_force.filter_map(|kill| {
            let (per, names) = named(&kill.target)?;
            let cause = Cause::Kill(kill.id.as_str().into());
            let subject = self.keys.subject(cause, per, names, rule)?;
            Some((kill.id.clone(), Arc::new(subject)))
        });
        let before = std::mem::take(&mut self.killed);
        self.killed = subjects.collect();
        let killed = &self.killed;
        let still_drops = |cause: &Cause| match cause {
            Cause::Quota(name) => configuration.drops_by_quota(name),
            Cause::Kill(id) => rule.drop_ms(0).is_some() && killed.contains_key(&**id),
        };
        self.drops.on_causes(still_drops, now);
        for (id, subject) in &self.killed {
            if !before.contains_key(id) {
                self.drops.on_kill(subject, now);
            }
        }
    }

    fn on_operator(&mut self, order: &DropOrder, now: Now) -> Result<u32, String> {
        // Whoever ordered wants to see what it did.
        self.list_from = 0;
        let by = format!("{}: {}", order.by, order.reason);
        let done = match &order.order {
            Do::Release(chosen) => self.drops.release_by(&chosen.select(), &by, now),
            Do::Pin { drop, for_ms } => self.drops.pin(*drop, *for_ms, &by, now),
        };
        done.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
            .map_err(|fault| fault.to_string())
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
            card.read_samples();
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
        if self.card.is_none() {
            standings.without_card();
        }
        self.told = standings.generation;
        let standings = Arc::new(standings);
        for mailbox in self.mailboxes.iter() {
            mailbox.send(News::Standings(Arc::clone(&standings)));
        }
    }

    /// The next process finds what the card has.
    fn stop(&self) {
        if self.is_to_keep {
            self.keep(clock::now());
        }
    }

    fn keep(&self, now: Now) {
        let drops = self.drops.keep(&self.kernel_boot, now.mono);
        let tenants = self.card.as_ref().map(|card| card.tenants().to_vec()).unwrap_or_default();
        self.keeper.keep(kept::Contents { drops, tenants });
    }

    fn publish(&mut self, now: Now) {
        let is_listed = self.is_to_list && self.looks >= self.list_from;
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.counters = self.drops.counters();
        report.fill = self.drops.fill();
        report.lost = self.lost.load(Ordering::Relaxed);
        if is_listed {
            report.listed = self.drops.list(&Select::All, now);
            (self.is_to_list, self.list_from) = (false, self.looks + LOOKS_PER_LIST);
        }
        if is_listed || self.looks.is_multiple_of(LOOKS_PER_CARD) {
            report.dropped = self.card.as_mut().map(Card::dropped).unwrap_or_default();
            report.samples_lost = self.card.as_ref().map_or(0, Card::samples_lost);
            report.card = self.card.as_ref().map(|card| card.state(&report.dropped));
        }
    }
}

fn warn(done: Result<(), ebpf_loader::Fault>, what: &str) {
    if let Err(fault) = done {
        tracing::warn!(%fault, "{what}");
    }
}

/// Whom a kill names, as ladders know callers; `None` for tools and servers, and for what is narrower
/// than a caller.
fn named(target: &KillTarget) -> Option<(Per, Names<'_>)> {
    match target {
        KillTarget::Tenant { tenant } => {
            Some((Per::Tenant, Names { tenant, user: None, agent: None }))
        }
        KillTarget::User { tenant, user } => {
            Some((Per::User, Names { tenant, user: Some(user), agent: None }))
        }
        KillTarget::Agent { tenant, agent } => {
            Some((Per::Agent, Names { tenant, user: None, agent: Some(agent) }))
        }
        KillTarget::Tool { .. }
        | KillTarget::Server { .. }
        | KillTarget::Client { .. }
        | KillTarget::Token { .. } => None,
    }
}
