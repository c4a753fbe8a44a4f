//! Who is dropped, in a file: what a gateway that starts again has to know beside the card's maps.
//!
//! Written anew and renamed, so that it is whole or the one before. One that cannot be read is none: its
//! entries are stale then, and leave the card.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use dataplane_drops::Kept;
use serde::{Deserialize, Serialize};

/// Longer is none of ours: a thousand drops are some 300 KiB.
const BYTES_MAX: u64 = 16 << 20;

/// The file.
pub(crate) struct KeptFile {
    path: PathBuf,
    /// What is in it.
    text: Vec<u8>,
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
    pub(crate) fn open(path: PathBuf) -> (Self, Contents) {
        let mut text = Vec::new();
        let read = bytes(&path).and_then(|mut bytes| {
            text.clone_from(&bytes);
            simd_json::from_slice(&mut bytes).map_err(io::Error::other)
        });
        let contents = read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = path.display();
                tracing::warn!(%error, %path, "who was dropped is not known; all pass");
            }
            Contents::default()
        });
        (Self { path, text }, contents)
    }

    fn keep(&mut self, contents: &Contents) -> io::Result<()> {
        let text = simd_json::to_vec(contents).map_err(io::Error::other)?;
        if text != self.text {
            let fresh = self.path.with_extension("new");
            std::fs::write(&fresh, &text)?;
            std::fs::rename(&fresh, &self.path)?;
            self.text = text;
        }
        Ok(())
    }
}

/// The kernel's boot: what is kept is of this one, as monotonic times of another mean nothing.
pub(crate) fn kernel_boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    std::fs::read(path)
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
    pub(crate) fn start(mut file: KeptFile) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let writers = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("keep-drops".into());
        let thread = thread.spawn(move || {
            while let Some(contents) = writers.next() {
                if let Err(error) = file.keep(&contents) {
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
