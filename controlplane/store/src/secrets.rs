//! Secrets: sealed values by name. What is stored opens only here, and only for leases.

use controlplane_api::Time;
use controlplane_api::bounds::SECRETS_MAX;
use zeroize::Zeroizing;

use crate::{Fault, Store, number, signed};

/// A secret's value, for a lease or a discovery.
pub struct OpenedSecret {
    pub name: String,
    pub revision: u64,
    pub value: Zeroizing<Vec<u8>>,
}

/// Name, revision, when, by whom.
pub(crate) type Row = (String, i64, i64, String);

impl Store {
    /// Sets a value; answers the secret's revision.
    ///
    /// # Errors
    /// `Full` past the bound; otherwise when the database or the seal fails.
    pub async fn set_secret(
        &self,
        name: &str,
        value: &[u8],
        by: &str,
        at: Time,
    ) -> Result<u64, Fault> {
        let mut tx = self.begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM secrets WHERE name <> $1")
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        if number(count) >= SECRETS_MAX as u64 {
            let help = "remove those that no server uses: `portcullis secrets`";
            return Err(Fault::Full { what: "secrets", max: SECRETS_MAX, help });
        }
        // Rises for ever, also over a removal: an appliance compares it with what it has.
        let revision = crate::next_number(&mut tx, "secret_revision").await?;
        let sealed = self.seal.close(&place(name, revision), value)?;
        sqlx::query(
            "INSERT INTO secrets (name, revision, set_at_ms, set_by, sealed) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET \
             revision = excluded.revision, set_at_ms = excluded.set_at_ms, \
             set_by = excluded.set_by, sealed = excluded.sealed",
        )
        .bind(name)
        .bind(signed(revision))
        .bind(signed(at.0))
        .bind(by)
        .bind(sealed)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(revision)
    }

    /// Forgets a secret.
    ///
    /// # Errors
    /// `Missing` when there is none; otherwise when the database fails.
    pub async fn remove_secret(&self, name: &str) -> Result<(), Fault> {
        let removed = sqlx::query("DELETE FROM secrets WHERE name = $1")
            .bind(name)
            .execute(&self.writer)
            .await?;
        if removed.rows_affected() == 0 {
            return Err(Fault::Missing { what: "secret", name: name.to_owned() });
        }
        Ok(())
    }

    /// All secrets without their values, by name: (name, revision, set at, set by).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secrets(&self) -> Result<Vec<(String, u64, Time, String)>, Fault> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT name, revision, set_at_ms, set_by FROM secrets ORDER BY name")
                .fetch_all(&self.reader)
                .await?;
        let read =
            |(name, revision, at_ms, by): Row| (name, number(revision), Time(number(at_ms)), by);
        Ok(rows.into_iter().map(read).collect())
    }

    /// A value, opened; `None` when it was never set.
    ///
    /// # Errors
    /// When the database fails or the value was not sealed by us.
    pub async fn open_secret(&self, name: &str) -> Result<Option<OpenedSecret>, Fault> {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT revision, sealed FROM secrets WHERE name = $1")
                .bind(name)
                .fetch_optional(&self.reader)
                .await?;
        let Some((revision, sealed)) = row else {
            return Ok(None);
        };
        let revision = number(revision);
        let value = self.seal.open(&place(name, revision), &sealed)?;
        Ok(Some(OpenedSecret { name: name.to_owned(), revision, value }))
    }
}

fn place(name: &str, revision: u64) -> String {
    format!("secret/{name}/{revision}")
}
