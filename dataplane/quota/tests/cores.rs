//! Real cores on one table: whatever they interleave, nobody gets more than burst + rate × time.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use dataplane_quota::{Buckets, Limit};
use dataplane_telemetry::Nanos;

const CORES: u64 = 4;

fn limit(units: u32, period_ns: u64, burst: u32) -> Limit {
    let units = NonZeroU32::new(units).unwrap();
    let period_ns = NonZeroU64::new(period_ns).unwrap();
    Limit::new(units, period_ns, NonZeroU32::new(burst).unwrap()).unwrap()
}

#[test]
fn this_machine_has_the_wide_compare_and_swap() {
    assert!(Buckets::lock_free());
}

#[test]
fn exactly_the_burst_while_the_clock_stands() {
    for round in 0..200 {
        let buckets = Buckets::new(7, [round; 16]);
        let limit = limit(1, 1_000_000, 1_000);
        let granted = AtomicU32::new(0);
        let (key, other) = (buckets.key(0, &[b"ann"]), buckets.key(0, &[b"bob"]));
        thread::scope(|scope| {
            for _ in 0..CORES {
                scope.spawn(|| {
                    for _ in 0..400 {
                        let taken = buckets.take(key, &limit, 1, Nanos(5));
                        granted.fetch_add(u32::from(taken.is_ok()), Ordering::Relaxed);
                        let _ = buckets.take(other, &limit, 1, Nanos(5));
                    }
                });
            }
        });
        assert_eq!(granted.load(Ordering::Relaxed), 1_000);
    }
}

/// More callers than places, so that buckets are pushed out and move in again all the time; each
/// core reads the clock late by another amount.
#[test]
fn the_bound_holds_while_callers_push_each_other_out() {
    const CALLERS: usize = 12;
    const END_NS: u64 = 60_000;
    for round in 0..20 {
        let buckets = Buckets::new(7, [round; 16]);
        let limit = limit(2, 900, 5);
        let clock = AtomicU64::new(0);
        let granted = [const { AtomicU64::new(0) }; CALLERS];
        thread::scope(|scope| {
            for core in 0..CORES {
                let (buckets, clock, granted) = (&buckets, &clock, &granted);
                scope.spawn(move || {
                    let mut turn = core;
                    loop {
                        let now = clock.fetch_add(1, Ordering::Relaxed);
                        if now > END_NS {
                            return;
                        }
                        // This core acts on a reading that is up to 300 ns old.
                        let late = now.saturating_sub(core * 100);
                        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                        // In use by turns, so that the others' buckets fill up again.
                        let caller = usize::try_from((turn >> 40) % 4 + now / 5_000 * 4).unwrap();
                        let caller = caller % CALLERS;
                        let key = buckets.key(0, &[&caller.to_be_bytes()]);
                        let taken = buckets.take(key, &limit, 1, Nanos(late));
                        granted[caller].fetch_add(u64::from(taken.is_ok()), Ordering::Relaxed);
                    }
                });
            }
        });
        let bound = 5 + (END_NS + CORES) * 2 / 900;
        for (caller, granted) in granted.iter().enumerate() {
            let granted = granted.load(Ordering::Relaxed);
            assert!(granted <= bound, "caller {caller}: {granted} of {bound}");
            assert!(granted > 5, "caller {caller} was served once at least: {granted}");
        }
    }
}
