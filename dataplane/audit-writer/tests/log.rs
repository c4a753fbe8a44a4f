//! The log on a real file system: written by lanes, read, verified, stopped and taken up again.

mod place;

use dataplane_audit::{Batch, Body, Checkpoint, Control, Record};
use dataplane_audit_writer::{
    Config, Entry, Lane, LogFault, LossAcceptance, Reader, SEGMENT_BYTES_MIN, StartFault, start,
    verify_dir,
};
use place::{Place, config, push, settle, shipped, signer};

#[test]
fn what_is_durable_is_in_the_log_in_each_lanes_order() {
    let place = Place::new("order");
    let (writer, lanes) = start(config(place.path(), 3)).unwrap();
    let threads = lanes.into_iter().enumerate().map(|(number, mut lane)| {
        std::thread::spawn(move || {
            let (mut batch, mut call) = (Batch::default(), 0);
            while call < 3_000 {
                for _ in 0..call % 40 {
                    push(&mut batch, number as u16, call);
                    call += 1;
                }
                push(&mut batch, number as u16, call);
                call += 1;
                while !lane.submit(&mut batch) {
                    place::wait(&lane);
                }
                assert!(batch.is_empty());
                if call % 7 == 0 {
                    settle(&lane);
                }
            }
            settle(&lane);
            lane.submitted()
        })
    });
    let threads: Vec<_> = threads.collect();
    let submitted: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let size = writer.size();
    assert_eq!(size, submitted.iter().sum::<u64>() + 1, "and the record of the opening");
    let checkpoint = writer.stop().unwrap();
    assert_eq!(checkpoint.size, size + 1, "and the record of the close");
    let all = shipped(place.path());
    for (lane, submitted) in submitted.iter().enumerate() {
        let calls = all.iter().filter(|(of, _)| usize::from(*of) == lane).map(|(_, call)| *call);
        assert!(calls.eq(0..*submitted), "lane {lane}");
    }
    let report = verify_dir(place.path(), &[]);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.size, report.root, report.checkpoints), (size + 1, checkpoint.root, 1));
    assert!(report.segments > 1, "the log has crossed a segment");
}

#[test]
fn a_stopped_log_goes_on_where_it_ended() {
    let place = Place::new("again");
    let mut sizes = Vec::new();
    for start_number in 0..4 {
        let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
        let mut batch = Batch::default();
        push(&mut batch, 0, start_number);
        assert!(lanes[0].submit(&mut batch));
        // What was handed over before the stop is written before it ends.
        sizes.push(writer.stop().unwrap().size);
        assert_eq!(lanes[0].durable(), 1);
        assert!(lanes[0].fault().is_some());
    }
    assert_eq!(sizes, [3, 6, 9, 12]);
    assert!(shipped(place.path()).into_iter().eq((0..4).map(|call| (0, call))));
    let report = verify_dir(place.path(), &[]);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.segments, 1, "a start in order needs no new segment");
}

#[test]
fn the_logs_own_records_tell_its_story() {
    let place = Place::new("story");
    for _ in 0..2 {
        drop(start(config(place.path(), 1)).unwrap());
    }
    let mut names = Vec::new();
    let mut reader = Reader::open(place.path()).from(1);
    while reader
        .read(u64::MAX, |entry| match Record::decode(entry.bytes).unwrap().body {
            Body::Control(control) => names.push(control.name()),
            Body::Call(_) => panic!("there was no call"),
        })
        .unwrap()
    {}
    assert_eq!(names, ["LogClosed", "LogOpened", "LogClosed"]);
    assert_eq!(reader.next_index(), 4);
}

#[test]
fn a_reader_follows_the_writer_and_stops_at_the_limit() {
    let place = Place::new("follow");
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    let (mut batch, mut reader) = (Batch::default(), Reader::open(place.path()).from(1));
    let mut seen = Vec::new();
    for call in 0..200 {
        push(&mut batch, 0, call * 2);
        push(&mut batch, 0, call * 2 + 1);
        assert!(lanes[0].submit(&mut batch));
        settle(&lanes[0]);
        let size = writer.size();
        for limit in [size - 1, size] {
            while reader.read(limit, |entry| seen.push(entry.index)).unwrap() {}
            assert_eq!(reader.next_index(), limit);
        }
    }
    assert!(seen.into_iter().eq(1..401));
}

#[test]
fn one_process_at_a_time() {
    let place = Place::new("lock");
    let _held = start(config(place.path(), 1)).unwrap();
    assert!(matches!(start(config(place.path(), 1)), Err(StartFault::Locked(_))));
}

#[test]
fn a_cut_log_does_not_grow_until_an_operator_accepts_it() {
    let place = Place::new("cut");
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    let mut batch = Batch::default();
    for call in 0..20 {
        push(&mut batch, 0, call);
        assert!(lanes[0].submit(&mut batch));
        settle(&lanes[0]);
    }
    let kept: Checkpoint = writer.stop().unwrap();
    let segment = place.path().join("segment-0000000000000001.log");
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(8 * 4_096).unwrap();

    let refused = start(config(place.path(), 1)).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StartFault::Truncated { expected: 22, found: 7, .. }), "{text}");
    assert!(text.contains("15 are missing"), "{text}");

    let loss = refused.loss().unwrap();
    assert!(loss.starts_with("cut-22-7-") && text.contains(&format!("--accept-audit-loss {loss}")));
    let accepting = |losses: &[&str]| {
        let losses = losses.iter().map(|loss| (*loss).to_owned()).collect();
        let accept_loss = Some(LossAcceptance { losses, operator: "ops@acme".to_owned() });
        start(Config { accept_loss, ..config(place.path(), 1) })
    };
    for other in ["cut-22-7", "cut-22-6-00000000", "", "damaged-1-0"] {
        assert_eq!(accepting(&[other]).unwrap_err().loss().as_deref(), Some(&*loss), "{other:?}");
    }
    drop(accepting(&["damaged-1-0", &loss]).unwrap());
    let mut first = None;
    let mut reader = Reader::open(place.path()).from(7);
    let _ = reader.read(8, |entry| first = Some(entry.bytes.to_vec())).unwrap();
    let bytes = first.unwrap();
    let Body::Control(control) = Record::decode(&bytes).unwrap().body else { panic!("a call") };
    let expected = Control::LossAccepted {
        expected_size: 22,
        found_size: 7,
        operator: "ops@acme",
        reason: &loss,
    };
    assert_eq!(control, expected);
    // The log is whole again by its own checkpoint, and for ever not by the one that was kept.
    assert!(verify_dir(place.path(), &[]).is_sound());
    assert!(!verify_dir(place.path(), &[kept]).is_sound());
    // It opens without the word now, and the word that stayed covers no other loss.
    let segment = place.path().join("segment-0000000000000002.log");
    drop(start(config(place.path(), 1)).unwrap());
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(2 * 4_096).unwrap();
    assert!(matches!(accepting(&[&loss]), Err(StartFault::Truncated { .. })));
}

#[test]
fn a_damaged_or_foreign_log_is_not_opened() {
    let place = Place::new("damaged");
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    let mut batch = Batch::default();
    for call in 0..5 {
        push(&mut batch, 0, call);
        assert!(lanes[0].submit(&mut batch));
        settle(&lanes[0]);
    }
    writer.stop().unwrap();
    let mut foreign = config(place.path(), 1);
    foreign.signer = dataplane_audit::NoteSigner::from_seed("other.example", &[5; 32]).unwrap();
    assert!(matches!(start(foreign), Err(StartFault::Origin { .. })));

    std::fs::remove_file(place.path().join("mark")).unwrap();
    flip(&place, 3 * 4_096 + 500);
    let refused = start(config(place.path(), 1)).unwrap_err();
    assert!(matches!(refused, StartFault::Damaged { offset: 16_384, .. }), "{refused}");
}

/// A log of so many calls that was stopped in order.
fn stopped(name: &str, calls: std::ops::Range<u64>) -> Place {
    let place = Place::new(name);
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    write(&mut lanes[0], calls);
    writer.stop().unwrap();
    place
}

#[test]
fn every_other_kind_of_loss_is_accepted_by_its_own_name_and_no_other() {
    let other = stopped("loss-other", 100..110);
    let damaged = |place: &Place| flip(place, 3 * 4_096 + 500);
    let changed = |place: &Place| {
        std::fs::copy(other.path().join("checkpoint"), place.path().join("checkpoint")).unwrap();
    };
    let unread = |place: &Place| {
        std::fs::write(place.path().join("checkpoint"), "torn").unwrap();
    };
    type Lose<'a> = &'a dyn Fn(&Place);
    let losses: [(&str, Lose<'_>); 3] =
        [("damaged-1-16384", &damaged), ("changed-12-", &changed), ("checkpoint-", &unread)];
    for (kind, lose) in losses {
        let place = stopped(&format!("loss-{kind}"), 0..10);
        std::fs::remove_file(place.path().join("mark")).unwrap();
        lose(&place);
        let loss = start(config(place.path(), 1)).unwrap_err().loss().unwrap();
        assert!(loss.starts_with(kind), "{loss}");
        let accepting = |loss: &str| {
            let losses = vec![loss.to_owned()];
            let accept_loss = Some(LossAcceptance { losses, operator: "ops@acme".to_owned() });
            start(Config { accept_loss, ..config(place.path(), 1) })
        };
        for wrong in ["damaged-1-4096", "changed-12-00000000", "checkpoint-00000000"] {
            assert_eq!(accepting(wrong).unwrap_err().loss().as_deref(), Some(&*loss), "{wrong}");
        }
        let (writer, _lanes) = accepting(&loss).unwrap();
        // Its first record of this start, before the one that closes it.
        let size = writer.stop().unwrap().size;
        let mut reasons = Vec::new();
        let note = |entry: Entry<'_>| {
            let record = Record::decode(entry.bytes).unwrap();
            if let Body::Control(Control::LossAccepted { operator, reason, .. }) = record.body {
                reasons.push(format!("{operator}: {reason}"));
            }
        };
        let _ = Reader::open(place.path()).from(size - 2).read(size - 1, note).unwrap();
        assert_eq!(reasons, [format!("ops@acme: {loss}")]);
        // From then on it opens without the word.
        drop(start(config(place.path(), 1)).unwrap());
    }
}

fn flip(place: &Place, at: usize) {
    let segment = place.path().join("segment-0000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
}

/// Writes calls, each durable before the next: a block each.
fn write(lane: &mut Lane, calls: std::ops::Range<u64>) {
    let mut batch = Batch::default();
    for call in calls {
        push(&mut batch, 0, call);
        assert!(lane.submit(&mut batch));
        settle(lane);
    }
}

/// A start in order reads the last block alone; what it did not read is read right after.
#[test]
fn damage_that_a_start_does_not_read_stops_calls_soon_after_and_the_next_start() {
    let place = Place::new("unread");
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    write(&mut lanes[0], 0..50);
    writer.stop().unwrap();
    flip(&place, 30 * 4_096 + 500);
    let (writer, lanes) = start(config(place.path(), 1)).unwrap();
    while lanes[0].fault().is_none() {
        place::wait(&lanes[0]);
    }
    assert_eq!(lanes[0].fault(), Some(LogFault::Damaged));
    assert_eq!(writer.fault(), Some(LogFault::Damaged));
    writer.stop().unwrap();
    let refused = start(config(place.path(), 1)).unwrap_err();
    assert!(matches!(refused, StartFault::Damaged { .. }), "{refused}");
}

/// A mark only saves time: an old one, a torn one and none open the same log.
#[test]
fn whatever_the_mark_is_the_log_is_the_same() {
    let place = Place::new("mark");
    let path = place.path().join("mark");
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    write(&mut lanes[0], 0..100);
    while !path.exists() {
        std::thread::yield_now();
    }
    let in_use = std::fs::read(&path).unwrap();
    write(&mut lanes[0], 100..110);
    let mut size = writer.stop().unwrap().size;
    let closed = std::fs::read(&path).unwrap();
    let torn = [&closed[..512], &in_use[512..]].concat();
    for mark in [Some(closed), Some(torn), Some(in_use), Some(Vec::new()), None] {
        match mark {
            Some(mark) => std::fs::write(&path, mark).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
        assert_eq!(writer.size(), size + 1);
        write(&mut lanes[0], 0..3);
        size = writer.stop().unwrap().size;
        let report = verify_dir(place.path(), &[]);
        assert!(report.is_sound() && report.size == size, "{:?}", report.findings);
        assert_eq!(report.segments, 1);
    }
}

#[test]
fn checkpoints_are_signed_and_opened_by_strangers() {
    let place = Place::new("checkpoint");
    let config = Config { checkpoint_records: 10, ..config(place.path(), 1) };
    let (writer, mut lanes) = start(config).unwrap();
    let path = place.path().join("checkpoint");
    let mut batch = Batch::default();
    for call in 0..10 {
        push(&mut batch, 0, call);
    }
    assert!(lanes[0].submit(&mut batch));
    settle(&lanes[0]);
    while !path.exists() {
        std::thread::yield_now();
    }
    let kept = Checkpoint::open(&std::fs::read(&path).unwrap(), &signer().verifier()).unwrap();
    assert_eq!(kept.size, 11);
    let last = writer.stop().unwrap();
    let note = std::fs::read(&path).unwrap();
    assert_eq!(Checkpoint::open(&note, &signer().verifier()), Ok(last.clone()));
    let report = verify_dir(place.path(), &[kept, last]);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.checkpoints, 3);
}

#[test]
fn settings_out_of_bounds_are_named() {
    let place = Place::new("settings");
    let changes: [fn(&mut Config); 4] = [
        |config| config.lanes = 0,
        |config| config.segment_bytes = SEGMENT_BYTES_MIN - 4_096,
        |config| config.segment_bytes += 1,
        |config| config.gather_us = 10_001,
    ];
    for change in changes {
        let mut config = config(place.path(), 1);
        change(&mut config);
        assert!(matches!(start(config), Err(StartFault::Config(..))));
    }
}

/// Past the limit a batch stays with its owner, and nothing is lost.
#[test]
fn a_full_lane_gives_the_batch_back() {
    let place = Place::new("full-lane");
    let (writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    let (mut batch, mut refused, mut call) = (Batch::default(), 0, 0);
    while refused < 100 {
        push(&mut batch, 0, call);
        call += 1;
        if !lanes[0].submit(&mut batch) {
            assert!(!batch.is_empty());
            refused += 1;
            settle(&lanes[0]);
            assert!(lanes[0].submit(&mut batch));
        }
    }
    settle(&lanes[0]);
    writer.stop().unwrap();
    assert_eq!(shipped(place.path()).len() as u64, call);
}

/// How an operator makes room: the whole directory goes, and both logs verify on their own.
#[test]
fn a_log_that_was_moved_away_verifies_there_and_a_new_one_begins() {
    let place = Place::new("moved");
    let (log, kept) = (place.path().join("audit"), place.path().join("kept"));
    let mut checkpoints = Vec::new();
    for dir in [&log, &log, &kept] {
        if dir == &kept {
            std::fs::rename(&log, &kept).unwrap();
        }
        let mut config = config(&log, 1);
        if dir == &kept {
            config.signer =
                dataplane_audit::NoteSigner::from_seed("gate-2.example", &[6; 32]).unwrap();
        }
        let (writer, mut lanes) = start(config).unwrap();
        write(&mut lanes[0], 0..5);
        checkpoints.push(writer.stop().unwrap());
    }
    let sound = |dir, kept: &[Checkpoint]| verify_dir(dir, kept).is_sound();
    assert!(sound(&kept, &checkpoints[..2]) && sound(&log, &checkpoints[2..]));
    assert_eq!((checkpoints[1].size, checkpoints[2].size), (14, 7));
    // One segment alone is not a log.
    std::fs::remove_file(kept.join("segment-0000000000000001.log")).unwrap();
    assert!(!sound(&kept, &checkpoints[..2]));
}
