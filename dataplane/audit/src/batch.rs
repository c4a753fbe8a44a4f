//! Records on their way from a core to the log's thread.
//!
//! A core fills a batch during one turn of its loop and hands it over as a whole; emptied batches come
//! back and keep their memory. The bytes are those of a group's payload: for each record a `u16` length
//! and the record.

use thiserror::Error;

use crate::record::{RECORD_BYTES_MAX, Record};

/// What waits in one batch: a thousand records of common size, and a quarter of a group.
pub const BATCH_BYTES_MAX: usize = 262_144;

/// The length before each record.
pub(crate) const PREFIX_BYTES: usize = 2;

/// Records of one lane, in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: u32,
}

/// The record was not added, because what waits already is as much as may wait.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "{BATCH_BYTES_MAX} bytes of audit records wait for the disk already: refuse the call and try later"
)]
pub struct BatchFull;

impl Batch {
    /// With memory for `bytes`. A batch that never exceeds it never allocates again.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), records: 0 }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The batch would exceed [`BATCH_BYTES_MAX`]; it is as it was.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), BatchFull> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; PREFIX_BYTES]);
        record.encode(&mut self.bytes);
        let len = self.bytes.len() - start - PREFIX_BYTES;
        if self.bytes.len() > BATCH_BYTES_MAX || len > RECORD_BYTES_MAX {
            self.bytes.truncate(start);
            return Err(BatchFull);
        }
        if let Some(prefix) = self.bytes.get_mut(start..start + PREFIX_BYTES) {
            prefix.copy_from_slice(&(len as u16).to_le_bytes());
        }
        self.records += 1;
        Ok(())
    }

    /// How many records wait in it.
    #[must_use]
    pub const fn records(&self) -> u32 {
        self.records
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The records with their lengths before them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
    }
}

/// The records of a payload, each without its length; stops before what is not whole.
pub(crate) fn split(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (prefix, after) = rest.split_first_chunk::<PREFIX_BYTES>()?;
        let (record, after) = after.split_at_checked(u16::from_le_bytes(*prefix).into())?;
        rest = after;
        Some(record)
    })
}

/// Whether a payload is records up to its last byte.
pub(crate) fn is_whole(payload: &[u8]) -> bool {
    payload.len() == split(payload).map(|record| PREFIX_BYTES + record.len()).sum()
}
