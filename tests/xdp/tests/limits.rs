//! Each bound of the card's tables, at it and one past it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ebpf_loader::{
    Card, Fault, Flow, Penalty, Prefix, Program, Protocol, Reason, Service, TENANTS_MAX, Target,
    Tenant, now_ns,
};
use tests_xdp::packet::{ACK, Packet};
use tests_xdp::{HOUR_NS, card, host, hour, owned, tcp, vlan};

const ACME: Tenant = Tenant(1);
const VIP: &str = "203.0.113.1:443";

fn gateway(test: &str) -> Option<Card> {
    let mut card = card(test)?;
    card.configure(&[owned(Target::Service(tcp(VIP)), None)]).unwrap();
    Some(card)
}

fn fill_of(card: &Card, table: &str) -> (usize, u32) {
    let fill = card.fill().into_iter().find(|fill| fill.table == table).unwrap();
    (fill.entries, fill.max)
}

/// Fills a table with penalties that end one after the other; one more drives out the first to end.
fn one_past(card: &mut Card, table: &str, target: impl Fn(u32) -> Target) {
    let (_, max) = fill_of(card, table);
    let begun = now_ns() + HOUR_NS;
    // The one that ends first is neither the first nor the last that came.
    let first_to_end = max / 3;
    let ends = |at: u32| begun + if at == first_to_end { 0 } else { 1 + u64::from(at) };
    for at in 0..=max {
        let penalty = Penalty { until_ns: ends(at), ..hour(ACME, Reason::Refusals) };
        let evicted = card.penalise(target(at), penalty).unwrap();
        assert_eq!(evicted, (at == max).then(|| target(first_to_end)), "{at}");
    }
    assert_eq!(fill_of(card, table), (max as usize, max));
    assert!(!card.release(&target(first_to_end)).unwrap());
    assert!(card.release(&target(max)).unwrap());
    assert_eq!(card.expire(begun + HOUR_NS).unwrap().len(), max as usize - 1);
    assert!(card.penalties().is_empty());
}

#[test]
fn one_flow_past_the_table() {
    let Some(mut card) = gateway("one_flow_past_the_table") else { return };
    let destination = VIP.parse().unwrap();
    let of = |at: u32| {
        let ip = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + at / 50_000));
        let source = SocketAddr::new(ip, (at % 50_000) as u16);
        Target::Flow(Flow { protocol: Protocol::Tcp, source, destination })
    };
    one_past(&mut card, "flows", of);
}

#[test]
fn one_host_past_the_table() {
    let Some(mut card) = gateway("one_host_past_the_table") else { return };
    let host = |at: u32| Prefix::of_host(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + at)));
    one_past(&mut card, "hosts", |at| Target::Source(host(at)));
}

#[test]
fn one_prefix_past_the_table() {
    let Some(mut card) = gateway("one_prefix_past_the_table") else { return };
    let prefix = |at: u32| Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + at * 256)), 24);
    one_past(&mut card, "prefixes", |at| Target::Source(prefix(at).unwrap()));
}

#[test]
fn one_service_past_the_table() {
    let Some(mut card) = card("one_service_past_the_table") else { return };
    let (_, max) = fill_of(&card, "services");
    let service = |at: u32| {
        let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + at)), 443);
        owned(Target::Service(Service { protocol: Protocol::Tcp, at }), Some(ACME))
    };
    let mut wanted: Vec<_> = (0..max).map(service).collect();
    card.configure(&wanted).unwrap();
    wanted.push(service(max));
    let fault = card.configure(&wanted).unwrap_err();
    assert!(matches!(fault, Fault::Full { table: "services", .. }), "{fault}");
    // What is configured does not make room for what is penalised, and goes when it is left out.
    card.configure(&[service(max)]).unwrap();
    assert_eq!(fill_of(&card, "services"), (1, max));
}

#[test]
fn one_vlan_past_the_table() {
    let Some(mut card) = card("one_vlan_past_the_table") else { return };
    let (_, max) = fill_of(&card, "vlans");
    let mut wanted: Vec<_> = (1..=4_094).map(|id| owned(vlan(id, None), Some(ACME))).collect();
    wanted.extend((4_094..max).map(|at| owned(vlan(1, Some(at as u16 - 4_093)), Some(ACME))));
    card.configure(&wanted).unwrap();
    assert_eq!(fill_of(&card, "vlans"), (max as usize, max));
    wanted.push(owned(vlan(2, Some(2)), Some(ACME)));
    let fault = card.configure(&wanted).unwrap_err();
    assert!(matches!(fault, Fault::Full { table: "vlans", .. }), "{fault}");
}

#[test]
fn one_tenant_past_the_counters() {
    let Some(mut card) = gateway("one_tenant_past_the_counters") else { return };
    let prefix = host("192.0.2.1");
    for (tenant, known) in [(0, false), (1, true), (TENANTS_MAX - 1, true), (TENANTS_MAX, false)] {
        let tenant = Tenant(tenant);
        let penalised = card.penalise(prefix, hour(tenant, Reason::Kill));
        assert_eq!(penalised.is_ok(), known, "{tenant:?}");
        assert_eq!(card.drops(tenant).is_ok(), known);
        assert_eq!(card.limit_connections(tenant, None).is_ok(), known);
    }
}

#[test]
fn samples_are_cut_and_a_full_ring_is_counted() {
    let test = "samples_are_cut_and_a_full_ring_is_counted";
    let Some(mut card) = gateway(test) else { return };
    let prefix = host("192.0.2.1");
    card.penalise(prefix, hour(ACME, Reason::Kill)).unwrap();
    let mut packet = Packet::tcp("192.0.2.1:1", VIP, ACK).bytes();
    packet.resize(97, 9);
    let mut taken = Vec::new();
    card.try_packet(Program::Drop, &packet, 1).unwrap();
    card.try_packet(Program::Drop, &packet[..60], 1).unwrap();
    assert_eq!(card.samples(10, |sample| taken.push(sample)), 1, "the first, then one in 1,024");
    assert_eq!((taken[0].header.as_slice(), taken[0].packet_bytes), (&packet[..96], 97));
    card.sample_one_in(0).unwrap();
    card.try_packet(Program::Drop, &packet[..60], 1).unwrap();
    assert_eq!(card.samples(10, |sample| taken.push(sample)), 1);
    assert_eq!(taken[1].header, packet[..60]);
    assert!(taken[1].at_ns <= now_ns() && taken[1].at_ns >= taken[0].at_ns);

    // A record of 120 bytes takes 128 of the ring.
    let before = card.drops(ACME).unwrap();
    let (more, room) = (3_000, u64::from(262_144_u32 / 128));
    card.try_packet(Program::Drop, &packet, more).unwrap();
    let after = card.drops(ACME).unwrap();
    assert_eq!(after.sampled - before.sampled, room - u64::from(room * 128 == 262_144));
    assert_eq!(
        after.samples_lost - before.samples_lost,
        u64::from(more) - (after.sampled - before.sampled)
    );
    assert_eq!(card.samples(256, |_| {}), 256, "as many as are asked for");
    assert_eq!(card.samples(usize::MAX, |_| {}) as u64, after.sampled - before.sampled - 256);
}

#[test]
fn nobody_is_dropped_for_another() {
    let Some(mut card) = gateway("nobody_is_dropped_for_another") else { return };
    let globex = Tenant(2);
    let acmes = Prefix::new("198.51.100.0".parse().unwrap(), 24).unwrap();
    let own = tcp("203.0.113.2:443");
    let wanted = [
        owned(Target::Service(tcp(VIP)), None),
        owned(Target::Service(own), Some(ACME)),
        owned(Target::Source(acmes), Some(ACME)),
        owned(vlan(7, None), Some(ACME)),
    ];
    card.configure(&wanted).unwrap();
    let inside = host("198.51.100.9");
    let flow = |to: &str| {
        let (source, destination) = ("198.51.100.9:1".parse().unwrap(), to.parse().unwrap());
        Target::Flow(Flow { protocol: Protocol::Tcp, source, destination })
    };
    let refused = [
        (Target::Service(tcp(VIP)), ACME, "configured for all tenants"),
        (Target::Service(own), globex, "configured for tenant 1"),
        (Target::Service(tcp("203.0.113.9:443")), ACME, "not an address of the gateway"),
        (inside, globex, "configured for tenant 1"),
        (vlan(7, None), globex, "configured for tenant 1"),
        (vlan(8, None), ACME, "not an address of the gateway"),
        (flow("203.0.113.9:443"), ACME, "not an address of the gateway"),
    ];
    for (target, tenant, why) in refused {
        let fault = card.penalise(target, hour(tenant, Reason::Kill)).unwrap_err();
        assert!(fault.to_string().contains(why), "{fault}");
    }
    for target in [Target::Service(own), inside, vlan(7, None), flow(VIP)] {
        card.penalise(target, hour(ACME, Reason::Kill)).unwrap();
    }
    assert!(card.configure(&[owned(flow(VIP), Some(ACME))]).is_err());
    assert!(card.configure(&[owned(inside, None)]).is_err());
}
