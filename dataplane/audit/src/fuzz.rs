//! Properties that the fuzz targets check: they take any bytes, and panic when a promise is broken.

#![allow(clippy::panic)] // A broken property has to stop the fuzzer.

use dataplane_telemetry::WallNanos;

use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::log::{Log, Start, Step};
use crate::record::{Body, BootId, Call, CallId, Record, Stamp};
use crate::scan::{Rest, recover};
use crate::segment::{BLOCK_BYTES, segment_name};
use crate::verify::{Files, verify};

/// Bytes that read as a record are the bytes that this record is written as.
pub fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else { return };
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(again, bytes, "two spellings of {record:?}");
}

/// Any bytes as a segment, and any edits of a real one: what is read is a prefix of what was written,
/// and verification stands all of it.
pub fn segment(bytes: &[u8]) {
    let _ = recover(bytes, None);
    let _ = verify(&mut One(bytes), &[]);
    let (mut edited, groups) = written();
    for edit in bytes.chunks_exact(4) {
        let [low, high, value, _] = edit else { continue };
        let place = usize::from(u16::from_le_bytes([*low, *high])) % edited.len();
        if let Some(byte) = edited.get_mut(place) {
            *byte ^= value;
        }
    }
    let report = verify(&mut One(&edited), &[]);
    if edited != written().0 {
        assert!(!report.is_sound(), "an edit was not found");
    }
    let Ok(recovered) = recover(&edited, None) else { return };
    let (scan, records) = (&recovered.scan, recovered.scan.position.tree.size());
    assert!(records <= groups, "{records} records out of {groups}");
    assert_eq!(scan.position.offset, (scan.groups + 1) * BLOCK_BYTES as u64);
    assert!(recovered.rest != Rest::Zero || scan.rest().iter().all(|byte| *byte == 0));
}

/// Bytes that read as a checkpoint begin with the lines that it is written as.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::read_unverified(bytes) else { return };
    let text = checkpoint.to_text();
    assert!(bytes.starts_with(text.as_bytes()), "two spellings of {text}");
}

/// A segment of four groups with one record each, and how many records it has.
fn written() -> (Vec<u8>, u64) {
    let mut log = Log::new("fuzz.example", BootId([3; 16]), Start::Empty);
    let mut segment = vec![0; 8 * BLOCK_BYTES];
    let block = log.open(1, segment.len() as u64, WallNanos(1));
    put(&mut segment, 0, &block);
    let _ = log.on_written(Ok(BLOCK_BYTES));
    let mut buffer = vec![0; BLOCK_BYTES];
    for call in 0..4 {
        let mut batch = Batch::default();
        let body = Body::Call(Call { call: CallId(call), tool: "refund", ..Call::default() });
        let _ = batch.push(&Record::new(Stamp::default(), body));
        let _ = log.add(batch.bytes(), &mut buffer);
        log.seal(&mut buffer);
        let Step::Write { offset, bytes, .. } = log.step() else { continue };
        put(&mut segment, offset as usize, &buffer);
        let _ = log.on_written(Ok(bytes));
    }
    (segment, log.tree().size())
}

fn put(segment: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in segment.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// A directory with one segment.
struct One<'a>(&'a [u8]);

impl Files for One<'_> {
    fn names(&mut self) -> Result<Vec<String>, String> {
        Ok(vec![segment_name(1)])
    }

    fn read(&mut self, _: &str, most: u64) -> Result<Vec<u8>, String> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.get(..most).unwrap_or_default().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_hold_on_what_they_are_about() {
        let (bytes, records) = written();
        assert_eq!(records, 4);
        segment(&bytes);
        segment(&[]);
        for place in 0..8 * BLOCK_BYTES {
            let [low, high] = (place as u16).to_le_bytes();
            if place % 61 == 0 {
                segment(&[low, high, 1 << (place % 8), 0]);
            }
        }
        let mut encoded = Vec::new();
        Record::new(Stamp::default(), Body::Call(Call::default())).encode(&mut encoded);
        record(&encoded);
        for place in 0..encoded.len() {
            for value in 0..=255 {
                let mut changed = encoded.clone();
                changed[place] = value;
                record(&changed);
            }
        }
        let signer = crate::NoteSigner::from_seed("fuzz.example", &[1; 32]).unwrap();
        let origin = "fuzz.example".to_owned();
        let note = Checkpoint { origin, size: 7, root: [2; 32] }.sign(&signer);
        checkpoint(note.as_bytes());
    }
}
