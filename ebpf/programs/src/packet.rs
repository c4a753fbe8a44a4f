//! What a packet is, as far as it concerns us: addresses, ports, VLAN, and whether it opens a
//! connection.
//!
//! What has no ports that can be read is none of ours: ARP, ICMP of both kinds, later fragments,
//! tunnels, more tags or extension headers than are walked, packets cut before their ports. It
//! passes, whoever sent it. `docs/internals/xdp.md` has the table of these decisions, and
//! `tests/xdp` a model that must come to the same ones.

use aya_ebpf::programs::XdpContext;
use ebpf_abi::{Address, EXTENSIONS_MAX, TAGS_MAX, TCP, UDP, VlanKey};

pub struct Packet {
    pub source: Address,
    /// The source as [`ebpf_abi::host`] has it.
    pub host: u64,
    pub destination: Address,
    pub source_port_be: u16,
    pub destination_port_be: u16,
    pub protocol: u8,
    pub vlan: VlanKey,
    /// It begins a connection, or is cut so that one cannot know.
    pub opens: bool,
}

pub const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_AT: usize = 12;
const TAGGED: u16 = 0x8100_u16.to_be();
const TAGGED_OUTER: u16 = 0x88a8_u16.to_be();
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
const IPV6_BYTES: usize = 40;
/// The part of a fragment's offset that is one: IPv4 has flags above it, IPv6 below.
const IPV4_OFFSET: u16 = 0x1fff_u16.to_be();
const IPV6_OFFSET: u16 = 0xfff8_u16.to_be();

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const TCP_FLAGS_AT: usize = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const UDP_BYTES: usize = 8;
const QUIC_LONG: u8 = 0x80;
const QUIC_TYPE: u8 = 0x30;
const QUIC_1: u32 = 1_u32.to_be();
/// RFC 9369; its packet types are numbered anew.
const QUIC_2: u32 = 0x6b33_43cf_u32.to_be();

/// Where the network header begins and what it is.
struct Frame {
    at: usize,
    ethertype: u16,
    vlan: VlanKey,
}

/// Where the ports are, and whose.
struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    at: usize,
}

#[inline(always)]
pub fn parse(ctx: &XdpContext) -> Option<Packet> {
    let frame = frame(ctx)?;
    let network = match frame.ethertype {
        IPV4 => ipv4(ctx, frame.at)?,
        IPV6 => ipv6(ctx, frame.at)?,
        _ => return None,
    };
    if network.protocol != TCP && network.protocol != UDP {
        return None;
    }
    let ports: [u16; 2] = read(ctx, network.at)?;
    let opens = match network.protocol {
        TCP => opens_tcp(ctx, network.at),
        _ => opens_quic(ctx, network.at + UDP_BYTES),
    };
    Some(Packet {
        source: network.source,
        host: match frame.ethertype {
            IPV4 => ebpf_abi::host_of_ipv4(network.source[3]),
            _ => ebpf_abi::host(network.source),
        },
        destination: network.destination,
        source_port_be: ports[0],
        destination_port_be: ports[1],
        protocol: network.protocol,
        vlan: frame.vlan,
        opens,
    })
}

#[inline(always)]
fn frame(ctx: &XdpContext) -> Option<Frame> {
    let mut frame = Frame {
        at: ETHERNET_BYTES,
        ethertype: read(ctx, ETHERTYPE_AT)?,
        vlan: VlanKey { outer: 0, inner: 0 },
    };
    for _ in 0..TAGS_MAX {
        if frame.ethertype != TAGGED && frame.ethertype != TAGGED_OUTER {
            break;
        }
        let tag: [u16; 2] = read(ctx, frame.at)?;
        let id = u16::from_be(tag[0]) & 0xfff;
        // VLAN 0 is a priority and no VLAN.
        if frame.vlan.outer == 0 {
            frame.vlan.outer = id;
        } else {
            frame.vlan.inner = id;
        }
        frame.ethertype = tag[1];
        frame.at += 4;
    }
    Some(frame)
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, at: usize) -> Option<Network> {
    // Version and length, service, total; id, fragment; life, protocol, sum; source; destination.
    let header: [u32; 5] = read(ctx, at)?;
    let first = header[0].to_ne_bytes()[0];
    let fragment = u16::from_ne_bytes([header[1].to_ne_bytes()[2], header[1].to_ne_bytes()[3]]);
    let words = usize::from(first & 15);
    if first >> 4 != 4 || words < 5 || fragment & IPV4_OFFSET != 0 {
        return None;
    }
    Some(Network {
        source: [0, 0, 0xffff_u32.to_be(), header[3]],
        destination: [0, 0, 0xffff_u32.to_be(), header[4]],
        protocol: header[2].to_ne_bytes()[1],
        at: at + words * 4,
    })
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, at: usize) -> Option<Network> {
    let header: [u32; 10] = read(ctx, at)?;
    if header[0].to_ne_bytes()[0] >> 4 != 6 {
        return None;
    }
    let mut network = Network {
        source: [header[2], header[3], header[4], header[5]],
        destination: [header[6], header[7], header[8], header[9]],
        protocol: header[1].to_ne_bytes()[2],
        at: at + IPV6_BYTES,
    };
    for _ in 0..EXTENSIONS_MAX {
        let bytes = match network.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let extension: [u8; 2] = read(ctx, network.at)?;
                network.protocol = extension[0];
                (usize::from(extension[1]) + 1) * 8
            }
            AUTHENTICATION => {
                let extension: [u8; 2] = read(ctx, network.at)?;
                network.protocol = extension[0];
                (usize::from(extension[1]) + 2) * 4
            }
            FRAGMENT => {
                let extension: [u16; 4] = read(ctx, network.at)?;
                if extension[1] & IPV6_OFFSET != 0 {
                    return None;
                }
                network.protocol = extension[0].to_ne_bytes()[0];
                8
            }
            _ => break,
        };
        network.at += bytes;
    }
    Some(network)
}

/// A header that is cut before its flags counts as opening: no honest sender cuts there, and a tiny
/// first fragment would else be a way round the bucket (RFC 1858).
#[inline(always)]
fn opens_tcp(ctx: &XdpContext, at: usize) -> bool {
    read(ctx, at + TCP_FLAGS_AT).is_none_or(|flags: u8| flags & (SYN | ACK) == SYN)
}

/// An Initial packet, or a long header of a version that we do not know: it begins a negotiation.
#[inline(always)]
fn opens_quic(ctx: &XdpContext, at: usize) -> bool {
    let Some(header) = read::<[u8; 5]>(ctx, at) else { return true };
    let [first, a, b, c, d] = header;
    if first & QUIC_LONG == 0 {
        return false;
    }
    match u32::from_ne_bytes([a, b, c, d]) {
        QUIC_1 => first & QUIC_TYPE == 0x00,
        QUIC_2 => first & QUIC_TYPE == 0x10,
        _ => true,
    }
}

/// The one place where bounds are checked.
#[inline(always)]
fn read<T: Copy>(ctx: &XdpContext, at: usize) -> Option<T> {
    let start = ctx.data() + at;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: within the packet, as checked; any bytes are a value of the integers read here.
    Some(unsafe { (start as *const T).read_unaligned() })
}
