//! The repository as a value: its text files and its crates.
//!
//! [`Repository::read`] asks git which files are there (tracked, or new and not ignored) and cargo
//! which crates depend on which. Nothing here judges.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::layers::Graph;

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
}

impl File {
    /// Whether it is Rust source.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    pub files: Vec<File>,
    pub graph: Graph,
}

impl Repository {
    /// Reads the checkout at `root`.
    ///
    /// # Errors
    /// When git or cargo cannot be run there, or a file cannot be read.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let root = root.canonicalize().context("the root of the repository")?;
        Ok(Self { files: read_files(&root)?, graph: Graph::read(&root)? })
    }

    /// The text file at `path`, if it is there.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn read_files(root: &Path) -> anyhow::Result<Vec<File>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    if !listing.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    }
    let listing = String::from_utf8(listing.stdout).context("a path that is not UTF-8")?;
    let mut files = Vec::new();
    for path in listing.split_terminator('\0') {
        let full = root.join(path);
        // Deleted but not yet committed, a submodule, or a link out of the tree: nothing to read.
        if !full.symlink_metadata().is_ok_and(|found| found.is_file()) {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| path.to_owned())?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}
