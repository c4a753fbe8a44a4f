//! A core's end of the log.
//!
//! Handing a batch over is two queue operations and, only when the log's thread sleeps, one write to
//! its eventfd. Nothing is allocated once the batches have grown to the load's size. What is durable is
//! one atomic load; a core learns of it by its own eventfd.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

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
        self.shared.doorbell.ring();
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
    pub(crate) doorbell: Doorbell,
    pub(crate) stop: AtomicBool,
    /// Records in the log that are on stable storage, those of earlier starts included.
    pub(crate) size: AtomicU64,
    /// Durable writes of groups since the start.
    pub(crate) groups: AtomicU64,
    fault: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            doorbell: Doorbell::new()?,
            stop: AtomicBool::new(false),
            size: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            fault: AtomicU64::new(0),
        })
    }

    pub(crate) fn fault(&self) -> Option<LogFault> {
        LogFault::from_code(self.fault.load(Ordering::Acquire))
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

/// Wakes the log's thread, and costs a system call only when it sleeps.
#[derive(Debug)]
pub(crate) struct Doorbell {
    sleeping: AtomicBool,
    event: OwnedFd,
}

impl Doorbell {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            sleeping: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// To be called after what the thread should see was published.
    pub(crate) fn ring(&self) {
        // The thread publishes that it sleeps, then looks again; we publish work, then look whether
        // it sleeps. With both fences at least one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Sleeps until rung or `wait_ns` have passed, unless `work` is there already.
    pub(crate) fn sleep(&self, wait_ns: u64, work: impl Fn() -> bool) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !work() {
            let timeout = rustix::time::Timespec {
                tv_sec: (wait_ns / 1_000_000_000) as i64,
                tv_nsec: (wait_ns % 1_000_000_000) as i64,
            };
            let event = rustix::event::PollFd::new(&self.event, rustix::event::PollFlags::IN);
            let _ = rustix::event::poll(&mut [event], Some(&timeout));
        }
        if !self.sleeping.swap(false, Ordering::AcqRel) {
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }
}
