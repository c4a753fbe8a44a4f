//! The machine against a disk that fails: nothing is acknowledged that a restart does not find.
//!
//! RELIABILITY F4: each kind of fault at each write of a run; F1 in the small: a crash at each write,
//! with each way in which its sectors may have arrived.

mod disk;

use dataplane_audit::log::Step;
use dataplane_audit::verify::verify;
use disk::{Disk, World, WriteFault, calls};

const SEGMENT_BYTES: usize = 16 * 4_096;
const GROUPS: u64 = 40;

/// All calls of the log, read as verification reads it.
fn logged(disk: &Disk) -> Vec<u64> {
    let mut all: Vec<u64> = Vec::new();
    for bytes in disk.files.values() {
        let Ok(scan) = dataplane_audit::Scan::open(bytes) else { continue };
        // A later segment says where the one before it ends.
        all.truncate(scan.header.tree.size() as usize);
        all.extend(calls(bytes));
    }
    all
}

/// Runs on after refusals, as the shell does.
fn run(world: &mut World) -> Result<(), disk::Crashed> {
    for group in 0..GROUPS {
        let first = group * 100;
        let mut done = world.group(first..first + 1 + group * 7 % 30)?;
        while !done {
            assert!(matches!(world.log.step(), Step::Refused(_)));
            world.log.retry();
            done = world.settle()?;
        }
    }
    Ok(())
}

fn check(world: &World, why: &str) {
    let logged = logged(&world.disk);
    assert!(logged.starts_with(&world.acknowledged), "{why}: acknowledged records are missing");
    let mut disk = world.disk.clone();
    let report = verify(&mut disk, &[world.checkpoint()]);
    assert!(report.is_sound(), "{why}: {:?}", report.findings);
    assert_eq!(report.records as usize, logged.len(), "{why}");
}

#[test]
fn one_fault_at_each_write_is_survived() {
    let mut world = World::new(SEGMENT_BYTES);
    run(&mut world).unwrap();
    check(&world, "no fault");
    let (writes, all) = (world.disk.writes, world.acknowledged.clone());
    assert!(writes > GROUPS && world.disk.files.len() > 3);
    let faults = [
        WriteFault::Error(5),
        WriteFault::Error(28),
        WriteFault::ErrorWritten(5),
        WriteFault::Short(0),
        WriteFault::Short(512),
        WriteFault::Short(4_096),
        WriteFault::Torn(0x5555),
        WriteFault::Torn(0xFFFE),
    ];
    for fault in faults {
        for write in 0..writes {
            let why = format!("{fault:?} at write {write}");
            let mut world = World::new(SEGMENT_BYTES);
            world.disk.faults.insert(write, fault);
            run(&mut world).unwrap();
            assert_eq!(world.acknowledged, all, "{why}");
            check(&world, &why);
        }
    }
}

#[test]
fn a_second_fault_in_a_row_refuses_until_the_retry() {
    for write in 1..20 {
        let mut world = World::new(SEGMENT_BYTES);
        world.disk.faults.insert(write, WriteFault::Error(5));
        world.disk.faults.insert(write + 1, WriteFault::Short(7));
        world.disk.faults.insert(write + 2, WriteFault::ErrorWritten(28));
        let mut refused = 0;
        for call in 0..30 {
            let mut done = world.group([call]).unwrap();
            while !done {
                refused += 1;
                let kept = world.acknowledged.clone();
                assert!(!world.settle().unwrap(), "it stays refused");
                assert_eq!(world.acknowledged, kept);
                world.log.retry();
                done = world.settle().unwrap();
            }
        }
        assert_eq!(refused, 2, "the third fault is the retry's");
        assert_eq!(world.acknowledged, (0..30).collect::<Vec<_>>());
        check(&world, &format!("from write {write}"));
    }
}

#[test]
fn a_crash_at_each_write_loses_nothing_acknowledged() {
    let mut world = World::new(SEGMENT_BYTES);
    run(&mut world).unwrap();
    for write in 0..world.disk.writes {
        for mask in [0, 1, 0xFE, 0x5555_5555_5555, u64::MAX] {
            let why = format!("write {write}, sectors {mask:#x}");
            let mut world = World::new(SEGMENT_BYTES);
            world.disk.faults.insert(write, WriteFault::Crash(mask));
            run(&mut world).unwrap_err();
            let acknowledged = world.acknowledged.clone();
            let mut again = World::restarted(world.disk, SEGMENT_BYTES);
            assert!(again.log.tree().size() >= acknowledged.len() as u64, "{why}");
            assert!(again.group([7_000_001, 7_000_002]).unwrap());
            let logged = logged(&again.disk);
            assert!(logged.starts_with(&acknowledged), "{why}");
            assert!(logged.ends_with(&[7_000_001, 7_000_002]), "{why}");
            let report = verify(&mut again.disk.clone(), &[again.checkpoint()]);
            assert!(report.is_sound(), "{why}: {:?}", report.findings);
        }
    }
}

/// No block that was acknowledged is ever written again, whatever fails.
#[test]
fn acknowledged_blocks_stay_as_they_are() {
    for write in 0..30 {
        let mut world = World::new(SEGMENT_BYTES);
        world.disk.faults.insert(write, WriteFault::Torn(0x0F0F));
        world.disk.faults.insert(write + 3, WriteFault::Short(600));
        let mut before = world.disk.clone();
        for call in 0..30 {
            while !world.group([call]).unwrap() {
                world.log.retry();
            }
            for (number, bytes) in &before.files {
                for (old, new) in bytes.chunks(4_096).zip(world.disk.files[number].chunks(4_096)) {
                    assert!(old == new || old.iter().all(|byte| *byte == 0), "segment {number}");
                }
            }
            before = world.disk.clone();
        }
    }
}
