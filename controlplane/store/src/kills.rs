//! Kills in force, and the serial of their list, which rises with every change of it.

use controlplane_api::Time;
use controlplane_api::bounds::KILLS_MAX;
use controlplane_api::wire::{Kill, Target};
use sqlx::{Sqlite, Transaction};

use crate::{Fault, Store, next_number, number, signed};

/// A kill that was checked.
pub struct NewKill<'a> {
    pub target: &'a Target,
    pub reason: &'a str,
    pub author: &'a str,
    pub at: Time,
    pub expires_at: Option<Time>,
}

type Row = (i64, String, String, String, i64, Option<i64>, i64);

impl Store {
    /// Adds a kill.
    ///
    /// # Errors
    /// `Full` when there are as many as a kill list takes; otherwise when the database fails.
    pub async fn add_kill(&self, new: NewKill<'_>) -> Result<Kill, Fault> {
        let mut tx = self.begin().await?;
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM kills WHERE ended_at_ms IS NULL")
                .fetch_one(&mut *tx)
                .await?;
        if number(count) >= KILLS_MAX as u64 {
            let help = "take back kills that are over: `portcullis kills`, `portcullis unkill`";
            return Err(Fault::Full { what: "kills", max: KILLS_MAX, help });
        }
        let kill = Kill {
            id: next_number(&mut tx, "kill").await?,
            target: new.target.clone(),
            reason: new.reason.to_owned(),
            author: new.author.to_owned(),
            at: new.at,
            expires_at: new.expires_at,
            serial: next_number(&mut tx, "kill_serial").await?,
        };
        insert(&mut tx, &kill).await?;
        tx.commit().await?;
        Ok(kill)
    }

    /// Takes a kill back.
    ///
    /// # Errors
    /// `Missing` when it is not in force; otherwise when the database fails.
    pub async fn end_kill(&self, id: u64, by: &str, at: Time) -> Result<Kill, Fault> {
        let missing = || Fault::Missing { what: "kill in force", name: id.to_string() };
        let mut kill =
            self.kills().await?.into_iter().find(|kill| kill.id == id).ok_or_else(missing)?;
        let mut tx = self.begin().await?;
        let ended = sqlx::query(
            "UPDATE kills SET ended_at_ms = $1, ended_by = $2 WHERE id = $3 AND ended_at_ms IS NULL",
        )
        .bind(signed(at.0))
        .bind(by)
        .bind(signed(id))
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() == 0 {
            return Err(missing());
        }
        kill.serial = next_number(&mut tx, "kill_serial").await?;
        tx.commit().await?;
        Ok(kill)
    }

    /// Ends what has expired; says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_kills(&self, now: Time) -> Result<u64, Fault> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query(
            "UPDATE kills SET ended_at_ms = $1, ended_by = 'expiry' \
             WHERE ended_at_ms IS NULL AND expires_at_ms <= $1",
        )
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if ended > 0 {
            next_number(&mut tx, "kill_serial").await?;
            tx.commit().await?;
        }
        Ok(ended)
    }

    /// Kills in force, oldest first.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn kills(&self) -> Result<Vec<Kill>, Fault> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, target, reason, author, at_ms, expires_at_ms, serial \
             FROM kills WHERE ended_at_ms IS NULL ORDER BY id",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(read).collect()
    }

    /// The kill list's serial; zero before the first kill.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kill_serial(&self) -> Result<u64, Fault> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT value FROM counters WHERE name = 'kill_serial'")
                .fetch_optional(&self.reader)
                .await?;
        Ok(row.map_or(0, |(value,)| number(value)))
    }
}

async fn insert(tx: &mut Transaction<'_, Sqlite>, kill: &Kill) -> Result<(), Fault> {
    let target = serde_json::to_string(&kill.target).map_err(|why| Fault::damaged("kill", why))?;
    sqlx::query(
        "INSERT INTO kills (id, target, reason, author, at_ms, expires_at_ms, serial) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(signed(kill.id))
    .bind(target)
    .bind(&kill.reason)
    .bind(&kill.author)
    .bind(signed(kill.at.0))
    .bind(kill.expires_at.map(|at| signed(at.0)))
    .bind(signed(kill.serial))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn read(row: Row) -> Result<Kill, Fault> {
    let (id, target, reason, author, at_ms, expires_at_ms, serial) = row;
    Ok(Kill {
        id: number(id),
        target: serde_json::from_str(&target).map_err(|why| Fault::damaged("kill", why))?,
        reason,
        author,
        at: Time(number(at_ms)),
        expires_at: expires_at_ms.map(|at| Time(number(at))),
        serial: number(serial),
    })
}
