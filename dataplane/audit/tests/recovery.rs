//! A crash at any byte: the longest valid prefix, never garbage, never less than was acknowledged.

mod disk;

use dataplane_audit::{
    Checkpoint, HeaderFault, Mark, Recovered, Rest, Scan, recover, recover_behind,
};
use disk::{BLOCK, ORIGIN, World, calls};

const SEGMENT_BYTES: usize = 65_536;

/// A 64 KiB segment of groups of one to four blocks, and where each group ends.
fn segment() -> (Vec<u8>, Vec<(usize, usize)>) {
    let (bytes, ends, _) = marked();
    (bytes, ends)
}

type Marks = Vec<(Mark, Checkpoint)>;

/// With the mark after each group, and its checkpoint.
fn marked() -> (Vec<u8>, Vec<(usize, usize)>, Marks) {
    let mut world = World::new(SEGMENT_BYTES);
    let (mut call, mut marks) = (0, Vec::new());
    for records in [1, 7, 30, 2, 12] {
        assert!(world.group(call..call + records).unwrap());
        call += records;
        let kept = world.checkpoint();
        marks.push((world.log.mark((kept.size, kept.root), false).unwrap(), kept));
    }
    let bytes = world.disk.files[&1].clone();
    assert_eq!(world.disk.files.len(), 1);
    let (mut scan, mut ends) = (Scan::open(&bytes).unwrap(), vec![(BLOCK, 0)]);
    while scan.group().is_ok() {
        ends.push((scan.position.offset as usize, scan.position.tree.size() as usize));
    }
    assert_eq!(ends.len(), 6);
    (bytes, ends, marks)
}

/// Behind each mark as from the start, wherever the segment ends: the slow reader is the oracle.
#[track_caller]
fn same_behind(bytes: &[u8], marks: &[(Mark, Checkpoint)], why: &dyn std::fmt::Debug) {
    for (mark, kept) in marks {
        let Some(tail) = bytes.get(mark.position.last as usize..) else { continue };
        let behind = recover_behind(&bytes[..BLOCK], mark, tail, Some(kept));
        let whole = recover(bytes, Some(kept)).unwrap();
        match behind {
            Some(behind) => {
                assert_eq!(behind.scan.position, whole.scan.position, "{why:?}");
                let pair =
                    |one: &Recovered<'_>| (one.rest, one.agrees, one.last.map(<[u8]>::to_vec));
                assert_eq!(pair(&behind), pair(&whole), "{why:?}");
            }
            // The group that the mark stands behind is not there: the log was cut before it.
            None => assert!(whole.scan.position.offset < mark.position.offset, "{why:?}"),
        }
    }
}

#[test]
fn every_truncation_gives_the_longest_valid_prefix() {
    let (bytes, ends, marks) = marked();
    let all = calls(&bytes);
    for len in 0..=bytes.len() {
        let cut = &bytes[..len];
        let whole = ends.iter().rev().find(|(end, _)| *end <= len);
        match (recover(cut, None), whole) {
            (Ok(recovered), Some((end, records))) => {
                assert_eq!(recovered.scan.position.offset as usize, *end, "cut at {len}");
                assert_eq!(recovered.scan.position.tree.size() as usize, *records);
                assert!(!matches!(recovered.rest, Rest::Damaged(_)), "cut at {len}");
            }
            (Err(HeaderFault::Short), None) => (),
            other => panic!("cut at {len}: {other:?}"),
        }
        if len % 997 == 0 {
            if len >= BLOCK {
                same_behind(cut, &marks, &len);
            }
            assert_eq!(calls(cut), all[..whole.map_or(0, |(_, records)| *records)]);
        }
    }
}

/// The last write is a group of two blocks. Any of its 16 sectors may have arrived or not.
#[test]
fn every_torn_mix_of_the_last_write_is_all_or_nothing() {
    let mut world = World::new(5 * BLOCK);
    assert!(world.group(0..3).unwrap());
    let kept = world.checkpoint();
    let marks = [(world.log.mark((kept.size, kept.root), false).unwrap(), kept)];
    let before = world.disk.files[&1].clone();
    assert!(world.group(3..25).unwrap());
    let after = world.disk.files[&1].clone();
    let start = Scan::open(&before).map(|mut scan| scan.group().map(|_| scan.position.offset));
    let start = start.unwrap().unwrap() as usize;
    let group = start..start + 2 * BLOCK;
    assert!(after[group.end..].iter().all(|byte| *byte == 0));
    assert!(after[group.end - BLOCK..group.end].iter().any(|byte| *byte != 0));
    let mut torn = before.clone();
    for mask in 0..1_u32 << 16 {
        torn.copy_from_slice(&before);
        for sector in (0..16).filter(|sector| mask >> sector & 1 == 1) {
            let place = start + sector * 512..start + sector * 512 + 512;
            torn[place.clone()].copy_from_slice(&after[place]);
        }
        let recovered = recover(&torn, None).unwrap();
        let (records, rest) = (recovered.scan.position.tree.size(), recovered.rest);
        if torn == after {
            assert_eq!((records, rest), (25, Rest::Zero), "{mask:#x}");
        } else {
            let nothing =
                if torn == before { rest == Rest::Zero } else { matches!(rest, Rest::Torn(_)) };
            assert!(records == 3 && nothing, "{mask:#x}: {records} records, {rest:?}");
        }
        if mask % 61 == 0 || mask.count_ones() < 2 || mask.count_zeros() < 18 {
            same_behind(&torn, &marks, &mask);
        }
    }
}

/// A mark saves reading; whatever does not fit it is read from the start.
#[test]
fn a_mark_is_taken_only_where_its_last_group_is_on_disk() {
    let (bytes, _, marks) = marked();
    let behind = |bytes: &[u8], mark: &Mark, kept: Option<&Checkpoint>| {
        let tail = bytes.get(mark.position.last as usize..).unwrap_or_default();
        recover_behind(&bytes[..BLOCK], mark, tail, kept).map(|recovered| recovered.agrees)
    };
    let (mark, kept) = &marks[2];
    assert_eq!(behind(&bytes, mark, None), Some(None));
    assert_eq!(behind(&bytes, mark, Some(kept)), Some(Some(true)));
    // A later checkpoint is compared on the way, an earlier one by what the mark knows of it.
    assert_eq!(behind(&bytes, mark, Some(&marks[4].1)), Some(Some(true)));
    assert_eq!(behind(&bytes, mark, Some(&marks[1].1)), None);
    let knows = Mark { checkpoint: (marks[1].1.size, marks[1].1.root), ..mark.clone() };
    assert_eq!(behind(&bytes, &knows, Some(&marks[1].1)), Some(Some(true)));
    let forged = Checkpoint { origin: ORIGIN.to_owned(), root: [9; 32], ..marks[4].1 };
    assert_eq!(behind(&bytes, mark, Some(&forged)), Some(Some(false)));
    let (last, end) = (mark.position.last as usize, mark.position.offset as usize);
    for (name, place) in [("header", 9), ("last group", last + 130), ("its hash", last + 70)] {
        let mut changed = bytes.clone();
        changed[place] ^= 4;
        assert_eq!(behind(&changed, mark, None), None, "{name}");
    }
    assert_eq!(behind(&bytes[..end - 1], mark, None), None, "cut");
    let mut other = mark.clone();
    other.position.tree.push([0; 32]);
    assert_eq!(behind(&bytes, &other, None), None, "another tree");
    let other = Mark { number: 2, ..mark.clone() };
    assert_eq!(behind(&bytes, &other, None), None, "another segment");
}

#[test]
fn a_broken_group_before_a_whole_one_is_damage_and_not_a_crash() {
    let (bytes, ends) = segment();
    for (group, pair) in ends.windows(2).enumerate() {
        let [(start, _), (end, _)] = pair else { unreachable!() };
        for place in [*start, start + 70, start + 200] {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            let rest = recover(&changed, None).unwrap().rest;
            let last = group + 2 == ends.len();
            let expected = if last {
                matches!(rest, Rest::Torn(_))
            } else {
                rest == Rest::Damaged(*end as u64)
            };
            assert!(expected, "group {group}: {rest:?}");
        }
    }
}

/// What another log, or this log's caller, can know of a group never reads as one here.
#[test]
fn a_group_of_another_segment_is_no_group() {
    let mut world = World::new(SEGMENT_BYTES);
    assert!(world.group(100..101).unwrap());
    world.log.rotate();
    assert!(world.group(101..102).unwrap());
    let mut planted = world.disk.files[&1][BLOCK..2 * BLOCK].to_vec();
    for number in [1_u8, 2] {
        planted[8] = number;
        let mut second = world.disk.files[&2].clone();
        second[3 * BLOCK..4 * BLOCK].copy_from_slice(&planted);
        let recovered = recover(&second, None).unwrap();
        assert_eq!(recovered.scan.position.tree.size(), 2);
        assert!(matches!(recovered.rest, Rest::Torn(_)), "{:?}", recovered.rest);
    }
}
