//! The buckets against slow twins in exact arithmetic, for every small limit.

use std::num::{NonZeroU32, NonZeroU64};

use dataplane_quota::{Buckets, Limit, Refusal, Refused};
use dataplane_telemetry::Nanos;

/// A bucket that pours one nanosecond at a time: `pour` parts each, a unit costs `price`.
struct Twin {
    parts: u128,
    full: u128,
    pour: u128,
    price: u128,
}

impl Twin {
    fn new(pour: u128, price: u128, burst: u32) -> Self {
        let full = price * u128::from(burst);
        Self { parts: full, full, pour, price }
    }

    fn wait_one(&mut self) {
        self.parts = (self.parts + self.pour).min(self.full);
    }

    fn take(&mut self, units: u32) -> bool {
        let cost = self.price * u128::from(units);
        let enough = self.parts >= cost;
        self.parts -= if enough { cost } else { 0 };
        enough
    }
}

fn limit(units: u32, period_ns: u64, burst: u32) -> Limit {
    let units = NonZeroU32::new(units).unwrap();
    let period_ns = NonZeroU64::new(period_ns).unwrap();
    Limit::new(units, period_ns, NonZeroU32::new(burst).unwrap()).unwrap()
}

/// Calls `check` for each limit of at most 7 units each at most 20 ns, saved up to at most 9.
fn small_limits(check: impl Fn(Limit)) {
    for units in 1..=7 {
        for period_ns in u64::from(units)..=20 {
            for burst in 1..=9 {
                check(limit(units, period_ns, burst));
            }
        }
    }
}

#[test]
fn agrees_with_the_model() {
    small_limits(|limit| {
        // 64 parts a nanosecond, and a unit's time rounded up to a part.
        let price = (limit.period_ns() * 64).div_ceil(limit.units().into());
        let mut twin = Twin::new(64, price.into(), limit.burst());
        let buckets = Buckets::new(1, [0; 16]);
        let key = buckets.key(0, &[b"ann"]);
        let mut now = 1_000;
        for step in 0..100 {
            for _ in 0..step * 7 % 30 {
                twin.wait_one();
                now += 1;
            }
            let units = step * 5 % 11;
            let granted = buckets.take(key, &limit, units, Nanos(now)).is_ok();
            assert_eq!(granted, twin.take(units), "step {step}, {limit:?}");
        }
    });
}

#[test]
fn never_grants_what_the_exact_limit_would_not() {
    small_limits(|limit| {
        // Nothing is rounded: `units` parts a nanosecond, a unit costs `period_ns`.
        let mut exact = Twin::new(limit.units().into(), limit.period_ns().into(), limit.burst());
        let buckets = Buckets::new(1, [0; 16]);
        let key = buckets.key(0, &[b"ann"]);
        for now in 0..500 {
            while buckets.take(key, &limit, 1, Nanos(now)).is_ok() {
                assert!(exact.take(1), "at {now} ns, {limit:?}");
            }
            exact.wait_one();
        }
    });
}

#[test]
fn the_shortfall_is_as_stated() {
    small_limits(|limit| {
        let buckets = Buckets::new(1, [0; 16]);
        let key = buckets.key(0, &[b"ann"]);
        let mut granted = 0;
        let span_ns = 5_000;
        for now in 0..=span_ns {
            while buckets.take(key, &limit, 1, Nanos(now)).is_ok() {
                granted += 1;
            }
        }
        let (units, period_ns) = (u64::from(limit.units()), limit.period_ns());
        let exact = u64::from(limit.burst()) + span_ns * units / period_ns;
        // One part in `64 × period / units`, and the unit under way. A take is only tried each
        // nanosecond here, so a bucket of one unit loses up to a nanosecond a unit by that.
        let lost = exact * units / (64 * period_ns) + 1;
        if limit.burst() > 1 {
            assert!(granted <= exact && granted + lost >= exact, "{granted} {exact} {limit:?}");
        }
    });
}

#[test]
fn a_refusal_says_exactly_when() {
    let limit = limit(3, 1_000_000_000, 3);
    let buckets = Buckets::new(1, [0; 16]);
    let key = buckets.key(0, &[b"ann"]);
    let take = |units, now| buckets.take(key, &limit, units, Nanos(now));
    let third = 333_333_334; // of a second, rounded up
    assert_eq!(take(4, 7), Err(Refusal::TooLarge));
    assert_eq!(take(3, 7), Ok(()));
    assert_eq!(take(1, 7), Err(Refusal::Wait(Nanos(7 + third))));
    assert_eq!(take(1, 7 + third - 1), Err(Refusal::Wait(Nanos(7 + third))));
    assert_eq!(take(1, 7 + third), Ok(()));
    // The clock steps back: nothing is poured, and the part of a unit is kept.
    assert_eq!(take(1, 0), Err(Refusal::Wait(Nanos(7 + 2 * third - 1))));
    assert_eq!(take(0, 0), Ok(()));
}

#[test]
fn all_or_none() {
    let buckets = Buckets::new(100, [0; 16]);
    let tenant = (buckets.key(0, &[b"acme"]), limit(10, 1_000, 10));
    let caller = (buckets.key(1, &[b"acme", b"ann"]), limit(1, 1_000, 2));
    let tool = (caller.0.with_tool(7), limit(1, 4_000, 1));
    let take = |wanted: &[_], now| buckets.take_all(wanted, 1, Nanos(now));
    assert_eq!(take(&[tenant, caller, tool], 5_000), Ok(()));
    // The tool's bucket is empty for longest: it is the one to tell, and nothing else is taken.
    let refused = Refused { limit: 2, why: Refusal::Wait(Nanos(9_000)) };
    for _ in 0..100 {
        assert_eq!(take(&[tenant, caller, tool], 5_000), Err(refused));
    }
    assert_eq!(take(&[tenant, caller], 5_000), Ok(()));
    let refused = Refused { limit: 1, why: Refusal::Wait(Nanos(6_000)) };
    assert_eq!(take(&[tenant, caller], 5_000), Err(refused));
    // Twice the same bucket: the first take is given back.
    let twice = [tenant, tenant, tenant];
    assert_eq!(take(&twice[..2], 5_000), Ok(()));
    assert_eq!(take(&[tenant; 7], 5_000).unwrap_err().limit, 6);
    for _ in 0..6 {
        assert_eq!(take(&[tenant], 5_000), Ok(()));
    }
    assert!(take(&[tenant], 5_000).is_err());
    let huge = buckets.take_all(&[tool, tenant], 3, Nanos(0));
    assert_eq!(huge, Err(Refused { limit: 0, why: Refusal::TooLarge }));
}

#[test]
fn a_full_bucket_gives_its_place_away_and_a_used_one_does_not() {
    let limit = limit(1, 1_000, 1);
    let buckets = Buckets::new(7, [0; 16]);
    let caller = |name: u32| buckets.key(0, &[&name.to_be_bytes()]);
    for name in 0..7 {
        assert_eq!(buckets.take(caller(name), &limit, 1, Nanos(0)), Ok(()), "{name}");
    }
    assert_eq!(buckets.take(caller(7), &limit, 1, Nanos(999)), Err(Refusal::Crowded));
    assert_eq!(buckets.take(caller(3), &limit, 1, Nanos(999)), Err(Refusal::Wait(Nanos(1_000))));
    for name in 7..14 {
        assert_eq!(buckets.take(caller(name), &limit, 1, Nanos(1_000)), Ok(()), "{name}");
    }
}

#[test]
fn the_default_size_holds_sixteen_thousand_at_once() {
    let limit = limit(1, 1_000_000, 1);
    let buckets = Buckets::new(dataplane_quota::SLOTS_DEFAULT, *b"any process' key");
    let take = |name: u32| {
        let key = buckets.key(0, &[&name.to_be_bytes()]);
        buckets.take(key, &limit, 1, Nanos(0))
    };
    let crowded = (0..16_000).filter(|name| take(*name) == Err(Refusal::Crowded)).count();
    assert!(crowded <= 2, "{crowded}");
}

#[test]
fn past_the_end_of_time_nothing_is_granted() {
    let limit = limit(1, 1_000, 2);
    let buckets = Buckets::new(1, [0; 16]);
    for (name, now) in [(1, u64::MAX), (2, u64::MAX / 64)] {
        let key = buckets.key(name, &[]);
        let refused = Err(Refusal::Wait(Nanos(u64::MAX)));
        assert_eq!(buckets.take(key, &limit, 1, Nanos(now)), refused);
    }
}
