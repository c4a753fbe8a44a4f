//! A mark: up to where a segment was read or written by somebody who knew, so that a start reads only
//! what came after.
//!
//! It saves time and proves nothing: whoever may write the log may write it, too. A mark that is
//! missing, torn or of another segment costs a read of the whole segment, and no more. It is taken only
//! if the group that it ends with is on disk, whole; what lies before that is checked after the start.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | magic and version, `PCMARK01` |
//! | 8..16 | segment number |
//! | 16..24, 24..32 | where the last group begins, and where it ends |
//! | 32 | 1 when the log was closed in order at this place |
//! | 33 | number of tree hashes |
//! | 40..72, 72..104 | hash of the segment's header, and of the last group |
//! | 104..112, 112..144 | size and root of a checkpoint of this log, no later than the mark |
//! | 144..152 | records up to here |
//! | 152..2,200 | hashes of the tree, smallest subtree first |
//! | 4,064..4,096 | SHA-256 of all before it |
//!
//! Integers are little-endian; what is not named is zero.

use crate::codec::{Malformed, Source};
use crate::scan::Position;
use crate::segment::BLOCK_BYTES;
use crate::tree::{FRONTIER_HASHES_MAX, Frontier, Hash, sha256};

const MAGIC: [u8; 8] = *b"PCMARK01";
const HASHED_BYTES: usize = BLOCK_BYTES - 32;
const HASHES_AT: usize = 152;

/// Where a log stood in a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    pub number: u64,
    pub header_hash: Hash,
    pub position: Position,
    /// A size and root that this log had on its way here; zero and zeros for none.
    pub checkpoint: (u64, Hash),
    /// The log's last record says that it was closed. Whoever goes on begins with one block.
    pub closed: bool,
}

impl Mark {
    /// As one block.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let Position { last, offset, hash, tree } = &self.position;
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(last.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.push(u8::from(self.closed));
        bytes.push(tree.hashes().count() as u8);
        bytes.resize(40, 0);
        bytes.extend(self.header_hash);
        bytes.extend(hash);
        bytes.extend(self.checkpoint.0.to_le_bytes());
        bytes.extend(self.checkpoint.1);
        bytes.extend(tree.size().to_le_bytes());
        tree.hashes().for_each(|hash| bytes.extend(hash));
        bytes.resize(HASHED_BYTES, 0);
        let hash = sha256(&[&bytes]);
        bytes.extend(hash);
        bytes.try_into().unwrap_or([0; BLOCK_BYTES])
    }

    /// Reads a mark; `None` for whatever `encode` would not have written.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let block: &[u8; BLOCK_BYTES] = bytes.try_into().ok()?;
        let (hashed, hash) = block.split_last_chunk::<32>()?;
        if sha256(&[hashed]) != *hash {
            return None;
        }
        let mark = Self::read(hashed).ok()?;
        (mark.encode() == *block).then_some(mark)
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut source = Source::new(bytes);
        if source.array()? != MAGIC {
            return Err(Malformed::Value("magic"));
        }
        let (number, last, offset) = (source.u64()?, source.u64()?, source.u64()?);
        let (closed, hashes) = (source.u8()? == 1, usize::from(source.u8()?));
        let _: [u8; 6] = source.array()?;
        let (header_hash, hash) = (source.array()?, source.array()?);
        let checkpoint = (source.u64()?, source.array()?);
        let size = source.u64()?;
        let hashes = bytes.get(HASHES_AT..HASHES_AT + hashes * 32).ok_or(Malformed::Short)?;
        let tree = Frontier::from_parts(size, hashes.as_chunks().0);
        let tree = tree.ok_or(Malformed::Value("tree"))?;
        let position = Position { last, offset, hash, tree };
        Ok(Self { number, header_hash, position, checkpoint, closed })
    }
}

const _: () = assert!(HASHES_AT + FRONTIER_HASHES_MAX * 32 <= HASHED_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    fn mark(records: u8) -> Mark {
        let mut tree = Frontier::default();
        (0..records).for_each(|record| tree.push(leaf_hash(&[record])));
        let position = Position { last: 8_192, offset: 16_384, hash: [1; 32], tree };
        let checkpoint = (u64::from(records / 2), [4; 32]);
        Mark { number: 9, header_hash: [2; 32], position, checkpoint, closed: records == 3 }
    }

    #[test]
    fn what_is_encoded_decodes() {
        for records in [0, 1, 3, 8, 255] {
            let mark = mark(records);
            assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let block = mark(11).encode();
        for bit in 0..block.len() * 8 {
            let mut changed = block;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&changed), None, "bit {bit}");
        }
        assert_eq!(Mark::decode(&[]), None);
        assert_eq!(Mark::decode(&block[1..]), None);
    }
}
