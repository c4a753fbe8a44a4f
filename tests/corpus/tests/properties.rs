//! Each property over its corpus, and over mutations of it.
//!
//! `FUZZ_SEED=N` replays a seed, `FUZZ_ROUNDS=N` makes more inputs a target.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tests_corpus::{Mutator, TARGETS, Target, corpus, fuzz_folder};

const SEED: u64 = 2026;
/// Inputs a target: all targets together take seconds.
const ROUNDS: u64 = 3_000;

#[test]
fn a_target_for_each_property_and_a_seed_for_each_target() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz_folder().join(folder)).unwrap();
        let name =
            |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| name(entry.unwrap().path())).collect()
    };
    let known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), known);
    assert_eq!(names("corpus"), known);
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "no [[bin]] {name}");
        assert!(!corpus(name).is_empty(), "no seed for {name}");
    }
}

#[test]
fn every_property_holds_on_its_corpus() {
    for target in TARGETS {
        for (name, bytes) in corpus(target.name) {
            check(target, &bytes, &name);
        }
    }
}

#[test]
fn every_property_holds_on_mutations() {
    let seed = number("FUZZ_SEED", SEED);
    for target in TARGETS {
        let seeds = corpus(target.name);
        let mut mutator = Mutator::new(seed);
        for _ in 0..number("FUZZ_ROUNDS", ROUNDS) {
            let (name, from) = &seeds[mutator.below(seeds.len())];
            let (_, other) = &seeds[mutator.below(seeds.len())];
            let input = mutator.mutate(from, other);
            check(target, &input, &format!("{name} under FUZZ_SEED={seed}"));
        }
    }
}

fn check(target: &Target, input: &[u8], from: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| (target.property)(input)));
    assert!(
        held.is_ok(),
        "{} does not hold on {from}; the input:\n{}",
        target.name,
        input.escape_ascii()
    );
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
