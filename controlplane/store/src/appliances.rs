//! Appliances and the tokens that enrol them.

use controlplane_api::Time;
use controlplane_api::bounds::{APPLIANCES_MAX, ENROLMENTS_MAX};

use crate::{Fault, Store, number, signed};

/// An enrolment that waits to be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingEnrolment {
    /// SHA-256 of the one-time secret, in hexadecimal.
    pub sha256: String,
    pub name: String,
    pub created_by: String,
    pub expires_at: Time,
}

/// A box as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApplianceRow {
    pub id: String,
    pub name: String,
    pub enrolled_at: Time,
    pub certificate_expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    pub seen_at: Option<Time>,
    /// The log index from which records are wanted.
    pub records_next: u64,
}

type Row = (String, String, i64, Option<i64>, Option<i64>, Option<i64>, i64);

impl Store {
    /// # Errors
    /// `Full` past the bound; otherwise when the database fails.
    pub async fn add_enrolment(&self, new: &PendingEnrolment, now: Time) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM enrolments WHERE expires_at_ms <= $1")
            .bind(signed(now.0))
            .execute(&mut *tx)
            .await?;
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM enrolments").fetch_one(&mut *tx).await?;
        if number(count) >= ENROLMENTS_MAX as u64 {
            let help = "use them, or wait 15 minutes until they expire";
            return Err(Fault::Full { what: "enrolments", max: ENROLMENTS_MAX, help });
        }
        sqlx::query(
            "INSERT INTO enrolments (sha256, name, created_by, expires_at_ms) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(&new.sha256)
        .bind(&new.name)
        .bind(&new.created_by)
        .bind(signed(new.expires_at.0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Uses up a token and adds its appliance, in one transaction: a token works once. The same name
    /// again makes a new box, named with a number behind, and the box before is no longer taken: its
    /// log and its keys are not the new one's.
    ///
    /// # Errors
    /// `Missing` when the token is unknown, used or expired; otherwise when the database fails.
    pub async fn enrol(&self, sha256: &str, now: Time) -> Result<ApplianceRow, Fault> {
        let mut tx = self.begin().await?;
        let row: Option<(String, i64)> = sqlx::query_as(
            "DELETE FROM enrolments WHERE sha256 = $1 RETURNING name, expires_at_ms",
        )
        .bind(sha256)
        .fetch_optional(&mut *tx)
        .await?;
        let unknown = || Fault::Missing { what: "enrolment", name: "this token".to_owned() };
        let (name, expires_at_ms) = row.ok_or_else(unknown)?;
        if number(expires_at_ms) <= now.0 {
            tx.commit().await?;
            return Err(unknown());
        }
        let (count, of_name): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(CASE WHEN name = $1 THEN 1 ELSE 0 END), 0) \
             FROM appliances",
        )
        .bind(&name)
        .fetch_one(&mut *tx)
        .await?;
        if number(count) >= APPLIANCES_MAX as u64 {
            let help = "there is no room for one more";
            return Err(Fault::Full { what: "appliances", max: APPLIANCES_MAX, help });
        }
        sqlx::query(
            "UPDATE appliances SET revoked_at_ms = $1 WHERE name = $2 AND revoked_at_ms IS NULL",
        )
        .bind(signed(now.0))
        .bind(&name)
        .execute(&mut *tx)
        .await?;
        let id = if of_name == 0 { name.clone() } else { format!("{name}-{}", of_name + 1) };
        sqlx::query(
            "INSERT INTO appliances (id, name, enrolled_at_ms, records_next) VALUES ($1, $2, $3, 0)",
        )
        .bind(&id)
        .bind(&name)
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let found = self.appliance(&id).await?;
        found.ok_or(Fault::Missing { what: "appliance", name: id })
    }

    /// # Errors
    /// When the database fails.
    pub async fn appliances(&self) -> Result<Vec<ApplianceRow>, Fault> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, enrolled_at_ms, certificate_expires_at_ms, revoked_at_ms, seen_at_ms, records_next FROM appliances ORDER BY id",
        )
        .fetch_all(&self.reader)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }

    /// # Errors
    /// When the database fails.
    pub async fn appliance(&self, id: &str) -> Result<Option<ApplianceRow>, Fault> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, enrolled_at_ms, certificate_expires_at_ms, revoked_at_ms, seen_at_ms, records_next FROM appliances WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.reader)
        .await?;
        Ok(row.map(read))
    }

    /// No longer takes the box's certificate.
    ///
    /// # Errors
    /// `Missing` when there is none; otherwise when the database fails.
    pub async fn revoke_appliance(&self, id: &str, at: Time) -> Result<(), Fault> {
        let revoked = sqlx::query(
            "UPDATE appliances SET revoked_at_ms = COALESCE(revoked_at_ms, $1) WHERE id = $2",
        )
        .bind(signed(at.0))
        .bind(id)
        .execute(&self.writer)
        .await?;
        if revoked.rows_affected() == 0 {
            return Err(Fault::Missing { what: "appliance", name: id.to_owned() });
        }
        Ok(())
    }

    /// Notes that the box was heard of.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn appliance_seen(&self, id: &str, at: Time) -> Result<(), Fault> {
        sqlx::query("UPDATE appliances SET seen_at_ms = $1 WHERE id = $2")
            .bind(signed(at.0))
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Notes a certificate that was issued; the one before is taken until the next.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn appliance_certified(
        &self,
        id: &str,
        sha256: &str,
        expires_at: Time,
    ) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE appliances SET previous_sha256 = certificate_sha256, certificate_sha256 = $1, \
             certificate_expires_at_ms = $2 WHERE id = $3",
        )
        .bind(sha256)
        .bind(signed(expires_at.0))
        .bind(id)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Whether a box with this certificate may connect.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_admitted(&self, id: &str, sha256: &str) -> Result<bool, Fault> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM appliances WHERE id = $1 AND revoked_at_ms IS NULL \
             AND (certificate_sha256 = $2 OR previous_sha256 = $2)",
        )
        .bind(id)
        .bind(sha256)
        .fetch_one(&self.reader)
        .await?;
        Ok(count > 0)
    }
}

fn read(row: Row) -> ApplianceRow {
    let (id, name, enrolled, certificate, revoked, seen, records_next) = row;
    let time = |at: i64| Time(number(at));
    ApplianceRow {
        id,
        name,
        enrolled_at: time(enrolled),
        certificate_expires_at: certificate.map(time),
        revoked_at: revoked.map(time),
        seen_at: seen.map(time),
        records_next: number(records_next),
    }
}
