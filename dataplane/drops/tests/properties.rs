//! The machine under random operations: nothing leaks, nobody is dropped for a neighbour.

use dataplane_drops::fuzz;

/// SplitMix64: the same bytes for the same seed everywhere.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words.take(count.div_ceil(8)).flat_map(u64::to_le_bytes).take(count).collect()
}

/// Says the seed when it fails.
fn play(seed: u64, operations: usize) {
    let bytes = bytes(seed, operations * 6);
    let played = std::panic::catch_unwind(|| fuzz::operations(&bytes));
    if let Err(why) = played {
        eprintln!("seed {seed} with {operations} operations");
        std::panic::resume_unwind(why);
    }
}

#[test]
fn no_seed_drops_a_neighbour_or_outlives_its_cap() {
    for seed in 0..400 {
        play(seed, 500);
    }
}

#[test]
fn a_million_operations_leak_nothing() {
    for seed in 0..20 {
        play(1_000 + seed, 50_000);
    }
}
