//! The reader of headers against another one, on every cut of packets that the other has written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane_drops::fuzz;
use dataplane_drops::packet::{Headers, PACKET_BYTES_MAX, Quic, Says};
use etherparse::{
    IpFragOffset, Ipv4Header, Ipv4Options, LaxSlicedPacket, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice, VlanId, VlanSlice,
};

const SECRET: &[u8] = b"GET /salaries";
const AGENT: [u8; 4] = [192, 0, 2, 7];
const GATEWAY: [u8; 4] = [198, 51, 100, 1];
const AGENT_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const GATEWAY_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Tags from none to two, both versions of IP, TCP with and without options, UDP.
fn packets() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for case in 0..12 {
        let (tags, is_ipv4, kind) = (case % 3, case / 3 % 2 == 0, case / 6);
        for options in 0..=usize::from(kind == 0) {
            packets.push(packet(tags, is_ipv4, kind == 0, options * 5));
        }
    }
    packets
}

fn packet(tags: u8, is_ipv4: bool, is_tcp: bool, option_words: usize) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let id = |id: u16| VlanId::try_new(id).unwrap();
    let ipv4 = || {
        let mut header = Ipv4Header { source: AGENT, destination: GATEWAY, ..Default::default() };
        header.options = Ipv4Options::from([1; 8]);
        etherparse::IpHeaders::Ipv4(header, Default::default())
    };
    let ipv6 = || {
        let header = etherparse::Ipv6Header {
            source: AGENT_V6,
            destination: GATEWAY_V6,
            ..Default::default()
        };
        etherparse::IpHeaders::Ipv6(header, Default::default())
    };
    let ip = if is_ipv4 { ipv4() } else { ipv6() };
    let built = match tags {
        0 => link.ip(ip),
        1 => link.single_vlan(id(7)).ip(ip),
        _ => link.double_vlan(id(100), id(7)).ip(ip),
    };
    let mut bytes = Vec::new();
    if is_tcp {
        let options = vec![1; 4 * option_words];
        let built = built.tcp(40_000, 443, 9, 1_024).syn().options_raw(&options).unwrap();
        built.write(&mut bytes, SECRET).unwrap();
    } else {
        let payload: Vec<u8> = [&[0xc3, 0, 0, 0, 1][..], SECRET].concat();
        built.udp(40_000, 443).write(&mut bytes, &payload).unwrap();
    }
    bytes
}

/// What the other reader says of a whole packet.
fn others(packet: &[u8]) -> Headers {
    let read = SlicedPacket::from_ethernet(packet).unwrap();
    let mut vlans = [0, 0];
    match read.vlan() {
        None => {}
        Some(VlanSlice::SingleVlan(tag)) => vlans[0] = tag.vlan_identifier().value(),
        Some(VlanSlice::DoubleVlan(tags)) => {
            vlans = [&tags.outer, &tags.inner].map(|tag| tag.vlan_identifier().value());
        }
    }
    let addresses: (IpAddr, IpAddr) = match read.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        other => panic!("{other:?}"),
    };
    let (protocol, ports, says, payload) = match read.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            let ports = (tcp.source_port(), tcp.destination_port());
            (6, ports, Says::Tcp(tcp.slice()[13]), tcp.payload())
        }
        TransportSlice::Udp(udp) => {
            let ports = (udp.source_port(), udp.destination_port());
            (17, ports, Says::Quic(Quic::Initial), &udp.payload()[5..])
        }
        other => panic!("{other:?}"),
    };
    Headers {
        vlans,
        addresses: Some(addresses),
        protocol: Some(protocol),
        ports: Some(ports),
        says: Some(says),
        bytes: packet.len() - payload.len(),
    }
}

#[test]
fn another_reader_says_the_same_and_nothing_of_the_payload_is_kept() {
    for packet in packets() {
        let headers = Headers::read(&packet);
        assert_eq!(headers, others(&packet), "{packet:x?}");
        assert_eq!(&packet[headers.bytes..], SECRET);
    }
}

#[test]
fn a_packet_that_is_cut_says_less_and_nothing_else() {
    fn says_less<T: PartialEq + std::fmt::Debug>(cut: Option<T>, whole: Option<T>) {
        assert!(cut.is_none() || cut == whole, "{cut:?} for {whole:?}");
    }
    for packet in packets() {
        let whole = Headers::read(&packet);
        for length in 0..packet.len() {
            let cut = &packet[..length];
            fuzz::packet(cut);
            let cut = Headers::read(cut);
            says_less(cut.addresses, whole.addresses);
            says_less(cut.protocol, whole.protocol);
            says_less(cut.ports, whole.ports);
            says_less(cut.says, whole.says);
            assert!(cut.bytes <= length.min(whole.bytes), "{cut:?} for {whole:?}");
        }
        // What a card keeps has the ports and flags of all of them.
        let kept = Headers::read(&packet[..packet.len().min(PACKET_BYTES_MAX)]);
        assert_eq!((kept.ports, kept.says), (whole.ports, whole.says));
    }
}

#[test]
fn damaged_packets_are_read_as_another_reader_does_where_it_reads_them() {
    let (mut state, mut compared) = (7_u64, 0);
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let packets = packets();
    for _ in 0..20_000 {
        let mut packet = packets[random(packets.len())].clone();
        for _ in 0..=random(2) {
            let at = random(packet.len());
            packet[at] = u8::try_from(random(256)).unwrap();
        }
        fuzz::packet(&packet);
        let Ok(read) = LaxSlicedPacket::from_ethernet(&packet) else { continue };
        let (Some(ports), None) = (ports(&read), &read.stop_err) else { continue };
        // The program, and so this reader, stops behind two tags.
        if read.link_exts.len() <= 2 {
            assert_eq!(Headers::read(&packet).ports, Some(ports), "{packet:x?}");
            compared += 1;
        }
    }
    assert!(compared > 10_000, "{compared}");
}

fn ports(read: &LaxSlicedPacket<'_>) -> Option<(u16, u16)> {
    match read.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => Some((tcp.source_port(), tcp.destination_port())),
        TransportSlice::Udp(udp) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    }
}

#[test]
fn what_has_no_ports_says_none() {
    let later = {
        let mut header = Ipv4Header { source: AGENT, destination: GATEWAY, ..Default::default() };
        header.protocol = 6.into();
        header.fragment_offset = IpFragOffset::try_new(1).unwrap();
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        header.write(&mut bytes).unwrap();
        [&bytes[..], SECRET].concat()
    };
    let headers = Headers::read(&later);
    let addresses = (Ipv4Addr::from(AGENT).into(), Ipv4Addr::from(GATEWAY).into());
    assert_eq!((headers.addresses, headers.ports), (Some(addresses), None));
    assert_eq!(&later[headers.bytes..], SECRET);
    let arp = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6][..], SECRET].concat();
    assert_eq!(Headers::read(&arp), Headers { bytes: 14, ..Headers::default() });
    // Extension headers: hop-by-hop, then ICMPv6.
    let mut echo = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 0, 64];
    echo.extend([AGENT_V6, GATEWAY_V6].concat());
    echo.extend([58, 0, 1, 4, 0, 0, 0, 0]);
    echo.extend(SECRET);
    let headers = Headers::read(&echo);
    assert_eq!(headers.addresses.unwrap().0, IpAddr::from(Ipv6Addr::from(AGENT_V6)));
    assert_eq!((headers.protocol, headers.ports, headers.bytes), (Some(58), None, 14 + 48));
}

#[test]
fn what_it_is_is_said_in_the_words_of_its_protocol() {
    let udp = |payload: &[u8]| {
        let mut bytes = Vec::new();
        let built = PacketBuilder::ethernet2([2; 6], [2; 6]).ipv4(AGENT, GATEWAY, 64);
        built.udp(1, 443).write(&mut bytes, payload).unwrap();
        let headers = Headers::read(&bytes);
        (headers.says.map(|says| says.to_string()), bytes.len() - headers.bytes)
    };
    let said = |text: &str, left| (Some(text.to_owned()), left);
    assert_eq!(udp(b"\xc0\0\0\0\x01secret"), said("QUIC Initial", 6));
    assert_eq!(udp(b"\xd3\x6b\x33\x43\xcfsecret"), said("QUIC Initial", 6));
    assert_eq!(udp(b"\xe0\0\0\0\x01secret"), said("QUIC handshake", 6));
    assert_eq!(udp(b"\xc0\0\0\0\x00secret"), said("QUIC version 0x0", 6));
    assert_eq!(udp(b"\x40secret"), said("short header", 6));
    assert_eq!((udp(b""), udp(b"\xc0\0\0\0")), ((None, 0), (None, 4)));
    for (flags, text) in [(0x02, "SYN"), (0x12, "SYN ACK"), (0x18, "ACK PSH"), (0, "no flags")] {
        assert_eq!(Says::Tcp(flags).to_string(), text);
    }
}
