//! The headers of a packet, as the network card's program reads them: for people who ask what was
//! dropped, and to tell where its payload begins.
//!
//! Bytes are from outside, and may end anywhere. What is not there is not said, what cannot be read ends
//! the reading, and nothing panics. The bounds are the program's, so that what a person is shown is what
//! the card has judged.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a card keeps of a dropped packet at most.
pub const PACKET_BYTES_MAX: usize = 96;

/// Of IP, as IANA numbers them.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// VLAN tags, and extension headers of IPv6, that the program goes past.
const TAGS_MAX: usize = 2;
const EXTENSIONS_MAX: usize = 8;
/// A long header's form and version: what all versions of QUIC have in common (RFC 8999 §5.1).
const LONG_HEADER_BYTES: usize = 5;

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Headers {
    /// Of the tags that name a VLAN, the outer and the inner one; zero: there is none.
    pub vlans: [u16; TAGS_MAX],
    /// Source and destination.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// As IP numbers it; none for later fragments, which do not say how they go on.
    pub protocol: Option<u8>,
    /// Source and destination.
    pub ports: Option<(u16, u16)>,
    pub says: Option<Says>,
    /// How many bytes these headers are: what follows is payload, or cannot be read.
    pub bytes: usize,
}

/// What kind of packet it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Says {
    /// TCP's flags: FIN is the lowest bit.
    Tcp(u8),
    Quic(Quic),
}

/// A packet of QUIC, as far as it can be told without its keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quic {
    /// It opens a connection, by version 1 or 2.
    Initial,
    /// Another one of a handshake, by version 1 or 2.
    Handshake,
    /// A long header of another version; zero is a negotiation.
    Version(u32),
    /// Of an open connection, or no QUIC.
    Short,
}

impl Headers {
    /// Reads from the Ethernet header on.
    #[must_use]
    pub fn read(packet: &[u8]) -> Self {
        let mut headers = Self::default();
        let mut rest = Rest { all: packet.len(), bytes: packet };
        let _ = headers.ethernet(&mut rest);
        headers.bytes = rest.at();
        headers
    }

    fn ethernet(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        rest.take(12)?;
        let mut ethertype = rest.two()?;
        for _ in 0..TAGS_MAX {
            if matches!(ethertype, 0x8100 | 0x88a8) {
                let id = rest.two()? & 0xfff;
                // A tag of VLAN 0 is a priority only.
                if let Some(place) = self.vlans.iter_mut().find(|vlan| **vlan == 0) {
                    *place = id;
                }
                ethertype = rest.two()?;
            }
        }
        match ethertype {
            0x0800 => self.ipv4(rest),
            0x86dd => self.ipv6(rest),
            _ => None,
        }
    }

    fn ipv4(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        let version = *rest.bytes.first()?;
        let options = (usize::from(version & 15) * 4).checked_sub(20)?;
        if version >> 4 != 4 {
            return None;
        }
        rest.take(6)?;
        let offset = rest.two()? & 0x1fff;
        rest.take(1)?;
        let protocol = *rest.take(1)?.first()?;
        rest.take(2)?;
        let addresses = (Ipv4Addr::from(rest.array()?), Ipv4Addr::from(rest.array()?));
        self.addresses = Some((addresses.0.into(), addresses.1.into()));
        rest.take(options)?;
        if offset != 0 {
            return None;
        }
        self.protocol = Some(protocol);
        self.transport(protocol, rest)
    }

    fn ipv6(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        if rest.bytes.first()? >> 4 != 6 {
            return None;
        }
        rest.take(6)?;
        let [mut next, _] = rest.array()?;
        let addresses = (Ipv6Addr::from(rest.array()?), Ipv6Addr::from(rest.array()?));
        self.addresses = Some((IpAddr::V6(addresses.0), IpAddr::V6(addresses.1)));
        for _ in 0..EXTENSIONS_MAX {
            let length = || rest.bytes.get(1).copied().map(usize::from);
            let bytes = match next {
                // Hop-by-hop, routing, destination options.
                0 | 43 | 60 => 8 * (1 + length()?),
                // Authentication.
                51 => 4 * (2 + length()?),
                // A fragment.
                44 => 8,
                _ => break,
            };
            let (kind, extension) = (next, rest.take(bytes)?);
            next = *extension.first()?;
            let offset = u16::from_be_bytes([*extension.get(2)?, *extension.get(3)?]) >> 3;
            if kind == 44 && offset != 0 {
                return None;
            }
        }
        self.protocol = Some(next);
        self.transport(next, rest)
    }

    fn transport(&mut self, protocol: u8, rest: &mut Rest<'_>) -> Option<()> {
        if !matches!(protocol, TCP | UDP) {
            return None;
        }
        self.ports = Some((rest.two()?, rest.two()?));
        if protocol == TCP {
            rest.take(8)?;
            let [offset, flags] = rest.array()?;
            self.says = Some(Says::Tcp(flags));
            rest.take(6)?;
            let options = (usize::from(offset >> 4) * 4).saturating_sub(20);
            // They may be longer than what is kept.
            rest.take(options.min(rest.bytes.len()))?;
        } else {
            rest.take(4)?;
            self.says = Some(Says::Quic(quic(rest)?));
        }
        Some(())
    }
}

/// By its bit, in the order in which people say them.
const TCP_FLAGS: [(u8, &str); 8] = [
    (0x02, "SYN"),
    (0x10, "ACK"),
    (0x08, "PSH"),
    (0x01, "FIN"),
    (0x04, "RST"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

impl fmt::Display for Says {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(0) => out.write_str("no flags"),
            Self::Tcp(flags) => {
                let mut gap = "";
                for (_, name) in TCP_FLAGS.iter().filter(|(bit, _)| flags & bit != 0) {
                    write!(out, "{gap}{name}")?;
                    gap = " ";
                }
                Ok(())
            }
            Self::Quic(Quic::Initial) => out.write_str("QUIC Initial"),
            Self::Quic(Quic::Handshake) => out.write_str("QUIC handshake"),
            Self::Quic(Quic::Version(version)) => write!(out, "QUIC version {version:#x}"),
            Self::Quic(Quic::Short) => out.write_str("short header"),
        }
    }
}

fn quic(rest: &mut Rest<'_>) -> Option<Quic> {
    let form = *rest.bytes.first()?;
    if form < 0x80 {
        rest.take(1)?;
        return Some(Quic::Short);
    }
    let [_, version @ ..] = *rest.take(LONG_HEADER_BYTES)?.first_chunk::<LONG_HEADER_BYTES>()?;
    let version = u32::from_be_bytes(version);
    Some(match (version, form >> 4 & 3) {
        // RFC 9000 §17.2.2, RFC 9369 §3.2.
        (1, 0) | (0x6b33_43cf, 1) => Quic::Initial,
        (1 | 0x6b33_43cf, _) => Quic::Handshake,
        (version, _) => Quic::Version(version),
    })
}

/// The bytes that are left.
struct Rest<'p> {
    all: usize,
    bytes: &'p [u8],
}

impl<'p> Rest<'p> {
    /// So many bytes, or none of them.
    fn take(&mut self, count: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn two(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Bytes that were taken.
    fn at(&self) -> usize {
        self.all - self.bytes.len()
    }
}
