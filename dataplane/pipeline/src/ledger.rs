//! What one core has written down, and how much of it is durable.
//!
//! Records are numbered from one as they are pushed; the shell hands the batch to the log's thread
//! and reports back how many of this core's records are on stable storage. An answer that waits for
//! record `n` may leave once [`Ledger::durable`] has reached `n`.

use dataplane_audit::{
    ArgumentsDigest, Batch, Body, BootId, Call, CallId, DigestKey, Record, Stamp,
};
use dataplane_telemetry::Now;

/// The number of a record among those of its core, from one.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RecordNumber(pub u64);

/// Why a call cannot be recorded, and so cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unrecorded {
    #[error("the audit log takes no records: {0}")]
    LogLost(Box<str>),
    #[error("{0}")]
    Crowded(#[from] dataplane_audit::BatchFull),
}

/// One core's side of the audit log.
#[derive(Debug)]
pub(crate) struct Ledger {
    batch: Batch,
    boot: BootId,
    lane: u16,
    digest: DigestKey,
    pushed: u64,
    durable: u64,
    calls: u64,
    lost: Option<Box<str>>,
}

/// Memory that a batch starts with: a few hundred records.
const BATCH_BYTES: usize = 128 * 1_024;

impl Ledger {
    /// For core `lane` of one start of the gateway.
    #[must_use]
    pub(crate) fn new(boot: BootId, lane: u16, digest: DigestKey) -> Self {
        Self {
            batch: Batch::with_capacity(BATCH_BYTES),
            boot,
            lane,
            digest,
            pushed: 0,
            durable: 0,
            calls: 0,
            lost: None,
        }
    }

    /// A call's number: unique in this boot over all cores.
    pub(crate) fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(u64::from(self.lane) << 48 | self.calls)
    }

    /// The keyed digest of a call's arguments, as forwarded.
    #[must_use]
    pub(crate) fn digest(&self, arguments: &[u8]) -> ArgumentsDigest {
        self.digest.digest(arguments)
    }

    /// Whether a call may be made now; false fails closed.
    ///
    /// # Errors
    /// The log takes no records.
    pub(crate) fn is_open(&self) -> Result<(), Unrecorded> {
        match &self.lost {
            Some(why) => Err(Unrecorded::LogLost(why.clone())),
            None => Ok(()),
        }
    }

    /// Writes a record down.
    ///
    /// # Errors
    /// The log takes no records, or too many wait for it.
    pub(crate) fn push(&mut self, call: Call<'_>, now: Now) -> Result<RecordNumber, Unrecorded> {
        self.is_open()?;
        let stamp = Stamp { boot: self.boot, lane: self.lane, wall: now.wall, mono: now.mono };
        self.batch.push(&Record::new(stamp, Body::Call(call)))?;
        self.pushed += 1;
        Ok(RecordNumber(self.pushed))
    }

    /// What waits to be handed to the log's thread, which leaves an empty batch in its place.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    #[must_use]
    pub(crate) fn is_durable(&self, record: RecordNumber) -> bool {
        self.durable >= record.0
    }

    /// The first `records` of this core are on stable storage.
    pub(crate) fn on_durable(&mut self, records: u64) {
        self.durable = self.durable.max(records.min(self.pushed));
    }

    /// The log takes records again, or no longer and why.
    pub(crate) fn on_log(&mut self, lost: Option<Box<str>>) {
        self.lost = lost;
    }
}
