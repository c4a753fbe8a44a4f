//! Derived copies of appliances' audit records, for questions about recent calls.
//!
//! Bounded: the oldest go. The evidence is the appliance's own log.

use controlplane_api::Time;
use controlplane_api::bounds::CALLS_KEPT;
use controlplane_api::wire::Call;
use sqlx::{QueryBuilder, Sqlite};

use crate::{Fault, Store, next_numbers, number, signed};

/// A record that arrived; its `id` is given on insertion.
pub type NewCall = Call;

/// Some 2 ms of the one writer.
const CALLS_A_TRANSACTION: usize = 256;

/// Which calls: empty fields ask nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallFilter {
    pub tenant: String,
    pub user: String,
    pub agent: String,
    pub server: String,
    pub tool: String,
    pub decision: String,
    pub since: Option<Time>,
    /// Calls that arrived after this id.
    pub after: u64,
    pub limit: u32,
    /// Newest first instead of oldest first.
    pub newest: bool,
}

impl Store {
    /// Keeps records of one appliance and notes up to which index they are kept; records that are
    /// there already are passed over. Answers the index from which records are wanted now.
    ///
    /// Writes in small transactions, so that a kill does not wait for a batch of records. What is
    /// kept of a batch that was cut off is passed over when the batch comes again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_calls(
        &self,
        appliance: &str,
        next: u64,
        calls: &[NewCall],
    ) -> Result<u64, Fault> {
        for some in calls.chunks(CALLS_A_TRANSACTION) {
            self.keep_some(appliance, some).await?;
        }
        let row: Option<(i64,)> = sqlx::query_as(
            "UPDATE appliances SET records_next = \
             CASE WHEN records_next < $1 THEN $1 ELSE records_next END WHERE id = $2 \
             RETURNING records_next",
        )
        .bind(signed(next))
        .bind(appliance)
        .fetch_optional(&self.writer)
        .await?;
        Ok(row.map_or(next, |(kept,)| number(kept)))
    }

    async fn keep_some(&self, appliance: &str, calls: &[NewCall]) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        let last = next_numbers(&mut tx, "call", calls.len() as u64).await?;
        let first = last + 1 - calls.len() as u64;
        let bodies = calls.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        let bodies = bodies.map_err(|why| Fault::damaged("call", why))?;
        // One statement: each one is handed to the writer's thread and back, and a thousand of those
        // keep a processor from everybody else's.
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO calls (id, appliance, log_index, at_ms, tenant, user_name, agent, \
             server, tool, decision, body) ",
        );
        insert.push_values((first..).zip(calls).zip(bodies), |mut row, ((id, call), body)| {
            row.push_bind(signed(id))
                .push_bind(appliance)
                .push_bind(signed(call.index))
                .push_bind(signed(call.at.0))
                .push_bind(&call.tenant)
                .push_bind(&call.user)
                .push_bind(&call.agent)
                .push_bind(&call.server)
                .push_bind(&call.tool)
                .push_bind(&call.decision)
                .push_bind(body);
        });
        insert.push(" ON CONFLICT (appliance, log_index) DO NOTHING");
        // What is left of a batch has another length each time.
        let again = calls.len() == CALLS_A_TRANSACTION;
        insert.build().persistent(again).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM calls WHERE id <= $1")
            .bind(signed(last.saturating_sub(CALLS_KEPT)))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Calls that pass the filter.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn calls(&self, filter: &CallFilter) -> Result<Vec<Call>, Fault> {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new("SELECT id, body FROM calls WHERE id > ");
        query.push_bind(signed(filter.after));
        for (column, value) in [
            (" AND tenant = ", &filter.tenant),
            (" AND user_name = ", &filter.user),
            (" AND agent = ", &filter.agent),
            (" AND server = ", &filter.server),
            (" AND tool = ", &filter.tool),
            (" AND decision = ", &filter.decision),
        ] {
            if !value.is_empty() {
                query.push(column).push_bind(value.clone());
            }
        }
        if let Some(since) = filter.since {
            query.push(" AND at_ms >= ").push_bind(signed(since.0));
        }
        query.push(if filter.newest { " ORDER BY id DESC LIMIT " } else { " ORDER BY id LIMIT " });
        query.push_bind(i64::from(filter.limit));
        let rows: Vec<(i64, String)> = query.build_query_as().fetch_all(&self.reader).await?;
        let read = |(id, body): (i64, String)| {
            let call = serde_json::from_str::<Call>(&body);
            call.map(|call| Call { id: number(id), ..call })
                .map_err(|why| Fault::damaged("call", why))
        };
        rows.into_iter().map(read).collect()
    }
}
