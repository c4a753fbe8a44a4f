//! The admin log: every request that would change something, and what came of it.

use controlplane_api::Time;
use controlplane_api::bounds::ADMIN_ENTRIES_KEPT;
use controlplane_api::wire::AdminEntry;

use crate::{Fault, Slice, Store, next_number, number, signed};

type Row = (i64, i64, String, String, String, String, i64, String);

impl Store {
    /// Adds an entry; its `id` is given here. The oldest past the bound goes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_admin(&self, entry: &AdminEntry) -> Result<u64, Fault> {
        let mut tx = self.begin().await?;
        let id = next_number(&mut tx, "admin_entry").await?;
        sqlx::query(
            "INSERT INTO admin_log (id, at_ms, who, token_id, method, path, status, outcome) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(signed(id))
        .bind(signed(entry.at.0))
        .bind(&entry.who)
        .bind(&entry.token_id)
        .bind(&entry.method)
        .bind(&entry.path)
        .bind(i64::from(entry.status))
        .bind(&entry.outcome)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM admin_log WHERE id <= $1")
            .bind(signed(id.saturating_sub(ADMIN_ENTRIES_KEPT)))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Notes what came of an entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_admin(&self, id: u64, status: u16, outcome: &str) -> Result<(), Fault> {
        sqlx::query("UPDATE admin_log SET status = $1, outcome = $2 WHERE id = $3")
            .bind(i64::from(status))
            .bind(outcome)
            .bind(signed(id))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Newest first. `after` is the id before which to go on; zero begins at the newest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn admin_entries(&self, slice: Slice<u64>) -> Result<Vec<AdminEntry>, Fault> {
        let before = if slice.after == 0 { i64::MAX } else { signed(slice.after) };
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at_ms, who, token_id, method, path, status, outcome \
             FROM admin_log WHERE id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(slice.limit))
        .fetch_all(&self.reader)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }
}

fn read((id, at_ms, who, token_id, method, path, status, outcome): Row) -> AdminEntry {
    AdminEntry {
        id: number(id),
        at: Time(number(at_ms)),
        who,
        token_id,
        method,
        path,
        status: u16::try_from(status).unwrap_or(0),
        outcome,
    }
}
