//! What a packet costs, as multiples of an empty program in the same run.
//!
//! The best of five, since neighbours on the machine can only make it slower; the empty program is
//! measured between the others. The bounds are the product's promise, on the machine that builds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use ebpf_loader::{Card, Flow, Prefix, Program, Protocol, Rate, Reason, Service, Target, Tenant};
use tests_xdp::packet::{ACK, Packet, SYN};
use tests_xdp::{card, hour, owned, tcp, told, vlan};

const REPEAT: u32 = 300_000;
const ROUNDS: usize = 5;

const TENANT: Tenant = Tenant(7);
const AGENT: &str = "10.1.1.1:40000";
const OTHER: &str = "10.9.9.9:40000";
const OTHER6: &str = "[fd00:9::9]:40000";
const VIP: &str = "10.0.0.1:443";
const VIP6: &str = "[fd00:1::1]:443";

struct Cost {
    what: &'static str,
    packet: Packet,
    passes: bool,
    /// Multiples of an empty program.
    at_most: f64,
}

fn cost(what: &'static str, packet: Packet, passes: bool, at_most: f64) -> Cost {
    Cost { what, packet, passes, at_most }
}

/// Measures all, and tells all before one fails.
fn check(card: &mut Card, costs: &[Cost]) {
    let mut dear = Vec::new();
    for Cost { what, packet, passes, at_most } in costs {
        let bytes = packet.bytes();
        let (mut floor, mut best) = (u64::MAX, u64::MAX);
        for _ in 0..ROUNDS {
            let run = card.try_packet(Program::Floor, &bytes, REPEAT).unwrap();
            floor = floor.min(run.ns);
            let run = card.try_packet(Program::Drop, &bytes, REPEAT).unwrap();
            assert_eq!(run.passes, *passes, "{what}");
            best = best.min(run.ns);
        }
        let ratio = best as f64 / floor as f64;
        let line = format!("{what:<48} {best:>4} ns over {floor:>3} ns: {ratio:>5.2} of {at_most}");
        told(&line);
        if ratio > *at_most {
            dear.push(line);
        }
    }
    assert!(dear.is_empty(), "dearer than promised:\n{}", dear.join("\n"));
}

#[test]
fn a_packet_costs_what_is_promised() {
    let Some(mut card) = card("a_packet_costs_what_is_promised") else { return };
    let ack = |from| Packet::tcp(from, VIP, ACK);
    let ack6 = |from| Packet::tcp(from, VIP6, ACK);
    let own = |at| owned(Target::Service(tcp(at)), None);
    card.configure(&[own(VIP), own(VIP6)]).unwrap();
    check(&mut card, &[cost("pass, empty tables", ack(AGENT), true, 1.2)]);

    full(&mut card);
    let costs = [
        cost("drop by host, full tables", Packet::tcp("10.1.1.1:1", VIP, ACK), false, 5.0),
        cost("drop by host, IPv6", Packet::tcp("[fd00::1]:1", VIP6, ACK), false, 5.0),
        cost("drop by prefix, full tables", Packet::tcp("10.128.0.1:1", VIP, ACK), false, 5.0),
        cost("drop by prefix, IPv6", Packet::tcp("[fd80:0:1::1]:1", VIP6, ACK), false, 5.0),
        cost("drop by flow, full tables", ack(OTHER), false, 6.0),
        cost("drop by flow, IPv6", ack6(OTHER6), false, 6.0),
        cost("pass, full tables", Packet::tcp("10.9.9.9:1", VIP, ACK), true, 6.0),
        cost("pass, full tables, IPv6", Packet::tcp("[fd00:9::9]:1", VIP6, ACK), true, 6.0),
        cost("pass, not the gateway's", Packet::tcp(AGENT, "10.0.0.1:22", ACK), true, 6.0),
        cost("thinned by the bucket", Packet::tcp("10.9.9.9:1", ACMES, SYN), false, 10.0),
    ];
    check(&mut card, &costs);
}

const ACMES: &str = "10.0.1.7:443";

/// Every table to its brim, so that each is asked.
fn full(card: &mut Card) {
    let address = |at: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0100 + at));
    let service =
        |at: u32| Service { protocol: Protocol::Tcp, at: SocketAddr::new(address(at), 443) };
    let mut wanted: Vec<_> = (0..1_022)
        .map(|at| owned(Target::Service(service(at)), Some(Tenant(1 + at % 4_000))))
        .collect();
    wanted.push(owned(Target::Service(tcp(VIP)), None));
    wanted.push(owned(Target::Service(tcp(VIP6)), None));
    wanted.extend((1..=4_094).map(|id| owned(vlan(id, None), Some(TENANT))));
    card.configure(&wanted).unwrap();
    card.penalise(Target::Service(service(0)), hour(Tenant(1), Reason::Kill)).unwrap();
    let rate = Rate { each: Duration::from_secs(1), burst: NonZeroU32::MIN };
    for tenant in 1..4_000 {
        card.limit_connections(Tenant(tenant), Some(rate)).unwrap();
    }
    let penalty = hour(TENANT, Reason::Refusals);
    let prefixes = card.fill().into_iter().find(|fill| fill.table == "prefixes").unwrap();
    for at in 0..prefixes.max {
        // Around nobody that is asked for, and beside everybody.
        let prefix = match at % 2 {
            0 => Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0a80_0000 + at * 256)), 25),
            _ => Prefix::new(
                IpAddr::V6(Ipv6Addr::from((0xfd80_u128 << 112) + (u128::from(at) << 80))),
                48,
            ),
        };
        card.penalise(Target::Source(prefix.unwrap()), penalty).unwrap();
    }
    let mut source = |ip: IpAddr| {
        let prefix = Prefix::of_host(ip);
        card.penalise(Target::Source(prefix), penalty).unwrap();
    };
    source("10.1.1.1".parse().unwrap());
    source("fd00::1".parse().unwrap());
    for at in 0..16_382_u32 {
        // Half of each version, spread as addresses of a company are.
        source(match at % 2 {
            0 => IpAddr::V4(Ipv4Addr::from(0x0a02_0000 + at * 5)),
            _ => IpAddr::V6(Ipv6Addr::from((0xfd00_0000_u128 << 96) + (u128::from(at) << 66))),
        });
    }
    let mut flow = |source: &str, destination: &str| {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let flow = Flow { protocol: Protocol::Tcp, source, destination };
        card.penalise(Target::Flow(flow), penalty).unwrap();
    };
    flow(OTHER, VIP);
    flow(OTHER6, VIP6);
    for at in 0..65_534_u32 {
        flow(&format!("10.3.{}.{}:{}", at % 8, at % 251, 1_024 + at / 8), VIP);
    }
    for fill in card.fill() {
        told(&format!("{:<9} {:>6} of {:>6}", fill.table, fill.entries, fill.max));
    }
}

#[test]
fn the_kernel_verifies_it_quickly() {
    let Some(mut card) = card("the_kernel_verifies_it_quickly") else { return };
    let status = card.status().unwrap();
    let verified = status.verified.unwrap_or(0);
    let ms = |ns: u64| ns as f64 / 1e6;
    told(&format!(
        "{verified} instructions verified of 1,000,000, {:.1} ms; all loaded in {:.1} ms; \
         {} bytes of machine code, tag {:016x}",
        ms(status.verifying_ns),
        ms(status.loading_ns),
        status.machine_bytes,
        status.tag
    ));
    assert!(verified < 100_000, "{verified}");
}
