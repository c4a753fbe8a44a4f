//! The audit log's thread: group commits through io_uring.
//!
//! Cores hand over batches of records by their [`Lane`]; one thread writes all that wait as one group,
//! by one `O_DIRECT | O_DSYNC` write into a preallocated segment, and tells the lanes what is durable.
//! What has to happen on success, failure and recovery is `dataplane_audit`'s to decide; this crate
//! carries it out. A second thread, the housekeeper, prepares segments and writes checkpoints, so that
//! the first never waits for either.
//!
//! Promise: [`Lane::durable`] counts a record only when it is on stable storage.

mod clock;
mod config;
mod disk;
mod housekeeper;
mod lane;
mod opening;
mod reader;
mod thread;
mod verify;

pub use config::{
    Config, LANES_MAX, LossAcceptance, RESERVE_BYTES, SEGMENT_BYTES, SEGMENT_BYTES_MIN, StartFault,
};
pub use dataplane_audit::{Batch, LogFault};
pub use lane::{LANE_BATCHES_MAX, Lane};
pub use reader::{Entry, Reader};
pub use verify::verify_dir;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use dataplane_audit::{BLOCK_BYTES, Checkpoint, GROUP_BYTES_MAX};

use disk::{Aligned, Disk, io_fault};
use lane::{LaneState, Shared};
use opening::Opened;
use thread::Thread;

/// The log's thread. Dropped without [`Writer::stop`], it stops all the same.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    shared: Arc<Shared>,
    /// What became of the first write.
    begun: Mutex<Option<Receiver<io::Result<()>>>>,
    thread: Mutex<Option<JoinHandle<Result<Checkpoint, LogFault>>>>,
}

/// Where groups are put together. Made before a process frees anything, it is of memory that nobody has had:
/// it need not be wiped, and is not touched until it is used.
#[derive(Debug)]
pub struct GroupMemory(Aligned);

impl Default for GroupMemory {
    fn default() -> Self {
        Self(Aligned::new(GROUP_BYTES_MAX))
    }
}

/// Opens the log, recovers it if need be, starts its thread, and waits until its first record of this
/// start is durable.
///
/// # Errors
/// See [`StartFault`]: what a log that cannot be trusted or written needs.
pub fn start(config: Config) -> Result<(Writer, Vec<Lane>), StartFault> {
    let (writer, lanes) = open(config, GroupMemory::default())?;
    writer.wait_until_written()?;
    Ok((writer, lanes))
}

/// As [`start`], without the wait: [`Writer::wait_until_written`] is to follow. What the lanes hand
/// over until then is written after the log's own first record.
///
/// # Errors
/// What a log that cannot be trusted needs.
pub fn open(
    config: Config,
    GroupMemory(group): GroupMemory,
) -> Result<(Writer, Vec<Lane>), StartFault> {
    check(&config)?;
    let dir = config.dir.clone();
    let fault = |error| io_fault("thread", &dir, error);
    let disk = Arc::new(Disk::open(&config.dir)?);
    let opened = opening::open(&disk, &config)?;
    let shared = Arc::new(Shared::new());
    let states = (0..config.lanes).map(|_| LaneState::new().map(Arc::new));
    let states: Vec<Arc<LaneState>> = states.collect::<io::Result<_>>().map_err(fault)?;
    let lanes = states.iter().map(|state| state.lane(&shared)).collect();
    let (ready, begun) = channel();
    let (thread_shared, spawned) = (Arc::clone(&shared), std::thread::Builder::new());
    let run = move || run(config, opened, disk, thread_shared, states, group, &ready);
    let thread = spawned.name("audit-log".to_owned()).spawn(run).map_err(fault)?;
    let (begun, thread) = (Mutex::new(Some(begun)), Mutex::new(Some(thread)));
    Ok((Writer { dir, shared, begun, thread }, lanes))
}

/// The thread's whole life.
fn run(
    config: Config,
    opened: Opened,
    disk: Arc<Disk>,
    shared: Arc<Shared>,
    lanes: Vec<Arc<LaneState>>,
    group: Aligned,
    ready: &Sender<io::Result<()>>,
) -> Result<Checkpoint, LogFault> {
    shared.runs_here();
    tokio_uring::start(async move {
        let made = Thread::new(config, opened, disk, shared, lanes, group);
        let mut thread = match made {
            Ok(thread) => thread,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Err(LogFault::Closed);
            }
        };
        if let Err(fault) = thread.settle().await {
            let _ = ready.send(Err(io::Error::from_raw_os_error(fault.errno())));
            return Err(fault);
        }
        let _ = ready.send(Ok(()));
        thread.run().await
    })
}

fn check(config: &Config) -> Result<(), StartFault> {
    let fault = |setting, bounds| Err(StartFault::Config(setting, bounds));
    if config.lanes == 0 || config.lanes > LANES_MAX {
        return fault("lanes", "1 to 1,024");
    }
    let blocks = config.segment_bytes.is_multiple_of(BLOCK_BYTES as u64);
    if config.segment_bytes < SEGMENT_BYTES_MIN || !blocks {
        return fault("segment_bytes", "at least 2 MiB, and a multiple of 4,096");
    }
    if config.gather_us > 10_000 {
        return fault("gather_us", "0 to 10,000");
    }
    if config.checkpoint_records == 0 || config.checkpoint_ms == 0 {
        return fault("checkpoint_records, checkpoint_ms", "at least 1");
    }
    Ok(())
}

impl Writer {
    /// Waits until the log's first record of this start is durable.
    ///
    /// # Errors
    /// The log cannot be written, and its thread has ended.
    pub fn wait_until_written(&self) -> Result<(), StartFault> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun.map(|begun| begun.recv()) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(io_fault("first write", &self.dir, error)),
            Some(Err(_)) => {
                let error = io::Error::other("it ended before its first write");
                Err(io_fault("thread", &self.dir, error))
            }
        }
    }

    /// Records in the log that are on stable storage, earlier starts included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Acquire)
    }

    /// Durable writes of groups since the start.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.shared.groups.load(Ordering::Relaxed)
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
    pub fn stop(&self) -> Result<Checkpoint, LogFault> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Err(LogFault::Closed) };
        self.shared.stop.store(true, Ordering::Release);
        self.shared.ring();
        thread.join().unwrap_or(Err(LogFault::Closed))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
