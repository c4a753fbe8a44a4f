//! What servers said when they were last asked: outside of revisions, replaced each time.

use controlplane_api::Time;
use controlplane_api::objects::Pins;

use crate::{Fault, Store, number, signed};

/// The last discovery at one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub server: String,
    pub asked_at: Time,
    /// Why it failed.
    pub fault: Option<String>,
    /// What it said the last time that it answered.
    pub found: Option<Pins>,
}

type Row = (String, i64, Option<String>, Option<String>);

impl Store {
    /// Keeps what was found; a failure keeps what was found before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_finding(&self, finding: &Finding) -> Result<(), Fault> {
        let body = finding.found.as_ref().map(serde_json::to_string).transpose();
        let body = body.map_err(|why| Fault::damaged("finding", why))?;
        sqlx::query(
            "INSERT INTO findings (server, asked_at_ms, fault, body) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (server) DO UPDATE SET asked_at_ms = excluded.asked_at_ms, \
             fault = excluded.fault, body = COALESCE(excluded.body, findings.body)",
        )
        .bind(&finding.server)
        .bind(signed(finding.asked_at.0))
        .bind(&finding.fault)
        .bind(body)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn findings(&self) -> Result<Vec<Finding>, Fault> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT server, asked_at_ms, fault, body FROM findings ORDER BY server")
                .fetch_all(&self.reader)
                .await?;
        rows.into_iter().map(read).collect()
    }

    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn finding(&self, server: &str) -> Result<Option<Finding>, Fault> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT server, asked_at_ms, fault, body FROM findings WHERE server = $1",
        )
        .bind(server)
        .fetch_optional(&self.reader)
        .await?;
        row.map(read).transpose()
    }

    /// Forgets servers that are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_findings(&self, servers: &[String]) -> Result<(), Fault> {
        for server in servers {
            sqlx::query("DELETE FROM findings WHERE server = $1")
                .bind(server)
                .execute(&self.writer)
                .await?;
        }
        Ok(())
    }
}

fn read((server, asked_at_ms, fault, body): Row) -> Result<Finding, Fault> {
    let found = body.as_deref().map(serde_json::from_str).transpose();
    let found = found.map_err(|why| Fault::damaged("finding", why))?;
    Ok(Finding { server, asked_at: Time(number(asked_at_ms)), fault, found })
}
