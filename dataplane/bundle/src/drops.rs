//! What the channel says of drops: an appliance's report, an operator's orders, and their answers.
//!
//! A report is everything that is known to be dropped, sent when it has changed. An order can end a
//! drop or hold it for a bounded time; it cannot make one, so it needs no signature of its own: who
//! holds the channel alone can drop nobody. Every part is bounded here, for both sides.

mod codec;
mod packets;

use std::net::IpAddr;

pub(crate) use codec::{address, put_address};
use dataplane_drops::{
    Cause, Counters, Explained, Fill, Listed, PIN_MS_MAX, Per, Seen, Select, Target,
};
use dataplane_telemetry::WallNanos;
pub use packets::{
    CardPackets, DropReason, DropTable, DroppedPacket, PACKETS_BYTES_MAX, PACKETS_MAX,
};
pub(crate) use packets::{packets, put_packets};

use crate::Refused;
use crate::catalog::Rate;
use crate::limits::{IDENTITY_BYTES_MAX, REASON_BYTES_MAX};
use crate::names::{at_most, at_most_u64, identity, wrong};

/// Entries in one report. What is past it is counted, and asked for by address.
pub const ROWS_MAX: usize = 1_024;
/// Entries of one drop in a report that would be too long: the others are alike.
pub const ROWS_OF_A_DROP_MAX: usize = 32;
/// Network interfaces with a program.
pub const CARDS_MAX: usize = 16;
/// Tenants whose bound of new connections is told of one card.
pub const THINNED_MAX: usize = 64;
/// A report, or what is known of an address.
pub const DROPS_BYTES_MAX: usize = 2 << 20;
/// What Linux takes as an interface's name (`IFNAMSIZ`).
const INTERFACE_BYTES_MAX: usize = 16;
/// An entry with every name as long as may be.
const ROW_BYTES_MAX: usize = 5 * (3 + IDENTITY_BYTES_MAX) + 80;
const THINNED_BYTES_MAX: usize = 2 + IDENTITY_BYTES_MAX + 24;
const CARD_BYTES_MAX: usize = INTERFACE_BYTES_MAX + 64 + THINNED_MAX * THINNED_BYTES_MAX;
/// Between two `until`s of one entry that are the same time: each is told by another look at the
/// clock, which may be stepped.
const SAME_TIME_NS: u64 = 500_000_000;

const _: () = assert!(ROWS_MAX * ROW_BYTES_MAX + CARDS_MAX * CARD_BYTES_MAX < DROPS_BYTES_MAX);

/// What one appliance drops, and how its cards are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DropsReport {
    /// All entries, those that found no room in `rows` included.
    pub entries: u32,
    /// The newest drop first.
    pub rows: Vec<DropRow>,
    pub counters: Counters,
    pub fill: Fill,
    /// Empty: no card refuses for this box; its own refusals are all there is.
    pub cards: Vec<CardState>,
}

/// One entry: what [`Listed`] says, without what changes by the second.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DropRow {
    pub drop: u64,
    pub target: Target,
    pub tenant: String,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub per: Per,
    pub cause: Cause,
    pub since: WallNanos,
    pub until: WallNanos,
    pub level: u8,
    pub pinned_by: Option<String>,
}

/// One network interface whose card refuses for us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CardState {
    pub interface: String,
    pub mode: CardMode,
    /// Of the object that is loaded.
    pub program_sha256: [u8; 32],
    /// Packets dropped since the program was attached.
    pub drops: u64,
    /// Entries in the program's maps, and how many these take.
    pub entries: u32,
    pub entries_max: u32,
    /// Tenants whose new connections are bounded; at most [`THINNED_MAX`], of whom most was dropped
    /// first.
    pub thinned: Vec<Thinned>,
}

/// A tenant's bound of new connections at one card, and what it came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Thinned {
    pub tenant: String,
    pub rate: Rate,
    pub burst: u32,
    /// Connections' first packets that were dropped since the program was attached.
    pub drops: u64,
}

/// Where in the way of a packet the program runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum CardMode {
    /// In the driver.
    Native = 0,
    /// Behind it, in the kernel: works with every driver, and saves less.
    Generic = 1,
}

/// An operator's order. It is carried out once for each time that it comes, which does no harm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DropOrder {
    /// Comes back in the answer.
    pub id: u64,
    /// Who gave it, and why: for the record.
    pub by: String,
    pub reason: String,
    pub order: Order,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// Ends what is chosen.
    Release(Chosen),
    /// Holds a drop for so long from now.
    Pin { drop: u64, for_ms: u64 },
}

/// [`Select`], with texts of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Chosen {
    All,
    Drop(u64),
    Tenant(String),
    Address(IpAddr),
}

/// What an appliance knows of an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressReport {
    pub seen: Seen,
    pub sentence: String,
    /// All entries that touch it, those that found no room in `rows` included.
    pub entries: u32,
    pub rows: Vec<DropRow>,
}

impl DropsReport {
    /// `listed` is everything, as [`dataplane_drops::Drops::list`] orders it. What is too much for one
    /// message is left out: first of drops with many entries, then of the oldest.
    #[must_use]
    pub fn new(
        listed: Vec<Listed>,
        counters: Counters,
        fill: Fill,
        mut cards: Vec<CardState>,
    ) -> Self {
        cards.truncate(CARDS_MAX);
        for card in &mut cards {
            card.thinned.sort_by_key(|one| std::cmp::Reverse(one.drops));
            card.thinned.truncate(THINNED_MAX);
        }
        let (entries, rows) = rows(listed);
        Self { entries, rows, counters, fill, cards }
    }

    /// Whether telling this after `before` would tell nothing new. Times are compared roughly.
    #[must_use]
    pub fn is_like(&self, before: &Self) -> bool {
        let rest = |report: &Self| (report.counters, report.fill);
        rest(self) == rest(before) && self.cards == before.cards && self.has_rows_of(before)
    }

    /// Whether the same is dropped as before, whatever was counted since.
    #[must_use]
    pub fn has_rows_of(&self, before: &Self) -> bool {
        self.entries == before.entries
            && self.rows.len() == before.rows.len()
            && self.rows.iter().zip(&before.rows).all(|(row, before)| row.is_like(before))
    }
}

impl AddressReport {
    #[must_use]
    pub fn new(explained: Explained) -> Self {
        let (entries, rows) = rows(explained.entries);
        Self { seen: explained.seen, sentence: explained.sentence, entries, rows }
    }
}

fn rows(mut listed: Vec<Listed>) -> (u32, Vec<DropRow>) {
    let entries = u32::try_from(listed.len()).unwrap_or(u32::MAX);
    if listed.len() > ROWS_MAX {
        let mut run = (0, 0);
        listed.retain(|one| {
            run = if run.0 == one.drop { (run.0, run.1 + 1) } else { (one.drop, 1) };
            run.1 <= ROWS_OF_A_DROP_MAX
        });
        listed.truncate(ROWS_MAX);
    }
    (entries, listed.into_iter().map(DropRow::from).collect())
}

impl From<Listed> for DropRow {
    fn from(listed: Listed) -> Self {
        let Listed { drop, target, tenant, user, agent, per, cause, level, pinned_by, .. } = listed;
        let (since, until) = (WallNanos(listed.since), WallNanos(listed.until));
        Self { drop, target, tenant, user, agent, per, cause, since, until, level, pinned_by }
    }
}

impl DropRow {
    /// As people are told at this time.
    #[must_use]
    pub fn listed(self, now: WallNanos) -> Listed {
        let Self { drop, target, tenant, user, agent, per, cause, level, pinned_by, .. } = self;
        let (since, until) = (self.since.0, self.until.0);
        let (ends_in_ms, sentence) = (0, String::new());
        let listed = Listed {
            drop,
            target,
            tenant,
            user,
            agent,
            per,
            cause,
            since,
            until,
            ends_in_ms,
            level,
            pinned_by,
            sentence,
        };
        listed.said_at(now)
    }

    fn is_like(&self, before: &Self) -> bool {
        let near = |one: WallNanos, other: WallNanos| one.0.abs_diff(other.0) < SAME_TIME_NS;
        near(self.until, before.until)
            && *self == Self { until: self.until, since: self.since, ..before.clone() }
    }
}

impl DropOrder {
    /// Both sides refuse what is past a bound, by its field.
    fn check(&self) -> Result<(), Refused> {
        identity("order.by", &self.by)?;
        at_most("order.reason", self.reason.len(), REASON_BYTES_MAX)?;
        if self.reason.chars().any(char::is_control) {
            return Err(wrong("order.reason", &self.reason, "has a control character"));
        }
        match &self.order {
            Order::Release(Chosen::Tenant(tenant)) => identity("order.tenant", tenant),
            Order::Release(_) => Ok(()),
            Order::Pin { for_ms: 0, .. } => Err(wrong("order.for_ms", "0", "is no time")),
            Order::Pin { for_ms, .. } => at_most_u64("order.for_ms", *for_ms, PIN_MS_MAX),
        }
    }
}

impl Chosen {
    #[must_use]
    pub fn select(&self) -> Select<'_> {
        match self {
            Self::All => Select::All,
            Self::Drop(drop) => Select::Drop(*drop),
            Self::Tenant(tenant) => Select::Tenant(tenant),
            Self::Address(address) => Select::Address(*address),
        }
    }
}
