//! The log's durable records, read back from disk for the control plane's copy.

use std::path::PathBuf;
use std::sync::Arc;

use dataplane_audit_writer::{Reader, Writer};
use dataplane_bundle::message::Records;
use dataplane_sync::RecordSource;

/// Reads the log's own files, so that what is shipped is what is on disk.
pub(crate) struct LogRecords {
    dir: PathBuf,
    log: Arc<Writer>,
    reader: Option<Reader>,
}

impl LogRecords {
    pub(crate) fn new(dir: PathBuf, log: Arc<Writer>) -> Self {
        Self { dir, log, reader: None }
    }
}

impl RecordSource for LogRecords {
    fn durable(&self) -> u64 {
        self.log.size()
    }

    fn read(&mut self, first: u64, room: usize, out: &mut Vec<Vec<u8>>) -> Result<u64, String> {
        let goes_on = self.reader.take().filter(|reader| reader.next_index() == first);
        let mut reader = goes_on.unwrap_or_else(|| Reader::open(&self.dir).from(first));
        let (mut used, mut begun, mut left_over) = (0, None, false);
        let limit = self.log.size();
        loop {
            let read = reader.read(limit, |entry| {
                used += Records::cost(entry.bytes);
                if used > room {
                    left_over = true;
                    return;
                }
                begun.get_or_insert(entry.index);
                out.push(entry.bytes.to_vec());
            });
            let has_more = read.map_err(|error| error.to_string())?;
            // A group that does not fit whole costs a new search: stop where most still fit.
            if !has_more || left_over || used > room / 2 {
                break;
            }
        }
        // What did not fit is read again next time, from where it begins.
        self.reader = (!left_over).then_some(reader);
        Ok(begun.unwrap_or(first))
    }
}
