//! Ships durable records upward: a copy for queries, from where the control plane's copy ends.
//!
//! One batch is on its way at a time. The log itself is the truth and stays; what is not shipped
//! now is shipped later, and a gap shows as a jump of the index.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dataplane_bundle::message::{Records, ToControl};
use quinn::Connection;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::handle::{Shared, held};
use crate::sink::RecordSource;
use crate::stream;

/// How often the log is asked for more when nobody says that there is.
pub const RECORDS_POLL_MS: u64 = 250;
/// Between two batches, full ones too: at most 4 MiB a second are taken from calls for the copy. What
/// more there is waits in the log until there is less.
pub const RECORDS_REST_MS: u64 = 250;
/// A batch that is not acknowledged after this long is sent again.
const STORED_MS_MAX: u64 = 30_000;

type Source = Arc<Mutex<Box<dyn RecordSource>>>;

pub(crate) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    source: Source,
    mut next: watch::Receiver<Option<u64>>,
) {
    loop {
        let Some(first) = *next.borrow_and_update() else {
            if next.changed().await.is_err() {
                return;
            }
            continue;
        };
        if held(&source).durable() <= first {
            let poll = Duration::from_millis(RECORDS_POLL_MS);
            let _ = timeout(poll, shared.records_ready.notified()).await;
            continue;
        }
        let sent = match read(&source, first).await {
            Ok(batch) if batch.records.is_empty() => Ok(()),
            Ok(batch) => send(&connection, batch).await,
            Err(reason) => Err(reason),
        };
        if let Err(trouble) = sent {
            shared.on_trouble(&format!("records from index {first}: {trouble}"));
            if connection.close_reason().is_some() {
                return;
            }
        }
        let _ = timeout(Duration::from_millis(STORED_MS_MAX), next.changed()).await;
        // What comes meanwhile goes as one batch: many small ones would cost the cores their time.
        tokio::time::sleep(Duration::from_millis(RECORDS_REST_MS)).await;
    }
}

async fn read(source: &Source, first: u64) -> Result<Records, String> {
    let source = source.clone();
    let read = spawn_blocking(move || {
        let mut records = Vec::new();
        let first_index = held(&source).read(first, Records::ROOM, &mut records)?;
        Ok(Records { first_index, records })
    });
    read.await.map_err(|panic| panic.to_string())?
}

async fn send(connection: &Connection, batch: Records) -> Result<(), String> {
    let message = ToControl::Records(batch).encode().map_err(|refused| refused.to_string())?;
    stream::send(connection, &message).await
}
