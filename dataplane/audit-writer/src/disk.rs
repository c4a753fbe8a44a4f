//! The log's directory: its lock, its segments, its checkpoint, its mark.
//!
//! A segment is made under another name, allocated, filled with zeros, synced and only then named, so
//! that whatever bears a segment's name is whole and every later write to it changes neither its size
//! nor its extents. A writer holds the file's lock until its last write has ended, even when it was
//! killed: who gets the lock knows that nothing more arrives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dataplane_audit::{
    BLOCK_BYTES, GROUP_BYTES_MAX, Mark, segment_name, segment_number, used_bytes,
};
use rustix::fs::{FallocateFlags, FlockOperation};

use crate::config::StartFault;

const LOCK_NAME: &str = "lock";
pub(crate) const CHECKPOINT_NAME: &str = "checkpoint";
const MARK_NAME: &str = "mark";
/// Names that hold nothing yet.
const PARTIAL_SUFFIX: &str = ".partial";

/// Zeros are written in pieces of it: a write of the log waits for one at most.
const ZEROS_BYTES: usize = 256 << 10;

/// A segment is read in pieces of it.
const READ_BYTES: usize = 256 << 10;

/// How often a lock is asked for that a dying process still holds: its last write is taken back by the
/// kernel some milliseconds after the process is gone.
const LOCK_EVERY: Duration = Duration::from_micros(500);
/// Ten seconds.
const LOCK_TRIES: u32 = 20_000;

/// The log's directory, locked for this process.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    _lock: File,
}

/// A segment's file that group writes go to.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) file: File,
}

impl Disk {
    pub(crate) fn open(dir: &Path) -> Result<Self, StartFault> {
        let fault = |error| io_fault("directory", dir, error);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(fault)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o640)
            .open(dir.join(LOCK_NAME))
            .map_err(fault)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StartFault::Locked(dir.to_owned())),
            Err(error) => Err(fault(error.into())),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        self.dir.join(segment_name(number))
    }

    /// Numbers of all segments, ascending. What was never finished is removed.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.to_str().is_some_and(|path| path.ends_with(PARTIAL_SUFFIX)) {
                fs::remove_file(path)?;
            }
        }
        segments_of(&self.dir)
    }

    /// Makes a segment of zeros, with a pause after each piece.
    pub(crate) fn create(
        &self,
        number: u64,
        bytes: u64,
        pause: Duration,
    ) -> io::Result<SegmentFile> {
        let path = self.segment_path(number);
        let partial = path.with_extension(format!("log{PARTIAL_SUFFIX}"));
        let made = create_partial(&partial, bytes, pause);
        if made.is_err() {
            // What could not be made must not take the space that others need.
            let _ = fs::remove_file(&partial);
        }
        let file = made?;
        fs::rename(&partial, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(SegmentFile { number, bytes, file })
    }

    /// Opens a segment for more groups, when no other write to it can arrive any more.
    pub(crate) fn reopen(&self, number: u64) -> io::Result<SegmentFile> {
        let file = open_for_groups(&self.segment_path(number))?;
        let bytes = file.metadata()?.len() / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        Ok(SegmentFile { number, bytes, file })
    }

    /// Gives back what a segment does not need any more.
    pub(crate) fn trim(&self, number: u64, end: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.segment_path(number))?.set_len(end)
    }

    pub(crate) fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.segment_path(number))
    }

    /// The kept checkpoint's note, if there is one.
    pub(crate) fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(CHECKPOINT_NAME)) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The kept mark, if there is one that can be read.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let block = read_start(&self.dir.join(MARK_NAME), BLOCK_BYTES as u64).ok()?;
        Mark::decode(&block)
    }

    /// Keeps a mark, past the death of the process. Not past a power cut: it only saves time.
    pub(crate) fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o640);
        file.open(self.dir.join(MARK_NAME))?.write_all_at(&mark.encode(), 0)
    }

    /// The next start reads all of the last segment.
    pub(crate) fn forget_mark(&self) -> io::Result<()> {
        fs::remove_file(self.dir.join(MARK_NAME))
    }

    /// Replaces the kept checkpoint: always the old one or the new one.
    pub(crate) fn write_checkpoint(&self, note: &str) -> io::Result<()> {
        let path = self.dir.join(CHECKPOINT_NAME);
        let partial = path.with_extension("partial");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o640)
            .open(&partial)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Written past the page cache: what is synced piece by piece through it holds up the log's own writes
/// for milliseconds each (measured: 3.5 ms instead of 0.1).
fn create_partial(path: &Path, bytes: u64, pause: Duration) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o640).open(path)?;
    let file = open_flags(path, 0)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    let mut zeros = Aligned::new(ZEROS_BYTES);
    let mut offset = 0;
    while offset < bytes {
        let piece = (bytes - offset).min(ZEROS_BYTES as u64);
        let Some(zeros) = zeros.as_mut().get(..piece as usize) else { break };
        file.write_all_at(zeros, offset)?;
        offset += piece;
        std::thread::sleep(pause);
    }
    file.sync_all()?;
    open_for_groups(path)
}

/// Past the page cache where the file system can.
fn open_flags(path: &Path, flags: i32) -> io::Result<File> {
    let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    match open(flags | libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            open(flags)
        }
        other => other,
    }
}

/// One write of it is durable or fails. Not `O_SYNC`, which would also wait for the file's times: they
/// change with each tick of the clock and cost a commit of the file system's journal.
fn open_for_groups(path: &Path) -> io::Result<File> {
    let file = open_flags(path, libc::O_DSYNC)?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                std::thread::sleep(LOCK_EVERY);
            }
            Ok(()) => return Ok(file),
            Err(error) => return Err(error.into()),
        }
    }
    Err(rustix::io::Errno::WOULDBLOCK.into())
}

/// Memory whose used part starts at a block's boundary, as direct writes demand, without unsafe code:
/// the bytes before it are never used, and the memory never moves because it never grows.
#[derive(Debug)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self { bytes, start, len }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }

    /// For the kernel: the memory, and the range in it of the first `len` bytes.
    pub(crate) fn lend(&mut self, len: usize) -> (Vec<u8>, std::ops::Range<usize>) {
        (std::mem::take(&mut self.bytes), self.start..self.start + len.min(self.len))
    }

    pub(crate) fn take_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }
}

/// A part of a file, where the kernel has put it.
pub(crate) struct Piece {
    memory: Aligned,
    len: usize,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        let Aligned { bytes, start, .. } = &self.memory;
        bytes.get(*start..start + self.len).unwrap_or_default()
    }
}

/// Reads a segment from a block on as far as it is used: up to where `quiet` bytes of zeros begin, or
/// the file ends. Zeros at the end may be left out.
pub(crate) fn read_used(file: &File, from: u64, quiet: u64) -> io::Result<Piece> {
    let left = file.metadata()?.len().saturating_sub(from);
    let left = usize::try_from(left).unwrap_or(0).next_multiple_of(READ_BYTES);
    // Memory that is not read into is never touched, so that it costs nothing.
    let mut memory = Aligned::new(left);
    // What is kept, and what is read. All between the two is zero.
    let (mut len, mut at, mut zeros) = (0, 0, 0);
    while zeros < quiet && at < left {
        let Some(piece) = memory.as_mut().get_mut(len..len + READ_BYTES) else { break };
        let read = file.read_at(piece, from + at as u64)?;
        match piece.get(..read).map_or(0, used_bytes) {
            0 => zeros += read as u64,
            end => {
                zeros = (read - end) as u64;
                if at > len {
                    memory.as_mut().copy_within(len..len + read, at);
                    memory.as_mut().get_mut(len..at).unwrap_or_default().fill(0);
                }
                len = at + read;
            }
        }
        at += READ_BYTES;
        if read < READ_BYTES {
            break;
        }
    }
    Ok(Piece { memory, len })
}

/// Reads what follows a mark, with the group that it ends with.
pub(crate) fn read_behind(file: &File, mark: &Mark, quiet: u64) -> io::Result<Piece> {
    let (from, end) = (mark.position.last, mark.position.offset);
    let group = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
    if mark.closed && group <= GROUP_BYTES_MAX {
        // Whoever goes on after a close begins with one block, alone. Is that one untouched, then so
        // is what follows.
        let mut memory = Aligned::new(group + BLOCK_BYTES);
        let len = file.read_at(memory.as_mut(), from)?;
        let piece = Piece { memory, len };
        if used_bytes(piece.bytes().get(group..).unwrap_or_default()) == 0 {
            return Ok(piece);
        }
    }
    read_used(file, from, quiet)
}

/// Numbers of all segments in a directory, ascending.
pub(crate) fn segments_of(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(segment_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The first `most` bytes of a file.
pub(crate) fn read_start(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len().min(most);
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `len` bytes at `offset`, or fewer where the file ends.
pub(crate) fn read_at(file: &File, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    out.resize(len, 0);
    let mut filled = 0;
    while filled < len {
        let Some(rest) = out.get_mut(filled..) else { break };
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    out.truncate(filled);
    Ok(())
}

pub(crate) fn io_fault(what: &'static str, path: &Path, error: io::Error) -> StartFault {
    match error.raw_os_error() {
        Some(errno) if errno == rustix::io::Errno::NOSPC.raw_os_error() => {
            StartFault::Full(path.to_owned())
        }
        _ => StartFault::Io { what, path: path.to_owned(), error },
    }
}

pub(crate) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_synchronously_but_without_the_files_times() {
        let dir = std::env::temp_dir().join(format!("portcullis-flags-{}", std::process::id()));
        let disk = Disk::open(&dir).unwrap();
        let made = disk.create(1, 2 << 20, Duration::ZERO).unwrap();
        let flags = rustix::fs::fcntl_getfl(&made.file).unwrap().bits() as i32;
        assert_eq!(flags & libc::O_SYNC, libc::O_DSYNC);
        assert!(read_used(&made.file, 0, u64::MAX).unwrap().bytes().is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_used_is_read_as_it_is_wherever_it_lies() {
        let dir = std::env::temp_dir().join(format!("portcullis-used-{}", std::process::id()));
        let disk = Disk::open(&dir).unwrap();
        let made = disk.create(1, 2 << 20, Duration::ZERO).unwrap();
        let mut expected = vec![0; 2 << 20];
        let mut block = Aligned::new(BLOCK_BYTES);
        for place in [0, 3 * BLOCK_BYTES, READ_BYTES, 5 * READ_BYTES - BLOCK_BYTES] {
            block.as_mut().fill(1 + (place >> 12) as u8);
            made.file.write_all_at(block.as_mut(), place as u64).unwrap();
            expected[place..place + BLOCK_BYTES].copy_from_slice(block.as_mut());
            for from in [0, BLOCK_BYTES, READ_BYTES + BLOCK_BYTES] {
                let all = read_used(&made.file, from as u64, u64::MAX).unwrap();
                let (used, zeros) = expected[from..].split_at(all.bytes().len());
                assert!(all.bytes() == used && used_bytes(zeros) == 0, "{place} from {from}");
            }
        }
        let until = read_used(&made.file, 0, 2 * READ_BYTES as u64).unwrap();
        assert_eq!(until.bytes(), &expected[..2 * READ_BYTES], "a longer gap ends it");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn lent_memory_starts_at_a_block() {
        let mut memory = Aligned::new(8_192);
        for len in [0, 4_096, 8_192, 9_000] {
            let (bytes, range) = memory.lend(len);
            assert!((bytes.as_ptr() as usize + range.start).is_multiple_of(BLOCK_BYTES));
            assert_eq!(range.len(), len.min(8_192));
            memory.take_back(bytes);
        }
    }
}
