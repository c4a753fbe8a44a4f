//! The cache and the budget of checks: nothing outlives its end, and a hit is free.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use dataplane_auth::{
    CHECKS_FAILED_PER_SOURCE_BURST, CHECKS_FAILED_TOTAL_BURST, Cache, Caller, CallerKind,
    CredentialKind, MissBudget,
};
use dataplane_quota::Refusal;
use dataplane_telemetry::{Nanos, WallNanos};

const END: WallNanos = WallNanos(1_000);
const BEFORE: WallNanos = WallNanos(999);
const HERE: &str = "https://gateway.example.com/mcp";

fn caller(name: &str, expires_at: WallNanos) -> Caller {
    let text = |prefix: &str| Some(format!("{prefix}{name}"));
    Caller {
        tenant: "acme".to_owned(),
        kind: CallerKind::User,
        user: text(""),
        agent: None,
        roles: vec![],
        groups: vec![],
        client_id: text("client-"),
        token_id: text("token-"),
        subject: text("subject-"),
        credential: CredentialKind::Token,
        provider: "okta".to_owned(),
        issued_at: Some(WallNanos(500)),
        expires_at,
    }
}

#[test]
fn an_entry_ends_with_its_token_and_with_its_epoch() {
    let mut cache = Cache::new(8, [1; 16]);
    let key = cache.key(HERE, b"token");
    assert_eq!(cache.lookup(key, BEFORE, 1), None);
    cache.admit(key, caller("ann", END), 1);
    assert_eq!(cache.lookup(key, BEFORE, 1), Some(&caller("ann", END)));
    assert_eq!(cache.lookup(key, END, 1), None);
    // Gone, not merely hidden: a clock that steps back does not bring it back.
    assert_eq!(cache.lookup(key, BEFORE, 1), None);
    assert_eq!(cache.held(), 0);
    cache.admit(key, caller("ann", END), 1);
    assert_eq!(cache.lookup(key, BEFORE, 2), None);
    assert_eq!(cache.lookup(key, BEFORE, 1), None);
}

#[test]
fn what_is_good_at_one_endpoint_is_not_thereby_good_at_another() {
    let mut cache = Cache::new(8, [1; 16]);
    let key = cache.key("ab", b"c-token");
    cache.admit(key, caller("ann", END), 1);
    for (audience, token) in [("a", &b"bc-token"[..]), ("abc", b"-token"), ("ab", b"c-tokeN")] {
        let other = cache.key(audience, token);
        assert_eq!(cache.lookup(other, BEFORE, 1), None, "{audience}");
    }
    assert!(Cache::<Caller>::new(8, [2; 16]).key("ab", b"c-token") != key);
}

#[test]
fn the_least_used_goes_and_the_table_does_not_grow() {
    let mut cache = Cache::new(8, [1; 16]);
    let key = |cache: &Cache<Caller>, number: u32| cache.key(HERE, &number.to_be_bytes());
    for number in 0..8 {
        cache.admit(key(&cache, number), caller("c", END), 1);
    }
    // All but the fourth are used once more.
    for number in (0..8).filter(|number| *number != 3) {
        assert!(cache.lookup(key(&cache, number), BEFORE, 1).is_some());
    }
    cache.admit(key(&cache, 8), caller("c", END), 1);
    assert_eq!(cache.lookup(key(&cache, 3), BEFORE, 1), None);
    assert!(cache.lookup(key(&cache, 8), BEFORE, 1).is_some());
    for number in 0..10_000 {
        cache.admit(key(&cache, number), caller("c", END), 1);
    }
    assert_eq!(cache.held(), 8);
}

/// A plain map of what was admitted: the cache may forget, but never find what the map has not.
#[test]
fn agrees_with_the_model() {
    let mut cache = Cache::<Caller>::new(64, [1; 16]);
    let mut model: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let (mut random, mut found) = (1_u64, 0);
    for step in 0..20_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let token = u32::try_from(random >> 32).unwrap() % 100;
        let (now, epoch) = (step, step / 2_000);
        let key = cache.key(HERE, &token.to_be_bytes());
        let hit = cache.lookup(key, WallNanos(now), epoch).cloned();
        if let Some(caller) = &hit {
            let (end, of_epoch) = model[&token];
            assert_eq!((caller.expires_at, epoch), (WallNanos(end), of_epoch));
            assert!(now < end);
            found += 1;
        } else {
            let end = now + 1 + random % 500;
            model.insert(token, (end, epoch));
            cache.admit(key, caller("c", WallNanos(end)), epoch);
        }
    }
    assert!(found > 8_000, "{found}");
}

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator.
#[expect(unsafe_code, reason = "a global allocator, to count")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_hit_and_a_miss_allocate_nothing() {
    let mut cache = Cache::new(64, [1; 16]);
    let token = [b'x'; 1_028];
    let key = cache.key(HERE, &token);
    cache.admit(key, caller("ann", END), 1);
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        let key = cache.key(HERE, &token);
        assert!(cache.lookup(key, BEFORE, 1).is_some());
        let other = cache.key(HERE, &token[1..]);
        assert!(cache.lookup(other, BEFORE, 1).is_none());
    }
    assert_eq!(ALLOCATIONS.get(), before);
}

fn budget() -> MissBudget {
    MissBudget::new(7_000, [3; 16]).unwrap()
}

fn source(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_source_that_forges_is_stopped_and_its_neighbours_are_not() {
    let budget = budget();
    let (evil, good) = (source("192.0.2.1"), source("192.0.2.2"));
    let now = Nanos(1_000);
    for _ in 0..CHECKS_FAILED_PER_SOURCE_BURST.get() {
        assert_eq!(budget.may_check(evil, now), Ok(()));
        budget.failed(evil, now);
    }
    // 5 a second.
    let again = Nanos(now.0 + 200_000_000);
    assert_eq!(budget.may_check(evil, now), Err(Refusal::Wait(again)));
    assert_eq!(budget.may_check(evil, again), Ok(()));
    assert_eq!(budget.may_check(good, now), Ok(()));
    // Checks that succeed are not counted, however many.
    for _ in 0..10_000 {
        assert_eq!(budget.may_check(good, now), Ok(()));
    }
    let mapped = source("::ffff:192.0.2.1");
    assert_eq!(budget.may_check(mapped, now), Err(Refusal::Wait(again)));
}

#[test]
fn an_ipv6_network_is_one_source_and_all_sources_have_a_bound() {
    let budget = budget();
    let now = Nanos(1_000);
    for host in 0..CHECKS_FAILED_PER_SOURCE_BURST.get() {
        budget.failed(source(&format!("2001:db8:0:1::{host:x}")), now);
    }
    assert!(budget.may_check(source("2001:db8:0:1:ffff::9"), now).is_err());
    assert!(budget.may_check(source("2001:db8:0:2::9"), now).is_ok());
    for network in 0..CHECKS_FAILED_TOTAL_BURST.get() {
        budget.failed(source(&format!("2001:db8:1:{network:x}::1")), now);
    }
    assert!(budget.may_check(source("198.51.100.1"), now).is_err());
    assert!(budget.may_check(source("198.51.100.1"), Nanos(1_000_000_000)).is_ok());
}
