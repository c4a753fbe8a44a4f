//! Which processor runs what, and how urgently.
//!
//! A child inherits both from the thread that starts it, with all the threads that it makes later.
//! So a thread takes the child's place, starts it, and goes back to its own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Before ordinary processes of this machine, so that they disturb less.
pub(crate) const NICE: i32 = -10;
/// Starts a program by another policy of scheduling (Debian's util-linux, essential).
const CHRT: &str = "/usr/bin/chrt";

/// The processors of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The process that is measured, alone.
    pub proxy: usize,
    /// Load, origin and control plane.
    pub load: usize,
}

impl Cores {
    /// # Errors
    /// When this process may not use one of them.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        let ours = sched_getaffinity(None).context("sched_getaffinity")?;
        for core in [self.proxy, self.load] {
            let fits = core < CpuSet::MAX_CPU && ours.is_set(core);
            anyhow::ensure!(
                fits,
                "processor {core} is not ours to use: see --proxy-core, --load-core"
            );
        }
        anyhow::ensure!(
            self.proxy != self.load,
            "the measured process needs a processor of its own: two at least"
        );
        Ok(())
    }
}

/// Moves this thread to `core`, and asks for priority; false when that is not granted.
///
/// # Errors
/// When the processor cannot be had.
pub(crate) fn take(core: usize) -> anyhow::Result<bool> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("processor {core}"))?;
    let urgent = getpriority_process(None).is_ok_and(|nice| nice <= NICE);
    Ok(urgent || setpriority_process(None, NICE).is_ok())
}

/// Runs `start` on `core`, so that what it starts stays there.
///
/// # Errors
/// What `start` says, or when the processor cannot be had.
pub(crate) fn on<T>(core: usize, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let before = sched_getaffinity(None).context("sched_getaffinity")?;
    take(core)?;
    let started = start();
    sched_setaffinity(None, &before).context("sched_setaffinity")?;
    started
}

/// What to execute so that `program` gets only the time that nobody else wants, whatever its priority.
pub(crate) fn behind(program: &Path, words: &[String]) -> (PathBuf, Vec<String>) {
    let program = program.display().to_string();
    let mut all = ["--idle", "0", &program].map(str::to_owned).to_vec();
    all.extend_from_slice(words);
    (PathBuf::from(CHRT), all)
}

/// A disk that ends a write on the processor that began it, as one with a queue for each does. Dropped,
/// it is as it was.
pub(crate) struct Completions {
    setting: PathBuf,
    before: String,
}

impl Completions {
    /// Of the disk below this folder. On a disk with one queue, what a write's end still has to do waits
    /// for whatever runs on the processor that takes its interrupts.
    ///
    /// # Errors
    /// When there is no such disk, or it may not be set.
    pub(crate) fn where_begun(folder: &Path) -> anyhow::Result<Self> {
        let device = rustix::fs::stat(folder)?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let disk = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
        // A partition's is its disk's.
        let setting = disk.ancestors().take(2).map(|disk| disk.join("queue/rq_affinity"));
        let setting = setting.into_iter().find(|setting| setting.is_file());
        Ok(Self::set(setting.context("a disk without queues")?)?)
    }

    fn set(setting: PathBuf) -> std::io::Result<Self> {
        let before = std::fs::read_to_string(&setting)?;
        std::fs::write(&setting, COMPLETE_WHERE_BEGUN)?;
        Ok(Self { setting, before })
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.setting, &self.before);
    }
}

/// `rq_affinity` of the kernel's `Documentation/ABI/stable/sysfs-block`.
const COMPLETE_WHERE_BEGUN: &str = "2";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_inherits_the_processor() {
        let ours = sched_getaffinity(None).unwrap();
        let core = (0..CpuSet::MAX_CPU).find(|core| ours.is_set(*core)).unwrap();
        let show = || {
            Ok(Command::new("grep").args(["Cpus_allowed_list", "/proc/self/status"]).output()?)
        };
        let shown = on(core, show).unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&shown).trim(), format!("Cpus_allowed_list:\t{core}"));
        assert_eq!(sched_getaffinity(None).unwrap(), ours);
    }

    #[test]
    fn what_is_behind_is_of_the_idle_class() {
        let own = ["-c".to_owned(), "chrt --pid $$".to_owned()];
        let (program, words) = behind(Path::new("/bin/sh"), &own);
        let shown = Command::new(program).args(words).output().unwrap().stdout;
        assert!(String::from_utf8_lossy(&shown).contains("SCHED_IDLE"), "{shown:?}");
    }

    #[test]
    fn a_disk_is_set_back() {
        let place = tests_fixtures::stack::Place::new("bench-disk").unwrap();
        let setting = place.write("rq_affinity", "1\n").unwrap();
        let read = || std::fs::read_to_string(&setting).unwrap();
        let completions = Completions::set(setting.clone()).unwrap();
        assert_eq!(read(), "2");
        drop(completions);
        assert_eq!(read(), "1\n");
    }

    #[test]
    fn one_processor_is_not_enough() {
        assert!(Cores { proxy: 0, load: 0 }.check().is_err());
        assert!(Cores { proxy: CpuSet::MAX_CPU, load: 0 }.check().is_err());
    }
}
