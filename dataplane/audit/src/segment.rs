//! A segment's first block: what the segment needs to be verified on its own, and how it joins the
//! one before it.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | magic and version, `PCAUDIT1` |
//! | 8..16 | segment number, from 1 |
//! | 16..24 | wall time at which it was opened |
//! | 24..40 | boot id of the start that opened it |
//! | 40..88 | the previous segment: number (0: none), byte at which it ends, hash of its last group |
//! | 88 | 1 when the previous segment was closed in order: nothing follows its end |
//! | 89, 90 | length of the origin, number of tree hashes |
//! | 96..104 | records before this segment |
//! | 104..360 | origin |
//! | 360..2,408 | hashes of the tree before this segment, smallest subtree first |
//! | 4,064..4,096 | SHA-256 of all before it |
//!
//! Integers are little-endian; what is not named is zero.

use dataplane_telemetry::WallNanos;

use crate::codec::Malformed;
use crate::note::NOTE_NAME_BYTES_MAX;
use crate::record::BootId;
use crate::tree::{FRONTIER_HASHES_MAX, Frontier, Hash, sha256};

/// Groups start at multiples of it: the largest block that a disk writes as a whole or not.
pub const BLOCK_BYTES: usize = 4_096;

const MAGIC: [u8; 8] = *b"PCAUDIT1";
const HASHED_BYTES: usize = BLOCK_BYTES - 32;
const ORIGIN_AT: usize = 104;
const HASHES_AT: usize = 360;

/// A segment's file name.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("segment-{number:016}.log")
}

/// The number in a segment's file name.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok()?;
    (segment_name(number) == name && number > 0).then_some(number)
}

/// What a segment's first block says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentHeader {
    pub number: u64,
    pub opened: WallNanos,
    pub boot: BootId,
    /// `None` for the first segment of a log.
    pub previous: Option<Previous>,
    /// The log's name; at most [`NOTE_NAME_BYTES_MAX`] bytes.
    pub origin: String,
    /// The tree before this segment's first record.
    pub tree: Frontier,
}

/// The end of the segment before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Previous {
    pub number: u64,
    /// The byte after its last group. What follows was never acknowledged.
    pub end: u64,
    /// Of its last group, or of its header when it has none.
    pub hash: Hash,
    /// Whether nothing at all follows: it was left in order, not by a crash or a fault.
    pub closed: bool,
}

/// Why a first block is not a segment's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderFault {
    /// All zero: prepared, and not used yet.
    Blank,
    /// Shorter than a block.
    Short,
    /// Not written by this program, or by one whose format is not known here.
    Unknown,
    /// Its hash does not fit.
    Broken,
}

impl SegmentHeader {
    /// The block, and its hash. `None` when the origin is too long.
    #[must_use]
    pub fn encode(&self) -> Option<([u8; BLOCK_BYTES], Hash)> {
        if self.origin.len() > NOTE_NAME_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.opened.0.to_le_bytes());
        bytes.extend(self.boot.0);
        let absent = Previous { number: 0, end: 0, hash: [0; 32], closed: false };
        let previous = self.previous.unwrap_or(absent);
        bytes.extend(previous.number.to_le_bytes());
        bytes.extend(previous.end.to_le_bytes());
        bytes.extend(previous.hash);
        bytes.push(u8::from(previous.closed));
        bytes.push(self.origin.len() as u8);
        bytes.push(self.tree.hashes().count() as u8);
        bytes.resize(96, 0);
        bytes.extend(self.tree.size().to_le_bytes());
        bytes.extend(self.origin.as_bytes());
        bytes.resize(HASHES_AT, 0);
        self.tree.hashes().for_each(|hash| bytes.extend(hash));
        bytes.resize(HASHED_BYTES, 0);
        let hash = sha256(&[&bytes]);
        bytes.extend(hash);
        Some((bytes.try_into().ok()?, hash))
    }

    /// Reads a segment's first block, with its hash.
    ///
    /// # Errors
    /// See [`HeaderFault`].
    pub fn decode(segment: &[u8]) -> Result<(Self, Hash), HeaderFault> {
        let block = segment.first_chunk::<BLOCK_BYTES>().ok_or(HeaderFault::Short)?;
        let (hashed, hash) = block.split_last_chunk::<32>().ok_or(HeaderFault::Short)?;
        if is_zero(block) {
            return Err(HeaderFault::Blank);
        }
        if sha256(&[hashed]) != *hash {
            return Err(HeaderFault::Broken);
        }
        let header = Self::read(hashed).map_err(|_| HeaderFault::Unknown)?;
        // One meaning has one spelling.
        match header.encode() {
            Some((again, _)) if again == *block => Ok((header, *hash)),
            _ => Err(HeaderFault::Unknown),
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut source = crate::codec::Source::new(bytes);
        if source.array()? != MAGIC {
            return Err(Malformed::Value("magic"));
        }
        let (number, opened) = (source.u64()?, WallNanos(source.u64()?));
        let boot = BootId(source.array()?);
        let previous = Previous {
            number: source.u64()?,
            end: source.u64()?,
            hash: source.array()?,
            closed: source.u8()? == 1,
        };
        let (origin_len, hashes) = (usize::from(source.u8()?), usize::from(source.u8()?));
        let _: [u8; 5] = source.array()?;
        let size = source.u64()?;
        let origin = bytes.get(ORIGIN_AT..ORIGIN_AT + origin_len).ok_or(Malformed::Short)?;
        let origin = std::str::from_utf8(origin).map_err(|_| Malformed::Text("origin"))?;
        let hashes = bytes.get(HASHES_AT..HASHES_AT + hashes * 32).ok_or(Malformed::Short)?;
        let hashes: Vec<Hash> = hashes.as_chunks().0.to_vec();
        Ok(Self {
            number,
            opened,
            boot,
            previous: (previous.number > 0).then_some(previous),
            origin: origin.to_owned(),
            tree: Frontier::from_parts(size, &hashes).ok_or(Malformed::Value("tree"))?,
        })
    }
}

/// Whether all of it is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Comparing with zeros is a `memcmp`, quick in every profile.
    bytes.chunks(BLOCK_BYTES).all(|chunk| ZEROS.starts_with(chunk))
}

const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// How many bytes there are up to the last one that is not zero.
#[must_use]
pub fn used_bytes(bytes: &[u8]) -> usize {
    let (chunks, mut used) = (bytes.rchunks(BLOCK_BYTES), bytes.len());
    for chunk in chunks {
        if !is_zero(chunk) {
            return used - chunk.iter().rev().take_while(|byte| **byte == 0).count();
        }
        used -= chunk.len();
    }
    0
}

const _: () = assert!(ORIGIN_AT + NOTE_NAME_BYTES_MAX < HASHES_AT);
const _: () = assert!(HASHES_AT + FRONTIER_HASHES_MAX * 32 <= HASHED_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    fn header() -> SegmentHeader {
        let mut tree = Frontier::default();
        (0..11_u8).for_each(|record| tree.push(leaf_hash(&[record])));
        let previous = Previous { number: 6, end: 8_192, hash: [3; 32], closed: true };
        SegmentHeader {
            number: 7,
            opened: WallNanos(5),
            boot: BootId([9; 16]),
            previous: Some(previous),
            origin: "gate.example".to_owned(),
            tree,
        }
    }

    #[test]
    fn what_is_encoded_decodes() {
        let first = SegmentHeader { previous: None, tree: Frontier::default(), ..header() };
        let longest = SegmentHeader { origin: "o".repeat(NOTE_NAME_BYTES_MAX), ..header() };
        for header in [header(), first, longest] {
            let (block, hash) = header.encode().unwrap();
            assert_eq!(SegmentHeader::decode(&block), Ok((header, hash)));
        }
        let too_long = SegmentHeader { origin: "o".repeat(NOTE_NAME_BYTES_MAX + 1), ..header() };
        assert_eq!(too_long.encode(), None);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (block, _) = header().encode().unwrap();
        for bit in 0..block.len() * 8 {
            let mut changed = block;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&changed).is_err(), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&[0; BLOCK_BYTES]), Err(HeaderFault::Blank));
        assert_eq!(SegmentHeader::decode(&block[1..]), Err(HeaderFault::Short));
    }

    #[test]
    fn a_well_hashed_stranger_is_unknown() {
        let (mut block, _) = header().encode().unwrap();
        block[7] = b'2';
        let hash = sha256(&[&block[..HASHED_BYTES]]);
        block[HASHED_BYTES..].copy_from_slice(&hash);
        assert_eq!(SegmentHeader::decode(&block), Err(HeaderFault::Unknown));
    }

    #[test]
    fn names_sort_as_their_numbers() {
        assert_eq!(segment_number(&segment_name(12)), Some(12));
        assert!(segment_name(9) < segment_name(10));
        for name in
            ["segment-1.log", "segment-0000000000000000.log", "segment-+000000000000001.log"]
        {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
