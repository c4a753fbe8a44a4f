//! The corpus is what the builders make today: a seed of an old format would exercise nothing.
//!
//! `BLESS=1` (`cargo xtask bless --package tests-corpus`) writes the seeds anew.

mod binary;
mod text;

use std::collections::BTreeMap;
use std::fs;

use tests_corpus::fuzz_folder;

type Seeds = BTreeMap<(&'static str, &'static str), Vec<u8>>;

#[test]
fn the_corpus_is_what_the_builders_make() {
    let mut seeds: Seeds = BTreeMap::new();
    for (target, name, text) in text::SEEDS {
        seeds.insert((target, name), text.as_bytes().to_vec());
    }
    for (target, name, bytes) in binary::seeds() {
        seeds.insert((target, name), bytes);
    }
    let bless = std::env::var_os("BLESS").is_some_and(|value| !value.is_empty());
    for ((target, name), bytes) in seeds {
        let path = fuzz_folder().join("corpus").join(target).join(name);
        if bless {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{target}/{name} is of another format: cargo xtask bless");
    }
}
