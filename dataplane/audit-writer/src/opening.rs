//! Taking a log up again: find its last segment, read what is valid, compare it with the checkpoint.
//!
//! A log that lost acknowledged records does not grow until an operator accepts it, and the acceptance
//! is its next record. What a crash left unfinished is never overwritten and never counted: the log
//! goes on in a new segment that disowns it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use dataplane_audit::log::{Log, Start};
use dataplane_audit::{
    Body, Checkpoint, Control, GROUP_BYTES_MAX, HeaderFault, Record, Recovered, Rest,
    SegmentHeader, recover,
};

use crate::config::{Config, StartFault};
use crate::disk::{Disk, SegmentFile, io_fault, read_start, read_used};

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
}

pub(crate) fn open(disk: &Disk, config: &Config) -> Result<Opened, StartFault> {
    let fault = |error| io_fault("directory", disk.dir(), error);
    let numbers = disk.segments().map_err(fault)?;
    let next_number = numbers.last().map_or(1, |last| last + 1);
    let accepted = config.accept_loss.is_some();
    let kept = kept(disk, config, accepted)?;
    let (mut found, mut spares) = (None, Vec::new());
    for number in numbers.into_iter().rev() {
        let path = disk.segment_path(number);
        let block = read_start(&path, dataplane_audit::BLOCK_BYTES as u64);
        let block = block.map_err(|error| io_fault("segment", &path, error))?;
        match SegmentHeader::decode(&block) {
            Ok(_) => {
                found = Some(last_segment(disk, config, number, kept.as_ref())?);
                break;
            }
            Err(HeaderFault::Blank) => spares.push(number),
            Err(HeaderFault::Broken | HeaderFault::Short) if is_unused(&path)? => {
                // Its header did not arrive before a crash: nobody was told that it had.
                disk.remove(number).map_err(|error| io_fault("segment", &path, error))?;
            }
            Err(_) if accepted => (),
            Err(HeaderFault::Unknown) => return Err(StartFault::Unknown(path)),
            Err(_) => return Err(StartFault::Damaged { path, offset: 0 }),
        }
    }
    let Found { start, current, how } = match found {
        Some(found) => found,
        None => empty(kept.as_ref(), accepted)?,
    };
    let log = Log::new(config.signer.name(), config.boot, start);
    let mut opened = Opened { log, current, spare: None, next_number, how };
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
fn kept(disk: &Disk, config: &Config, accepted: bool) -> Result<Option<Checkpoint>, StartFault> {
    let note = disk.checkpoint().map_err(|error| io_fault("checkpoint", disk.dir(), error))?;
    let Some(note) = note else { return Ok(None) };
    match Checkpoint::read_unverified(&note) {
        Ok(checkpoint) if checkpoint.origin == config.signer.name() => Ok(Some(checkpoint)),
        Ok(checkpoint) => Err(StartFault::Origin {
            expected: config.signer.name().to_owned(),
            found: checkpoint.origin,
        }),
        Err(_) if accepted => Ok(None),
        Err(fault) => Err(StartFault::Checkpoint { path: disk.dir().to_owned(), fault }),
    }
}

fn empty(kept: Option<&Checkpoint>, accepted: bool) -> Result<Found, StartFault> {
    let how = match kept.map_or(0, |kept| kept.size) {
        0 => How::Clean,
        expected_size if accepted => How::LossAccepted { expected_size },
        expected => return Err(StartFault::Truncated { expected, found: 0 }),
    };
    Ok(Found { start: Start::Empty, current: None, how })
}

/// Reads the segment that the log ended in.
fn last_segment(
    disk: &Disk,
    config: &Config,
    number: u64,
    kept: Option<&Checkpoint>,
) -> Result<Found, StartFault> {
    let path = disk.segment_path(number);
    let fault = |error| io_fault("segment", &path, error);
    let segment = disk.reopen(number).map_err(fault)?;
    // A crash leaves at most one group unfinished, so nothing of it lies further on.
    let bytes = read_used(&segment.file, GROUP_BYTES_MAX as u64).map_err(fault)?;
    let damaged = |_| StartFault::Damaged { path: path.clone(), offset: 0 };
    let recovered = recover(&bytes, kept).map_err(damaged)?;
    let origin = &recovered.scan.header.origin;
    if origin != config.signer.name() {
        let (expected, found) = (config.signer.name().to_owned(), origin.clone());
        return Err(StartFault::Origin { expected, found });
    }
    let expected_size = kept.map_or(0, |kept| kept.size);
    match judge(&path, &recovered, expected_size) {
        Ok(()) => Ok(go_on(&recovered, segment)),
        Err(_) if config.accept_loss.is_some() => Ok(Found {
            start: Start::after(&recovered.scan, false),
            current: None,
            how: How::LossAccepted { expected_size },
        }),
        Err(fault) => Err(fault),
    }
}

/// Whether the log may grow.
fn judge(path: &Path, recovered: &Recovered<'_>, expected: u64) -> Result<(), StartFault> {
    if let Rest::Damaged(offset) = recovered.rest {
        return Err(StartFault::Damaged { path: path.to_owned(), offset });
    }
    let found = recovered.scan.position.tree.size();
    if found < expected {
        return Err(StartFault::Truncated { expected, found });
    }
    if recovered.agrees == Some(false) {
        return Err(StartFault::Forked { size: expected });
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
        },
        Rest::Zero => Found {
            start: Start::at(scan, segment.bytes),
            current: Some(segment),
            how: if closed { How::Clean } else { How::Recovered { disowned_bytes: 0 } },
        },
    }
}

/// Whether a segment holds nothing after its header.
fn is_unused(path: &Path) -> Result<bool, StartFault> {
    let fault = |error| io_fault("segment", path, error);
    let file = File::open(path).map_err(fault)?;
    let bytes = read_used(&file, u64::MAX).map_err(fault)?;
    Ok(bytes.iter().skip(dataplane_audit::BLOCK_BYTES).all(|byte| *byte == 0))
}
