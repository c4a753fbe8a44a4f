//! The repository's own test.
//!
//! What a reviewer would have to look for in every change, and a program can: which crate may depend
//! on which, what a `pure` crate may not name, how long a file may be, and whether every limit and
//! promise names a test that exists. Each finding is a place and the fix. The rules take a
//! [`Repository`] that is a plain value, so a planted violation is a test without a checkout.

mod documents;
mod files;
mod layers;
mod metrics;
mod purity;
mod repository;
mod tests_index;
mod tokens;

pub use layers::{Crate, Dependency, Graph, Kind, Role};
pub use repository::{File, Repository};

use std::fmt;

/// One thing to mend: where it is and what to do.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    /// From the repository's root.
    pub file: String,
    /// From one.
    pub line: usize,
    pub message: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Every violation, in the order of files and lines.
#[must_use]
pub fn check(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = tokens::read_all(&repository.files, &mut findings);
    files::check(&repository.files, &mut findings);
    layers::check(repository, &mut findings);
    purity::check(repository, &sources, &mut findings);
    metrics::check(&sources, &mut findings);
    documents::check(repository, &sources, &mut findings);
    findings.sort();
    findings.dedup();
    findings
}

/// Files that are allowed, but longer than what reads well.
#[must_use]
pub fn notes(repository: &Repository) -> Vec<Finding> {
    files::long_files(&repository.files)
}
