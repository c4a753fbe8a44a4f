//! Where packets come from and go to: flows, sources, and what is configured to be a tenant's.
//!
//! An IPv6 host has a /64 to choose from, so that is one source; an IPv4 address inside IPv6 is that
//! IPv4 address. Every value has one form, so that equal things are equal bytes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::names::Keys;

/// One TCP connection, as the card sees it coming in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Flow {
    pub peer: SocketAddr,
    /// Ours: the address and port that it came to.
    pub local: SocketAddr,
}

impl Flow {
    /// In the one form: IPv4 in IPv6 is IPv4, without scopes and flow labels.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Self { peer: plain(peer), local: plain(local) }
    }

    #[must_use]
    pub fn source(&self) -> Prefix {
        Prefix::source(self.peer.ip())
    }
}

/// Bits of an IPv6 address that name who has it: a host chooses the others, and the network card does
/// not look at them.
pub const IPV6_BITS_MAX: u8 = 64;

/// An address and how many of its bits count, 32 at most or [`IPV6_BITS_MAX`]; the others are zero.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Prefix {
    network: IpAddr,
    bits: u8,
}

impl Prefix {
    /// `None` where there are not so many bits, others than the first `bits` are set, or it is
    /// multicast of IPv6, which nobody sends from.
    #[must_use]
    pub fn new(network: IpAddr, bits: u8) -> Option<Self> {
        let network = network.to_canonical();
        let (most, is_source) = match network {
            IpAddr::V4(_) => (32, true),
            IpAddr::V6(network) => (IPV6_BITS_MAX, !network.is_multicast()),
        };
        let prefix = (bits <= most).then(|| Self::cut(network, bits))?;
        (is_source && prefix.network == network).then_some(prefix)
    }

    /// Whom an address stands for: itself, or its /64.
    #[must_use]
    pub fn source(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::cut(address, if address.is_ipv4() { 32 } else { IPV6_BITS_MAX })
    }

    #[must_use]
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let bits = self.bits.min(other.bits);
        let alike = self.network.is_ipv4() == other.network.is_ipv4();
        alike && Self::cut(self.network, bits) == Self::cut(other.network, bits)
    }

    fn cut(network: IpAddr, bits: u8) -> Self {
        let network = match network {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Self { network, bits }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.network, self.bits) {
            (IpAddr::V4(address), 32) => address.fmt(out),
            (network, bits) => write!(out, "{network}/{bits}"),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    network: IpAddr,
    bits: u8,
}

impl From<Prefix> for Written {
    fn from(prefix: Prefix) -> Self {
        Self { network: prefix.network, bits: prefix.bits }
    }
}

impl TryFrom<Written> for Prefix {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::new(written.network, written.bits)
            .ok_or("no prefix: bits beyond the length are set, or more than 64 of IPv6 count")
    }
}

/// What an entry of the card drops.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// Every packet of this connection.
    Flow(Flow),
    /// Packets that open a connection from here; connections that are open go on.
    Source(Prefix),
    /// Every packet from here: configured to be one tenant's.
    Prefix(Prefix),
    /// Every packet to this address and port of ours: configured to be one tenant's.
    Service(SocketAddr),
    /// Every packet of this VLAN: configured to be one tenant's.
    /// The outer tag and, of a VLAN in a VLAN, the inner one; else zero.
    Vlan { outer: u16, inner: u16 },
}

impl Target {
    /// Whether it belongs to a tenant because an operator says so.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        matches!(self, Self::Prefix(_) | Self::Service(_) | Self::Vlan { .. })
    }

    /// Whether it is about packets from this address, or from its /64.
    #[must_use]
    pub fn touches(&self, address: IpAddr) -> bool {
        let source = Prefix::source(address);
        match self {
            Self::Flow(flow) => flow.source() == source,
            Self::Source(prefix) | Self::Prefix(prefix) => prefix.overlaps(&source),
            Self::Service(_) | Self::Vlan { .. } => false,
        }
    }

    pub(crate) fn key(&self, keys: &Keys) -> u128 {
        let address = |at: IpAddr| -> [u8; 16] {
            match at {
                IpAddr::V4(at) => at.to_ipv6_mapped().octets(),
                IpAddr::V6(at) => at.octets(),
            }
        };
        let end = |at: &SocketAddr| (address(at.ip()), at.port().to_le_bytes());
        match self {
            Self::Flow(flow) => {
                let ((peer, peer_port), (local, local_port)) = (end(&flow.peer), end(&flow.local));
                keys.hash(&[b"f", &peer, &peer_port, &local, &local_port])
            }
            Self::Source(prefix) => keys.hash(&[b"s", &address(prefix.network), &[prefix.bits]]),
            Self::Prefix(prefix) => keys.hash(&[b"p", &address(prefix.network), &[prefix.bits]]),
            Self::Service(service) => {
                let (address, port) = end(service);
                keys.hash(&[b"v", &address, &port])
            }
            Self::Vlan { outer, inner } => {
                keys.hash(&[b"l", &outer.to_le_bytes(), &inner.to_le_bytes()])
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flow(flow) => write!(out, "the connection {} to {}", flow.peer, flow.local),
            Self::Source(source) => write!(out, "new connections from {source}"),
            Self::Prefix(prefix) => write!(out, "everything from {prefix}"),
            Self::Service(service) => write!(out, "everything to {service}"),
            Self::Vlan { outer, inner: 0 } => write!(out, "everything of VLAN {outer}"),
            Self::Vlan { outer, inner } => write!(out, "everything of VLAN {outer}.{inner}"),
        }
    }
}

/// The form in which a service is compared and looked up.
pub(crate) fn service(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_an_address_or_a_64() {
        assert_eq!(Prefix::source(at("192.0.2.7")).to_string(), "192.0.2.7");
        assert_eq!(Prefix::source(at("::ffff:192.0.2.7")), Prefix::source(at("192.0.2.7")));
        assert_eq!(Prefix::source(at("2001:db8:1:2:3:4:5:6")).to_string(), "2001:db8:1:2::/64");
        assert_ne!(Prefix::source(at("192.0.2.7")), Prefix::source(at("192.0.2.8")));
    }

    #[test]
    fn a_prefix_has_one_form() {
        assert!(Prefix::new(at("10.0.0.0"), 8).is_some());
        assert!(Prefix::new(at("10.0.0.1"), 8).is_none());
        assert!(Prefix::new(at("10.0.0.0"), 33).is_none());
        assert!(Prefix::new(at("2001:db8::"), 64).is_some());
        assert!(Prefix::new(at("2001:db8::"), 65).is_none());
        assert!(Prefix::new(at("fe00::"), 8).is_some());
        assert!(Prefix::new(at("ff00::"), 8).is_none());
        assert!(Prefix::new(at("0.0.0.0"), 0).is_some());
        let read = serde_json::from_str::<Prefix>;
        assert!(read(r#"{"network": "10.0.0.0", "bits": 8}"#).is_ok());
        assert!(read(r#"{"network": "10.0.0.1", "bits": 8}"#).is_err());
    }

    #[test]
    fn prefixes_overlap_within_their_family() {
        let prefix = |text: &str, bits| Prefix::new(at(text), bits).unwrap();
        let ten = prefix("10.0.0.0", 8);
        assert!(ten.overlaps(&prefix("10.1.0.0", 16)) && prefix("10.1.0.0", 16).overlaps(&ten));
        assert!(!ten.overlaps(&prefix("11.0.0.0", 8)));
        assert!(!prefix("0.0.0.0", 0).overlaps(&prefix("::", 0)));
        assert!(prefix("0.0.0.0", 0).overlaps(&ten));
    }
}
