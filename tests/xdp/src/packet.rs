//! Packets, byte by byte, from what they are to say.
//!
//! Only what the program reads is filled in; sums are zero but for a packet that a kernel is to take.

use std::net::{IpAddr, SocketAddr};

pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;

/// TCP, as IP numbers it.
const TCP: u8 = 6;
const ETHERNET_BYTES: usize = 14;
const TCP_SUM_AT: usize = 16;
const UDP_SUM_AT: usize = 6;

/// Extension headers of IPv6, by their numbers.
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const ESP: u8 = 50;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION: u8 = 60;

/// A packet in the making.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Ethertype and tag, outermost first.
    pub tags: Vec<(u16, u16)>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Words of IPv4 options.
    pub option_words: u8,
    /// IPv6 only.
    pub extensions: Vec<u8>,
    /// In units of eight bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    pub protocol: u8,
    /// From the ports on.
    pub transport: Vec<u8>,
}

impl Packet {
    /// A TCP packet with these flags and ten bytes.
    #[must_use]
    pub fn tcp(source: &str, destination: &str, flags: u8) -> Self {
        let mut packet = Self::new(source, destination, TCP);
        packet.transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.transport.extend([7; 10]);
        packet
    }

    /// A UDP packet with this payload.
    #[must_use]
    pub fn udp(source: &str, destination: &str, payload: &[u8]) -> Self {
        let mut packet = Self::new(source, destination, 17);
        let length = u16::try_from(8 + payload.len()).expect("a short payload");
        packet.transport.extend(length.to_be_bytes());
        packet.transport.extend([0, 0]);
        packet.transport.extend(payload);
        packet
    }

    fn new(source: &str, destination: &str, protocol: u8) -> Self {
        let source: SocketAddr = source.parse().expect("an address and port");
        let destination: SocketAddr = destination.parse().expect("an address and port");
        let mut transport = source.port().to_be_bytes().to_vec();
        transport.extend(destination.port().to_be_bytes());
        Self {
            tags: Vec::new(),
            source,
            destination,
            option_words: 0,
            extensions: Vec::new(),
            fragment: None,
            protocol,
            transport,
        }
    }

    #[must_use]
    pub fn tagged(mut self, ethertype: u16, tag: u16) -> Self {
        self.tags.push((ethertype, tag));
        self
    }

    #[must_use]
    pub fn with_options(mut self, words: u8) -> Self {
        self.option_words = words;
        self
    }

    #[must_use]
    pub fn with_extensions(mut self, extensions: &[u8]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self
    }

    #[must_use]
    pub fn of_protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// As it comes in from the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (ethertype, tag) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(0x0800_u16.to_be_bytes());
                self.ipv4(&mut bytes, source.octets(), destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend(0x86dd_u16.to_be_bytes());
                self.ipv6(&mut bytes, source.octets(), destination.octets());
            }
            _ => panic!("two versions in one packet"),
        }
        bytes.extend(&self.transport);
        bytes
    }

    /// From its IP header on, with the sum of TCP or UDP. IPv4's own the kernel writes that sends it.
    #[must_use]
    pub fn summed(&self) -> Vec<u8> {
        let mut packet = self.clone();
        packet.tags.clear();
        let at = if self.protocol == TCP { TCP_SUM_AT } else { UDP_SUM_AT };
        packet.transport[at..at + 2].copy_from_slice(&self.sum().to_be_bytes());
        packet.bytes().split_off(ETHERNET_BYTES)
    }

    /// RFC 1071 over the transport and what stands for the IP header (RFC 9293, RFC 8200 §8.1).
    fn sum(&self) -> u16 {
        let octets = |ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let mut bytes = octets(self.source.ip());
        bytes.extend(octets(self.destination.ip()));
        let length = u16::try_from(self.transport.len()).expect("a short packet");
        bytes.extend([0, self.protocol]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(&self.transport);
        let word = |pair: &[u8]| {
            u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default())
        };
        let mut sum: u32 = bytes.chunks(2).map(word).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        match !(sum as u16) {
            // UDP's way to say that there is none.
            0 => 0xffff,
            sum => sum,
        }
    }

    fn ipv4(&self, bytes: &mut Vec<u8>, source: [u8; 4], destination: [u8; 4]) {
        let header = 20 + 4 * usize::from(self.option_words);
        let total = u16::try_from(header + self.transport.len()).expect("a short packet");
        let fragment =
            self.fragment.map_or(0x4000, |(offset, more)| offset | if more { 0x2000 } else { 0 });
        bytes.extend([0x45 + self.option_words, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 9]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        // No operation, four to a word.
        bytes.extend(std::iter::repeat_n(1, header - 20));
    }

    fn ipv6(&self, bytes: &mut Vec<u8>, source: [u8; 16], destination: [u8; 16]) {
        let mut kinds = self.extensions.clone();
        kinds.extend(self.fragment.is_some().then_some(FRAGMENT));
        let mut body = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            let next = kinds.get(at + 1).copied().unwrap_or(self.protocol);
            match *kind {
                FRAGMENT => {
                    let (offset, more) = self.fragment.unwrap_or((0, true));
                    body.extend([next, 0]);
                    body.extend((offset << 3 | u16::from(more)).to_be_bytes());
                    body.extend([0, 0, 0, 9]);
                }
                // Its length is in words, without the first two.
                AUTHENTICATION => {
                    body.extend([next, 4]);
                    body.extend([0; 22]);
                }
                // The second of its kind is longer.
                _ => {
                    let units = u8::from(at > 0);
                    body.extend([next, units]);
                    body.extend(std::iter::repeat_n(0, 6 + 8 * usize::from(units)));
                }
            }
        }
        let length = u16::try_from(body.len() + self.transport.len()).expect("a short packet");
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend([kinds.first().copied().unwrap_or(self.protocol), 64]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(body);
    }
}

/// The first bytes of a QUIC packet with a long header of this type and version.
#[must_use]
pub fn quic_long(kind: u8, version: u32) -> Vec<u8> {
    let mut payload = vec![0xc0 | kind << 4];
    payload.extend(version.to_be_bytes());
    payload.extend([0; 20]);
    payload
}

/// The first bytes of a QUIC packet of an established connection.
#[must_use]
pub fn quic_short() -> Vec<u8> {
    let mut payload = vec![0x40];
    payload.extend([5; 24]);
    payload
}

/// QUIC's versions: RFC 9000 and RFC 9369.
pub const QUIC_1: u32 = 1;
pub const QUIC_2: u32 = 0x6b33_43cf;
