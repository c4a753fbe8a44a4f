//! The thread that does what the log must not wait for: the next segment, checkpoints, giving space
//! back.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dataplane_audit::tree::Frontier;
use dataplane_audit::{Checkpoint, NoteSigner};

use crate::disk::{Disk, SegmentFile};
use crate::lane::Shared;

/// Between two pieces of zeros, so that a new segment takes a fraction of the disk for a while instead
/// of all of it at once.
const PAUSE: Duration = Duration::from_millis(1);

enum Job {
    Prepare { number: u64, bytes: u64 },
    Checkpoint(Box<Frontier>),
    Trim { number: u64, end: u64 },
}

/// The log's thread's end.
pub(crate) struct Housekeeper {
    jobs: Option<Sender<Job>>,
    prepared: Receiver<io::Result<SegmentFile>>,
    thread: Option<JoinHandle<()>>,
    /// A segment was asked for and has not come yet.
    pub(crate) preparing: bool,
}

impl Housekeeper {
    pub(crate) fn start(
        disk: Arc<Disk>,
        signer: Arc<NoteSigner>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let (jobs, inbox) = channel();
        let (outbox, prepared) = channel();
        let keep = move || {
            while let Ok(job) = inbox.recv() {
                match job {
                    Job::Prepare { number, bytes } => {
                        let made = disk.create(number, bytes, PAUSE);
                        let _ = outbox.send(made);
                        shared.ring();
                    }
                    // The next one is soon; an operator sees the fault in the disk's own.
                    Job::Checkpoint(tree) => drop(checkpoint(&disk, &signer, &tree)),
                    Job::Trim { number, end } => drop(disk.trim(number, end)),
                }
            }
        };
        let thread = thread::Builder::new().name("audit-housekeep".to_owned()).spawn(keep)?;
        Ok(Self { jobs: Some(jobs), prepared, thread: Some(thread), preparing: false })
    }

    pub(crate) fn prepare(&mut self, number: u64, bytes: u64) {
        self.preparing = true;
        self.send(Job::Prepare { number, bytes });
    }

    pub(crate) fn checkpoint(&self, tree: &Frontier) {
        self.send(Job::Checkpoint(Box::new(tree.clone())));
    }

    pub(crate) fn trim(&self, number: u64, end: u64) {
        self.send(Job::Trim { number, end });
    }

    /// The segment that was asked for, once it is ready or could not be made.
    pub(crate) fn prepared(&mut self) -> Option<io::Result<SegmentFile>> {
        let prepared = self.prepared.try_recv().ok()?;
        self.preparing = false;
        Some(prepared)
    }

    /// Finishes what was asked for.
    pub(crate) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

/// Signs the tree's state and keeps it in place of the last.
pub(crate) fn checkpoint(
    disk: &Disk,
    signer: &NoteSigner,
    tree: &Frontier,
) -> io::Result<Checkpoint> {
    let checkpoint = Checkpoint::of(signer.name(), tree);
    disk.write_checkpoint(&checkpoint.sign(signer))?;
    Ok(checkpoint)
}
