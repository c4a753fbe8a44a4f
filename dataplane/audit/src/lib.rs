//! The audit log's format: records, groups, segments, tree, checkpoints, recovery, verification.
//!
//! One log a box; the order is the index. A [`Record`] is canonical bytes and one leaf of an RFC 6962
//! tree. Records reach the disk in groups: each starts at a fresh 4 KiB block of a preallocated
//! segment, is chained to the one before it, and is never written over once it was acknowledged, so
//! a crash can only cost what nobody was told is safe.
//!
//! Start reading at [`log::Log`], the machine that writes, then [`recover`] and [`verify`], which
//! read what it wrote. Pure: the thread and the files are `dataplane-audit-writer`'s.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batch;
mod checkpoint;
mod codec;
mod control;
mod digest;
mod fault;
pub mod fuzz;
mod group;
pub mod log;
mod mark;
mod note;
mod record;
mod scan;
mod segment;
pub mod tree;
pub mod verify;

pub use batch::{BATCH_BYTES_MAX, Batch, BatchFull};
pub use checkpoint::Checkpoint;
pub use codec::{EXTRA_BYTES_MAX, Extra, ExtraMalformed, Malformed, Truncated};
pub use control::{CONTROL_TEXT_BYTES_MAX, Control};
pub use digest::{ArgumentsDigest, DigestKey};
pub use fault::LogFault;
pub use group::{GROUP_BYTES_MAX, Group, GroupFault, group_bytes};
pub use mark::Mark;
pub use note::{
    NOTE_BYTES_MAX, NOTE_NAME_BYTES_MAX, NOTE_SIGNATURES_MAX, NoteFault, NoteSigner, NoteVerifier,
};
pub use record::{
    Body, BootId, Call, CallId, CallerNames, Decision, End, Ending, Era, Phase, RECORD_BYTES_MAX,
    RECORD_VERSION, Record, Stamp, TEXT_LIMITS, TextLimits, Verdict,
};
pub use scan::{GroupReader, Position, Recovered, Rest, Scan, recover, recover_behind};
pub use segment::{
    BLOCK_BYTES, HeaderFault, Previous, SegmentHeader, segment_name, segment_number, used_bytes,
};
