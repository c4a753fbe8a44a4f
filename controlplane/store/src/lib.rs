//! The control plane's state in SQL: revisions of objects, and what stands beside them.
//!
//! Every change is one transaction; a restart loses nothing that was answered. Secrets and our own
//! keys are sealed before they reach the database. Nothing outside this crate writes SQL; the
//! statements are plain enough for PostgreSQL, and only [`Store::open`] knows SQLite.

mod admin_log;
mod appliances;
mod calls;
mod fault;
mod findings;
mod kills;
mod materials;
mod pages;
mod revisions;
mod seal;
mod secrets;
mod tokens;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

pub use appliances::{ApplianceRow, PendingEnrolment};
pub use calls::{CallFilter, NewCall};
pub use fault::Fault;
pub use findings::Finding;
pub use kills::NewKill;
pub use pages::Slice;
pub use revisions::{NewRevision, Stored};
pub use seal::{KEY_BYTES, Seal, SealSource};
pub use secrets::OpenedSecret;
pub use tokens::TokenRow;

/// All migrations, in order.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
/// What all migrations together make; a test compares.
pub const SCHEMA: &str = include_str!("../schema.sql");

/// Readers at a time.
const READERS_MAX: u32 = 4;
/// How long we wait for another process (a backup, a shell) before we say that the database is busy.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The open database.
#[derive(Clone)]
pub struct Store {
    reader: SqlitePool,
    /// One connection: writers wait in line, and none of them polls a lock.
    writer: SqlitePool,
    seal: std::sync::Arc<Seal>,
}

impl Store {
    /// Opens or makes the database, migrates it, and checks that the sealing key is the right one.
    ///
    /// # Errors
    /// When the file cannot be used, a migration does not fit, or the key is not the one that sealed
    /// what is there.
    pub async fn open(path: &Path, source: SealSource) -> Result<Self, Fault> {
        let options = SqliteConnectOptions::from_str("sqlite://")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: what was answered survives a power cut, not only a crash.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_WAIT);
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let seal = seal::open(&writer, source).await?;
        let reader = SqlitePoolOptions::new().max_connections(READERS_MAX);
        let reader = reader.connect_with(options.read_only(true)).await?;
        Ok(Self { reader, writer, seal: std::sync::Arc::new(seal) })
    }

    /// Closes all connections; what was answered is on disk already.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        sqlx::query("SELECT 1").execute(&self.reader).await?;
        Ok(())
    }

    /// A transaction that may write. It takes the write lock at once: a later upgrade could fail.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Fault> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// The next number of a counter; the first is 1.
async fn next_number(tx: &mut Transaction<'_, Sqlite>, name: &str) -> Result<u64, Fault> {
    next_numbers(tx, name, 1).await
}

/// The last of the next `count` numbers of a counter.
async fn next_numbers(
    tx: &mut Transaction<'_, Sqlite>,
    name: &str,
    count: u64,
) -> Result<u64, Fault> {
    sqlx::query("INSERT INTO counters (name, value) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .execute(&mut **tx)
        .await?;
    let (value,): (i64,) =
        sqlx::query_as("UPDATE counters SET value = value + $1 WHERE name = $2 RETURNING value")
            .bind(signed(count))
            .bind(name)
            .fetch_one(&mut **tx)
            .await?;
    Ok(number(value))
}

/// SQL has signed numbers only; ours never reach its end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The reverse of [`signed`].
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
