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

/// What an enrolment makes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewAppliance {
    pub id: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub enrolled_at: Time,
    pub certificate_expires_at: Time,
}

/// A box as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApplianceRow {
    pub id: String,
    pub name: String,
    pub enrolled_at: Time,
    pub public_key: Vec<u8>,
    pub certificate_expires_at: Time,
    pub revoked_at: Option<Time>,
    pub seen_at: Option<Time>,
    /// The log index from which records are wanted.
    pub records_next: u64,
}

type Row = (String, String, i64, Vec<u8>, i64, Option<i64>, Option<i64>, i64);

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
    /// again replaces the box of that name, whose certificate is no longer taken.
    ///
    /// # Errors
    /// `Missing` when the token is unknown, used or expired; otherwise when the database fails.
    pub async fn enrol(&self, sha256: &str, new: &NewAppliance) -> Result<ApplianceRow, Fault> {
        let mut tx = self.begin().await?;
        let row: Option<(String, i64)> = sqlx::query_as(
            "DELETE FROM enrolments WHERE sha256 = $1 RETURNING name, expires_at_ms",
        )
        .bind(sha256)
        .fetch_optional(&mut *tx)
        .await?;
        let unknown = || Fault::Missing { what: "enrolment", name: "this token".to_owned() };
        let (name, expires_at_ms) = row.ok_or_else(unknown)?;
        if number(expires_at_ms) <= new.enrolled_at.0 {
            tx.commit().await?;
            return Err(unknown());
        }
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM appliances").fetch_one(&mut *tx).await?;
        if number(count) >= APPLIANCES_MAX as u64 {
            let help = "remove those that are gone: `portcullis appliances`";
            return Err(Fault::Full { what: "appliances", max: APPLIANCES_MAX, help });
        }
        sqlx::query(
            "UPDATE appliances SET revoked_at_ms = $1 WHERE name = $2 AND revoked_at_ms IS NULL",
        )
        .bind(signed(new.enrolled_at.0))
        .bind(&name)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO appliances (id, name, enrolled_at_ms, public_key, \
             certificate_expires_at_ms, records_next) VALUES ($1, $2, $3, $4, $5, 0)",
        )
        .bind(&new.id)
        .bind(&name)
        .bind(signed(new.enrolled_at.0))
        .bind(&new.public_key)
        .bind(signed(new.certificate_expires_at.0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let found = self.appliance(&new.id).await?;
        found.ok_or_else(|| Fault::Missing { what: "appliance", name: new.id.clone() })
    }

    /// The name that an unused, unexpired token stands for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrolment_name(&self, sha256: &str, now: Time) -> Result<Option<String>, Fault> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT name FROM enrolments WHERE sha256 = $1 AND expires_at_ms > $2")
                .bind(sha256)
                .bind(signed(now.0))
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(name,)| name))
    }

    /// # Errors
    /// When the database fails.
    pub async fn appliances(&self) -> Result<Vec<ApplianceRow>, Fault> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, enrolled_at_ms, public_key, certificate_expires_at_ms, \
             revoked_at_ms, seen_at_ms, records_next FROM appliances ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }

    /// # Errors
    /// When the database fails.
    pub async fn appliance(&self, id: &str) -> Result<Option<ApplianceRow>, Fault> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, enrolled_at_ms, public_key, certificate_expires_at_ms, \
             revoked_at_ms, seen_at_ms, records_next FROM appliances WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
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
        .execute(&self.pool)
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
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes a renewed certificate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn appliance_renewed(
        &self,
        id: &str,
        public_key: &[u8],
        expires_at: Time,
    ) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE appliances SET public_key = $1, certificate_expires_at_ms = $2 WHERE id = $3",
        )
        .bind(public_key)
        .bind(signed(expires_at.0))
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn read(row: Row) -> ApplianceRow {
    let (id, name, enrolled, public_key, certificate, revoked, seen, records_next) = row;
    ApplianceRow {
        id,
        name,
        enrolled_at: Time(number(enrolled)),
        public_key,
        certificate_expires_at: Time(number(certificate)),
        revoked_at: revoked.map(|at| Time(number(at))),
        seen_at: seen.map(|at| Time(number(at))),
        records_next: number(records_next),
    }
}
