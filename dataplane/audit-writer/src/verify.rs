//! Verifying a log on disk. Needs no lock, no key and no server, and may run beside the writer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dataplane_audit::Checkpoint;
use dataplane_audit::verify::{Fault, Files, Finding, Report, verify};

use crate::disk::{CHECKPOINT_NAME, read_start};

/// Verifies the log in `dir`, and that the checkpoint of its own directory and the given ones, kept
/// elsewhere, are states of it. Whoever does not trust the directory's keeper hands in his own copy, its
/// signature checked with [`Checkpoint::open`].
#[must_use]
pub fn verify_dir(dir: &Path, kept: &[Checkpoint]) -> Report {
    let mut kept = kept.to_vec();
    let own = own_checkpoint(dir);
    if let Ok(Some(own)) = &own {
        kept.push(own.clone());
    }
    let mut report = verify(&mut Dir { path: dir.to_owned() }, &kept);
    if let Err(error) = own {
        let (segment, fault) = (CHECKPOINT_NAME.to_owned(), Fault::Unreadable(error.to_string()));
        report.findings.push(Finding { segment, group: None, index: None, fault });
    }
    report
}

fn own_checkpoint(dir: &Path) -> io::Result<Option<Checkpoint>> {
    match fs::read(dir.join(CHECKPOINT_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(note) => Checkpoint::read_unverified(&note)
            .map(Some)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault)),
    }
}

struct Dir {
    path: PathBuf,
}

impl Files for Dir {
    fn names(&mut self) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(&self.path).map_err(|error| in_words(&self.path, &error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }

    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let path = self.path.join(name);
        read_start(&path, most).map_err(|error| in_words(&path, &error))
    }
}

fn in_words(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
