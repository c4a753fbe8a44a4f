//! Verification against whoever changes the log: each kind of change is found, named and placed.

mod disk;

use dataplane_audit::verify::{FINDINGS_MAX, Fault, Report, verify};
use dataplane_audit::{Checkpoint, GroupFault, Scan, SegmentHeader};
use disk::{BLOCK, Disk, World};

const SEGMENT_BYTES: usize = 12 * BLOCK;

/// Three segments, and a checkpoint that somebody kept in the middle and one of the end.
fn log() -> (Disk, [Checkpoint; 2]) {
    let mut world = World::new(SEGMENT_BYTES);
    let mut middle = None;
    for group in 0..24_u64 {
        assert!(world.group(group * 3..group * 3 + 3).unwrap());
        if group == 11 {
            middle = Some(world.checkpoint());
        }
    }
    let kept = [middle.unwrap(), world.checkpoint()];
    assert_eq!(world.disk.files.len(), 3);
    (world.disk, kept)
}

fn report(disk: &Disk, kept: &[Checkpoint]) -> Report {
    verify(&mut disk.clone(), kept)
}

fn first(report: &Report) -> &Fault {
    &report.findings.first().expect("nothing was found").fault
}

/// Where each group of a segment starts.
fn groups(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut scan, mut starts) = (Scan::open(bytes).unwrap(), Vec::new());
    loop {
        let start = scan.position.offset as usize;
        if scan.group().is_err() {
            return starts;
        }
        starts.push(start..scan.position.offset as usize);
    }
}

#[test]
fn an_honest_log_is_sound() {
    let (disk, kept) = log();
    let report = report(&disk, &kept);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.segments, report.groups, report.records), (3, 24, 72));
    assert_eq!((report.size, report.root, report.checkpoints), (72, kept[1].root, 2));
    assert_eq!(report.origin, disk::ORIGIN);
}

/// Each bit of each segment, the unused zeros at the end of all but the last included.
#[test]
fn every_flipped_bit_is_found() {
    let (disk, kept) = log();
    for (number, bytes) in &disk.files {
        let used = groups(bytes).last().unwrap().end;
        for byte in (0..bytes.len()).step_by(if cfg!(debug_assertions) { 7 } else { 1 }) {
            let mut changed = disk.clone();
            changed.files.get_mut(number).unwrap()[byte] ^= 1 << (byte % 8);
            let report = report(&changed, &kept);
            assert!(!report.is_sound(), "segment {number}, byte {byte} of {used}");
        }
    }
}

#[test]
fn a_flipped_bit_is_placed() {
    let (mut disk, _) = log();
    let segment = disk.files.get_mut(&2).unwrap();
    let group = groups(segment)[3].clone();
    segment[group.start + 150] ^= 4;
    let report = report(&disk, &[]);
    let finding = &report.findings[0];
    assert_eq!(finding.segment, "segment-0000000000000002.log");
    let first_of_segment = report_index(&disk, 2);
    assert_eq!((finding.group, finding.index), (Some(3), Some(first_of_segment + 9)));
    let text = finding.to_string();
    assert!(
        text.contains("group 3 at record") && text.contains("changed after it was written"),
        "{text}"
    );
    assert!(text.contains("whole groups follow"), "{text}");
    // What comes after is still verified.
    assert_eq!(report.segments, 3);
    assert_eq!(report.findings.len(), 1);
}

fn report_index(disk: &Disk, number: u64) -> u64 {
    SegmentHeader::decode(&disk.files[&number]).unwrap().0.tree.size()
}

#[test]
fn a_missing_a_doubled_and_a_swapped_group_are_told_apart() {
    let (disk, _) = log();
    let ranges = groups(&disk.files[&1]);
    let (second, third) = (ranges[1].clone(), ranges[2].clone());
    assert_eq!(second.len(), third.len());

    let mut missing = disk.clone();
    let bytes = missing.files.get_mut(&1).unwrap();
    bytes.drain(second.clone());
    let found = report(&missing, &[]);
    let expected = GroupFault::Index { expected: 3, found: 6 };
    assert!(matches!(first(&found), Fault::Group { fault, .. } if *fault == expected), "{found:?}");
    assert!(found.findings[0].to_string().contains("records 3 to 5 are missing"), "{found:?}");

    let mut doubled = disk.clone();
    let bytes = doubled.files.get_mut(&1).unwrap();
    bytes.copy_within(second.clone(), third.start);
    let found = report(&doubled, &[]);
    let expected = GroupFault::Index { expected: 6, found: 3 };
    assert!(matches!(first(&found), Fault::Group { fault, .. } if *fault == expected), "{found:?}");
    assert!(found.findings[0].to_string().contains("doubled or swapped"), "{found:?}");

    let mut swapped = disk.clone();
    let bytes = swapped.files.get_mut(&1).unwrap();
    let kept = bytes[second.clone()].to_vec();
    bytes.copy_within(third.clone(), second.start);
    bytes[third].copy_from_slice(&kept);
    let found = report(&swapped, &[]);
    assert_eq!(found.findings[0].index, Some(3), "{found:?}");
}

/// Whoever edits records knows the format, too: he makes the group's own hash fit again. The chain, the
/// next segment and the checkpoints still tell.
#[test]
fn an_edit_with_a_new_group_hash_is_found_by_the_chain() {
    for edit in ["missing", "doubled", "swapped", "replaced"] {
        let mut world = World::new(SEGMENT_BYTES);
        let mut forged = World::new(SEGMENT_BYTES);
        for group in 0..6_u64 {
            let honest = [group * 3, group * 3 + 1, group * 3 + 2];
            let [a, b, c] = honest;
            let other = match edit {
                "missing" => vec![a, c],
                "doubled" => vec![a, b, b, c],
                "swapped" => vec![a, c, b],
                _ => vec![a, b + 1_000, c],
            };
            assert!(world.group(honest).unwrap());
            // Written by our own code, so that its hash is right: only its place is stolen.
            assert!(forged.group(if group == 3 { other } else { honest.to_vec() }).unwrap());
        }
        let range = groups(&world.disk.files[&1])[3].clone();
        let mut bytes = world.disk.files[&1].clone();
        bytes[range.clone()].copy_from_slice(&forged.disk.files[&1][range.clone()]);
        let mut disk = world.disk.clone();
        disk.files.insert(1, bytes);
        let found = report(&disk, &[]);
        assert!(!found.is_sound(), "{edit}");
        assert_eq!(found.findings[0].group, Some(4), "{edit}: {found:?}");
    }
}

/// Whoever rebuilds the whole log is found by the checkpoint that somebody kept, and only by it.
#[test]
fn a_rewritten_log_is_found_by_a_kept_checkpoint() {
    let (_, kept) = log();
    let mut world = World::new(SEGMENT_BYTES);
    for group in 0..24_u64 {
        let calls = (group * 3..group * 3 + 3).map(|call| if call == 4 { 4_000 } else { call });
        assert!(world.group(calls).unwrap());
    }
    assert!(report(&world.disk, &[]).is_sound(), "without a checkpoint nobody can tell");
    for checkpoint in &kept {
        let found = report(&world.disk, std::slice::from_ref(checkpoint));
        assert_eq!(first(&found), &Fault::Root { size: checkpoint.size });
    }
}

#[test]
fn a_cut_tail_is_found_by_a_kept_checkpoint() {
    let (mut disk, kept) = log();
    let bytes = disk.files.get_mut(&3).unwrap();
    let last = groups(bytes).pop().unwrap();
    bytes.truncate(last.start);
    let found = report(&disk, &kept);
    assert_eq!(found.findings.len(), 1, "{found:?}");
    assert_eq!(first(&found), &Fault::Cut { expected: 72, found: 69 });
    assert_eq!(found.checkpoints, 1, "the one in the middle still fits");
    disk.files.remove(&3);
    assert!(matches!(first(&report(&disk, &kept)), Fault::Cut { expected: 72, .. }));
    disk.files.clear();
    assert_eq!(first(&report(&disk, &kept)), &Fault::NoSegments);
}

#[test]
fn a_missing_segment_is_found() {
    let (disk, kept) = log();
    let mut middle = disk.clone();
    middle.files.remove(&2);
    let found = report(&middle, &[]);
    assert!(
        found.findings.iter().any(|finding| finding.fault == Fault::MissingSegment { number: 2 })
    );
    let mut start = disk.clone();
    start.files.remove(&1);
    let records = report_index(&disk, 2);
    let found = report(&start, &kept);
    assert_eq!(first(&found), &Fault::MissingStart { records });
    // The end is still the one that was signed.
    assert_eq!(found.root, kept[1].root);
}

#[test]
fn foreign_and_renamed_segments_are_found() {
    let (mut disk, _) = log();
    let second = disk.files[&2].clone();
    disk.files.insert(4, second);
    let found = report(&disk, &[]);
    assert!(
        found.findings.iter().any(|finding| finding.fault == Fault::Renamed { number: 2 }),
        "{found:?}"
    );
}

#[test]
fn a_checkpoint_of_another_log_does_not_pass() {
    let (disk, kept) = log();
    let other = Checkpoint { origin: "other.example".to_owned(), ..kept[1].clone() };
    let found = report(&disk, &[other]);
    assert!(matches!(first(&found), Fault::CheckpointOrigin { .. }), "{found:?}");
}

#[test]
fn one_finding_past_the_limit_is_only_counted() {
    let (disk, kept) = log();
    let other = Checkpoint { origin: "other.example".to_owned(), ..kept[1].clone() };
    let found = report(&disk, &vec![other.clone(); FINDINGS_MAX]);
    assert_eq!((found.findings.len(), found.more), (FINDINGS_MAX, false));
    let found = report(&disk, &vec![other; FINDINGS_MAX + 1]);
    assert_eq!((found.findings.len(), found.more), (FINDINGS_MAX, true));
}
