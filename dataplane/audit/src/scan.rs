//! Reading a segment: its header, then group after group while each is whole and the next in order.
//!
//! This is the only reader of the format: recovery, verification and shipping all go through it, so
//! they cannot disagree about what a log says.

use crate::checkpoint::Checkpoint;
use crate::group::{self, Group, GroupFault};
use crate::mark::Mark;
use crate::segment::{BLOCK_BYTES, HeaderFault, Previous, SegmentHeader, used_bytes};
use crate::tree::{Frontier, Hash};

/// A place between two groups, and the log up to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// Where the last group begins in the segment's file; `offset` when there is none.
    pub last: u64,
    /// In the segment's file.
    pub offset: u64,
    /// Of the last group, or of the header when there is none.
    pub hash: Hash,
    /// Over all records up to here.
    pub tree: Frontier,
}

/// A segment being read.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begin in the segment's file.
    base: u64,
    pub header: SegmentHeader,
    pub header_hash: Hash,
    pub position: Position,
    /// Groups read so far.
    pub groups: u64,
    leaves: Vec<Hash>,
}

impl<'a> Scan<'a> {
    /// Reads the header of a segment's bytes.
    ///
    /// # Errors
    /// The first block is no header.
    pub fn open(bytes: &'a [u8]) -> Result<Self, HeaderFault> {
        let (header, header_hash) = SegmentHeader::decode(bytes)?;
        let tree = header.tree.clone();
        let offset = BLOCK_BYTES as u64;
        let position = Position { last: offset, offset, hash: header_hash, tree };
        Ok(Self { bytes, base: 0, header, header_hash, position, groups: 0, leaves: Vec::new() })
    }

    /// Behind a mark, if it is of the segment with this first block, and if the group that it ends
    /// with is where `bytes` begin: at the mark's last group.
    fn behind(block: &[u8], mark: &Mark, bytes: &'a [u8]) -> Option<(Self, Option<Group<'a>>)> {
        let (header, header_hash) = SegmentHeader::decode(block).ok()?;
        if header.number != mark.number || header_hash != mark.header_hash {
            return None;
        }
        let (position, mut leaves) = (mark.position.clone(), Vec::new());
        let base = position.last;
        let mut last = None;
        if position.last < position.offset {
            let (group, _) = group::read(bytes, header.number, &header_hash, &mut leaves).ok()?;
            let ends = position.last.checked_add(group.bytes as u64) == Some(position.offset)
                && group.first_index.checked_add(group.records.into())
                    == Some(position.tree.size())
                && group.hash == position.hash;
            last = ends.then_some(group);
            last?;
        } else if position != Scan::open(block).ok()?.position {
            return None;
        }
        Some((Self { bytes, base, header, header_hash, position, groups: 0, leaves }, last))
    }

    /// Reads the next group and moves past it. On a fault the position stays.
    ///
    /// # Errors
    /// See [`GroupFault`].
    pub fn group(&mut self) -> Result<Group<'a>, GroupFault> {
        self.group_with(|_, _| ())
    }

    /// As `group`, and tells of each leaf and the tree after it.
    pub(crate) fn group_with(
        &mut self,
        mut each: impl FnMut(&Hash, &Frontier),
    ) -> Result<Group<'a>, GroupFault> {
        let rest = self.rest();
        let mut leaves = std::mem::take(&mut self.leaves);
        let read = group::read(rest, self.header.number, &self.header_hash, &mut leaves);
        self.leaves = leaves;
        let (group, previous) = read?;
        let expected = self.position.tree.size();
        if group.first_index != expected {
            return Err(GroupFault::Index { expected, found: group.first_index });
        }
        if previous != self.position.hash {
            return Err(GroupFault::Chain);
        }
        for leaf in &self.leaves {
            self.position.tree.push(*leaf);
            each(leaf, &self.position.tree);
        }
        self.position.last = self.position.offset;
        self.position.offset += group.bytes as u64;
        self.position.hash = group.hash;
        self.groups += 1;
        Ok(group)
    }

    /// The bytes from the position on.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        usize::try_from(self.position.offset.saturating_sub(self.base))
            .ok()
            .and_then(|offset| self.bytes.get(offset..))
            .unwrap_or_default()
    }

    /// The first byte after the position at which a whole group of this segment stands, in whatever
    /// order. A crash leaves none: groups are written one at a time.
    #[must_use]
    pub fn whole_group_after(&self) -> Option<u64> {
        let mut leaves = Vec::new();
        let blocks = (1..).map(|block| block * BLOCK_BYTES);
        let rest = self.rest();
        let found = blocks.take_while(|at| *at < rest.len()).find(|at| {
            let bytes = rest.get(*at..).unwrap_or_default();
            let read = group::read(bytes, self.header.number, &self.header_hash, &mut leaves);
            read.is_ok()
        });
        found.map(|at| self.position.offset + at as u64)
    }

    /// What the next segment's header says of this one.
    #[must_use]
    pub const fn previous(&self, closed: bool) -> Previous {
        let Position { offset, hash, .. } = self.position;
        Previous { number: self.header.number, end: offset, hash, closed }
    }
}

/// Reads a segment's groups one buffer at a time, without the tree: for shipping records.
#[derive(Clone, Debug)]
pub struct GroupReader {
    segment: u64,
    header_hash: Hash,
    /// Of the next group in the segment's file.
    offset: u64,
    next_index: u64,
    hash: Hash,
    leaves: Vec<Hash>,
}

impl GroupReader {
    /// At the first group of the segment with this header.
    #[must_use]
    pub const fn new(header: &SegmentHeader, header_hash: Hash) -> Self {
        Self {
            segment: header.number,
            header_hash,
            offset: BLOCK_BYTES as u64,
            next_index: header.tree.size(),
            hash: header_hash,
            leaves: Vec::new(),
        }
    }

    /// Where the next group begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Its first record's index.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Whether it has come to this place by the same groups.
    #[must_use]
    pub fn is_at(&self, position: &Position) -> bool {
        self.offset == position.offset
            && self.hash == position.hash
            && self.next_index == position.tree.size()
    }

    /// Reads the group that `bytes` begins with. Stays where it is.
    ///
    /// # Errors
    /// See [`GroupFault`].
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Group<'a>, GroupFault> {
        let read = group::read(bytes, self.segment, &self.header_hash, &mut self.leaves);
        let (group, previous) = read?;
        if group.first_index != self.next_index {
            let (expected, found) = (self.next_index, group.first_index);
            return Err(GroupFault::Index { expected, found });
        }
        if previous != self.hash { Err(GroupFault::Chain) } else { Ok(group) }
    }

    /// Moves past a group that was read.
    pub fn advance(&mut self, group: &Group<'_>) {
        self.offset += group.bytes as u64;
        self.next_index += u64::from(group.records);
        self.hash = group.hash;
    }
}

/// What follows the last whole group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rest {
    /// Nothing but zeros.
    Zero,
    /// A write that did not complete, of so many bytes up to the last that is not zero. Nobody was
    /// told that it was done.
    Torn(u64),
    /// A whole group stands at this byte, behind something broken: acknowledged records are damaged.
    Damaged(u64),
}

/// A segment that was read to its end.
#[derive(Clone, Debug)]
pub struct Recovered<'a> {
    pub scan: Scan<'a>,
    pub rest: Rest,
    /// Whether the kept checkpoint is a state of this log. `None` when its size lies outside what was
    /// read.
    pub agrees: Option<bool>,
    /// The bytes of the last record.
    pub last: Option<&'a [u8]>,
}

/// Reads a segment's longest valid prefix, compares it with a kept checkpoint on the way, and tells
/// what follows it.
///
/// # Errors
/// The first block is no header.
pub fn recover<'a>(
    bytes: &'a [u8],
    kept: Option<&Checkpoint>,
) -> Result<Recovered<'a>, HeaderFault> {
    Ok(read_on(Scan::open(bytes)?, kept, None, None))
}

/// As [`recover`], of a segment with this first block and with these bytes from the mark's last group
/// on, and with the same result for what `recover` would not call damaged. `None` when the mark does
/// not fit, or when nothing behind it can be compared with the checkpoint: read all of it.
#[must_use]
pub fn recover_behind<'a>(
    block: &[u8],
    mark: &Mark,
    bytes: &'a [u8],
    kept: Option<&Checkpoint>,
) -> Option<Recovered<'a>> {
    let (scan, last) = Scan::behind(block, mark, bytes)?;
    let agrees = match kept {
        Some(kept) if kept.size < scan.position.tree.size() => {
            ((kept.size, kept.root) == mark.checkpoint).then_some(Some(true))?
        }
        _ => None,
    };
    Some(read_on(scan, kept, agrees, last.and_then(|group| group.iter().last())))
}

fn read_on<'a>(
    mut scan: Scan<'a>,
    kept: Option<&Checkpoint>,
    mut agrees: Option<bool>,
    mut last: Option<&'a [u8]>,
) -> Recovered<'a> {
    let mut compare = |tree: &Frontier| {
        if let Some(kept) = kept.filter(|kept| kept.size == tree.size()) {
            agrees = Some(kept.root == tree.root());
        }
    };
    compare(&scan.position.tree);
    let fault = loop {
        match scan.group_with(|_, tree| compare(tree)) {
            Ok(group) => last = group.iter().last(),
            Err(fault) => break fault,
        }
    };
    let rest = rest_of(&scan, fault);
    Recovered { scan, rest, agrees, last }
}

fn rest_of(scan: &Scan<'_>, fault: GroupFault) -> Rest {
    // Whole, yet not the next in order: nothing that we write.
    if matches!(fault, GroupFault::Index { .. } | GroupFault::Chain) {
        return Rest::Damaged(scan.position.offset);
    }
    match (used_bytes(scan.rest()), scan.whole_group_after()) {
        (_, Some(offset)) => Rest::Damaged(offset),
        (0, None) => Rest::Zero,
        (used, None) => Rest::Torn(used as u64),
    }
}
