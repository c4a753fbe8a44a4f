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
    /// An operator's word that a log may grow although records of it are lost.
    pub accept_loss: Option<LossAcceptance>,
}

/// Who lets a log with a loss grow, and which loss; it becomes a record.
#[derive(Clone, Debug)]
pub struct LossAcceptance {
    /// Each as [`StartFault::loss`] names it: one acceptance is for one loss and no later one.
    pub losses: Vec<String>,
    pub operator: String,
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
            gather_us: 500,
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
        "the audit log in {path} is damaged at byte {offset}. Keep a copy, run `portcullis audit verify`, \
         then start with {}", self.flag()
    )]
    Damaged { path: PathBuf, offset: u64 },
    #[error(
        "the audit log holds {found} records, its last checkpoint says {expected}: {missing} are missing. \
         Restore them, or start with {}", self.flag(),
        missing = expected - found
    )]
    Truncated { expected: u64, found: u64, root: [u8; 32] },
    #[error(
        "the audit log's first {size} records are not those that its checkpoint was signed over. \
         Keep a copy, run `portcullis audit verify`, then start with {}", self.flag()
    )]
    Forked { size: u64, root: [u8; 32] },
    #[error(
        "the audit log's segment {0} is of a format that is not known here: start the release that wrote it"
    )]
    Unknown(PathBuf),
    #[error(
        "the checkpoint in {path} cannot be read: {fault}. Restore it, or start with {}",
        self.flag()
    )]
    Checkpoint { path: PathBuf, fault: NoteFault, hash: [u8; 32] },
    #[error(
        "the audit log in this directory belongs to {found}, not to {expected}: use its own directory"
    )]
    Origin { expected: String, found: String },
}

impl StartFault {
    /// What an operator's acceptance has to name, where records are lost: in words that no other loss
    /// of this log has. Sizes and the checkpoint's root make it so.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        let short = |root: &[u8; 32]| {
            let bytes = root.iter().take(4);
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        match self {
            Self::Damaged { path, offset } => {
                let segment = path.file_stem()?.to_str()?.strip_prefix("segment-")?;
                Some(format!("damaged-{}-{offset}", segment.trim_start_matches('0')))
            }
            Self::Truncated { expected, found, root } => {
                Some(format!("cut-{expected}-{found}-{}", short(root)))
            }
            Self::Forked { size, root } => Some(format!("changed-{size}-{}", short(root))),
            Self::Checkpoint { hash, .. } => Some(format!("checkpoint-{}", short(hash))),
            Self::Config(..)
            | Self::Locked(_)
            | Self::Io { .. }
            | Self::Full(_)
            | Self::Unknown(_)
            | Self::Origin { .. } => None,
        }
    }

    fn flag(&self) -> String {
        let loss = self.loss().unwrap_or_default();
        format!("`--accept-audit-loss {loss}`, which is put on record")
    }
}
