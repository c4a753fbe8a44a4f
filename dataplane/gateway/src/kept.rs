//! Who is dropped, in a file: what a gateway that starts again has to know beside the card's maps.
//!
//! Written anew and renamed, so that it is whole or the one before. One that cannot be read is none: its
//! entries are stale then, and leave the card.

use std::io;
use std::path::PathBuf;

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
        let read = || -> io::Result<Contents> {
            if std::fs::metadata(&self.path)?.len() > BYTES_MAX {
                return Err(io::Error::other("it is too long"));
            }
            let mut bytes = std::fs::read(&self.path)?;
            simd_json::from_slice(&mut bytes).map_err(io::Error::other)
        };
        read().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = self.path.display();
                tracing::warn!(%error, %path, "who was dropped is not known; all pass");
            }
            Contents::default()
        })
    }

    pub(crate) fn write(&self, drops: Kept, tenants: Vec<Box<str>>) -> io::Result<()> {
        let text = simd_json::to_vec(&Contents { drops, tenants }).map_err(io::Error::other)?;
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, &self.path)
    }
}
