//! Every branch of the program: a sentence, a packet, the verdict and what was counted.

use std::num::NonZeroU32;
use std::time::Duration;

use ebpf_loader::{
    Card, Flow, Penalty, Protocol, Rate, Reason, TENANTS_MAX, Table, Target, Tenant, now_ns,
};
use tests_xdp::packet::{
    ACK, AUTHENTICATION, DESTINATION, ESP, HOP_BY_HOP, Packet, QUIC_1, QUIC_2, ROUTING, SYN,
    SYN_ACK, quic_long, quic_short,
};
use tests_xdp::{Counted, HOUR_NS, card, hour, owned, quic, source, tcp, try_counted, vlan};

const ACME: Tenant = Tenant(1);
const GLOBEX: Tenant = Tenant(TENANTS_MAX - 1);
const TENANTS: [Tenant; 2] = [ACME, GLOBEX];

const VIP: &str = "203.0.113.1:443";
const VIP6: &str = "[2001:db8:1::1]:443";
/// Of Acme alone.
const ACMES: &str = "203.0.113.2:443";
const AGENT: &str = "198.51.100.7:50000";
const AGENT6: &str = "[2001:db8:2::7]:50000";
const OTHER: &str = "198.51.100.8:50000";

const DROPPED_BY_SOURCE: Option<Counted> = Some((ACME, Reason::Refusals, Table::Source));

struct Case {
    why: &'static str,
    packet: Packet,
    counted: Option<Counted>,
}

fn passes(why: &'static str, packet: Packet) -> Case {
    Case { why, packet, counted: None }
}

fn dropped(why: &'static str, packet: Packet, counted: Option<Counted>) -> Case {
    Case { why, packet, counted }
}

/// A gateway on two addresses; VLAN 7 and the address of its own are Acme's.
fn gateway(test: &str) -> Option<Card> {
    let mut card = card(test)?;
    let shared = [tcp(VIP), tcp(VIP6), quic(VIP), quic(VIP6)];
    let mut wanted: Vec<_> =
        shared.iter().map(|service| owned(Target::Service(*service), None)).collect();
    wanted.push(owned(Target::Service(tcp(ACMES)), Some(ACME)));
    wanted.push(owned(vlan(7, None), Some(ACME)));
    wanted.push(owned(vlan(7, Some(9)), Some(GLOBEX)));
    card.configure(&wanted).unwrap();
    Some(card)
}

fn check(card: &mut Card, cases: &[Case]) {
    for Case { why, packet, counted } in cases {
        let (passed, found) = try_counted(card, &packet.bytes(), &TENANTS);
        assert_eq!((passed, found), (counted.is_none(), *counted), "{why}: {packet:?}");
    }
}

fn flow(protocol: Protocol, source: &str, destination: &str) -> Target {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Target::Flow(Flow { protocol, source, destination })
}

#[test]
fn headers() {
    let Some(mut card) = gateway("headers") else { return };
    let penalty = hour(ACME, Reason::Refusals);
    card.penalise(source("198.51.100.7/32"), penalty).unwrap();
    card.penalise(source("2001:db8:2::/64"), penalty).unwrap();
    let four = || Packet::tcp(AGENT, VIP, ACK);
    let six = || Packet::tcp(AGENT6, VIP6, ACK);
    let udp = || Packet::udp(AGENT, VIP, &quic_short());
    let by = DROPPED_BY_SOURCE;
    let all = [DESTINATION; 8];
    let cases = [
        dropped("IPv4, TCP", four(), by),
        dropped("IPv4, UDP", udp(), by),
        dropped("IPv6, TCP", six(), by),
        dropped("one tag", four().tagged(0x8100, 5), by),
        dropped("one tag of the other kind", four().tagged(0x88a8, 5), by),
        dropped("a tag in a tag", six().tagged(0x88a8, 5).tagged(0x8100, 6), by),
        passes("three tags", four().tagged(0x88a8, 5).tagged(0x8100, 6).tagged(0x8100, 7)),
        passes("a tag of no standard", four().tagged(0x9100, 5)),
        dropped("IPv4 with one word of options", four().with_options(1), by),
        dropped("IPv4 with ten words of options", four().with_options(10), by),
        dropped("a first fragment of IPv4", four().fragment(0, true), by),
        passes("a later fragment of IPv4", four().fragment(185, true)),
        passes("the last fragment of IPv4", four().fragment(185, false)),
        passes("ICMP of the same source", four().of_protocol(1)),
        passes("a tunnel of the same source", four().of_protocol(47)),
        dropped("IPv6 with a header for each hop", six().with_extensions(&[HOP_BY_HOP]), by),
        dropped("IPv6 with a route", six().with_extensions(&[ROUTING]), by),
        dropped("IPv6 with an authentication header", six().with_extensions(&[AUTHENTICATION]), by),
        dropped("IPv6 with eight extension headers", six().with_extensions(&all), by),
        passes("IPv6 with nine", six().with_extensions(&[DESTINATION; 9])),
        passes("IPv6 that is encrypted", six().with_extensions(&[ESP])),
        dropped("a first fragment of IPv6", six().fragment(0, true), by),
        passes("a later fragment of IPv6", six().fragment(185, false)),
        passes("ICMPv6 of the same source: neighbour discovery", six().of_protocol(58)),
        dropped(
            "IPv6 with three kinds of extension headers, in two tags",
            six()
                .with_extensions(&[HOP_BY_HOP, ROUTING, DESTINATION])
                .fragment(0, true)
                .tagged(0x88a8, 1)
                .tagged(0x8100, 2),
            by,
        ),
    ];
    check(&mut card, &cases);
}

#[test]
fn what_is_no_ip_passes() {
    let Some(mut card) = gateway("what_is_no_ip_passes") else { return };
    card.penalise(source("0.0.0.0/0"), hour(ACME, Reason::Operator)).unwrap();
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([2, 0, 0, 0, 0, 2, 198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 203, 0, 113, 1]);
    assert_eq!(try_counted(&mut card, &arp, &TENANTS), (true, None));
    let mut wrong = Packet::tcp(AGENT, VIP, ACK).bytes();
    for (at, value, why) in
        [(14, 0x65, "version 6 in IPv4"), (14, 0x44, "a header of 16 bytes"), (12, 0x09, "no type")]
    {
        let right = std::mem::replace(&mut wrong[at], value);
        assert_eq!(try_counted(&mut card, &wrong, &TENANTS), (true, None), "{why}");
        wrong[at] = right;
    }
    let counted = Some((ACME, Reason::Operator, Table::Source));
    assert_eq!(try_counted(&mut card, &wrong, &TENANTS), (false, counted));
    let mut wrong = Packet::tcp(AGENT6, VIP6, ACK).bytes();
    wrong[14] = 0x40;
    assert_eq!(try_counted(&mut card, &wrong, &TENANTS), (true, None), "version 4 in IPv6");
}

#[test]
fn what_is_not_for_the_gateway_passes() {
    let Some(mut card) = gateway("what_is_not_for_the_gateway_passes") else { return };
    card.penalise(source("0.0.0.0/0"), hour(ACME, Reason::Kill)).unwrap();
    card.penalise(source("::/0"), hour(ACME, Reason::Kill)).unwrap();
    card.penalise(vlan(7, None), hour(ACME, Reason::Kill)).unwrap();
    let by = Some((ACME, Reason::Kill, Table::Source));
    let cases = [
        dropped("the gateway's", Packet::tcp(AGENT, VIP, SYN), by),
        passes("another port: the control plane", Packet::tcp(AGENT, "203.0.113.1:8443", SYN)),
        passes("another address: a neighbour", Packet::tcp(AGENT, "203.0.113.3:443", SYN)),
        passes("another protocol", Packet::udp(AGENT, ACMES, &quic_short())),
        passes("what the gateway's own calls bring", Packet::tcp(VIP, AGENT, SYN_ACK)),
        passes(
            "another port, in a VLAN",
            Packet::tcp(AGENT, "203.0.113.1:22", SYN).tagged(0x8100, 7),
        ),
        dropped("the gateway's, IPv6", Packet::tcp(AGENT6, VIP6, SYN), by),
        passes("another port, IPv6", Packet::tcp(AGENT6, "[2001:db8:1::1]:22", SYN)),
    ];
    check(&mut card, &cases);
}

#[test]
fn flows() {
    let Some(mut card) = gateway("flows") else { return };
    let penalty = hour(ACME, Reason::Refusals);
    card.penalise(flow(Protocol::Tcp, AGENT, VIP), penalty).unwrap();
    card.penalise(flow(Protocol::Quic, AGENT6, VIP6), hour(GLOBEX, Reason::Kill)).unwrap();
    let by = Some((ACME, Reason::Refusals, Table::Flow));
    let cases = [
        dropped("the flow", Packet::tcp(AGENT, VIP, ACK), by),
        dropped("its SYN", Packet::tcp(AGENT, VIP, SYN), by),
        dropped("the flow, in a VLAN", Packet::tcp(AGENT, VIP, ACK).tagged(0x8100, 3), by),
        passes(
            "another port of its source: a neighbour behind the same NAT",
            Packet::tcp("198.51.100.7:50001", VIP, ACK),
        ),
        passes("another source", Packet::tcp(OTHER, VIP, ACK)),
        passes("the same ports, the other protocol", Packet::udp(AGENT, VIP, &quic_short())),
        dropped(
            "a flow of QUIC",
            Packet::udp(AGENT6, VIP6, &quic_short()),
            Some((GLOBEX, Reason::Kill, Table::Flow)),
        ),
        passes("the other way round", Packet::tcp(VIP, AGENT, ACK)),
    ];
    check(&mut card, &cases);
    assert!(card.release(&flow(Protocol::Tcp, AGENT, VIP)).unwrap());
    check(&mut card, &[passes("a released flow", Packet::tcp(AGENT, VIP, ACK))]);
    assert!(!card.release(&flow(Protocol::Tcp, AGENT, VIP)).unwrap());
}

#[test]
fn sources() {
    let Some(mut card) = gateway("sources") else { return };
    let penalty = hour(ACME, Reason::Refusals);
    card.penalise(source("198.51.100.0/24"), penalty).unwrap();
    card.penalise(
        source("198.51.100.9/32"),
        Penalty { new_only: true, ..hour(GLOBEX, Reason::Kill) },
    )
    .unwrap();
    let new = Some((GLOBEX, Reason::Kill, Table::Source));
    let from = "198.51.100.9:1";
    let cases = [
        dropped("an address of the prefix", Packet::tcp(AGENT, VIP, ACK), DROPPED_BY_SOURCE),
        passes("one past the prefix", Packet::tcp("198.51.101.0:1", VIP, ACK)),
        passes("the longest prefix says: established", Packet::tcp(from, VIP, ACK)),
        passes("an answer to our SYN", Packet::tcp(from, VIP, SYN_ACK)),
        dropped("the longest prefix says: new", Packet::tcp(from, VIP, SYN), new),
        dropped("QUIC 1, Initial", Packet::udp(from, VIP, &quic_long(0, QUIC_1)), new),
        passes("QUIC 1, Handshake", Packet::udp(from, VIP, &quic_long(2, QUIC_1))),
        passes("QUIC 2, Retry", Packet::udp(from, VIP, &quic_long(0, QUIC_2))),
        dropped("QUIC 2, Initial", Packet::udp(from, VIP, &quic_long(1, QUIC_2)), new),
        dropped("QUIC of tomorrow", Packet::udp(from, VIP, &quic_long(3, 9)), new),
        passes("QUIC, established", Packet::udp(from, VIP, &quic_short())),
        dropped("UDP too short to know", Packet::udp(from, VIP, &[0x40]), new),
    ];
    check(&mut card, &cases);
}

#[test]
fn services_and_vlans() {
    let Some(mut card) = gateway("services_and_vlans") else { return };
    card.penalise(Target::Service(tcp(ACMES)), hour(ACME, Reason::Kill)).unwrap();
    card.penalise(vlan(7, None), hour(ACME, Reason::Operator)).unwrap();
    card.penalise(vlan(7, Some(9)), hour(GLOBEX, Reason::Operator)).unwrap();
    let packet = || Packet::tcp(AGENT, VIP, ACK);
    let vlan = Some((ACME, Reason::Operator, Table::Vlan));
    let cases = [
        dropped(
            "the tenant's own address",
            Packet::tcp(AGENT, ACMES, ACK),
            Some((ACME, Reason::Kill, Table::Service)),
        ),
        passes("the shared address", packet()),
        dropped("the tenant's VLAN", packet().tagged(0x8100, 7), vlan),
        dropped("with a priority", packet().tagged(0x8100, 0x6007), vlan),
        dropped(
            "a priority tag around it",
            packet().tagged(0x8100, 0x6000).tagged(0x8100, 7),
            vlan,
        ),
        passes("another VLAN", packet().tagged(0x8100, 8)),
        passes("a priority tag", packet().tagged(0x8100, 0x6000)),
        dropped(
            "a VLAN in a VLAN",
            packet().tagged(0x88a8, 7).tagged(0x8100, 9),
            Some((GLOBEX, Reason::Operator, Table::Vlan)),
        ),
        passes("another VLAN in that VLAN", packet().tagged(0x88a8, 7).tagged(0x8100, 8)),
    ];
    check(&mut card, &cases);
}

#[test]
fn the_first_table_that_knows_the_packet_counts_it() {
    let Some(mut card) = gateway("the_first_table_that_knows_the_packet_counts_it") else { return };
    let targets = [
        (vlan(7, None), Table::Vlan),
        (Target::Service(tcp(ACMES)), Table::Service),
        (flow(Protocol::Tcp, AGENT, ACMES), Table::Flow),
        (source("198.51.100.0/24"), Table::Source),
        (source("198.51.100.7/32"), Table::Source),
    ];
    for (target, table) in targets {
        card.penalise(target, hour(ACME, Reason::Kill)).unwrap();
        let counted = Some((ACME, Reason::Kill, table));
        let packet = Packet::tcp(AGENT, ACMES, ACK).tagged(0x8100, 7);
        check(&mut card, &[dropped("penalised twice", packet, counted)]);
    }
}

#[test]
fn what_has_ended_passes_and_a_dead_dataplane_drops_nothing() {
    let test = "what_has_ended_passes_and_a_dead_dataplane_drops_nothing";
    let Some(mut card) = gateway(test) else { return };
    let rate = Rate { each: Duration::from_secs(1), burst: NonZeroU32::MIN };
    card.limit_connections(ACME, Some(rate)).unwrap();
    let lasting = hour(ACME, Reason::Refusals);
    card.penalise(source("198.51.100.7/32"), lasting).unwrap();
    let packet = || Packet::tcp(AGENT, VIP, ACK);
    check(&mut card, &[dropped("before its end", packet(), DROPPED_BY_SOURCE)]);
    card.penalise(source("198.51.100.7/32"), Penalty { until_ns: 1, ..lasting }).unwrap();
    check(&mut card, &[passes("after its end", packet())]);
    assert_eq!(card.expire(now_ns()).unwrap().len(), 1);

    card.penalise(source("198.51.100.7/32"), lasting).unwrap();
    let syn = || Packet::tcp(OTHER, ACMES, SYN);
    let thinned = Some((ACME, Reason::Connections, Table::Bucket));
    check(&mut card, &[passes("the bucket's one", syn()), dropped("past it", syn(), thinned)]);
    card.beat(1).unwrap();
    check(&mut card, &[passes("no heartbeat", packet()), passes("no heartbeat, SYN", syn())]);
    card.beat(now_ns() + HOUR_NS).unwrap();
    check(&mut card, &[dropped("alive again", packet(), DROPPED_BY_SOURCE)]);
    check(&mut card, &[dropped("alive again, SYN", syn(), thinned)]);
}

#[test]
fn new_connections_are_thinned() {
    let Some(mut card) = gateway("new_connections_are_thinned") else { return };
    let burst = 5;
    let rate = Rate { each: Duration::from_secs(1), burst: NonZeroU32::new(burst).unwrap() };
    // By the address of its own, by the VLAN, by the source: one bucket for all.
    let mut wanted = vec![
        owned(Target::Service(tcp(ACMES)), Some(ACME)),
        owned(Target::Service(tcp(VIP)), None),
        owned(vlan(7, None), Some(ACME)),
    ];
    wanted.push(owned(source("192.0.2.0/24"), Some(ACME)));
    card.configure(&wanted).unwrap();
    let ways = [
        Packet::tcp(AGENT, ACMES, SYN),
        Packet::tcp(AGENT, VIP, SYN).tagged(0x8100, 7),
        Packet::tcp("192.0.2.1:1", VIP, SYN),
    ];
    for way in ways {
        // Another bound begins anew, the same one goes on.
        card.limit_connections(ACME, None).unwrap();
        card.limit_connections(ACME, Some(rate)).unwrap();
        let thinned = Some((ACME, Reason::Connections, Table::Bucket));
        for _ in 0..burst {
            check(&mut card, &[passes("within the burst", way.clone())]);
            card.limit_connections(ACME, Some(rate)).unwrap();
        }
        let cases = [
            dropped("one past the burst", way.clone(), thinned),
            dropped("and one more", way.clone(), thinned),
            passes(
                "established",
                Packet { transport: Packet::tcp(AGENT, ACMES, ACK).transport, ..way },
            ),
            passes("nobody's", Packet::tcp(OTHER, VIP, SYN)),
        ];
        check(&mut card, &cases);
    }
    card.limit_connections(ACME, None).unwrap();
    check(&mut card, &[passes("no longer bounded", Packet::tcp(AGENT, ACMES, SYN))]);
}
