//! The machine that writes the log: which bytes go where, and what a result of the disk means.
//!
//! The shell asks [`Log::step`] and does what it says, one write at a time. A group's records count
//! only after its write was reported whole. A failed or short write ends that segment for good: the
//! same records go, with the same indexes, to a new one; a second failure in a row refuses until the
//! shell says that it is time to [`Log::retry`], which is again a new segment. No acknowledged block is
//! ever written again.
//!
//! The group's buffer belongs to the shell, because the kernel reads from it while a write runs; it is
//! passed to each call that needs it, and must be the same one.

use dataplane_telemetry::WallNanos;

use crate::batch;
use crate::fault::LogFault;
use crate::group::{self, GROUP_BYTES_MAX, HEADER_BYTES, Place};
use crate::mark::Mark;
use crate::record::BootId;
use crate::scan::{Position, Scan};
use crate::segment::{BLOCK_BYTES, Previous, SegmentHeader};
use crate::tree::{Frontier, Hash};

/// Failures in a row after which calls are refused.
const FAILURES_MAX: u32 = 2;

/// A log being written.
#[derive(Debug)]
pub struct Log {
    origin: String,
    boot: BootId,
    /// Over all acknowledged records.
    tree: Frontier,
    /// What the next segment's header says of the last one that was used.
    previous: Option<Previous>,
    segment: Option<Open>,
    group: Pending,
    flight: Flight,
    failures: u32,
    fault: Option<LogFault>,
}

/// The segment that is written to.
#[derive(Clone, Copy, Debug)]
struct Open {
    number: u64,
    header_hash: Hash,
    /// Its length; no group goes past it.
    bytes: u64,
    /// Where its last group begins; `offset` when there is none.
    last: u64,
    offset: u64,
    /// Of its last group or its header.
    hash: Hash,
}

/// The records that are not acknowledged yet.
#[derive(Debug, Default)]
struct Pending {
    payload_bytes: usize,
    leaves: Vec<Hash>,
}

/// What the disk has been told to write.
#[derive(Clone, Copy, Debug)]
enum Flight {
    Nothing,
    Header(Open),
    Group { bytes: usize, hash: Hash },
}

/// What the shell has to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing waits to be written.
    Idle,
    /// Call [`Log::open`] with a fresh segment, and write the header that it gives.
    Open,
    /// Write the first `bytes` of the group's buffer at `offset` of the current segment, in one
    /// operation, and tell [`Log::on_written`].
    Write { segment: u64, offset: u64, bytes: usize },
    /// Calls are refused. Call [`Log::retry`] when it is worth another try.
    Refused(LogFault),
}

/// What the result of a write means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// The segment is ready.
    Opened,
    /// These records are on stable storage.
    Committed { first_index: u64, records: u64 },
    /// Nothing is acknowledged, and the segment is finished.
    Failed(LogFault),
}

/// Where a log is taken up.
#[derive(Debug)]
pub enum Start {
    /// There is none yet.
    Empty,
    /// After the end of its last segment. `closed` when nothing follows that end.
    After { position: Position, number: u64, closed: bool },
    /// In a segment of so many bytes, at a place after which it is all zeros.
    At { position: Position, number: u64, header_hash: Hash, bytes: u64 },
}

impl Start {
    /// Further on in the segment that was read.
    #[must_use]
    pub fn at(scan: &Scan<'_>, bytes: u64) -> Self {
        let (position, number) = (scan.position.clone(), scan.header.number);
        Self::At { position, number, header_hash: scan.header_hash, bytes }
    }

    /// In a new segment after the one that was read.
    #[must_use]
    pub fn after(scan: &Scan<'_>, closed: bool) -> Self {
        Self::After { position: scan.position.clone(), number: scan.header.number, closed }
    }
}

impl Log {
    /// A log in `origin`'s name, taken up where `start` says.
    #[must_use]
    pub fn new(origin: &str, boot: BootId, start: Start) -> Self {
        let mut log = Self {
            origin: origin.to_owned(),
            boot,
            tree: Frontier::default(),
            previous: None,
            segment: None,
            group: Pending::default(),
            flight: Flight::Nothing,
            failures: 0,
            fault: None,
        };
        match start {
            Start::Empty => (),
            Start::After { position, number, closed } => {
                let Position { offset: end, hash, tree, .. } = position;
                log.previous = Some(Previous { number, end, hash, closed });
                log.tree = tree;
            }
            Start::At { position, number, header_hash, bytes } => {
                let Position { last, offset, hash, tree } = position;
                log.segment = Some(Open { number, header_hash, bytes, last, offset, hash });
                log.tree = tree;
            }
        }
        log
    }

    /// What the shell has to do next. Asks for nothing while a write runs.
    #[must_use]
    pub fn step(&self) -> Step {
        if let Some(fault) = self.fault {
            return Step::Refused(fault);
        }
        match (&self.segment, self.flight) {
            (None, _) => Step::Open,
            (Some(open), Flight::Group { bytes, .. }) => {
                Step::Write { segment: open.number, offset: open.offset, bytes }
            }
            (Some(_), _) => Step::Idle,
        }
    }

    /// Takes a fresh segment of zeros into use; the block goes to its start.
    pub fn open(&mut self, number: u64, bytes: u64, wall: WallNanos) -> [u8; BLOCK_BYTES] {
        let header = SegmentHeader {
            number,
            opened: wall,
            boot: self.boot,
            previous: self.previous,
            origin: self.origin.clone(),
            tree: self.tree.clone(),
        };
        // A note's name is never too long for a header.
        let (block, header_hash) = header.encode().unwrap_or(([0; BLOCK_BYTES], [0; 32]));
        let offset = BLOCK_BYTES as u64;
        let (last, hash) = (offset, header_hash);
        self.flight = Flight::Header(Open { number, header_hash, bytes, last, offset, hash });
        block
    }

    /// Adds a batch's records to the group in `buffer`. `false` when they do not fit any more, or
    /// while a sealed group waits for the disk.
    pub fn add(&mut self, batch: &[u8], buffer: &mut [u8]) -> bool {
        let start = HEADER_BYTES + self.group.payload_bytes;
        let fits = start + batch.len() <= GROUP_BYTES_MAX.min(buffer.len());
        if !fits || !matches!(self.flight, Flight::Nothing) {
            return false;
        }
        let Some(place) = buffer.get_mut(start..start + batch.len()) else { return false };
        place.copy_from_slice(batch);
        self.group.leaves.extend(batch::split(batch).map(crate::tree::leaf_hash));
        self.group.payload_bytes += batch.len();
        true
    }

    /// Makes the records in `buffer` a group, or leaves the segment when they do not fit into it.
    /// Nothing happens when there are none, or when the log is not ready for them.
    pub fn seal(&mut self, buffer: &mut [u8]) {
        let ready = matches!(self.flight, Flight::Nothing) && self.fault.is_none();
        let Some(open) = self.segment.filter(|_| ready && !self.group.leaves.is_empty()) else {
            return;
        };
        let place = Place {
            segment: open.number,
            segment_hash: open.header_hash,
            first_index: self.tree.size(),
            previous: open.hash,
        };
        let Pending { payload_bytes, leaves } = &self.group;
        match group::seal(buffer, *payload_bytes, leaves, &place) {
            Some((bytes, hash)) if open.offset + bytes as u64 <= open.bytes => {
                self.flight = Flight::Group { bytes, hash };
            }
            _ => self.leave_segment(true),
        }
    }

    /// Ends the current segment in order; the next records go to a new one.
    pub fn rotate(&mut self) {
        if matches!(self.flight, Flight::Nothing) {
            self.leave_segment(true);
        }
    }

    /// The disk's answer to the header or the group: how many bytes it wrote, or its error number.
    pub fn on_written(&mut self, result: Result<usize, i32>) -> Written {
        let flight = std::mem::replace(&mut self.flight, Flight::Nothing);
        let expected = match flight {
            Flight::Nothing => 0,
            Flight::Header(_) => BLOCK_BYTES,
            Flight::Group { bytes, .. } => bytes,
        };
        match result {
            Ok(written) if written == expected => (),
            Ok(_) => return self.fail(LogFault::ShortWrite),
            Err(errno) => return self.fail(LogFault::from_errno(errno)),
        }
        match (flight, &mut self.segment) {
            (Flight::Header(open), segment) => {
                *segment = Some(open);
                Written::Opened
            }
            (Flight::Group { bytes, hash }, Some(open)) => {
                open.last = open.offset;
                open.offset += bytes as u64;
                open.hash = hash;
                self.commit()
            }
            _ => self.fail(LogFault::Io(0)),
        }
    }

    /// No fresh segment is to be had.
    pub fn on_no_segment(&mut self, fault: LogFault) {
        self.leave_segment(false);
        self.flight = Flight::Nothing;
        self.failures = FAILURES_MAX;
        self.fault = Some(fault);
    }

    /// Another try, with a new segment. One failure refuses again.
    pub fn retry(&mut self) {
        self.fault = None;
        self.failures = FAILURES_MAX - 1;
    }

    /// Records that wait to be written.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.group.leaves.len()
    }

    /// Whether records are taken while nothing is refused.
    #[must_use]
    pub const fn fault(&self) -> Option<LogFault> {
        self.fault
    }

    /// The tree over all acknowledged records.
    #[must_use]
    pub const fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// The current segment's number, and how many bytes are left in it.
    #[must_use]
    pub fn segment(&self) -> Option<(u64, u64)> {
        self.segment.map(|open| (open.number, open.bytes.saturating_sub(open.offset)))
    }

    /// Where the next start may begin to read, when a segment is open: behind what is acknowledged.
    /// The caller knows a checkpoint of this log, and whether it has just been closed.
    #[must_use]
    pub fn mark(&self, checkpoint: (u64, Hash), closed: bool) -> Option<Mark> {
        let Open { number, header_hash, last, offset, hash, .. } = self.segment?;
        let position = Position { last, offset, hash, tree: self.tree.clone() };
        Some(Mark { number, header_hash, position, checkpoint, closed })
    }

    /// The end of the last segment, when none is open.
    #[must_use]
    pub const fn previous(&self) -> Option<Previous> {
        self.previous
    }

    fn commit(&mut self) -> Written {
        let (first_index, records) = (self.tree.size(), self.group.leaves.len() as u64);
        for leaf in self.group.leaves.drain(..) {
            self.tree.push(leaf);
        }
        self.group.payload_bytes = 0;
        self.failures = 0;
        Written::Committed { first_index, records }
    }

    fn fail(&mut self, fault: LogFault) -> Written {
        self.leave_segment(false);
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            self.fault = Some(fault);
        }
        Written::Failed(fault)
    }

    /// A segment whose header was never acknowledged leaves no trace: the next names the one before.
    fn leave_segment(&mut self, closed: bool) {
        if let Some(Open { number, offset: end, hash, .. }) = self.segment.take() {
            self.previous = Some(Previous { number, end, hash, closed });
        }
    }
}
