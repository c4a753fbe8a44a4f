//! `kill -9` under load, again and again: nothing that was acknowledged is missing.
//!
//! A child process writes and tells on a pipe what became durable; it is killed after so many bytes of
//! that. The next child takes the log up. At the end all that was ever told must be in the log, once,
//! in order, and the log must verify.

mod place;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use dataplane_audit::{Batch, BootId};
use dataplane_audit_writer::{Config, start, verify_dir};
use place::{Place, config, push, shipped, wait};

const DIR: &str = "PORTCULLIS_TEST_AUDIT_DIR";
const FIRST_CALL: &str = "PORTCULLIS_TEST_FIRST_CALL";
const KILLS: u64 = 200;
const LANES: usize = 2;

/// Not a test of its own: what the killed process runs.
#[test]
#[ignore = "run by the test that kills it"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let first: u64 = std::env::var(FIRST_CALL).unwrap().parse().unwrap();
    let config =
        Config { boot: BootId(u128::from(first).to_le_bytes()), ..config(Path::new(&dir), LANES) };
    let (_writer, lanes) = start(config).unwrap();
    let threads = lanes.into_iter().enumerate().map(|(number, mut lane)| {
        std::thread::spawn(move || {
            let (mut batch, mut told) = (Batch::default(), 0);
            for call in first.. {
                push(&mut batch, number as u16, call);
                if call % 3 == 0 {
                    assert!(lane.submit(&mut batch));
                }
                while lane.submitted() > lane.durable() + 20 {
                    wait(&lane);
                }
                // Told in one write, so that two lanes do not mix.
                let durable = lane.durable();
                for call in first + told..first + durable {
                    let line = format!("D {number} {call:012}\n");
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
                told = durable;
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

/// Splitmix64: kill points by seed.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *seed;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[test]
fn nothing_acknowledged_is_lost_by_200_kills() {
    let place = Place::new("kill");
    let seed_text = std::env::var("PORTCULLIS_SEED").unwrap_or_else(|_| "42".to_owned());
    let mut seed: u64 = seed_text.parse().unwrap();
    let mut told: HashMap<u16, Vec<u64>> = HashMap::new();
    for kill in 0..KILLS {
        let first = kill * 1_000_000;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIR, place.path())
            .env(FIRST_CALL, first.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stderr.take().unwrap();
        // A few times before anything is durable at all.
        let kill_after = match next(&mut seed) % 8 {
            0 => 0,
            _ => next(&mut seed) as usize % 4_000,
        };
        let mut heard = Vec::new();
        let mut piece = [0; 512];
        while heard.len() < kill_after {
            match pipe.read(&mut piece).unwrap() {
                0 => panic!("the child ended: {}", String::from_utf8_lossy(&heard)),
                read => heard.extend_from_slice(&piece[..read]),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What is in the pipe was told, too.
        pipe.read_to_end(&mut heard).unwrap();
        let text = String::from_utf8(heard).unwrap();
        for line in text.lines().filter(|line| line.len() == 16) {
            let mut words = line.split(' ').skip(1);
            let lane = words.next().unwrap().parse().unwrap();
            told.entry(lane).or_default().push(words.next().unwrap().parse().unwrap());
        }
        if kill % 20 == 19 {
            check(&place, &told, &seed_text);
        }
    }
    let total: usize = told.values().map(Vec::len).sum();
    assert!(total > KILLS as usize * 20, "only {total} records were acknowledged");
    println!("{total} acknowledged records, none lost by {KILLS} kills");
}

fn check(place: &Place, told: &HashMap<u16, Vec<u64>>, seed: &str) {
    let mut logged: HashMap<u16, Vec<u64>> = HashMap::new();
    for (lane, call) in shipped(place.path()) {
        logged.entry(lane).or_default().push(call);
    }
    for (lane, told) in told {
        let logged = &logged[lane];
        assert!(logged.is_sorted_by(|a, b| a < b), "lane {lane}, seed {seed}: doubled or swapped");
        let missing = told.iter().find(|call| logged.binary_search(call).is_err());
        assert_eq!(missing, None, "lane {lane}, seed {seed}: acknowledged and not in the log");
    }
    let report = verify_dir(place.path(), &[]);
    assert!(report.is_sound(), "seed {seed}: {:?}", report.findings);
}
