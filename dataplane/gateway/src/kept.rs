//! Who is dropped, in a file: what a gateway that starts again has to know beside the card's maps.
//!
//! Written anew and renamed, so that it is whole or the one before. One that cannot be read is none: its
//! entries are stale then, and leave the card.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use dataplane_drops::Kept;
use serde::{Deserialize, Serialize};

/// Longer is none of ours: a thousand drops are some 300 KiB.
const BYTES_MAX: u64 = 16 << 20;

/// The file.
pub(crate) struct KeptFile {
    path: PathBuf,
    boot: String,
}

/// What is in it.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    pub drops: Kept,
    /// By their numbers in the card's counters.
    pub tenants: Vec<Box<str>>,
}

impl KeptFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { path, boot: boot.trim().to_owned() }
    }

    /// The kernel's boot: monotonic times of another mean nothing.
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    pub(crate) fn read(&self) -> Contents {
        let read = || simd_json::from_slice(&mut self.bytes()?).map_err(io::Error::other);
        read().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = self.path.display();
                tracing::warn!(%error, %path, "who was dropped is not known; all pass");
            }
            Contents::default()
        })
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        if std::fs::metadata(&self.path)?.len() > BYTES_MAX {
            return Err(io::Error::other("it is too long"));
        }
        std::fs::read(&self.path)
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, &self.path)
    }
}

/// Writes the file from a thread of its own: renaming waits for a busy disk's journal, and who is to be
/// dropped must not. Dropped, it has written what it was given last.
pub(crate) struct Keeper {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Desk {
    paper: Mutex<Paper>,
    rung: Condvar,
}

#[derive(Default)]
struct Paper {
    /// The newest; what it replaces need not be written.
    next: Option<Contents>,
    is_over: bool,
}

impl Keeper {
    pub(crate) fn start(file: KeptFile) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let writers = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("keep-drops".into());
        let thread = thread.spawn(move || {
            let mut written = file.bytes().unwrap_or_default();
            while let Some(contents) = writers.next() {
                let fresh = simd_json::to_vec(&contents).map_err(io::Error::other);
                let done = fresh.and_then(|fresh| {
                    if fresh != written {
                        file.write(&fresh)?;
                        written = fresh;
                    }
                    Ok(())
                });
                if let Err(error) = done {
                    tracing::error!(%error, "who is dropped would not be known after a restart");
                }
            }
        })?;
        Ok(Self { desk, thread: Some(thread) })
    }

    pub(crate) fn keep(&self, contents: Contents) {
        self.desk.tell(|paper| paper.next = Some(contents));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.desk.tell(|paper| paper.is_over = true);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Desk {
    fn tell(&self, change: impl FnOnce(&mut Paper)) {
        change(&mut self.paper.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_one();
    }

    /// Waits for what is to be written; none once all is and it is over.
    fn next(&self) -> Option<Contents> {
        let mut paper = self.paper.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match paper.next.take() {
                None if paper.is_over => return None,
                None => paper = self.rung.wait(paper).unwrap_or_else(PoisonError::into_inner),
                some => return some,
            }
        }
    }
}
