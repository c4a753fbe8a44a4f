//! Which bundle the box was trying when it last died, and how often that has happened.
//!
//! A bundle is marked before the dataplane takes it up, and the mark goes when it has served for a
//! while. A start that finds the mark of a process that never stopped counts a death; at
//! [`DEATHS_MAX`] the box is backed out of the revision: its file is set aside, the last good one
//! decides, and nothing up to that revision is taken any more. A process that stops in order, or
//! that dies with a bundle that is already good, leaves no mark and so counts for nothing.

use std::io;

use dataplane_bundle::Revision;
use ring::digest::{SHA256, digest};

use crate::files::{self, Dirs};

pub(crate) const MARKS: &str = "bundle.trying";

/// How often the box may die with a bundle that is not good yet. Once may be a power cut or an
/// operator's `kill -9`; a second time, with the same bundle, is believed to be the bundle.
pub const DEATHS_MAX: u32 = 2;
/// Bundles that are on trial: the one on disk and the one that is being tried.
const ON_TRIAL_MAX: usize = 2;
/// With the one that the box is backed out of.
const MARKS_MAX: usize = ON_TRIAL_MAX + 1;

const MAGIC: &[u8; 8] = b"PORTMARK";
const MARK_BYTES: usize = 8 + 32 + 4 + 1;
const SUM_BYTES: usize = 32;

/// The file, as it is in memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Marks(Vec<Mark>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Mark {
    revision: Revision,
    content: [u8; 32],
    deaths: u32,
    /// A process has taken it up and has not stopped in order.
    is_running: bool,
}

/// A revision that the box went back from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackedOut {
    pub revision: Revision,
    pub deaths: u32,
}

impl std::fmt::Display for BackedOut {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { revision, deaths } = self;
        write!(
            out,
            "backed out of revision {revision}: crashed: the gateway died {deaths} times while it \
             was trying it. Nothing up to it is taken any more: push a newer revision"
        )
    }
}

impl Marks {
    /// None are kept where there is no file.
    pub(crate) fn load(dirs: &Dirs) -> Result<Self, String> {
        let path = dirs.data.join(MARKS);
        let bytes_max = MAGIC.len() + MARKS_MAX * MARK_BYTES + SUM_BYTES;
        let bytes = files::read(&path, bytes_max as u64).map_err(|fault| fault.to_string())?;
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        Self::read(&bytes).ok_or_else(|| format!("{} is damaged", path.display()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
        if digest(&SHA256, body).as_ref() != sum {
            return None;
        }
        let (marks, rest) = body.strip_prefix(MAGIC)?.as_chunks::<MARK_BYTES>();
        let marks = rest.is_empty().then_some(marks)?.iter().map(|mark| {
            let (revision, rest) = mark.split_first_chunk()?;
            let (content, rest) = rest.split_first_chunk()?;
            let (deaths, rest) = rest.split_first_chunk()?;
            Some(Mark {
                revision: Revision(u64::from_le_bytes(*revision)),
                content: *content,
                deaths: u32::from_le_bytes(*deaths),
                is_running: *rest.first()? != 0,
            })
        });
        marks.collect::<Option<_>>().map(Self)
    }

    /// Durable when it returns; without marks there is no file.
    pub(crate) fn store(&self, dirs: &Dirs) -> io::Result<()> {
        let path = dirs.data.join(MARKS);
        if self.0.is_empty() {
            return files::remove(&path);
        }
        let mut bytes = MAGIC.to_vec();
        for mark in &self.0 {
            bytes.extend_from_slice(&mark.revision.0.to_le_bytes());
            bytes.extend_from_slice(&mark.content);
            bytes.extend_from_slice(&mark.deaths.to_le_bytes());
            bytes.push(u8::from(mark.is_running));
        }
        let sum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(sum.as_ref());
        files::write(&path, &bytes)
    }

    /// A process starts: what was running then has died.
    pub(crate) fn on_start(&mut self, floor: Revision) {
        self.on_good(floor);
        for mark in &mut self.0 {
            mark.deaths = mark.deaths.saturating_add(u32::from(mark.is_running));
            mark.is_running = false;
        }
    }

    /// The dataplane is about to take this bundle up, and leaves the one before.
    pub(crate) fn on_run(&mut self, revision: Revision, content: [u8; 32]) {
        let known = self.0.iter().position(|mark| mark.content == content);
        let mark = known.map(|at| self.0.remove(at));
        let mark = mark.unwrap_or(Mark { revision, content, deaths: 0, is_running: true });
        self.on_stop();
        self.0.push(Mark { is_running: true, ..mark });
        let backed_out = self.backed_out().map(|found| found.revision);
        self.0.retain(|mark| mark.deaths < DEATHS_MAX || Some(mark.revision) == backed_out);
        while self.0.iter().filter(|mark| mark.deaths < DEATHS_MAX).count() > ON_TRIAL_MAX {
            let oldest = self.0.iter().position(|mark| mark.deaths < DEATHS_MAX);
            oldest.map(|at| self.0.remove(at));
        }
    }

    /// It was refused in order, without harm.
    pub(crate) fn on_refused(&mut self, content: &[u8; 32]) {
        self.0.retain(|mark| mark.content != *content);
    }

    /// The process stops in order.
    pub(crate) fn on_stop(&mut self) {
        self.0.iter_mut().for_each(|mark| mark.is_running = false);
    }

    /// This revision has proved good: it and what is older needs no mark.
    pub(crate) fn on_good(&mut self, revision: Revision) {
        self.0.retain(|mark| mark.revision > revision);
    }

    pub(crate) fn is_backed_out(&self, content: &[u8; 32]) -> bool {
        self.0.iter().any(|mark| mark.content == *content && mark.deaths >= DEATHS_MAX)
    }

    /// The newest revision that the box went back from.
    pub(crate) fn backed_out(&self) -> Option<BackedOut> {
        let dead = self.0.iter().filter(|mark| mark.deaths >= DEATHS_MAX);
        let newest = dead.max_by_key(|mark| mark.revision)?;
        Some(BackedOut { revision: newest.revision, deaths: newest.deaths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Revision = Revision(4);

    fn run(marks: &mut Marks, revision: u64) {
        marks.on_run(Revision(revision), [u8::try_from(revision).unwrap(); 32]);
    }

    fn backed_out(marks: &Marks) -> Option<u64> {
        marks.backed_out().map(|found| found.revision.0)
    }

    #[test]
    fn two_deaths_with_one_bundle_are_believed() {
        let mut marks = Marks::default();
        run(&mut marks, 5);
        marks.on_start(FLOOR);
        assert_eq!(backed_out(&marks), None, "once may be a power cut");
        run(&mut marks, 5);
        marks.on_start(FLOOR);
        assert_eq!(backed_out(&marks), Some(5));
        assert!(marks.is_backed_out(&[5; 32]) && !marks.is_backed_out(&[4; 32]));
        // It stays so, however often the box starts, until a newer revision is good.
        marks.on_start(FLOOR);
        run(&mut marks, 6);
        run(&mut marks, 7);
        assert_eq!(backed_out(&marks), Some(5));
        marks.on_good(Revision(7));
        assert_eq!(marks, Marks::default());
    }

    #[test]
    fn what_stops_in_order_or_serves_for_long_does_not_count() {
        let mut marks = Marks::default();
        for _ in 0..5 {
            run(&mut marks, 5);
            marks.on_stop();
            marks.on_start(FLOOR);
        }
        assert_eq!(backed_out(&marks), None);
        run(&mut marks, 5);
        marks.on_good(Revision(5));
        marks.on_start(Revision(5));
        assert_eq!(marks, Marks::default());
        // Dead between the floor and the marks: the floor says that it was good.
        run(&mut marks, 6);
        marks.on_start(Revision(6));
        assert_eq!(marks, Marks::default());
    }

    #[test]
    fn only_what_ran_last_is_blamed() {
        let mut marks = Marks::default();
        for _ in 0..2 {
            run(&mut marks, 5);
            run(&mut marks, 6);
            marks.on_start(FLOOR);
        }
        assert_eq!(backed_out(&marks), Some(6));
        assert!(!marks.is_backed_out(&[5; 32]));
        run(&mut marks, 7);
        marks.on_refused(&[7; 32]);
        marks.on_start(FLOOR);
        assert_eq!(backed_out(&marks), Some(6));
    }

    #[test]
    fn the_file_is_small_whatever_comes_and_reads_back() {
        let place = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(place.path());
        let mut marks = Marks::default();
        for revision in 5..60 {
            run(&mut marks, revision);
            run(&mut marks, revision + 100);
            marks.on_start(FLOOR);
            marks.store(&dirs).unwrap();
            assert_eq!(Marks::load(&dirs).unwrap(), marks);
            assert!(marks.0.len() <= MARKS_MAX, "{marks:?}");
        }
        let path = place.path().join(MARKS);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert_eq!(Marks::read(&bytes), None, "byte {at}");
            assert_eq!(Marks::read(&good[..at]), None, "{at} bytes");
        }
        std::fs::write(&path, [0; 1_000]).unwrap();
        assert!(Marks::load(&dirs).unwrap_err().contains("bytes are more"));
        Marks::default().store(&dirs).unwrap();
        assert!(!path.exists());
    }
}
