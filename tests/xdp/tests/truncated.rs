//! Every length of every combination of headers, and packets of all kinds of damage: the program
//! and the model come to the same verdict and count it the same, and a person is shown what they saw.

use std::net::{IpAddr, SocketAddr};

use dataplane_drops::packet::Headers;
use ebpf_loader::{Card, Flow, Penalty, Protocol, Reason, Target, Tenant, Vlan};
use tests_xdp::model::{Model, parse};
use tests_xdp::packet::{
    ACK, AUTHENTICATION, DESTINATION, HOP_BY_HOP, Packet, QUIC_1, QUIC_2, ROUTING, SYN, SYN_ACK,
    quic_long, quic_short,
};
use tests_xdp::{card, hour, one_in, owned, quic, source, tcp, told, try_counted, vlan};

/// The kernel's test run wants an Ethernet header.
const SHORTEST: usize = 14;

/// Damaged packets that are tried.
const DAMAGED: u64 = 40_000;

const TENANTS: [Tenant; 4] = [Tenant(1), Tenant(2), Tenant(3), Tenant(4)];
const VIPS: [&str; 2] = ["203.0.113.1:443", "[2001:db8:1::1]:443"];
const ACMES: &str = "203.0.113.2:443";
const FLOW: &str = "192.0.2.1:40000";

/// A world in which each table has something to say.
fn world(card: &mut Card) -> Model {
    let services = [tcp(VIPS[0]), tcp(VIPS[1]), quic(VIPS[0]), quic(VIPS[1]), tcp(ACMES)];
    let owner = |at: usize| (at == 4).then_some(TENANTS[1]);
    let mut wanted: Vec<_> = (services.iter().enumerate())
        .map(|(at, service)| owned(Target::Service(*service), owner(at)))
        .collect();
    wanted.push(owned(vlan(7, None), Some(TENANTS[2])));
    wanted.push(owned(vlan(7, Some(9)), Some(TENANTS[3])));
    card.configure(&wanted).unwrap();
    let always = hour(TENANTS[0], Reason::Refusals);
    let new_only = Penalty { new_only: true, ..hour(TENANTS[1], Reason::Kill) };
    let flow = Flow {
        protocol: Protocol::Tcp,
        source: FLOW.parse().unwrap(),
        destination: VIPS[0].parse().unwrap(),
    };
    let penalties = vec![
        (source("198.51.100.0/24"), always),
        (source("198.51.100.7/32"), new_only),
        (source("2001:db8:2::/48"), new_only),
        (source("2001:db8:2:1::/64"), always),
        (Target::Flow(flow), hour(TENANTS[3], Reason::Operator)),
        (source("192.0.0.0/16"), Penalty { new_only: true, ..always }),
        (Target::Service(tcp(ACMES)), Penalty { reason: Reason::Kill, ..new_only }),
        (vlan(7, None), hour(TENANTS[2], Reason::Operator)),
        (vlan(7, Some(9)), Penalty { tenant: TENANTS[3], ..new_only }),
    ];
    for (target, penalty) in &penalties {
        assert_eq!(card.penalise(*target, *penalty).unwrap(), None, "{target}");
    }
    assert_eq!(card.penalties().len(), penalties.len());
    Model { services: services.to_vec(), penalties }
}

/// Whether it dropped.
fn same(card: &mut Card, model: &Model, packet: &[u8], what: &dyn Fn() -> String) -> bool {
    let wanted = model.drops(packet);
    let found = try_counted(card, packet, &TENANTS);
    assert_eq!(found, (wanted.is_none(), wanted), "{}: {packet:02x?}", what());
    assert_eq!(shown(packet), seen(packet), "{}: {packet:02x?}", what());
    wanted.is_some()
}

type Ends = (SocketAddr, SocketAddr, Option<Vlan>);

/// What a person is shown of it.
fn shown(packet: &[u8]) -> Option<Ends> {
    let headers = Headers::read(packet);
    let (from, to) = headers.addresses?;
    let (from_port, to_port) = headers.ports?;
    let [outer, inner] = headers.vlans;
    let vlan = Vlan::new(outer, (inner != 0).then_some(inner));
    let end = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    Some((end(from, from_port), end(to, to_port), vlan))
}

fn seen(packet: &[u8]) -> Option<Ends> {
    let seen = parse(packet)?;
    Some((seen.flow.source, seen.flow.destination, seen.vlan))
}

fn shapes() -> Vec<Packet> {
    let payloads = [quic_long(0, QUIC_1), quic_long(1, QUIC_2), quic_long(2, 7), quic_short()];
    let mut bases = Vec::new();
    for (from, to) in [("198.51.100.7:1", VIPS[0]), ("[2001:db8:2::7]:1", VIPS[1])] {
        bases.extend([SYN, SYN_ACK, ACK].map(|flags| Packet::tcp(from, to, flags)));
        bases.extend(payloads.iter().map(|payload| Packet::udp(from, to, payload)));
    }
    let mut inner = Vec::new();
    for base in bases {
        inner.push(base.clone());
        inner.push(base.clone().fragment(0, true));
        inner.push(base.clone().fragment(9, true));
        if base.source.is_ipv4() {
            inner.extend([1, 3, 10].map(|words| base.clone().with_options(words)));
            continue;
        }
        for kind in [HOP_BY_HOP, ROUTING, DESTINATION, AUTHENTICATION] {
            inner.push(base.clone().with_extensions(&[kind]));
            inner.push(base.clone().with_extensions(&[kind, DESTINATION]).fragment(0, true));
        }
        for count in [7, 8, 9] {
            inner.push(base.clone().with_extensions(&[DESTINATION; 9][..count]));
        }
    }
    let mut all = Vec::new();
    for packet in inner {
        all.push(packet.clone().tagged(0x8100, 8));
        all.push(packet.clone().tagged(0x88a8, 0x6000).tagged(0x8100, 7));
        all.push(packet.clone().tagged(0x88a8, 7).tagged(0x8100, 9).tagged(0x8100, 1));
        all.push(packet);
    }
    all
}

#[test]
fn every_length_of_every_combination_of_headers() {
    let Some(mut card) = card("every_length_of_every_combination_of_headers") else { return };
    let model = world(&mut card);
    let (mut seen, mut tried, mut dropped) = (0, 0, 0);
    let one_in = one_in();
    for packet in shapes() {
        let whole = packet.bytes();
        for length in SHORTEST..=whole.len() {
            seen += 1;
            if seen % one_in != 0 {
                continue;
            }
            let what = || format!("{length} of {} bytes of {packet:?}", whole.len());
            dropped += usize::from(same(&mut card, &model, &whole[..length], &what));
            tried += 1;
        }
    }
    told(&format!("{tried} of {seen} packets, {dropped} dropped"));
    assert!(dropped > tried / 50, "{dropped} of {tried}: nothing was tried");
}

#[test]
fn damaged_packets() {
    let Some(mut card) = card("damaged_packets") else { return };
    let model = world(&mut card);
    let first = std::env::var("XDP_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = first.map_or(0..DAMAGED / one_in(), |seed| seed..seed + 1);
    let shapes = shapes();
    let mut dropped = 0;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let packet = damaged(&shapes, &mut random);
        let what = || format!("XDP_SEED={seed}");
        dropped += u64::from(same(&mut card, &model, &packet, &what));
    }
    told(&format!("{count} of {DAMAGED} packets, {dropped} dropped"));
    assert!(count == 1 || dropped > count / 20, "{dropped} of {count}: nothing was tried");
}

/// A packet of the world with other addresses, some bytes changed, perhaps cut.
fn damaged(shapes: &[Packet], random: &mut Random) -> Vec<u8> {
    const SOURCES: [&str; 5] =
        ["198.51.100.7:1", "198.51.100.8:9", FLOW, "192.0.2.2:9", "203.0.114.1:9"];
    const SOURCES6: [&str; 3] = ["[2001:db8:2::1]:1", "[2001:db8:2:1::5]:2", "[2001:db8:3::]:3"];
    let mut packet = random.pick(shapes).clone();
    let was = packet.source;
    if was.is_ipv4() {
        packet.source = random.pick(&SOURCES).parse().unwrap();
        packet.destination = random.pick(&[VIPS[0], VIPS[0], ACMES]).parse().unwrap();
    } else {
        packet.source = random.pick(&SOURCES6).parse().unwrap();
    }
    packet.transport[..2].copy_from_slice(&packet.source.port().to_be_bytes());
    let mut bytes = packet.bytes();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len().min(110));
        bytes[at] = match random.below(3) {
            0 => *random.pick(&[0, 6, 17, 43, 44, 51, 58, 60, 0x45, 0x60, 0x81, 0xff]),
            1 => bytes[at] ^ 1 << random.below(8),
            _ => random.below(256) as u8,
        };
    }
    if random.below(4) == 0 {
        bytes.truncate(SHORTEST + random.below(bytes.len() - SHORTEST + 1));
    }
    bytes
}

/// xorshift: a seed decides all.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
