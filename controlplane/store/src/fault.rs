//! What can go wrong with the state, by whose fault.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum Fault {
    /// Another change came in between; load again and repeat.
    #[error(
        "another change was made at the same time: revision {found} is in force, not {expected}"
    )]
    Conflict { expected: u64, found: u64 },
    /// No such thing.
    #[error("there is no {what} `{name}`")]
    Missing { what: &'static str, name: String },
    #[error("this is the last admin token: without it nobody could make another")]
    LastAdmin,
    /// One more would be past a bound.
    #[error("there are {max} {what} already, and more are not taken: {help}")]
    Full { what: &'static str, max: usize, help: &'static str },
    /// The sealing key is not the one that sealed what is there.
    #[error("{0}")]
    Seal(String),
    /// What is stored cannot be read.
    #[error("the stored {what} cannot be read: {why}")]
    Damaged { what: &'static str, why: String },
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database's migrations: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl Fault {
    pub(crate) fn damaged(what: &'static str, why: impl ToString) -> Self {
        Self::Damaged { what, why: why.to_string() }
    }
}
