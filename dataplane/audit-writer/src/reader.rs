//! Reading a log's records from an index on, beside the writer: what is shipped to the control plane.
//!
//! Groups are checked as verification checks them, so nothing torn, disowned or changed is ever
//! shipped. Read only up to [`crate::Writer::size`]: what lies behind it is not acknowledged yet.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dataplane_audit::{
    BLOCK_BYTES, Group, GroupReader, Mark, SegmentHeader, group_bytes, segment_name,
};

use crate::disk::{read_at, read_start, segments_of};

/// What is checked without a pause: a fifth of a millisecond's work.
const CHECKED_BYTES: u64 = 256 << 10;

/// A record and its index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    pub index: u64,
    /// What [`dataplane_audit::Record::decode`] takes.
    pub bytes: &'a [u8],
}

/// A place in a log on disk.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// The index of the next record to give.
    next: u64,
    segment: Option<Segment>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    groups: GroupReader,
}

impl Reader {
    /// A reader of the log in `dir`. Opens nothing yet.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), next: 0, segment: None, buffer: Vec::new() }
    }

    /// Goes to a record.
    #[must_use]
    pub fn from(mut self, index: u64) -> Self {
        self.next = index;
        self.segment = None;
        self
    }

    /// The index of the next record.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// Gives the records of the next group to `each`, those with an index below `limit`. `Ok(false)`
    /// when there is nothing new yet: ask again later. Reads at most [`dataplane_audit::GROUP_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// The disk's, or `InvalidData` where the log is damaged: run a verification.
    pub fn read(&mut self, limit: u64, mut each: impl FnMut(Entry<'_>)) -> io::Result<bool> {
        while self.next < limit {
            let Some(mut segment) = self.segment.take().map_or_else(|| self.find(), present)?
            else {
                return Ok(false);
            };
            let Some(group) = segment.group(&mut self.buffer)? else {
                let after = self.after(segment.number)?;
                let is_last = after.is_none();
                self.segment = Some(after.unwrap_or(segment));
                if is_last {
                    return Ok(false);
                }
                continue;
            };
            let mut given = false;
            for (bytes, index) in group.iter().zip(group.first_index..limit) {
                if index >= self.next {
                    each(Entry { index, bytes });
                    (self.next, given) = (index + 1, true);
                }
            }
            // A group of which some records are not to be given yet is read again.
            if self.next >= group.first_index + u64::from(group.records) {
                segment.groups.advance(&group);
            }
            self.segment = Some(segment);
            if given {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The segment that holds the next record.
    fn find(&self) -> io::Result<Option<Segment>> {
        for number in segments_of(&self.dir)?.into_iter().rev() {
            if let Some((header, segment)) = self.segment(number)?
                && header.tree.size() <= self.next
            {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    /// The segment that continues this one. A write that this one's end disowns was written again
    /// there, so that the two may overlap; a gap is damage.
    fn after(&self, number: u64) -> io::Result<Option<Segment>> {
        for later in segments_of(&self.dir)?.into_iter().filter(|later| *later > number) {
            if let Some((header, segment)) = self.segment(later)?
                && header.previous.is_some_and(|previous| previous.number == number)
            {
                return match header.tree.size() <= self.next {
                    true => Ok(Some(segment)),
                    false => Err(damaged(&self.dir.join(segment_name(number)))),
                };
            }
        }
        Ok(None)
    }

    fn segment(&self, number: u64) -> io::Result<Option<(SegmentHeader, Segment)>> {
        segment_of(&self.dir, number)
    }
}

fn segment_of(dir: &Path, number: u64) -> io::Result<Option<(SegmentHeader, Segment)>> {
    let path = dir.join(segment_name(number));
    let block = read_start(&path, BLOCK_BYTES as u64)?;
    let Ok((header, header_hash)) = SegmentHeader::decode(&block) else { return Ok(None) };
    let groups = GroupReader::new(&header, header_hash);
    Ok(Some((header, Segment { number, file: File::open(&path)?, groups })))
}

/// Whether a segment's groups, read from its first one on, lead to the mark. Pauses now and then, for
/// the log's own writes.
pub(crate) fn leads_to(dir: &Path, mark: &Mark, pause: Duration) -> io::Result<bool> {
    let Some((_, mut segment)) = segment_of(dir, mark.number)? else { return Ok(false) };
    let (mut buffer, mut paused_at) = (Vec::new(), 0);
    while segment.groups.offset() < mark.position.offset {
        let Some(group) = segment.group(&mut buffer)? else { return Ok(false) };
        segment.groups.advance(&group);
        if segment.groups.offset() - paused_at > CHECKED_BYTES {
            paused_at = segment.groups.offset();
            std::thread::sleep(pause);
        }
    }
    Ok(segment.groups.is_at(&mark.position))
}

impl Segment {
    /// Reads the next group, if it is there.
    fn group<'b>(&mut self, buffer: &'b mut Vec<u8>) -> io::Result<Option<Group<'b>>> {
        let offset = self.groups.offset();
        read_at(&self.file, offset, BLOCK_BYTES, buffer)?;
        let Some(bytes) = group_bytes(buffer) else { return Ok(None) };
        if bytes > BLOCK_BYTES {
            read_at(&self.file, offset, bytes, buffer)?;
        }
        Ok(self.groups.read(buffer).ok())
    }
}

fn present(segment: Segment) -> io::Result<Option<Segment>> {
    Ok(Some(segment))
}

fn damaged(path: &Path) -> io::Error {
    let text = format!("{} is damaged: run `portcullis audit verify`", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}
