//! Leases from outside: what is lent, until when, and that nothing is left behind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use dataplane_telemetry::WallNanos;
use dataplane_vault::{
    LeaseFault, Leases, NAME_BYTES_MAX, PutFault, SECRETS_MAX, SecretIndex, VALUE_BYTES_MAX, Why,
};

const NOW: WallNanos = WallNanos(1_000);
const END: WallNanos = WallNanos(2_000);

fn empty(bytes: usize) -> Leases<Vec<u8>> {
    Leases::new(vec![0xaa; bytes])
}

fn put(leases: &mut Leases<Vec<u8>>, name: &str, value: &[u8]) -> Result<SecretIndex, PutFault> {
    leases.put(name, 1, value, END, NOW)
}

#[test]
fn a_lease_ends_to_the_nanosecond_also_where_nobody_sweeps() {
    let mut leases = empty(64);
    let index = put(&mut leases, "crm-key", b"Bearer abc").unwrap();
    assert_eq!(leases.lend(index, WallNanos(END.0 - 1)), Ok(&b"Bearer abc"[..]));
    let over = Err(LeaseFault { secret: "crm-key", why: Why::Expired { since: END } });
    assert_eq!(leases.lend(index, END), over);
    assert_eq!(leases.next_expiry(), Some(END));
    assert_eq!(leases.expire(WallNanos(END.0 - 1)), 0);
    assert_eq!(leases.expire(END), 1);
    assert_eq!((leases.held(), leases.next_expiry()), (0, None));
    // Still the same answer after the sweep, and also where the clock steps back.
    assert_eq!(leases.lend(index, NOW), over);
}

#[test]
fn a_missing_and_a_revoked_secret_are_told_apart() {
    let mut leases = empty(64);
    let index = leases.index("crm-key").unwrap();
    let missing = leases.lend(index, NOW).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "secret \"crm-key\" is not on this appliance: set it with `portcullis secrets set crm-key` \
         and check that the control plane is connected"
    );
    assert_eq!(put(&mut leases, "crm-key", b"x"), Ok(index));
    assert!(leases.revoke("crm-key") && !leases.revoke("crm-key") && !leases.revoke("other"));
    let revoked = leases.lend(index, NOW).unwrap_err();
    assert_eq!(revoked.to_string(), "secret \"crm-key\" was taken back by the control plane");
}

#[test]
fn a_renewal_needs_the_same_revision_and_a_lease_that_holds() {
    let mut leases = empty(64);
    let later = WallNanos(9_000);
    let index = leases.put("a", 7, b"x", END, NOW).unwrap();
    assert_eq!(leases.renew("a", 7, later, NOW), Ok(index));
    assert!(leases.lend(index, WallNanos(8_999)).is_ok());
    for (name, revision, end, wall, fault) in [
        ("a", 6, later, NOW, PutFault::NotHeld),
        ("a", 8, later, NOW, PutFault::NotHeld),
        ("b", 7, later, NOW, PutFault::NotHeld),
        ("a", 7, NOW, NOW, PutFault::Over { since: NOW }),
        ("a", 7, WallNanos(99_999), later, PutFault::NotHeld),
    ] {
        assert_eq!(leases.renew(name, revision, end, wall), Err(fault));
    }
}

#[test]
fn an_older_revision_does_not_come_back() {
    let mut leases = empty(64);
    leases.put("a", 7, b"new", END, NOW).unwrap();
    let older = Err(PutFault::Older { held: 7, offered: 6 });
    assert_eq!(leases.put("a", 6, b"old", END, NOW), older);
    leases.revoke("a");
    assert_eq!(leases.put("a", 6, b"old", END, NOW), older);
    let index = leases.put("a", 8, b"newer", END, NOW).unwrap();
    assert_eq!(leases.lend(index, NOW), Ok(&b"newer"[..]));
}

#[test]
fn one_past_each_limit() {
    let mut leases = empty(2 * VALUE_BYTES_MAX);
    let long = vec![b'x'; VALUE_BYTES_MAX + 1];
    assert!(put(&mut leases, "a", &long[1..]).is_ok());
    let bytes = long.len();
    assert_eq!(put(&mut leases, "a", &long), Err(PutFault::TooLong { bytes }));
    assert_eq!(put(&mut leases, "a", b""), Err(PutFault::Empty));
    assert_eq!(put(&mut leases, "a", b"x\r\nHost: evil"), Err(PutFault::Control { place: 1 }));
    let name = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(put(&mut leases, &name[1..], b"x").is_ok());
    for name in [&*name, "", "a b", "a\n", "é"] {
        assert_eq!(put(&mut leases, name, b"x"), Err(PutFault::Name), "{name:?}");
    }
    assert_eq!(leases.put("late", 1, b"x", NOW, NOW), Err(PutFault::Over { since: NOW }));
}

#[test]
fn one_past_the_number_of_secrets() {
    let mut leases = empty(SECRETS_MAX);
    for number in 0..SECRETS_MAX {
        assert!(put(&mut leases, &format!("s{number}"), b"x").is_ok());
    }
    assert_eq!(put(&mut leases, "one-more", b"x"), Err(PutFault::TooMany));
    // What no catalog names any more makes room, and is gone.
    leases.retain(|name| name != "s7");
    assert_eq!((leases.held(), leases.find("s7")), (SECRETS_MAX - 1, None));
    assert!(put(&mut leases, "one-more", b"x").is_ok());
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut leases = empty(10);
    let a = put(&mut leases, "a", b"12345").unwrap();
    assert_eq!(put(&mut leases, "b", b"123456"), Err(PutFault::Full { bytes: 6, free_bytes: 5 }));
    assert_eq!(
        put(&mut leases, "a", b"12345678901"),
        Err(PutFault::Full { bytes: 11, free_bytes: 10 })
    );
    assert_eq!(leases.lend(a, NOW), Ok(&b"12345"[..]));
    // Its own room counts as free when it is replaced.
    assert_eq!(put(&mut leases, "a", b"1234567890"), Ok(a));
}

#[test]
fn no_value_is_ever_printed() {
    let mut leases = empty(64);
    let index = put(&mut leases, "crm-key", b"hunter2").unwrap();
    let mut shown = format!("{leases:?}");
    leases.expire(END);
    shown += &format!("{leases:?} {:?} {}", index, leases.lend(index, END).unwrap_err());
    assert!(shown.contains("crm-key"));
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}

/// Memory that outlives the table, so that a test can look at what is left.
struct Shared(Rc<RefCell<Vec<u8>>>, Vec<u8>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl AsMut<[u8]> for Shared {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.borrow_mut().extend_from_slice(&self.1);
    }
}

#[test]
fn nothing_is_left_when_the_table_goes() {
    let left = Rc::default();
    let mut leases = Leases::new(Shared(Rc::clone(&left), vec![0; 64]));
    leases.put("a", 1, b"hunter2", END, NOW).unwrap();
    drop(leases);
    assert_eq!(*left.borrow(), vec![0; 64]);
}

/// A map of values says what is held.
#[test]
fn agrees_with_the_model() {
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut leases = empty(256);
        let mut model: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
        let mut now = 1;
        for revision in 1..200 {
            now += next(3);
            let name = format!("s{}", next(9));
            match next(8) {
                0 => {
                    assert_eq!(leases.revoke(&name), model.remove(&name).is_some());
                }
                1 => {
                    leases.expire(WallNanos(now));
                    model.retain(|_, (_, end)| *end > now);
                }
                _ => {
                    let value = vec![b'a' + u8::try_from(next(26)).unwrap(); 1 + next(60) as usize];
                    let end = now + 1 + next(40);
                    let put = leases.put(&name, revision, &value, WallNanos(end), WallNanos(now));
                    let own = model.get(&name).map_or(0, |(value, _)| value.len());
                    let used: usize = model.values().map(|(value, _)| value.len()).sum();
                    assert_eq!(put.is_ok(), used - own + value.len() <= 256, "{put:?}");
                    if put.is_ok() {
                        model.insert(name, (value, end));
                    }
                }
            }
            for (name, (value, end)) in &model {
                let lent = leases.lend(leases.find(name).unwrap(), WallNanos(now));
                assert_eq!(lent.ok(), (now < *end).then_some(&**value), "seed {seed}");
            }
        }
    }
}
