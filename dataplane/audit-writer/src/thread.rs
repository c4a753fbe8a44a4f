//! The log's thread: collect what waits, write it as one group, tell the lanes.
//!
//! It owns the log's machine and does what that says. While several callers wait it gives their
//! records a moment to become one group, because a write costs as much CPU for one record as for a
//! hundred; a lone caller's record is written at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dataplane_audit::log::{Log, Step, Written};
use dataplane_audit::{
    Batch, Body, BootId, Checkpoint, Control, GROUP_BYTES_MAX, LogFault, NoteSigner, Record, Stamp,
};
use dataplane_telemetry::{Nanos, Now};
use tokio_uring::buf::BoundedBuf;

use crate::clock::{Steps, now};
use crate::config::Config;
use crate::disk::{Aligned, Disk, SegmentFile, errno};
use crate::housekeeper::{Housekeeper, checkpoint};
use crate::lane::{LaneState, Shared};
use crate::opening::{How, Opened};

/// A log that cannot be written is tried again so often.
const RETRY_NS: u64 = 1_000_000_000;

/// From so many records on, waiting for more saves more than it costs: four calls. Fewer are written at
/// once, so that a lone caller never waits for others.
const SEVERAL_RECORDS: usize = 8;

/// So many records are a group without waiting for more.
const GATHERED_RECORDS: usize = 256;

/// After a start no spare segment is made for so long, while so many bytes are left.
const FIRST_CALLS_NS: u64 = 1_000_000_000;
const FIRST_CALLS_BYTES: u64 = 8 << 20;

/// A mark is kept after so many bytes of groups, what a start after a crash reads, and not again for so
/// long.
const MARK_BYTES: u64 = 256 << 10;
const MARK_NS: u64 = 100_000_000;

/// The lane number in records that the log writes itself.
const OWN_LANE: u16 = u16::MAX;

pub(crate) struct Thread {
    log: Log,
    disk: Arc<Disk>,
    shared: Arc<Shared>,
    lanes: Vec<Arc<LaneState>>,
    housekeeper: Housekeeper,
    signer: Arc<NoteSigner>,
    boot: BootId,
    segment_bytes: u64,
    reserve_bytes: u64,
    gather: Duration,
    checkpoint_records: u64,
    checkpoint_ns: u64,
    current: Option<CurrentFile>,
    spare: Option<SegmentFile>,
    next_number: u64,
    /// Why there is no spare, and when that was found.
    no_spare: Option<(LogFault, Nanos)>,
    group: Aligned,
    header: Aligned,
    /// Records of each lane in the group.
    in_group: Vec<u64>,
    /// A batch that did not fit into the group.
    held: Option<(usize, Batch)>,
    next_lane: usize,
    own: Batch,
    steps: Steps,
    /// The first fault since the log was last opened.
    refused_since: Option<(LogFault, Nanos)>,
    retry_at: Nanos,
    /// Records a group, smoothed over the last eight, in eighths.
    recent_eighths: usize,
    checkpointed: (u64, Nanos),
    /// The last checkpoint's size and root.
    kept: (u64, [u8; 32]),
    /// Of the last mark: the segment, and the bytes that were left in it; and when it was.
    marked: (u64, u64),
    marked_at: Nanos,
    told_damage: bool,
    /// Only the log's own records are written: a start begins with one block, alone, which is what
    /// [`crate::disk::read_behind`] relies on.
    is_opening: bool,
    opened: Nanos,
}

struct CurrentFile {
    number: u64,
    bytes: u64,
    file: tokio_uring::fs::File,
}

impl Thread {
    pub(crate) fn new(
        config: Config,
        opened: Opened,
        disk: Arc<Disk>,
        shared: Arc<Shared>,
        lanes: Vec<Arc<LaneState>>,
        group: Aligned,
    ) -> std::io::Result<Self> {
        let signer = Arc::new(config.signer);
        let housekeeper =
            Housekeeper::start(Arc::clone(&disk), Arc::clone(&signer), Arc::clone(&shared))?;
        let now = now();
        let size = opened.log.tree().size();
        shared.size.store(size, Ordering::Release);
        let mut thread = Self {
            disk,
            shared,
            in_group: vec![0; lanes.len()],
            lanes,
            housekeeper,
            signer,
            boot: config.boot,
            segment_bytes: config.segment_bytes,
            reserve_bytes: config.reserve_bytes,
            gather: Duration::from_micros(config.gather_us),
            checkpoint_records: config.checkpoint_records,
            checkpoint_ns: config.checkpoint_ms.saturating_mul(1_000_000),
            current: opened.current.map(CurrentFile::new),
            spare: opened.spare,
            next_number: opened.next_number,
            no_spare: None,
            group,
            header: Aligned::new(dataplane_audit::BLOCK_BYTES),
            held: None,
            next_lane: 0,
            own: Batch::default(),
            steps: Steps::new(now),
            refused_since: None,
            retry_at: now.mono,
            recent_eighths: 0,
            checkpointed: (0, now.mono),
            kept: opened.kept.map_or((0, [0; 32]), |kept| (kept.size, kept.root)),
            marked: opened.log.segment().unwrap_or_default(),
            marked_at: now.mono,
            told_damage: false,
            is_opening: true,
            opened: now.mono,
            log: opened.log,
        };
        if let Some(mark) = opened.unread {
            thread.housekeeper.check(mark);
        }
        if let How::LossAccepted { .. } = opened.how {
            // At once: the old one is not a state of this log any more.
            thread.checkpointed = (0, Nanos(0));
        }
        let operator = config.accept_loss.map(|accepted| accepted.operator).unwrap_or_default();
        thread.note_opening(&opened.how, &operator, &opened.losses, now);
        Ok(thread)
    }

    /// Until the log's own records are durable: those of its opening or its close.
    pub(crate) async fn settle(&mut self) -> Result<(), LogFault> {
        while !self.own.is_empty() || self.log.pending() > 0 {
            if let Step::Refused(fault) = self.log.step() {
                return Err(fault);
            }
            let now = now();
            self.keep_spare(now);
            self.turn(now).await;
        }
        self.is_opening = false;
        Ok(())
    }

    /// Until the stop.
    pub(crate) async fn run(&mut self) -> Result<Checkpoint, LogFault> {
        loop {
            let now = now();
            self.keep_spare(now);
            self.keep_checkpoint(now);
            self.tell_damage(now);
            if self.shared.stop.load(Ordering::Acquire) && self.is_drained() {
                return self.close().await;
            }
            self.turn(now).await;
        }
    }

    /// One step of the machine.
    async fn turn(&mut self, now: Now) {
        match self.log.step() {
            Step::Idle => self.collect(now),
            Step::Open => self.open(now).await,
            Step::Write { offset, bytes, .. } => self.write(offset, bytes).await,
            Step::Refused(_) => self.wait_out(now),
        }
    }

    /// Puts what waits into a group, or sleeps until something does.
    fn collect(&mut self, now: Now) {
        if let Some(by_ns) = self.steps.step(now) {
            self.note(now, Control::ClockStep { by_ns });
        }
        self.drain();
        let expected = self.recent_eighths / 8;
        let several = self.log.pending().max(expected) >= SEVERAL_RECORDS;
        if several && self.log.pending() < GATHERED_RECORDS && !self.gather.is_zero() {
            // Also when none is there yet: to be woken for the first and then to wait for the others
            // would be two turns of the scheduler, and a system call of the core.
            std::thread::sleep(self.gather);
            self.drain();
        }
        if self.log.pending() == 0 {
            self.recent_eighths = 0;
            std::thread::park_timeout(Duration::from_nanos(self.idle_ns(now)));
            return;
        }
        let records = self.log.pending();
        self.recent_eighths = self.recent_eighths - self.recent_eighths / 8 + records;
        self.log.seal(self.group.as_mut());
    }

    /// Moves batches into the group, the lanes in turn, until they are empty or it is full.
    fn drain(&mut self) {
        if !self.own.is_empty() && self.log.add(self.own.bytes(), self.group.as_mut()) {
            self.own.clear();
        }
        if self.is_opening {
            return;
        }
        if let Some((lane, batch)) = self.held.take()
            && !self.add(lane, batch)
        {
            return;
        }
        for _ in 0..self.lanes.len() {
            self.next_lane = (self.next_lane + 1) % self.lanes.len();
            let lane = self.next_lane;
            while let Some(batch) = self.lanes.get(lane).and_then(|lane| lane.take()) {
                if !self.add(lane, batch) {
                    return;
                }
            }
        }
    }

    fn add(&mut self, lane: usize, batch: Batch) -> bool {
        if !self.log.add(batch.bytes(), self.group.as_mut()) {
            self.held = Some((lane, batch));
            return false;
        }
        if let Some(count) = self.in_group.get_mut(lane) {
            *count += u64::from(batch.records());
        }
        if let Some(lane) = self.lanes.get(lane) {
            lane.give_back(batch);
        }
        true
    }

    async fn write(&mut self, offset: u64, bytes: usize) {
        let Some(current) = &self.current else { return };
        let (memory, range) = self.group.lend(bytes);
        let (result, slice) = current.file.write_at(memory.slice(range), offset).submit().await;
        self.group.take_back(slice.into_inner());
        match self.log.on_written(result.map_err(|error| errno(&error))) {
            Written::Committed { .. } => self.committed(),
            Written::Opened => (),
            Written::Failed(fault) => self.failed(fault).await,
        }
    }

    /// The group is on stable storage: whoever waits may go on.
    fn committed(&mut self) {
        self.shared.size.store(self.log.tree().size(), Ordering::Release);
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        for (lane, count) in self.lanes.iter().zip(&mut self.in_group) {
            if *count > 0 {
                lane.committed(std::mem::take(count));
            }
        }
        self.keep_mark();
    }

    /// Takes the spare into use.
    async fn open(&mut self, now: Now) {
        self.put_away().await;
        let Some(spare) = self.spare.take() else {
            return self.without_spare(now);
        };
        let (number, bytes) = (spare.number, spare.bytes);
        let block = self.log.open(number, bytes, now.wall);
        for (place, byte) in self.header.as_mut().iter_mut().zip(block) {
            *place = byte;
        }
        let file = CurrentFile::new(spare);
        let (memory, range) = self.header.lend(dataplane_audit::BLOCK_BYTES);
        let (result, slice) = file.file.write_at(memory.slice(range), 0).submit().await;
        self.header.take_back(slice.into_inner());
        self.current = Some(file);
        match self.log.on_written(result.map_err(|error| errno(&error))) {
            Written::Failed(fault) => {
                self.failed(fault).await;
                let _ = self.disk.remove(number);
            }
            _ => self.resumed(now),
        }
    }

    /// The log goes on after a fault, and says so.
    fn resumed(&mut self, now: Now) {
        self.log.seal(self.group.as_mut());
        let Some((fault, since)) = self.refused_since.take() else { return };
        let segment = self.log.segment().map_or(0, |(number, _)| number);
        let refused_ns = now.mono.since(since);
        self.note(now, Control::LogResumed { segment, errno: fault.errno(), refused_ns });
        self.publish(None);
    }

    /// A segment is needed and none is ready: a moment's wait, or refusal.
    fn without_spare(&mut self, now: Now) {
        match self.no_spare {
            Some((fault, _)) => {
                self.log.on_no_segment(fault);
                self.refuse(fault, now);
            }
            None => std::thread::park_timeout(Duration::from_nanos(RETRY_NS)),
        }
    }

    /// After a failed write: the segment is finished, and gives back what it did not use.
    async fn failed(&mut self, fault: LogFault) {
        let now = now();
        self.retry_at = now.mono.plus(RETRY_NS);
        self.refused_since.get_or_insert((fault, now.mono));
        if let Some(fault) = self.log.fault() {
            self.refuse(fault, now);
        }
        self.put_away().await;
    }

    /// Closes the file that the log has left.
    async fn put_away(&mut self) {
        let Some(CurrentFile { number, bytes, file }) = self.current.take() else { return };
        let _ = file.close().await;
        let end = self.log.previous().filter(|previous| previous.number == number);
        if let Some(end) = end.map(|previous| previous.end)
            && bytes.saturating_sub(end) > GROUP_BYTES_MAX as u64
        {
            self.housekeeper.trim(number, end);
        }
    }

    /// Calls are refused. Tries again after a while, when a new segment is there.
    fn wait_out(&mut self, now: Now) {
        if self.spare.is_some() && now.mono >= self.retry_at {
            self.log.retry();
            return;
        }
        std::thread::park_timeout(Duration::from_nanos(RETRY_NS / 4));
    }

    /// Keeps a segment ready, and refuses calls in time when there is none to be had.
    fn keep_spare(&mut self, now: Now) {
        match self.housekeeper.prepared() {
            Some(Ok(segment)) => {
                self.spare = Some(segment);
                self.no_spare = None;
                // What was refused for want of space goes on in the new segment.
                if self.shared.fault().is_some() && self.log.fault().is_none() {
                    self.log.rotate();
                }
            }
            Some(Err(error)) => {
                self.no_spare = Some((LogFault::from_errno(errno(&error)), now.mono));
            }
            None => (),
        }
        if self.spare.is_some() || self.housekeeper.preparing {
            return;
        }
        // Its zeros would share the disk with the first calls' records, and there is room for those.
        let has_room = self.log.segment().is_some_and(|(_, left)| left >= FIRST_CALLS_BYTES);
        if has_room && now.mono.since(self.opened) < FIRST_CALLS_NS {
            return;
        }
        if self.no_spare.is_none_or(|(_, since)| now.mono.since(since) >= RETRY_NS) {
            self.housekeeper.prepare(self.next_number, self.segment_bytes);
            self.next_number += 1;
        }
        if let Some((fault, _)) = self.no_spare
            && self.log.segment().is_some_and(|(_, left)| left <= self.reserve_bytes)
        {
            self.refuse(fault, now);
        }
    }

    fn keep_checkpoint(&mut self, now: Now) {
        let (size, at) = self.checkpointed;
        let new = self.log.tree().size().saturating_sub(size);
        let due = now.mono.since(at) >= self.checkpoint_ns;
        if new >= self.checkpoint_records || (new > 0 && due) {
            let tree = self.log.tree();
            self.housekeeper.checkpoint(tree);
            self.checkpointed = (tree.size(), now.mono);
            self.kept = (tree.size(), tree.root());
            self.mark();
        }
    }

    fn keep_mark(&mut self) {
        let Some((number, left)) = self.log.segment() else { return };
        let (marked, left_then) = self.marked;
        let is_due = left_then.saturating_sub(left) >= MARK_BYTES
            && now().mono.since(self.marked_at) >= MARK_NS;
        if number != marked || is_due {
            self.mark();
        }
    }

    fn mark(&mut self) {
        if let Some(mark) = self.log.mark(self.kept, false) {
            self.marked = self.log.segment().unwrap_or_default();
            self.marked_at = now().mono;
            self.housekeeper.mark(mark);
        }
    }

    /// What a start did not read was read since, and is not what was written.
    fn tell_damage(&mut self, now: Now) {
        if self.shared.is_damaged() && !self.told_damage {
            self.told_damage = true;
            let text = "acknowledged records of the open segment are damaged; calls are refused";
            self.note(now, Control::Noted { topic: "audit log", text });
            self.lanes.iter().for_each(|lane| lane.wake());
        }
    }

    fn is_drained(&self) -> bool {
        let waiting = self.lanes.iter().any(|lane| lane.is_waiting());
        let refused = self.log.fault().is_some();
        refused
            || (!waiting && self.held.is_none() && self.own.is_empty() && self.log.pending() == 0)
    }

    /// The log's last record, its last checkpoint, and the mark that saves the next start from reading.
    async fn close(&mut self) -> Result<Checkpoint, LogFault> {
        let now = now();
        self.note(now, Control::LogClosed { size: self.log.tree().size() });
        self.settle().await?;
        self.housekeeper.stop();
        let kept = checkpoint(&self.disk, &self.signer, self.log.tree());
        if let Ok(kept) = &kept
            && !self.shared.is_damaged()
            && let Some(mark) = self.log.mark((kept.size, kept.root), true)
        {
            let _ = self.disk.write_mark(&mark);
        }
        self.publish(Some(LogFault::Closed));
        kept.map_err(|error| LogFault::from_errno(errno(&error)))
    }

    fn refuse(&mut self, fault: LogFault, now: Now) {
        self.refused_since.get_or_insert((fault, now.mono));
        self.publish(Some(fault));
    }

    fn publish(&self, fault: Option<LogFault>) {
        if self.shared.set_fault(fault) {
            self.lanes.iter().for_each(|lane| lane.wake());
        }
    }

    /// How long nothing has to be done if nothing comes.
    fn idle_ns(&self, now: Now) -> u64 {
        let (size, at) = self.checkpointed;
        let checkpoint_in = self.checkpoint_ns.saturating_sub(now.mono.since(at));
        match self.log.tree().size() > size {
            true => checkpoint_in.min(RETRY_NS),
            false => RETRY_NS,
        }
    }

    fn note_opening(&mut self, how: &How, operator: &str, reason: &str, now: Now) {
        let (size, root) = (self.log.tree().size(), self.log.tree().root());
        let segment = self.log.segment().map(|(number, _)| number);
        let segment = segment.or(self.spare.as_ref().map(|spare| spare.number)).unwrap_or(0);
        match *how {
            How::LossAccepted { expected_size } => {
                let found_size = size;
                let loss = Control::LossAccepted { expected_size, found_size, operator, reason };
                self.note(now, loss);
            }
            How::Recovered { disowned_bytes } => {
                self.note(now, Control::LogRecovered { size, root, segment, disowned_bytes });
            }
            How::Clean => self.note(now, Control::LogOpened { size, root, segment }),
        }
    }

    /// A record of the log's own. They are few, so they always fit.
    fn note(&mut self, now: Now, control: Control<'_>) {
        let stamp = Stamp { boot: self.boot, lane: OWN_LANE, wall: now.wall, mono: now.mono };
        let _ = self.own.push(&Record::new(stamp, Body::Control(control)));
    }
}

impl CurrentFile {
    fn new(segment: SegmentFile) -> Self {
        let SegmentFile { number, bytes, file } = segment;
        Self { number, bytes, file: tokio_uring::fs::File::from_std(file) }
    }
}
