//! What is counted: all stages, once each, without the policy compiler in the program.
//!
//! `stages count TABLE [STAGE]` runs each a fixed number of times, for callgrind, or one of them for
//! a profile of its own; `stages time TABLE [STAGE]` prints nanoseconds, the best of several rounds,
//! for people on a quiet machine.

use std::time::Instant;

use anyhow::{Context, bail};
use benches::callgrind::CALLS;
use benches::stages::run_all;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls before those that count: caches are filled and buffers have grown.
const WARM_UP: u64 = 50;
const TIMED_ROUNDS: usize = 9;
const TIMED_CALLS: u64 = 20_000;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(verb), Some(path)) = (words.next(), words.next()) else {
        bail!("usage: stages count|time TABLE [STAGE]");
    };
    let only = words.next();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let table = std::fs::read(&path).context(path)?;
    match verb.as_str() {
        "count" => run_all(&table, &mut |name, stage| {
            if wanted(name) {
                repeat(WARM_UP, stage);
                measured_stage(CALLS, stage);
            }
            Ok(())
        }),
        "time" => run_all(&table, &mut |name, stage| {
            if wanted(name) {
                println!("{name:<34} {:>10.1} ns", time_ns(stage));
            }
            Ok(())
        }),
        other => bail!("`{other}` is not count or time"),
    }
}

fn repeat(calls: u64, stage: &mut dyn FnMut()) {
    for _ in 0..calls {
        stage();
    }
}

/// Callgrind knows this function by its name.
#[inline(never)]
fn measured_stage(calls: u64, stage: &mut dyn FnMut()) {
    repeat(calls, stage);
}

fn time_ns(stage: &mut dyn FnMut()) -> f64 {
    repeat(WARM_UP, stage);
    // A long stage is called less often: a round stays below a second.
    let begun = Instant::now();
    repeat(WARM_UP, stage);
    let one_ns = (begun.elapsed().as_nanos() / u128::from(WARM_UP)).max(1) as u64;
    let calls = TIMED_CALLS.min(500_000_000 / one_ns).max(10);
    let rounds = (0..TIMED_ROUNDS).map(|_| {
        let begun = Instant::now();
        repeat(calls, stage);
        begun.elapsed().as_nanos() as f64 / calls as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}
