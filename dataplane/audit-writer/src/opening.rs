//! Taking a log up again: find its last segment, read what is valid, compare it with the checkpoint.
//!
//! A log that lost acknowledged records does not grow until an operator accepts it, and the acceptance
//! is its next record. What a crash left unfinished is never overwritten and never counted: the log
//! goes on in a new segment that disowns it.
//!
//! Where a mark fits, only what follows it is read here; what lies before it is checked once the log
//! is open.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use dataplane_audit::log::{Log, Start};
use dataplane_audit::{
    Body, Checkpoint, Control, GROUP_BYTES_MAX, HeaderFault, Mark, Record, Recovered, Rest,
    SegmentHeader, recover, recover_behind,
};

use crate::config::{Config, StartFault};
use crate::disk::{Disk, SegmentFile, io_fault, read_behind, read_start, read_used};

/// The first segment, made while the start waits; the next ones have their full length.
const FIRST_SEGMENT_BYTES: u64 = 2 << 20;

/// A log that is ready to be written.
pub(crate) struct Opened {
    pub(crate) log: Log,
    /// The segment that the log goes on in, if it does.
    pub(crate) current: Option<SegmentFile>,
    /// A segment that waits to be used.
    pub(crate) spare: Option<SegmentFile>,
    /// The number after the highest in use.
    pub(crate) next_number: u64,
    pub(crate) how: How,
    /// Those that were accepted, by their names.
    pub(crate) losses: String,
    /// A state of this log that was signed, or nothing.
    pub(crate) kept: Option<Checkpoint>,
    /// What lies before it is still to be read.
    pub(crate) unread: Option<Mark>,
}

/// What the log's first record of this start says.
pub(crate) enum How {
    Clean,
    Recovered { disowned_bytes: u64 },
    LossAccepted { expected_size: u64 },
}

/// What was found of a log.
struct Found {
    start: Start,
    current: Option<SegmentFile>,
    how: How,
    unread: Option<Mark>,
}

pub(crate) fn open(disk: &Disk, config: &Config) -> Result<Opened, StartFault> {
    let fault = |error| io_fault("directory", disk.dir(), error);
    let numbers = disk.segments().map_err(fault)?;
    let next_number = numbers.last().map_or(1, |last| last + 1);
    let mut accepted = Accepted::new(config);
    let kept = kept(disk, config, &mut accepted)?;
    let (mut found, mut spares) = (None, Vec::new());
    for number in numbers.into_iter().rev() {
        let path = disk.segment_path(number);
        let block = read_start(&path, dataplane_audit::BLOCK_BYTES as u64);
        let block = block.map_err(|error| io_fault("segment", &path, error))?;
        match SegmentHeader::decode(&block) {
            Ok(_) => {
                let kept = kept.as_ref();
                found = Some(last_segment(disk, config, number, &block, kept, &mut accepted)?);
                break;
            }
            Err(HeaderFault::Blank) => spares.push(number),
            Err(HeaderFault::Broken | HeaderFault::Short) if is_unused(&path)? => {
                // Its header did not arrive before a crash: nobody was told that it had.
                disk.remove(number).map_err(|error| io_fault("segment", &path, error))?;
            }
            Err(HeaderFault::Unknown) => return Err(StartFault::Unknown(path)),
            Err(_) => accepted.take(StartFault::Damaged { path, offset: 0 })?,
        }
    }
    let Found { start, current, how, unread } = match found {
        Some(found) => found,
        None => empty(kept.as_ref(), &mut accepted)?,
    };
    let expected_size = kept.as_ref().map_or(0, |kept| kept.size);
    let how = if accepted.losses.is_empty() { how } else { How::LossAccepted { expected_size } };
    let log = Log::new(config.signer.name(), config.boot, start);
    let losses = accepted.losses.join(" ");
    let mut opened = Opened { log, current, spare: None, next_number, how, losses, kept, unread };
    prepare(disk, config, &mut opened, spares)?;
    Ok(opened)
}

/// Something to write to: a spare of an earlier start, or a small segment that is made now.
fn prepare(
    disk: &Disk,
    config: &Config,
    opened: &mut Opened,
    spares: Vec<u64>,
) -> Result<(), StartFault> {
    for number in spares {
        let path = disk.segment_path(number);
        let fault = |error| io_fault("segment", &path, error);
        let spare = disk.reopen(number).map_err(fault)?;
        if opened.spare.is_none() && spare.bytes > GROUP_BYTES_MAX as u64 {
            opened.spare = Some(spare);
        } else {
            disk.remove(number).map_err(fault)?;
        }
    }
    if opened.current.is_none() && opened.spare.is_none() {
        let bytes = config.segment_bytes.min(FIRST_SEGMENT_BYTES);
        let made = disk.create(opened.next_number, bytes, Duration::ZERO);
        opened.spare = Some(made.map_err(|error| io_fault("segment", disk.dir(), error))?);
        opened.next_number += 1;
    }
    Ok(())
}

/// The checkpoint that this log wrote last.
fn kept(
    disk: &Disk,
    config: &Config,
    accepted: &mut Accepted<'_>,
) -> Result<Option<Checkpoint>, StartFault> {
    let note = disk.checkpoint().map_err(|error| io_fault("checkpoint", disk.dir(), error))?;
    let Some(note) = note else { return Ok(None) };
    match Checkpoint::read_unverified(&note) {
        Ok(checkpoint) if checkpoint.origin == config.signer.name() => Ok(Some(checkpoint)),
        Ok(checkpoint) => Err(StartFault::Origin {
            expected: config.signer.name().to_owned(),
            found: checkpoint.origin,
        }),
        Err(fault) => {
            let (path, hash) = (disk.dir().to_owned(), dataplane_audit::tree::leaf_hash(&note));
            accepted.take(StartFault::Checkpoint { path, fault, hash }).map(|()| None)
        }
    }
}

fn empty(kept: Option<&Checkpoint>, accepted: &mut Accepted<'_>) -> Result<Found, StartFault> {
    if let Some(Checkpoint { size: expected @ 1.., root, .. }) = kept {
        let (expected, root) = (*expected, *root);
        accepted.take(StartFault::Truncated { expected, found: 0, root })?;
    }
    Ok(Found { start: Start::Empty, current: None, how: How::Clean, unread: None })
}

/// Reads the segment that the log ended in: what follows its mark if that leaves no doubt, else all.
fn last_segment(
    disk: &Disk,
    config: &Config,
    number: u64,
    block: &[u8],
    kept: Option<&Checkpoint>,
    accepted: &mut Accepted<'_>,
) -> Result<Found, StartFault> {
    let path = disk.segment_path(number);
    let fault = |error| io_fault("segment", &path, error);
    let segment = disk.reopen(number).map_err(fault)?;
    // A crash leaves at most one group unfinished, so nothing of it lies further on.
    let quiet = GROUP_BYTES_MAX as u64;
    if let Some(mark) = disk.mark().filter(|mark| mark.number == number) {
        let tail = read_behind(&segment.file, &mark, quiet).map_err(fault)?;
        if let Some(recovered) = recover_behind(block, &mark, tail.bytes(), kept)
            && recovered.scan.header.origin == config.signer.name()
            && judge(&path, &recovered, kept).is_ok()
        {
            return Ok(Found { unread: Some(mark), ..go_on(&recovered, segment) });
        }
    }
    let bytes = read_used(&segment.file, 0, quiet).map_err(fault)?;
    let damaged = |_| StartFault::Damaged { path: path.clone(), offset: 0 };
    let recovered = recover(bytes.bytes(), kept).map_err(damaged)?;
    let origin = &recovered.scan.header.origin;
    if origin != config.signer.name() {
        let (expected, found) = (config.signer.name().to_owned(), origin.clone());
        return Err(StartFault::Origin { expected, found });
    }
    match judge(&path, &recovered, kept) {
        Ok(()) => Ok(go_on(&recovered, segment)),
        Err(fault) => {
            accepted.take(fault)?;
            let start = Start::after(&recovered.scan, false);
            Ok(Found { start, current: None, how: How::Clean, unread: None })
        }
    }
}

/// The losses that an operator has accepted and that are there.
struct Accepted<'a> {
    config: &'a Config,
    losses: Vec<String>,
}

impl<'a> Accepted<'a> {
    const fn new(config: &'a Config) -> Self {
        Self { config, losses: Vec::new() }
    }

    /// Goes on past the fault if just this loss was accepted.
    fn take(&mut self, fault: StartFault) -> Result<(), StartFault> {
        let named = self.config.accept_loss.as_ref().map(|accepted| accepted.losses.as_slice());
        match fault.loss() {
            Some(loss) if named.unwrap_or_default().contains(&loss) => {
                self.losses.push(loss);
                Ok(())
            }
            _ => Err(fault),
        }
    }
}

/// Whether the log may grow.
fn judge(
    path: &Path,
    recovered: &Recovered<'_>,
    kept: Option<&Checkpoint>,
) -> Result<(), StartFault> {
    if let Rest::Damaged(offset) = recovered.rest {
        return Err(StartFault::Damaged { path: path.to_owned(), offset });
    }
    let Some(Checkpoint { size, root, .. }) = kept else { return Ok(()) };
    let (expected, root, found) = (*size, *root, recovered.scan.position.tree.size());
    if found < expected {
        return Err(StartFault::Truncated { expected, found, root });
    }
    if recovered.agrees == Some(false) {
        return Err(StartFault::Forked { size: expected, root });
    }
    Ok(())
}

fn go_on(recovered: &Recovered<'_>, segment: SegmentFile) -> Found {
    let scan = &recovered.scan;
    let closed = recovered.last.is_some_and(|record| {
        let record = Record::decode(record);
        matches!(record.map(|record| record.body), Ok(Body::Control(Control::LogClosed { .. })))
    });
    match recovered.rest {
        Rest::Torn(disowned_bytes) | Rest::Damaged(disowned_bytes) => Found {
            start: Start::after(scan, false),
            current: None,
            how: How::Recovered { disowned_bytes },
            unread: None,
        },
        Rest::Zero => Found {
            start: Start::at(scan, segment.bytes),
            current: Some(segment),
            how: if closed { How::Clean } else { How::Recovered { disowned_bytes: 0 } },
            unread: None,
        },
    }
}

/// Whether a segment holds nothing after its header.
fn is_unused(path: &Path) -> Result<bool, StartFault> {
    let fault = |error| io_fault("segment", path, error);
    let file = File::open(path).map_err(fault)?;
    let bytes = read_used(&file, 0, u64::MAX).map_err(fault)?;
    Ok(bytes.bytes().iter().skip(dataplane_audit::BLOCK_BYTES).all(|byte| *byte == 0))
}
