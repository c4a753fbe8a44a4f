//! No space left: calls are refused with the cause before the reserve is touched, nothing is ever
//! acknowledged that is not written, and the log goes on by itself when there is space again.

mod place;

use std::fs::File;

use dataplane_audit::{Batch, Body, Control, LogFault, Record};
use dataplane_audit_writer::{Reader, start, verify_dir};
use place::{Place, config, push, settle, shipped, wait};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A file system of its own, unmounted when the test ends.
struct Small(Place);

impl Small {
    /// `None` where mounting is not allowed.
    fn new(name: &str, bytes: u64) -> Option<Self> {
        let place = Place::new(name);
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        match mount("audit-test", place.path(), "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self(place)),
            Err(error) => {
                eprintln!("SKIPPED: {name} needs the right to mount: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_refuses_keeps_the_reserve_and_goes_on() {
    // Room for two segments, a few small files, and the ballast.
    let Some(small) = Small::new("full", 11 << 20) else { return };
    let dir = small.0.path();
    let ballast = dir.join("ballast");
    rustix::fs::fallocate(
        File::create(&ballast).unwrap(),
        rustix::fs::FallocateFlags::empty(),
        0,
        5 << 20,
    )
    .unwrap();
    let (writer, mut lanes) = start(config(dir, 1)).unwrap();
    let (lane, mut batch, mut call) = (&mut lanes[0], Batch::default(), 0);
    while lane.fault().is_none() {
        for _ in 0..50 {
            push(&mut batch, 0, call);
            call += 1;
        }
        while !lane.submit(&mut batch) {
            wait(lane);
        }
        while lane.durable() < lane.submitted() && lane.fault().is_none() {
            wait(lane);
        }
    }
    assert_eq!(lane.fault(), Some(LogFault::Full));
    assert_eq!(writer.fault(), Some(LogFault::Full));
    // What was under way when the refusals began still becomes durable: that is what the reserve is for.
    while lane.durable() < lane.submitted() {
        wait(lane);
    }
    push(&mut batch, 0, call);
    call += 1;
    assert!(lane.submit(&mut batch));
    while lane.durable() < lane.submitted() {
        wait(lane);
    }
    assert_eq!(lane.fault(), Some(LogFault::Full), "calls stay refused");

    std::fs::remove_file(&ballast).unwrap();
    while lane.fault().is_some() {
        wait(lane);
    }
    push(&mut batch, 0, call);
    call += 1;
    assert!(lane.submit(&mut batch));
    settle(lane);
    writer.stop().unwrap();
    assert!(shipped(dir).into_iter().eq((0..call).map(|call| (0, call))));
    let report = verify_dir(dir, &[]);
    assert!(report.is_sound(), "{:?}", report.findings);
    let (mut resumed, mut reader) = (Vec::new(), Reader::open(dir));
    while reader
        .read(u64::MAX, |entry| {
            let record = Record::decode(entry.bytes).unwrap();
            if let Body::Control(Control::LogResumed { errno, refused_ns, .. }) = record.body {
                resumed.push((errno, refused_ns > 0));
            }
        })
        .unwrap()
    {}
    assert_eq!(resumed, [(28, true)], "and the log says so");
}

#[test]
fn with_the_reserve_used_up_nothing_more_is_acknowledged() {
    let Some(small) = Small::new("used-up", 5 << 20) else { return };
    let dir = small.0.path();
    let (_writer, mut lanes) = start(config(dir, 1)).unwrap();
    let (lane, mut batch, mut call) = (&mut lanes[0], Batch::default(), 0);
    // A caller that does not heed the refusals.
    let mut stuck = 0;
    while stuck < 5 {
        push(&mut batch, 0, call);
        call += 1;
        let before = lane.durable();
        while !lane.submit(&mut batch) && stuck < 5 {
            wait(lane);
            stuck = if lane.durable() == before { stuck + 1 } else { 0 };
        }
    }
    assert_eq!(lane.fault(), Some(LogFault::Full));
    let durable = lane.durable();
    assert!(durable < lane.submitted());
    let logged = shipped(dir);
    assert_eq!(logged.len() as u64, durable);
    assert!(verify_dir(dir, &[]).is_sound());
}
