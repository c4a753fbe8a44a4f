//! The program at the network card: packets, a model of what it should do, and what a test needs.
//!
//! The tests run the committed objects, or those in the folder that `PORTCULLIS_EBPF_OBJECTS` names, in
//! the kernel of this machine. Where programs may not be loaded they are skipped, aloud; in CI that fails.

pub mod asked;
pub mod flood;
pub mod model;
pub mod nat;
pub mod net;
pub mod packet;
pub mod scene;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use ebpf_loader::{
    Attribution, Card, Drops, Fault, OBJECT, Owner, Penalty, Prefix, Program, Protocol, Reason,
    STEERING_OBJECT, Service, Table, Target, Tenant, Vlan, now_ns,
};

/// Far enough that no test sees its end.
pub const HOUR_NS: u64 = 3_600_000_000_000;

/// Where programs that were built just now are, by the environment.
const OBJECTS_VARIABLE: &str = "PORTCULLIS_EBPF_OBJECTS";

/// The card's object under test.
///
/// # Panics
/// When the variable names a folder without one that can be read.
#[must_use]
pub fn object() -> Vec<u8> {
    fresh("portcullis").unwrap_or_else(|| OBJECT.to_vec())
}

/// The object under test that spreads connections.
///
/// # Panics
/// As [`object`].
#[must_use]
pub fn steering_object() -> Vec<u8> {
    fresh("steering").unwrap_or_else(|| STEERING_OBJECT.to_vec())
}

fn fresh(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(&std::env::var_os(OBJECTS_VARIABLE)?).join(format!("{name}.o"));
    Some(std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())))
}

/// A card of its own, alive for an hour; `None` where this process may not have one.
///
/// # Panics
/// When the kernel does not take the program, or in CI when it may not be loaded.
#[must_use]
pub fn card(test: &str) -> Option<Card> {
    match Card::load(&object()) {
        Ok(mut card) => {
            card.beat(now_ns() + HOUR_NS).expect("the heartbeat is taken");
            Some(card)
        }
        Err(fault @ Fault::NotPermitted { .. }) => {
            skip(test, &fault.to_string());
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// Says that a test does not run here. In CI that is a failure.
///
/// # Panics
/// Where `CI` is set.
pub fn skip(test: &str, why: &str) {
    let in_ci =
        std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    assert!(!in_ci, "{test} cannot be skipped in CI: {why}");
    told(&format!("SKIPPED: {test}: {why}"));
}

/// Says something that is seen also when the test passes: a figure, a skip.
pub fn told(text: &str) {
    // Not `eprintln!`, which the test runner keeps to itself.
    let _ = writeln!(std::io::stderr(), "    {text}");
}

/// What is tried over and over is tried once in so many times, where an emulated processor would
/// take minutes: `XDP_ONE_IN`.
///
/// # Panics
/// When it is no number.
#[must_use]
pub fn one_in() -> u64 {
    std::env::var("XDP_ONE_IN").map_or(1, |text| text.parse().expect("a number"))
}

/// A drop as the counters tell it.
pub type Counted = (Tenant, Reason, Table);

/// Tries a packet; what was counted of these tenants meanwhile.
///
/// # Panics
/// When more than one drop was counted, or bytes that are not the packet's.
pub fn try_counted(card: &mut Card, packet: &[u8], tenants: &[Tenant]) -> (bool, Option<Counted>) {
    let read = |card: &Card| -> Vec<Drops> {
        tenants.iter().map(|tenant| card.drops(*tenant).expect("counters are read")).collect()
    };
    let before = read(card);
    let run = card.try_packet(Program::Drop, packet, 1).expect("the packet is tried");
    let after = read(card);
    let mut counted = Vec::new();
    for ((tenant, before), after) in tenants.iter().zip(&before).zip(&after) {
        for reason in Reason::ALL {
            let (old, new) = (before.reasons[reason as usize], after.reasons[reason as usize]);
            if new.packets == old.packets {
                continue;
            }
            assert_eq!(new.packets - old.packets, 1);
            assert_eq!(new.bytes - old.bytes, packet.len() as u64);
            for table in Table::ALL {
                if after.tables[table as usize] != before.tables[table as usize] {
                    counted.push((*tenant, reason, table));
                }
            }
        }
    }
    assert!(counted.len() < 2, "{counted:?}");
    (run.passes, counted.pop())
}

/// A service of the gateway.
#[must_use]
pub fn tcp(at: &str) -> Service {
    Service { protocol: Protocol::Tcp, at: at.parse().expect("an address and port") }
}

/// A service of the gateway.
#[must_use]
pub fn quic(at: &str) -> Service {
    Service { protocol: Protocol::Quic, at: at.parse().expect("an address and port") }
}

/// A prefix as people write it.
#[must_use]
pub fn source(text: &str) -> Target {
    let (address, bits) = text.split_once('/').expect("ADDRESS/BITS");
    let prefix = Prefix::new(address.parse().expect("an address"), bits.parse().expect("bits"));
    Target::Source(prefix.expect("so many bits"))
}

/// A host as people write it.
#[must_use]
pub fn host(text: &str) -> Target {
    Target::Source(Prefix::of_host(text.parse().expect("an address")))
}

/// The bit of a source in the filter before the table of hosts.
#[must_use]
pub fn filter_bit(source: IpAddr) -> u32 {
    ebpf_abi::filter_bit(match source {
        IpAddr::V4(ip) => ebpf_abi::host_of_ipv4(u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => ebpf_abi::host(ebpf_abi::address(ip.octets())),
    })
}

/// A VLAN, or one in another.
#[must_use]
pub fn vlan(outer: u16, inner: Option<u16>) -> Target {
    Target::Vlan(Vlan::new(outer, inner).expect("an identifier"))
}

/// A line of the configuration.
#[must_use]
pub fn owned(target: Target, owner: Option<Tenant>) -> Attribution {
    Attribution { target, owner: owner.map_or(Owner::All, Owner::One) }
}

/// A penalty for an hour.
#[must_use]
pub fn hour(tenant: Tenant, reason: Reason) -> Penalty {
    Penalty { tenant, reason, until_ns: now_ns() + HOUR_NS, new_only: false }
}
