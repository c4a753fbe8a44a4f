//! A core's end of the log.
//!
//! Handing a batch over is two queue operations and, only when the log's thread sleeps, one system
//! call to wake it. Nothing is allocated once the batches have grown to the load's size. What is durable is
//! one atomic load; a core learns of it by its own eventfd.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam_queue::ArrayQueue;
use dataplane_audit::{Batch, LogFault};
use rustix::event::{EventfdFlags, eventfd};

/// Batches of one lane that may wait for the disk. With [`dataplane_audit::BATCH_BYTES_MAX`] it
/// bounds what waits in memory: 2 MiB a lane, and one batch at the core.
pub const LANE_BATCHES_MAX: usize = 8;

/// Memory that each batch starts with: about 200 records.
const BATCH_BYTES_START: usize = 65_536;

/// One core's way into the log. Not to be shared: records of a lane keep their order.
#[derive(Debug)]
pub struct Lane {
    shared: Arc<Shared>,
    lane: Arc<LaneState>,
    submitted: u64,
}

impl Lane {
    /// Hands the batch over and leaves an empty one in its place. `false` when
    /// [`LANE_BATCHES_MAX`] batches wait already: the batch is untouched, and the next wake is the
    /// time to try again. An empty batch is always taken.
    pub fn submit(&mut self, batch: &mut Batch) -> bool {
        let records = batch.records();
        if records == 0 {
            return true;
        }
        if self.lane.waiting.is_full() {
            return false;
        }
        let empty = self.lane.empty.pop().unwrap_or_default();
        if let Err(refused) = self.lane.waiting.push(mem::replace(batch, empty)) {
            let empty = mem::replace(batch, refused);
            let _ = self.lane.empty.push(empty);
            return false;
        }
        self.submitted += u64::from(records);
        self.shared.ring();
        true
    }

    /// Records that this lane has handed over.
    #[must_use]
    pub const fn submitted(&self) -> u64 {
        self.submitted
    }

    /// How many of them, in their order, are on stable storage. Grows only.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.lane.durable.load(Ordering::Acquire)
    }

    /// Why calls must be refused now. Records that wait may still become durable.
    #[must_use]
    pub fn fault(&self) -> Option<LogFault> {
        self.shared.fault()
    }

    /// An eventfd, non-blocking, that counts up after each commit with records of this lane, and
    /// whenever `fault` changes.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.lane.wake.as_fd()
    }
}

/// What lanes and the log's thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Set when it runs. Unparking it is one atomic swap, and a system call only when it sleeps.
    thread: OnceLock<Thread>,
    pub(crate) stop: AtomicBool,
    /// Records in the log that are on stable storage, those of earlier starts included.
    pub(crate) size: AtomicU64,
    /// Durable writes of groups since the start.
    pub(crate) groups: AtomicU64,
    fault: AtomicU64,
    /// Acknowledged records are not on the disk as they were written. Stays for the process's life.
    damaged: AtomicBool,
}

impl Shared {
    pub(crate) const fn new() -> Self {
        Self {
            thread: OnceLock::new(),
            stop: AtomicBool::new(false),
            size: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            fault: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
        }
    }

    /// To be called by the log's thread itself.
    pub(crate) fn runs_here(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    /// To be called after what the thread should see was published.
    pub(crate) fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(crate) fn fault(&self) -> Option<LogFault> {
        let fault = LogFault::from_code(self.fault.load(Ordering::Acquire));
        fault.or_else(|| self.is_damaged().then_some(LogFault::Damaged))
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    pub(crate) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    /// Whether that is news.
    pub(crate) fn set_fault(&self, fault: Option<LogFault>) -> bool {
        let code = fault.map_or(0, LogFault::code);
        self.fault.swap(code, Ordering::AcqRel) != code
    }
}

/// A lane as the log's thread sees it.
#[derive(Debug)]
pub(crate) struct LaneState {
    waiting: ArrayQueue<Batch>,
    empty: ArrayQueue<Batch>,
    durable: AtomicU64,
    wake: OwnedFd,
}

impl LaneState {
    pub(crate) fn new() -> std::io::Result<Self> {
        let empty = ArrayQueue::new(LANE_BATCHES_MAX + 1);
        for _ in 0..LANE_BATCHES_MAX {
            let _ = empty.push(Batch::with_capacity(BATCH_BYTES_START));
        }
        Ok(Self {
            waiting: ArrayQueue::new(LANE_BATCHES_MAX),
            empty,
            durable: AtomicU64::new(0),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    pub(crate) fn lane(self: &Arc<Self>, shared: &Arc<Shared>) -> Lane {
        Lane { shared: Arc::clone(shared), lane: Arc::clone(self), submitted: 0 }
    }

    pub(crate) fn take(&self) -> Option<Batch> {
        self.waiting.pop()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let _ = self.empty.push(batch);
    }

    pub(crate) fn committed(&self, records: u64) {
        self.durable.fetch_add(records, Ordering::Release);
        self.wake();
    }

    /// A full counter is a wake that nobody has read yet.
    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}
