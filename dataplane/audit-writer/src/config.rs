//! What the log is told at its start, and why a start is refused.

use std::io;
use std::path::PathBuf;

use dataplane_audit::{BootId, NoteFault, NoteSigner};
use thiserror::Error;

/// Large enough that a new segment is rare (a quarter of a million records), small enough that one
/// is read in a tenth of a second.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// RELIABILITY §2: kept for records that must still be written when calls are refused already.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// The smallest segment: room for a header and one largest group, rounded up.
pub const SEGMENT_BYTES_MIN: u64 = 2 << 20;

/// Lanes have a `u16` in each record.
pub const LANES_MAX: usize = 1_024;

/// How the log is kept.
#[derive(Debug)]
pub struct Config {
    /// Its directory, made if absent; nothing else is kept there.
    pub dir: PathBuf,
    /// Signs checkpoints; its name is the log's origin.
    pub signer: NoteSigner,
    /// 16 random bytes of this start.
    pub boot: BootId,
    /// One for each core, and one for whoever else writes records.
    pub lanes: usize,
    /// Of each segment, preallocated. A multiple of 4,096.
    pub segment_bytes: u64,
    /// Calls are refused before less than this is left.
    pub reserve_bytes: u64,
    /// How long a group waits for more records while several callers wait, in microseconds.
    pub gather_us: u64,
    /// A checkpoint is written after so many records,
    pub checkpoint_records: u64,
    /// or when there are new ones after so long.
    pub checkpoint_ms: u64,
    /// An operator's word that a log may grow although it is shorter than its last checkpoint says.
    pub accept_loss: Option<LossAcceptance>,
}

/// Who lets a shortened log grow, and why; it becomes a record.
#[derive(Clone, Debug)]
pub struct LossAcceptance {
    pub operator: String,
    pub reason: String,
}

impl Config {
    /// With the defaults.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, signer: NoteSigner, boot: BootId, lanes: usize) -> Self {
        Self {
            dir: dir.into(),
            signer,
            boot,
            lanes,
            segment_bytes: SEGMENT_BYTES,
            reserve_bytes: RESERVE_BYTES,
            gather_us: 200,
            checkpoint_records: 10_000,
            checkpoint_ms: 10_000,
            accept_loss: None,
        }
    }
}

/// Why the log does not open. The gateway must not serve calls without it.
#[derive(Debug, Error)]
pub enum StartFault {
    #[error("the audit log's setting {0} is out of bounds: {1}")]
    Config(&'static str, &'static str),
    #[error("another process writes the audit log in {0}: stop it first")]
    Locked(PathBuf),
    #[error("the audit log's {what} in {path} failed: {error}")]
    Io { what: &'static str, path: PathBuf, error: io::Error },
    #[error("no space left for the audit log in {0}: free or add space, then start again")]
    Full(PathBuf),
    #[error(
        "the audit log in {path} is damaged at byte {offset}: whole groups follow a broken one. \
         Keep a copy, run `portcullis audit verify`, then start with an operator's acceptance of the loss"
    )]
    Damaged { path: PathBuf, offset: u64 },
    #[error(
        "the audit log holds {found} records, its last checkpoint says {expected}: {missing} are missing. \
         Restore them, or start with an operator's acceptance of the loss",
        missing = expected - found
    )]
    Truncated { expected: u64, found: u64 },
    #[error(
        "the audit log's first {size} records are not those that its checkpoint was signed over. \
         Keep a copy, run `portcullis audit verify`, then start with an operator's acceptance of the loss"
    )]
    Forked { size: u64 },
    #[error(
        "the audit log's segment {0} is of a format that is not known here: start the release that wrote it"
    )]
    Unknown(PathBuf),
    #[error(
        "the checkpoint in {path} cannot be read: {fault}. Restore it, or start with an operator's \
         acceptance of the loss"
    )]
    Checkpoint { path: PathBuf, fault: NoteFault },
    #[error(
        "the audit log in this directory belongs to {found}, not to {expected}: use its own directory"
    )]
    Origin { expected: String, found: String },
}
