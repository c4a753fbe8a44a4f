//! A group: the records of one durable write.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | magic and version, `PCGROUP1` |
//! | 8..16 | segment number |
//! | 16..24 | index of the first record |
//! | 24..28 | number of records |
//! | 28..32 | bytes of the payload |
//! | 32..64 | hash of the group before, or of the segment's header |
//! | 64..96 | own hash |
//! | 96.. | payload: for each record a `u16` length and the record; then zeros up to the next block |
//!
//! The own hash is SHA-256(segment header's hash ‖ bytes 0..64 ‖ all leaf hashes). Leaf hashes fix the
//! records, so this covers all of the payload while each record is hashed only once. The segment
//! header's hash keeps a caller from planting bytes in a record that read as a group.

use ring::digest::{Context, SHA256};

use crate::batch;
use crate::segment::{BLOCK_BYTES, is_zero};
use crate::tree::{Hash, finish, leaf_hash};

/// One write. Four largest batches fit, and about 3,000 records of common size.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

pub(crate) const HEADER_BYTES: usize = 96;
const MAGIC: [u8; 8] = *b"PCGROUP1";
const HASHED_BYTES: usize = 64;

/// Where a group stands: what it is bound to besides its own bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) segment_hash: Hash,
    pub(crate) first_index: u64,
    pub(crate) previous: Hash,
}

/// A whole group.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    pub first_index: u64,
    pub records: u32,
    /// Padding included: the next group starts here.
    pub bytes: usize,
    pub(crate) payload: &'a [u8],
    pub(crate) hash: Hash,
}

impl<'a> Group<'a> {
    /// The records' bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        batch::split(self.payload)
    }
}

/// Why no group is read at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GroupFault {
    /// The segment ends, or only zeros follow in this block.
    Absent,
    /// No group's first bytes.
    NoGroup,
    /// It says that it belongs to another segment.
    Segment(u64),
    /// Its lengths are impossible, or it is cut.
    Cut,
    /// Its records or the zeros after them are not what its hash was made over.
    Changed,
    /// Whole, but not the next: its first index is another.
    Index { expected: u64, found: u64 },
    /// Whole, but not made after the group before it.
    Chain,
}

/// Writes the header into the first bytes of `group`, whose payload is in place, and zeros after the
/// payload up to the block's end. Gives the group's length and hash.
pub(crate) fn seal(
    group: &mut [u8],
    payload_bytes: usize,
    leaves: &[Hash],
    place: &Place,
) -> Option<(usize, Hash)> {
    let end = HEADER_BYTES + payload_bytes;
    let bytes = end.next_multiple_of(BLOCK_BYTES);
    let mut header = [0; HASHED_BYTES];
    let fields: [&[u8]; 6] = [
        &MAGIC,
        &place.segment.to_le_bytes(),
        &place.first_index.to_le_bytes(),
        &(leaves.len() as u32).to_le_bytes(),
        &(payload_bytes as u32).to_le_bytes(),
        &place.previous,
    ];
    for (byte, source) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *byte = *source;
    }
    let hash = own_hash(&place.segment_hash, &header, leaves);
    group.get_mut(..HASHED_BYTES)?.copy_from_slice(&header);
    group.get_mut(HASHED_BYTES..HEADER_BYTES)?.copy_from_slice(&hash);
    group.get_mut(end..bytes)?.fill(0);
    Some((bytes, hash))
}

/// How many bytes the group that begins with `block` says it has. `None` when it is no group.
#[must_use]
pub fn group_bytes(block: &[u8]) -> Option<usize> {
    let header = block.first_chunk::<HEADER_BYTES>()?;
    let payload_bytes = u32_at(header, 28)? as usize;
    let bytes = HEADER_BYTES.checked_add(payload_bytes)?.next_multiple_of(BLOCK_BYTES);
    (header.starts_with(&MAGIC) && bytes <= GROUP_BYTES_MAX).then_some(bytes)
}

/// Reads the group at the start of `bytes`, whole and unchanged, wherever it stands in the order.
/// `leaves` gets its leaf hashes. Gives the hash of the group before it, too.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    segment: u64,
    segment_hash: &Hash,
    leaves: &mut Vec<Hash>,
) -> Result<(Group<'a>, Hash), GroupFault> {
    leaves.clear();
    match bytes.get(..BLOCK_BYTES) {
        Some(block) if is_zero(block) => return Err(GroupFault::Absent),
        None if is_zero(bytes) => return Err(GroupFault::Absent),
        // What is left of a file that was cut inside a block is no group, but not nothing either.
        None => return Err(GroupFault::Cut),
        Some(_) => (),
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(GroupFault::NoGroup);
    }
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(GroupFault::Cut)?;
    let found_segment = u64_at(header, 8).ok_or(GroupFault::Cut)?;
    if found_segment != segment {
        return Err(GroupFault::Segment(found_segment));
    }
    let total = group_bytes(bytes).ok_or(GroupFault::Cut)?;
    let first_index = u64_at(header, 16).ok_or(GroupFault::Cut)?;
    let records = u32_at(header, 24).ok_or(GroupFault::Cut)?;
    let payload_bytes = u32_at(header, 28).ok_or(GroupFault::Cut)? as usize;
    let body = rest.get(..total - HEADER_BYTES).ok_or(GroupFault::Cut)?;
    let (payload, padding) = body.split_at_checked(payload_bytes).ok_or(GroupFault::Cut)?;
    leaves.extend(batch::split(payload).map(leaf_hash));
    let (hashed, hash) = header.split_last_chunk::<32>().ok_or(GroupFault::Cut)?;
    let hashed: &[u8; HASHED_BYTES] = hashed.try_into().map_err(|_| GroupFault::Cut)?;
    let whole = batch::is_whole(payload) && leaves.len() == records as usize && records > 0;
    if !whole || !is_zero(padding) || own_hash(segment_hash, hashed, leaves) != *hash {
        return Err(GroupFault::Changed);
    }
    let previous = *hashed.last_chunk().ok_or(GroupFault::Cut)?;
    Ok((Group { first_index, records, bytes: total, payload, hash: *hash }, previous))
}

fn own_hash(segment_hash: &Hash, header: &[u8; HASHED_BYTES], leaves: &[Hash]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(segment_hash);
    context.update(header);
    context.update(leaves.as_flattened());
    finish(context)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, Start};
    use crate::{Batch, Body, BootId, Call, Record, Stamp};
    use dataplane_telemetry::WallNanos;

    #[test]
    fn one_batch_past_a_full_group_waits() {
        let (mut batch, mut buffer) = (Batch::default(), vec![0; GROUP_BYTES_MAX]);
        while batch.push(&Record::new(Stamp::default(), Body::Call(Call::default()))).is_ok() {}
        let mut log = Log::new("gate.example", BootId([1; 16]), Start::Empty);
        let bytes = 2 * GROUP_BYTES_MAX;
        let _ = log.open(1, bytes as u64, WallNanos(0));
        let _ = log.on_written(Ok(BLOCK_BYTES));
        let mut batches = 0;
        while log.add(batch.bytes(), &mut buffer) {
            batches += 1;
        }
        assert!(batches >= 3, "{batches}");
        log.seal(&mut buffer);
        let crate::log::Step::Write { bytes, .. } = log.step() else { panic!("{:?}", log.step()) };
        assert!(bytes <= GROUP_BYTES_MAX && bytes > GROUP_BYTES_MAX - batch.bytes().len());
        assert!(group_bytes(&buffer).is_some());
        // One byte more than a group may have is no group.
        buffer[28..32]
            .copy_from_slice(&((GROUP_BYTES_MAX - HEADER_BYTES + 1) as u32).to_le_bytes());
        assert_eq!(group_bytes(&buffer), None);
    }
}
