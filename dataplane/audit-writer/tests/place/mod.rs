//! A directory of its own for each test, on a real file system, and records to write there.

#![allow(dead_code, unreachable_pub)] // Each test takes what it needs.

use std::path::{Path, PathBuf};

use dataplane_audit::{Batch, Body, BootId, Call, CallId, NoteSigner, Phase, Record, Stamp};
use dataplane_audit_writer::{Config, Entry, Lane, Reader};
use dataplane_telemetry::{Nanos, WallNanos};

pub const ORIGIN: &str = "gate.example/log";

/// Removed with all that is in it when the test ends well or ill.
pub struct Place(PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = target.join(format!("audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn signer() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, &[5; 32]).unwrap()
}

/// Small segments, so that a test crosses several.
pub fn config(dir: &Path, lanes: usize) -> Config {
    let mut config = Config::new(dir, signer(), BootId([2; 16]), lanes);
    config.segment_bytes = 2 << 20;
    config.reserve_bytes = 1 << 20;
    config
}

pub fn push(batch: &mut Batch, lane: u16, call: u64) {
    let stamp = Stamp { boot: BootId([2; 16]), lane, wall: WallNanos(1), mono: Nanos(call) };
    let reason = "r".repeat((call * 31 % 400) as usize);
    let caller =
        dataplane_audit::CallerNames { tenant: "acme", user: &reason, ..Default::default() };
    let call = Call { phase: Phase::Outcome, call: CallId(call), caller, ..Call::default() };
    batch.push(&Record::new(stamp, Body::Call(call))).unwrap();
}

/// Sleeps until the lane's eventfd says that there is news, a tenth of a second at most.
pub fn wait(lane: &Lane) {
    let fd = lane.wake_fd();
    let event = rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN);
    let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    if rustix::event::poll(&mut [event], Some(&timeout)).unwrap() > 0 {
        let _ = rustix::io::read(lane.wake_fd(), &mut [0; 8]);
    }
}

/// Waits until all that the lane handed over is durable.
pub fn settle(lane: &Lane) {
    while lane.durable() < lane.submitted() {
        assert_eq!(lane.fault(), None);
        wait(lane);
    }
}

/// All (lane, call) of a log, in order, read as they are shipped.
pub fn shipped(dir: &Path) -> Vec<(u16, u64)> {
    let (mut reader, mut all, mut next) = (Reader::open(dir), Vec::new(), 0);
    let each = |entry: Entry<'_>| {
        assert_eq!(entry.index, next);
        next += 1;
        let record = Record::decode(entry.bytes).unwrap();
        if let Some(call) = record.call() {
            all.push((record.stamp.lane, call.call.0));
        }
    };
    let mut each = each;
    while reader.read(u64::MAX, &mut each).unwrap() {}
    all
}
