//! Whether a log is what was written: nothing flipped, missing, doubled, swapped or cut.
//!
//! Needs no key and no server. Groups are chained, segments name the end of the one before, and each
//! segment carries the tree before it, so that a fault in one does not hide the next. Whoever rebuilds
//! all hashes after a change is only found out by a checkpoint that somebody kept: hand it in.
//!
//! A crash leaves traces that are no faults: a write that nobody was told was done. They are notes.

use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::group::GroupFault;
use crate::record::Record;
use crate::scan::Scan;
use crate::segment::{
    BLOCK_BYTES, HeaderFault, Previous, SegmentHeader, is_zero, segment_name, segment_number,
};
use crate::tree::{Frontier, Hash};

/// After so many findings the report says that there are more.
pub const FINDINGS_MAX: usize = 100;

/// A directory of segments, or anything like it.
pub trait Files {
    /// All file names, in any order.
    ///
    /// # Errors
    /// In words, with the path.
    fn names(&mut self) -> Result<Vec<String>, String>;

    /// The first `most` bytes of a file, or all of it.
    ///
    /// # Errors
    /// In words, with the path.
    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String>;
}

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The log's name, from its first segment.
    pub origin: String,
    pub segments: u64,
    pub groups: u64,
    /// Records that were read and are sound.
    pub records: u64,
    /// The tree over the whole log: what a checkpoint of it would say.
    pub size: u64,
    pub root: Hash,
    /// Checkpoints that agree with the log.
    pub checkpoints: u64,
    /// What must not be. Empty: the log is sound.
    pub findings: Vec<Finding>,
    /// What a crash or a disk fault left, and what is prepared.
    pub notes: Vec<String>,
    /// There were more findings than [`FINDINGS_MAX`].
    pub more: bool,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something that must not be, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The file's name; empty when it concerns the log as a whole.
    pub segment: String,
    /// Which group of the segment, from 0.
    pub group: Option<u64>,
    /// The first record that is concerned.
    pub index: Option<u64>,
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    Unreadable(String),
    NoSegments,
    /// Records before this directory's first segment.
    MissingStart {
        records: u64,
    },
    MissingSegment {
        number: u64,
    },
    Header(HeaderFault),
    /// The header's number is not the file's.
    Renamed {
        number: u64,
    },
    Origin {
        expected: String,
        found: String,
    },
    Group {
        fault: GroupFault,
        followed_at: Option<u64>,
    },
    /// The next segment says that this one ends elsewhere, or otherwise.
    Joint {
        next: String,
    },
    /// Bytes where the segment was closed in order.
    After {
        offset: u64,
    },
    /// Groups in a segment that no later one continues.
    Orphan {
        next: String,
    },
    Record(crate::codec::Malformed),
    Cut {
        expected: u64,
        found: u64,
    },
    Root {
        size: u64,
    },
    CheckpointOrigin {
        found: String,
    },
    /// The checkpoint's size lies where records could not be read.
    CheckpointUnreachable {
        size: u64,
    },
}

/// Verifies a whole log, and that each kept checkpoint is one of its states.
pub fn verify(files: &mut dyn Files, kept: &[Checkpoint]) -> Report {
    let mut kept = kept.to_vec();
    kept.sort_by_key(|checkpoint| checkpoint.size);
    let mut verifier = Verifier { report: Report::default(), tree: None, kept, next_kept: 0 };
    match list(files) {
        Err(error) => verifier.whole(Fault::Unreadable(error)),
        Ok(heads) if heads.is_empty() => verifier.whole(Fault::NoSegments),
        Ok(heads) => verifier.run(files, &heads),
    }
    verifier.finish()
}

/// A segment's name and header.
struct Head {
    name: String,
    number: u64,
    header: Result<SegmentHeader, HeaderFault>,
}

fn list(files: &mut dyn Files) -> Result<Vec<Head>, String> {
    let mut names = files.names()?;
    names.retain(|name| segment_number(name).is_some());
    names.sort();
    let mut heads = Vec::with_capacity(names.len());
    for name in names {
        let block = files.read(&name, BLOCK_BYTES as u64)?;
        let header = SegmentHeader::decode(&block).map(|(header, _)| header);
        heads.push(Head { number: segment_number(&name).unwrap_or(0), name, header });
    }
    Ok(heads)
}

struct Verifier {
    report: Report,
    /// `None` where the records before are not known to be sound.
    tree: Option<Frontier>,
    kept: Vec<Checkpoint>,
    next_kept: usize,
}

impl Verifier {
    fn run(&mut self, files: &mut dyn Files, heads: &[Head]) {
        for (place, head) in heads.iter().enumerate() {
            let later = heads.get(place + 1..).unwrap_or_default();
            match &head.header {
                Ok(header) => {
                    self.header(head, header, heads.get(..place).unwrap_or_default());
                    self.segment(files, head, header, later);
                }
                Err(fault) => self.without_header(files, head, *fault, later),
            }
        }
    }

    /// How a segment joins what was read before it.
    fn header(&mut self, head: &Head, header: &SegmentHeader, earlier: &[Head]) {
        self.report.segments += 1;
        if header.number != head.number {
            self.found(head, None, None, Fault::Renamed { number: header.number });
        }
        if self.report.origin.is_empty() {
            self.report.origin.clone_from(&header.origin);
        } else if self.report.origin != header.origin {
            let (expected, found) = (self.report.origin.clone(), header.origin.clone());
            self.found(head, None, None, Fault::Origin { expected, found });
        }
        let (first, records) = (self.report.segments == 1, header.tree.size());
        match header.previous {
            Some(_) if first => self.found(head, None, Some(0), Fault::MissingStart { records }),
            Some(Previous { number, .. }) if !earlier.iter().any(|head| head.number == number) => {
                self.found(head, None, None, Fault::MissingSegment { number });
            }
            _ => (),
        }
        // A difference to the tree so far was found at the joint already.
        self.skip_to(&header.tree);
    }

    /// Checkpoints of sizes that cannot be reached are said to be so.
    fn skip_to(&mut self, tree: &Frontier) {
        if self.tree.as_ref() != Some(tree) {
            while let Some(checkpoint) = self.kept.get(self.next_kept) {
                if checkpoint.size >= tree.size() {
                    break;
                }
                if checkpoint.size > 0 {
                    let size = checkpoint.size;
                    self.whole(Fault::CheckpointUnreachable { size });
                }
                self.next_kept += 1;
            }
            self.tree = Some(tree.clone());
        }
        self.compare();
    }

    fn segment(
        &mut self,
        files: &mut dyn Files,
        head: &Head,
        header: &SegmentHeader,
        later: &[Head],
    ) {
        let bytes = match files.read(&head.name, u64::MAX) {
            Ok(bytes) => bytes,
            Err(error) => return self.found(head, None, None, Fault::Unreadable(error)),
        };
        let mut scan = match Scan::open(&bytes) {
            Ok(scan) => scan,
            Err(fault) => return self.found(head, None, None, Fault::Header(fault)),
        };
        let joined = later.iter().find_map(|next| {
            let previous = next.header.as_ref().ok()?.previous?;
            (previous.number == header.number).then_some((next, previous))
        });
        let after = later.iter().find(|next| next.header.is_ok());
        match (joined, after) {
            (Some((next, previous)), _) => self.until(head, &mut scan, next, previous),
            (None, None) => self.last(head, &mut scan),
            (None, Some(next)) => self.abandoned(head, &mut scan, next),
        }
    }

    /// A segment whose end the next one states.
    fn until(&mut self, head: &Head, scan: &mut Scan<'_>, next: &Head, previous: Previous) {
        while scan.position.offset < previous.end {
            if !self.group(head, scan) {
                return;
            }
        }
        let ends = scan.previous(previous.closed) == previous;
        let tree = next.header.as_ref().ok().map(|header| &header.tree);
        if !ends || tree != Some(&scan.position.tree) {
            let index = Some(scan.position.tree.size());
            self.found(head, None, index, Fault::Joint { next: next.name.clone() });
        }
        if !is_zero(scan.rest()) {
            let offset = scan.position.offset;
            if previous.closed {
                self.found(head, None, None, Fault::After { offset });
            } else {
                self.report.notes.push(format!(
                    "{}: an unacknowledged write follows byte {offset}; {} disowns it",
                    head.name, next.name
                ));
            }
        }
    }

    /// The segment that the log ends in.
    fn last(&mut self, head: &Head, scan: &mut Scan<'_>) {
        while !is_zero(scan.rest()) {
            if !self.group(head, scan) {
                return;
            }
        }
    }

    /// A segment that was taken into use and given up before its first group.
    fn abandoned(&mut self, head: &Head, scan: &mut Scan<'_>, next: &Head) {
        if is_zero(scan.rest()) {
            let name = &head.name;
            self.report.notes.push(format!("{name}: opened and given up, it holds no records"));
        } else {
            let index = Some(scan.position.tree.size());
            self.found(head, None, index, Fault::Orphan { next: next.name.clone() });
        }
    }

    /// Reads the next group and its records; `false` when there is none that can be read.
    fn group(&mut self, head: &Head, scan: &mut Scan<'_>) -> bool {
        let number = scan.groups;
        let mut trees = Vec::new();
        let sizes: Vec<u64> =
            self.kept.iter().skip(self.next_kept).map(|checkpoint| checkpoint.size).collect();
        let read = scan.group_with(|_, tree| {
            if sizes.contains(&tree.size()) {
                trees.push(tree.clone());
            }
        });
        let group = match read {
            Ok(group) => group,
            Err(fault) => {
                let followed_at = scan.whole_group_after();
                let index = Some(scan.position.tree.size());
                let fault = Fault::Group { fault, followed_at };
                self.found(head, Some(number), index, fault);
                self.tree = None;
                return false;
            }
        };
        for (record, index) in group.iter().zip(group.first_index..) {
            match Record::decode(record) {
                Ok(_) => self.report.records += 1,
                Err(fault) => {
                    self.found(head, Some(number), Some(index), Fault::Record(fault));
                }
            }
        }
        for tree in trees {
            self.tree = Some(tree);
            self.compare();
        }
        self.tree = Some(scan.position.tree.clone());
        self.report.groups += 1;
        true
    }

    /// Compares the tree as it is now with the checkpoints of its size.
    fn compare(&mut self) {
        let Some(tree) = &self.tree else { return };
        let (size, root) = (tree.size(), tree.root());
        while let Some(checkpoint) = self.kept.get(self.next_kept) {
            if checkpoint.size > size {
                return;
            }
            let fault = if checkpoint.origin != self.report.origin {
                Some(Fault::CheckpointOrigin { found: checkpoint.origin.clone() })
            } else if checkpoint.size < size {
                Some(Fault::CheckpointUnreachable { size: checkpoint.size })
            } else if checkpoint.root != root {
                Some(Fault::Root { size })
            } else {
                None
            };
            self.next_kept += 1;
            match fault {
                Some(fault) => self.whole(fault),
                None => self.report.checkpoints += 1,
            }
        }
    }

    /// No header: prepared and not used yet, or given up before its header was acknowledged. Either
    /// way nothing follows, and no later segment continues it.
    fn without_header(
        &mut self,
        files: &mut dyn Files,
        head: &Head,
        fault: HeaderFault,
        later: &[Head],
    ) {
        let bytes = match files.read(&head.name, u64::MAX) {
            Ok(bytes) => bytes,
            Err(error) => return self.found(head, None, None, Fault::Unreadable(error)),
        };
        let mut next = later.iter().filter_map(|next| next.header.as_ref().ok()).peekable();
        let is_passed = next.peek().is_some();
        let continues = |header: &SegmentHeader| header.previous.map(|previous| previous.number);
        let is_continued = next.any(|header| continues(header) == Some(head.number));
        let is_unused = bytes.get(BLOCK_BYTES..).is_none_or(is_zero) && !is_continued;
        match fault {
            HeaderFault::Blank if is_unused && !is_passed => {
                self.report.notes.push(format!("{}: prepared, not used yet", head.name));
            }
            HeaderFault::Blank | HeaderFault::Broken if is_unused && is_passed => {
                self.report.notes.push(format!("{}: given up before its first group", head.name));
            }
            _ => self.found(head, None, None, Fault::Header(fault)),
        }
    }

    fn found(&mut self, head: &Head, group: Option<u64>, index: Option<u64>, fault: Fault) {
        self.push(Finding { segment: head.name.clone(), group, index, fault });
    }

    fn whole(&mut self, fault: Fault) {
        self.push(Finding { segment: String::new(), group: None, index: None, fault });
    }

    fn push(&mut self, finding: Finding) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.more = true;
        }
    }

    fn finish(mut self) -> Report {
        let tree = self.tree.take();
        let found = tree.as_ref().map_or(0, Frontier::size);
        let expected: Vec<u64> =
            self.kept.iter().skip(self.next_kept).map(|checkpoint| checkpoint.size).collect();
        for expected in expected {
            self.whole(match tree {
                Some(_) => Fault::Cut { expected, found },
                None => Fault::CheckpointUnreachable { size: expected },
            });
        }
        if let Some(tree) = tree {
            (self.report.size, self.report.root) = (tree.size(), tree.root());
        }
        self.report
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, group, index, fault } = self;
        let mut colon = "";
        if !segment.is_empty() {
            write!(formatter, "{segment}")?;
            colon = ": ";
        }
        if let Some(group) = group {
            write!(formatter, " group {group}")?;
        }
        if let Some(index) = index {
            write!(formatter, " at record {index}")?;
        }
        write!(formatter, "{colon}{fault}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(formatter, "cannot be read: {error}"),
            Self::NoSegments => formatter.write_str("the directory holds no segments of a log"),
            Self::MissingStart { records } => {
                write!(formatter, "the log's first {records} records are not in this directory")
            }
            Self::MissingSegment { number } => {
                write!(formatter, "the segment before it, {}, is missing", segment_name(*number))
            }
            Self::Header(HeaderFault::Unknown) => formatter
                .write_str("its header is of a format that is not known here: use a newer release"),
            Self::Header(_) => formatter.write_str(
                "its header was changed or destroyed, or did not arrive in a crash (then the gateway's \
                 next start puts it right)",
            ),
            Self::Renamed { number } => {
                write!(formatter, "the file was renamed: its header says segment {number}")
            }
            Self::Origin { expected, found } => {
                write!(formatter, "it belongs to another log, {found}, not to {expected}")
            }
            Self::Group { fault, followed_at } => group_fault(formatter, *fault, *followed_at),
            Self::Joint { next } => write!(
                formatter,
                "its end is not the one that {next} continues: records were removed, added or replaced"
            ),
            Self::After { offset } => {
                write!(formatter, "bytes were written after its end at {offset}")
            }
            Self::Orphan { next } => {
                write!(formatter, "it holds records, but {next} does not continue them")
            }
            Self::Record(fault) => write!(formatter, "{fault}"),
            Self::Cut { expected, found } => write!(
                formatter,
                "the log's end was cut: it holds {found} records, a kept checkpoint says {expected}"
            ),
            Self::Root { size } => write!(
                formatter,
                "the first {size} records are not those that a kept checkpoint was signed over: \
                 the log was rewritten"
            ),
            Self::CheckpointOrigin { found } => {
                write!(formatter, "a kept checkpoint is of another log, {found}")
            }
            Self::CheckpointUnreachable { size } => write!(
                formatter,
                "a kept checkpoint over {size} records cannot be compared: they cannot all be read"
            ),
        }
    }
}

fn group_fault(
    formatter: &mut fmt::Formatter<'_>,
    fault: GroupFault,
    followed_at: Option<u64>,
) -> fmt::Result {
    match fault {
        GroupFault::Absent => {
            formatter.write_str("records are missing: nothing stands in their place")?
        }
        GroupFault::NoGroup => formatter.write_str("what stands here is no group of records")?,
        GroupFault::Segment(number) => {
            write!(formatter, "the group was copied here from segment {number}")?;
        }
        GroupFault::Cut => formatter.write_str("the group is cut, or its length was changed")?,
        GroupFault::Changed => {
            formatter
                .write_str("the group was changed after it was written (a flipped bit, an edit)")?;
        }
        GroupFault::Index { expected, found } if found > expected => {
            write!(formatter, "records {expected} to {} are missing", found - 1)?;
        }
        GroupFault::Index { expected, found } => {
            write!(
                formatter,
                "record {found} stands where {expected} belongs: doubled or swapped"
            )?;
        }
        GroupFault::Chain => {
            formatter.write_str(
                "the group was not written after the one before it: records were replaced",
            )?;
        }
    }
    match followed_at {
        Some(offset) => write!(formatter, "; whole groups follow at byte {offset}"),
        None => formatter.write_str(
            "; no whole group follows: a crash's unacknowledged write, or the end was damaged \
             (compare with a kept checkpoint)",
        ),
    }
}
