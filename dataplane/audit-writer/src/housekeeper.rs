//! The thread that does what the log must not wait for: the next segment, checkpoints, marks, giving
//! space back, and reading what a start did not read.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dataplane_audit::tree::Frontier;
use dataplane_audit::{Checkpoint, Mark, NoteSigner};

use crate::disk::{Disk, SegmentFile, errno};
use crate::lane::Shared;
use crate::reader::leads_to;

/// Between two pieces of zeros, so that a new segment takes a fraction of the disk for a while instead
/// of all of it at once.
const PAUSE: Duration = Duration::from_millis(1);

/// How long after the start what it did not read is read.
const CHECK_AFTER: Duration = Duration::from_secs(1);

enum Job {
    Prepare { number: u64, bytes: u64 },
    Checkpoint(Box<Frontier>),
    Mark(Box<Mark>),
    Check(Box<Mark>),
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
            let mut unread = None;
            while let Some(job) = next(&inbox, &mut unread) {
                match job {
                    Job::Prepare { number, bytes } => {
                        let made = disk.create(number, bytes, PAUSE);
                        let _ = outbox.send(made);
                        shared.ring();
                    }
                    // The next one is soon; an operator sees the fault in the disk's own.
                    Job::Checkpoint(tree) => drop(checkpoint(&disk, &signer, &tree)),
                    // Without one the next start only takes longer.
                    Job::Mark(mark) => drop(disk.write_mark(&mark)),
                    Job::Check(mark) => check(&disk, &mark, &shared),
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

    /// Keeps the place up to which the next start need not read.
    pub(crate) fn mark(&self, mark: Mark) {
        self.send(Job::Mark(Box::new(mark)));
    }

    /// Reads what lies before the mark.
    pub(crate) fn check(&self, mark: Mark) {
        self.send(Job::Check(Box::new(mark)));
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

/// The next thing to do. What a start did not read is read once the first calls are through.
fn next(inbox: &Receiver<Job>, unread: &mut Option<(Instant, Box<Mark>)>) -> Option<Job> {
    loop {
        let job = match unread.take() {
            None => inbox.recv().ok()?,
            Some((at, mark)) => {
                match inbox.recv_timeout(at.saturating_duration_since(Instant::now())) {
                    Ok(job) => {
                        *unread = Some((at, mark));
                        job
                    }
                    Err(RecvTimeoutError::Timeout) => return Some(Job::Check(mark)),
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        };
        match job {
            Job::Check(mark) => *unread = Some((Instant::now() + CHECK_AFTER, mark)),
            job => return Some(job),
        }
    }
}

/// Calls are refused from a damaged log, and the next start reads all of it. A disk that cannot be read
/// at all has damaged it, too; other faults are of the moment.
fn check(disk: &Disk, mark: &Mark, shared: &Shared) {
    let is_damaged = match leads_to(disk.dir(), mark, PAUSE) {
        Ok(sound) => !sound,
        Err(error) => errno(&error) == rustix::io::Errno::IO.raw_os_error(),
    };
    if is_damaged {
        let _ = disk.forget_mark();
        shared.set_damaged();
        shared.ring();
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
