//! Revisions: the whole desired state, by number.
//!
//! An object's row says from which revision to which it was so; a revision's content is a range
//! query, and a thousand revisions cost what their changes cost.

use controlplane_api::wire::{Change, Revision};
use controlplane_api::{Diff, Kind, ObjectSet, Time};
use sqlx::{Sqlite, Transaction};

use crate::{Fault, Slice, Store, number, signed};

/// A revision's number and content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Zero: nothing was ever applied.
    pub revision: u64,
    pub at: Time,
    pub set: ObjectSet,
}

/// A change that was checked and compiled.
pub struct NewRevision<'a> {
    /// What `next` was made from; it must still be in force.
    pub before: &'a Stored,
    pub next: &'a ObjectSet,
    pub author: &'a str,
    pub how: Change,
    pub message: &'a str,
    pub at: Time,
}

type Row = (i64, i64, String, String, String, i64, i64, i64);

impl Store {
    /// The number in force; zero before the first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn head(&self) -> Result<u64, Fault> {
        let (head,): (Option<i64>,) =
            sqlx::query_as("SELECT MAX(revision) FROM revisions").fetch_one(&self.reader).await?;
        Ok(head.map_or(0, number))
    }

    /// The content in force.
    ///
    /// # Errors
    /// When the database fails or an object cannot be read.
    pub async fn current(&self) -> Result<Stored, Fault> {
        match self.head().await? {
            0 => Ok(Stored::default()),
            head => self.at_revision(head).await,
        }
    }

    /// The content of any revision.
    ///
    /// # Errors
    /// When there is no such revision, the database fails, or an object cannot be read.
    pub async fn at_revision(&self, revision: u64) -> Result<Stored, Fault> {
        let head = self.revision(revision).await?;
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT kind, name, body FROM objects \
             WHERE since <= $1 AND (until IS NULL OR until > $1) ORDER BY kind, name",
        )
        .bind(signed(revision))
        .fetch_all(&self.reader)
        .await?;
        let mut set = ObjectSet::default();
        for (kind, name, body) in rows {
            let kind = Kind::parse(&kind).ok_or_else(|| Fault::damaged("object", &kind))?;
            let body = serde_json::from_str(&body).map_err(|why| Fault::damaged("object", why))?;
            set.put(kind, &name, body)
                .map_err(|problem| Fault::damaged("object", format!("{name}: {problem}")))?;
        }
        Ok(Stored { revision, at: head.at, set })
    }

    /// A revision without its content.
    ///
    /// # Errors
    /// When there is no such revision or the database fails.
    pub async fn revision(&self, revision: u64) -> Result<Revision, Fault> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT revision, at_ms, author, how, message, added, changed, removed \
             FROM revisions WHERE revision = $1",
        )
        .bind(signed(revision))
        .fetch_optional(&self.reader)
        .await?;
        let missing = || Fault::Missing { what: "revision", name: revision.to_string() };
        read(row.ok_or_else(missing)?)
    }

    /// Newest first. `after` is the number before which to go on; zero begins at the newest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revisions(&self, slice: Slice<u64>) -> Result<Vec<Revision>, Fault> {
        let before = if slice.after == 0 { i64::MAX } else { signed(slice.after) };
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT revision, at_ms, author, how, message, added, changed, removed \
             FROM revisions WHERE revision < $1 ORDER BY revision DESC LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(slice.limit))
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(read).collect()
    }

    /// Makes `next` the content in force. One transaction: all of it or nothing.
    ///
    /// # Errors
    /// `Conflict` when another change came in between; otherwise when the database fails.
    pub async fn commit(&self, new: NewRevision<'_>) -> Result<Revision, Fault> {
        let mut tx = self.begin().await?;
        let (head,): (Option<i64>,) =
            sqlx::query_as("SELECT MAX(revision) FROM revisions").fetch_one(&mut *tx).await?;
        let found = head.map_or(0, number);
        if found != new.before.revision {
            return Err(Fault::Conflict { expected: new.before.revision, found });
        }
        let (added, changed, removed) = Diff::between(&new.before.set, new.next).counts();
        let revision = Revision {
            revision: found + 1,
            at: new.at,
            author: new.author.to_owned(),
            how: new.how,
            message: new.message.to_owned(),
            added,
            changed,
            removed,
        };
        insert(&mut tx, &revision).await?;
        write_objects(&mut tx, &new, revision.revision).await?;
        tx.commit().await?;
        Ok(revision)
    }
}

async fn insert(tx: &mut Transaction<'_, Sqlite>, revision: &Revision) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO revisions (revision, at_ms, author, how, message, added, changed, removed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(signed(revision.revision))
    .bind(signed(revision.at.0))
    .bind(&revision.author)
    .bind(how_word(revision.how))
    .bind(&revision.message)
    .bind(i64::from(revision.added))
    .bind(i64::from(revision.changed))
    .bind(i64::from(revision.removed))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends the rows of objects that changed or went, begins rows of those that changed or came.
async fn write_objects(
    tx: &mut Transaction<'_, Sqlite>,
    new: &NewRevision<'_>,
    revision: u64,
) -> Result<(), Fault> {
    let first = new.before.revision == 0;
    let before = if first { Vec::new() } else { new.before.set.entries() };
    let before: std::collections::BTreeMap<_, _> =
        before.into_iter().map(|(kind, name, body)| ((kind, name), body)).collect();
    let after: std::collections::BTreeMap<_, _> =
        new.next.entries().into_iter().map(|(kind, name, body)| ((kind, name), body)).collect();
    for (key, body) in &before {
        if after.get(key) != Some(body) {
            sqlx::query(
                "UPDATE objects SET until = $1 WHERE kind = $2 AND name = $3 AND until IS NULL",
            )
            .bind(signed(revision))
            .bind(key.0.word())
            .bind(&key.1)
            .execute(&mut **tx)
            .await?;
        }
    }
    for (key, body) in &after {
        if before.get(key) != Some(body) {
            sqlx::query("INSERT INTO objects (kind, name, since, body) VALUES ($1, $2, $3, $4)")
                .bind(key.0.word())
                .bind(&key.1)
                .bind(signed(revision))
                .bind(body.to_string())
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

fn read(row: Row) -> Result<Revision, Fault> {
    let (revision, at_ms, author, how, message, added, changed, removed) = row;
    let count = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Revision {
        revision: number(revision),
        at: Time(number(at_ms)),
        author,
        how: parse_how(&how).ok_or_else(|| Fault::damaged("revision", how))?,
        message,
        added: count(added),
        changed: count(changed),
        removed: count(removed),
    })
}

const HOWS: [(Change, &str); 7] = [
    (Change::Apply, "apply"),
    (Change::Put, "put"),
    (Change::Delete, "delete"),
    (Change::Rollback, "rollback"),
    (Change::Approve, "approve"),
    (Change::Keys, "keys"),
    (Change::System, "system"),
];

fn how_word(how: Change) -> &'static str {
    HOWS.iter().find(|(known, _)| *known == how).map_or("system", |(_, word)| word)
}

fn parse_how(word: &str) -> Option<Change> {
    HOWS.iter().find(|(_, known)| *known == word).map(|(how, _)| *how)
}
