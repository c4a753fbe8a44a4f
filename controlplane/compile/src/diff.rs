//! What a change of policy changes: for which tool, for whom, from what to what.

use crate::compile::Compiled;

/// One difference in behaviour.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// `server/tool`.
    pub tool: String,
    /// Whom it concerns, in words: `everyone`, `role support`, `acme/ann and 3 more`.
    pub callers: Vec<String>,
    /// What was decided for them.
    pub before: String,
    /// What will be.
    pub after: String,
}

/// The differences between two revisions, by tool; none if no caller can tell them apart.
#[must_use]
pub fn diff(_old: &Compiled, _new: &Compiled) -> Vec<Change> {
    Vec::new()
}
