//! The pipeline under seeds. `SIM_SEED=n` replays one, `SIM_SEEDS=count` runs so many; a failure says
//! how to replay it.

use std::sync::atomic::{AtomicU64, Ordering};

use tests_sim::Swarm;

/// Seeds of a run that asks for no other number: within a minute in the dev profile on two cores.
const SEEDS_DEFAULT: u64 = 2_000;
/// One in so many is run twice, and both runs must be the same.
const TWICE_EVERY: u64 = 16;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Names the seed when its run panics.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with: cargo xtask sim --seed {}", self.0);
        }
    }
}

fn run(seed: u64, twice: bool) -> tests_sim::Outcome {
    let _running = Running(seed);
    let outcome = Swarm::run(seed);
    if twice {
        assert_eq!(outcome, Swarm::run(seed), "two runs of one seed differ");
    }
    outcome
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("SIM_SEED") {
        println!("{:#?}", run(seed, true));
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let next = AtomicU64::new(0);
    let started = std::time::Instant::now();
    let worker = || {
        let mut seen = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return seen;
            }
            seen.push(run(seed, seed.is_multiple_of(TWICE_EVERY)).seen);
        }
    };
    let seen: Vec<_> = std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |of: fn(&tests_sim::Seen) -> u64| seen.iter().map(of).sum::<u64>();
    let counts = [
        ("answered", sum(|seen| seen.answered)),
        ("denied", sum(|seen| seen.denied)),
        ("killed", sum(|seen| seen.killed)),
        ("unrecorded", sum(|seen| seen.unrecorded)),
        ("server faults", sum(|seen| seen.server_faults)),
        ("streams", sum(|seen| seen.streams)),
        ("forwarded", sum(|seen| seen.forwarded)),
        ("lists", sum(|seen| seen.lists)),
        ("cancelled", sum(|seen| seen.cancelled)),
    ];
    println!("{seeds} seeds in {:.1?}: {counts:?}", started.elapsed());
    let unseen: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).collect();
    assert!(seeds < SEEDS_DEFAULT || unseen.is_empty(), "never met: {unseen:?}");
}
