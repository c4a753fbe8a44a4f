//! What a packet costs, as multiples of an empty program in the same run.
//!
//! The best of five, since neighbours on the machine can only make it slower; the empty program is
//! measured between the others, and its best counts, too. Each of the five loads the program and fills the
//! tables anew, so they are seconds apart: longer than a neighbour's busy moment. The bounds are the
//! product's promise, on the machine that builds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use ebpf_loader::{Card, Flow, Prefix, Program, Protocol, Rate, Reason, Service, Target, Tenant};
use tests_xdp::packet::{ACK, Packet, SYN};
use tests_xdp::{card, filter_bit, hour, owned, tcp, told, vlan};

const LOADS: usize = 5;
/// A millisecond each, or a few: less than what disturbs a processor lies apart.
const REPEAT: u32 = 10_000;
const ROUNDS: usize = 10;
/// Where one is measured by itself, a round is over sooner.
const ROUNDS_OF_ONE: usize = 40;

const TENANT: Tenant = Tenant(7);
const AGENT: &str = "10.1.1.1:40000";
const OTHER: &str = "10.9.9.9:40000";
const OTHER6: &str = "[fd00:9::9]:40000";
/// No penalised host, but the bit of one in the filter: of a full table's others, one in sixteen.
const SHARES_A_BIT: &str = "10.9.9.4:40000";
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

/// Nanoseconds of a packet, the best that was seen.
#[derive(Clone, Copy)]
struct Best {
    floor: u64,
    ns: u64,
}

impl Best {
    const NONE: Self = Self { floor: u64::MAX, ns: u64::MAX };

    fn measure(&mut self, card: &mut Card, Cost { what, packet, passes, .. }: &Cost) {
        let bytes = packet.bytes();
        let run = card.try_packet(Program::Floor, &bytes, REPEAT).unwrap();
        self.floor = self.floor.min(run.ns);
        let run = card.try_packet(Program::Drop, &bytes, REPEAT).unwrap();
        assert_eq!(run.passes, *passes, "{what}");
        self.ns = self.ns.min(run.ns);
    }

    /// Multiples of an empty program. The kernel cuts off what is no whole nanosecond: half of one on average.
    fn ratio(self) -> f64 {
        (self.ns as f64 + 0.5) / (self.floor as f64 + 0.5)
    }
}

/// All of them in each round: what disturbs for a tenth of a second spares the other rounds of each.
fn measure(card: &mut Card, costs: &[Cost], best: &mut [Best], rounds: usize) {
    for _ in 0..rounds {
        costs.iter().zip(&mut *best).for_each(|(cost, best)| best.measure(card, cost));
    }
}

#[test]
fn a_packet_costs_what_is_promised() {
    let (empty, filled) = costs();
    let costs = || empty.iter().chain(&filled);
    let mut best: Vec<Best> = costs().map(|_| Best::NONE).collect();
    for load in 0..LOADS {
        let Some(mut card) = card("a_packet_costs_what_is_promised") else { return };
        let own = |at| owned(Target::Service(tcp(at)), None);
        card.configure(&[own(VIP), own(VIP6)]).unwrap();
        let (of_empty, of_filled) = best.split_at_mut(empty.len());
        measure(&mut card, &empty, of_empty, ROUNDS_OF_ONE);
        full(&mut card);
        if load == 0 {
            tell_fill(&card);
        }
        measure(&mut card, &filled, of_filled, ROUNDS);
    }
    let mut dear = Vec::new();
    for (Cost { what, at_most, .. }, best) in costs().zip(best) {
        let (ratio, Best { floor, ns }) = (best.ratio(), best);
        let line = format!("{what:<48} {ns:>4} ns over {floor:>3} ns: {ratio:>5.2} of {at_most}");
        told(&line);
        if ratio > *at_most {
            dear.push(line);
        }
    }
    assert!(dear.is_empty(), "dearer than promised:\n{}", dear.join("\n"));
}

#[test]
fn one_source_alone_has_the_bit_of_another_that_is_penalised() {
    let sources = costs().1.map(|cost| cost.packet.source);
    let shares = sources.into_iter().filter(|source| shares_a_bit(source.ip()));
    let shares: Vec<String> = shares.map(|source| source.to_string()).collect();
    // What is not for the gateway is not looked for among hosts.
    assert_eq!(shares, ["10.1.1.1:1", "[fd00::1]:1", SHARES_A_BIT, AGENT]);
}

/// What is measured with empty tables, and with full ones.
fn costs() -> ([Cost; 1], [Cost; 11]) {
    let ack = |from| Packet::tcp(from, VIP, ACK);
    let ack6 = |from| Packet::tcp(from, VIP6, ACK);
    let filled = [
        cost("drop by host, full tables", ack("10.1.1.1:1"), false, 5.0),
        cost("drop by host, IPv6", ack6("[fd00::1]:1"), false, 5.0),
        cost("drop by prefix, full tables", ack("10.128.0.2:1"), false, 5.0),
        cost("drop by prefix, IPv6", ack6("[fd80:0:1::1]:1"), false, 5.0),
        cost("drop by flow, full tables", ack(OTHER), false, 6.0),
        cost("drop by flow, IPv6", ack6(OTHER6), false, 6.0),
        cost("drop by flow, a penalised host's bit", ack(SHARES_A_BIT), false, 7.0),
        cost("pass, full tables", ack("10.9.9.9:1"), true, 6.0),
        cost("pass, full tables, IPv6", ack6("[fd00:9::9]:1"), true, 6.0),
        cost("pass, not the gateway's", Packet::tcp(AGENT, "10.0.0.1:22", ACK), true, 6.0),
        cost("thinned by the bucket", Packet::tcp("10.9.9.9:1", ACMES, SYN), false, 10.0),
    ];
    ([cost("pass, empty tables", ack(AGENT), true, 1.2)], filled)
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
    for host in hosts() {
        card.penalise(Target::Source(Prefix::of_host(host)), penalty).unwrap();
    }
    let mut flow = |source: &str, destination: &str| {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let flow = Flow { protocol: Protocol::Tcp, source, destination };
        card.penalise(Target::Flow(flow), penalty).unwrap();
    };
    flow(OTHER, VIP);
    flow(OTHER6, VIP6);
    flow(SHARES_A_BIT, VIP);
    for at in 0..65_533_u32 {
        flow(&format!("10.3.{}.{}:{}", at % 8, at % 251, 1_024 + at / 8), VIP);
    }
}

/// Half of each version, spread as addresses of a company are.
fn hosts() -> impl Iterator<Item = IpAddr> {
    let spread = (0..16_382_u32).map(|at| match at % 2 {
        0 => IpAddr::V4(Ipv4Addr::from(0x0a02_0000 + at * 5)),
        _ => IpAddr::V6(Ipv6Addr::from((0xfd00_0000_u128 << 96) + (u128::from(at) << 66))),
    });
    ["10.1.1.1", "fd00::1"].map(|host| host.parse().unwrap()).into_iter().chain(spread)
}

/// Whether a host of the table has the filter's bit of this source.
fn shares_a_bit(source: IpAddr) -> bool {
    hosts().any(|host| filter_bit(host) == filter_bit(source))
}

fn tell_fill(card: &Card) {
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
