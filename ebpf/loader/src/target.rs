//! What can be penalised, as people and the dataplane write it, and as the kernel's maps key it.
//!
//! A [`Target`] goes to a key and back without loss, so that adopted maps can be listed. IPv4 is
//! v4-mapped in the maps and IPv4 here; an IPv6 address that is v4-mapped is taken for IPv4.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ebpf_abi::{
    Address, FlowKey, HOST_BITS, IPV4_HOSTS, IPV4_POINT_BITS, NEW_ONLY, POINT_BITS, Reason,
    ServiceKey, TCP, UDP, VlanKey,
};

use crate::prefixes::{POINT_MAX, PrefixKey};

/// Who or what is dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Target {
    Flow(Flow),
    Source(Prefix),
    Service(Service),
    Vlan(Vlan),
}

/// One connection, from the client's side.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    pub protocol: Protocol,
    /// The client.
    pub source: SocketAddr,
    /// The gateway.
    pub destination: SocketAddr,
}

/// Source addresses that begin alike; 64 bits of IPv6 at most, since a host changes the rest at will.
/// Bits behind the length are zero: see [`Prefix::new`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// An address and port of the gateway.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Service {
    pub protocol: Protocol,
    pub at: SocketAddr,
}

/// A VLAN, or one in another (QinQ). Identifiers are 1 to 4094.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Vlan {
    outer: u16,
    inner: Option<u16>,
}

/// What ports belong to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    Tcp,
    /// UDP.
    Quic,
}

/// A tenant by its number in the counters: `1..`[`ebpf_abi::TENANTS_MAX`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tenant(pub u32);

/// Whose packets are dropped, why, and until when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Penalty {
    pub tenant: Tenant,
    pub reason: Reason,
    /// The first nanosecond of [`crate::now_ns`] that passes again.
    pub until_ns: u64,
    /// Established connections are left alone.
    pub new_only: bool,
}

impl Prefix {
    /// The prefix that `address` lies in; `None` when there is none of so many bits, or it is one of
    /// IPv6 multicast, which nobody sends from.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V4(address) if bits <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Some(Self { address: IpAddr::V4((address.to_bits() & mask).into()), bits })
            }
            IpAddr::V6(address) if u32::from(bits) <= HOST_BITS => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                let address = Ipv6Addr::from(address.to_bits() & mask);
                (!address.is_multicast()).then_some(Self { address: address.into(), bits })
            }
            _ => None,
        }
    }

    /// One address of IPv4, or the /64 that an IPv6 host changes its address in.
    #[must_use]
    pub fn of_host(address: IpAddr) -> Self {
        let bits = if address.to_canonical().is_ipv4() { 32 } else { 64 };
        Self::new(address, bits).unwrap_or(Self { address, bits })
    }

    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        Self::new(address, self.bits).is_some_and(|other| other == self)
    }

    /// Whether it is a whole IPv4 address or IPv6 /64.
    #[must_use]
    pub fn is_host(self) -> bool {
        let host = if self.address.is_ipv4() { 32 } else { HOST_BITS };
        u32::from(self.bits) == host
    }

    /// The key of a host.
    pub(crate) fn host_key(self) -> u64 {
        let address = address_of(self.address);
        match self.address {
            IpAddr::V4(_) => ebpf_abi::host_of_ipv4(address[3]),
            IpAddr::V6(_) => ebpf_abi::host(address),
        }
    }

    pub(crate) fn of_host_key(key: u64) -> Option<Self> {
        Some(match key.checked_sub(IPV4_HOSTS) {
            Some(address) => Self::of_host(Ipv4Addr::from(u32::try_from(address).ok()?).into()),
            None => Self::of_host(Ipv6Addr::from(u128::from(key) << 64).into()),
        })
    }

    /// The key of one that is no host.
    pub(crate) fn key(self) -> PrefixKey {
        let above = if self.address.is_ipv4() { POINT_BITS - IPV4_POINT_BITS } else { 0 };
        let start = ebpf_abi::point(self.host_key());
        let below = POINT_BITS.saturating_sub(above + u32::from(self.bits));
        PrefixKey { start, mask: POINT_MAX & !((1 << below) - 1) }
    }

    pub(crate) fn of_key(key: PrefixKey) -> Option<Self> {
        let within = Self::of_host_key(key.start << 1)?;
        let above = if within.address.is_ipv4() { POINT_BITS - IPV4_POINT_BITS } else { 0 };
        let bits = key.mask.count_ones().checked_sub(above)?;
        let prefix = Self::new(within.address, u8::try_from(bits).ok()?)?;
        (!prefix.is_host() && prefix.key() == key).then_some(prefix)
    }
}

impl Vlan {
    /// `None` for an identifier that is none.
    #[must_use]
    pub fn new(outer: u16, inner: Option<u16>) -> Option<Self> {
        let valid = |id: u16| (1..=4_094).contains(&id);
        (valid(outer) && inner.is_none_or(valid)).then_some(Self { outer, inner })
    }

    /// The first tag on the wire.
    #[must_use]
    pub fn outer(self) -> u16 {
        self.outer
    }

    /// The second, of a VLAN in a VLAN.
    #[must_use]
    pub fn inner(self) -> Option<u16> {
        self.inner
    }

    pub(crate) fn key(self) -> VlanKey {
        VlanKey { outer: self.outer, inner: self.inner.unwrap_or(0) }
    }

    pub(crate) fn of_key(key: VlanKey) -> Option<Self> {
        Self::new(key.outer, (key.inner != 0).then_some(key.inner))
    }
}

impl Flow {
    /// Where it goes to.
    #[must_use]
    pub fn service(&self) -> Service {
        Service { protocol: self.protocol, at: self.destination }
    }

    /// `service` is the number of where it goes to.
    pub(crate) fn key(&self, service: u16) -> FlowKey {
        FlowKey {
            source: address_of(self.source.ip()),
            source_port_be: self.source.port().to_be(),
            service,
        }
    }

    pub(crate) fn of_key(key: FlowKey, service: Service) -> Self {
        let source = SocketAddr::new(ip_of(key.source), u16::from_be(key.source_port_be));
        Self { protocol: service.protocol, source, destination: service.at }
    }
}

impl Service {
    pub(crate) fn key(&self) -> ServiceKey {
        ServiceKey {
            address: address_of(self.at.ip()),
            port_be: self.at.port().to_be(),
            protocol: self.protocol.number(),
            pad: 0,
        }
    }

    pub(crate) fn of_key(key: ServiceKey) -> Option<Self> {
        let at = SocketAddr::new(ip_of(key.address), u16::from_be(key.port_be));
        Some(Self { protocol: Protocol::of_number(key.protocol)?, at })
    }
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Quic => UDP,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        match number {
            TCP => Some(Self::Tcp),
            UDP => Some(Self::Quic),
            _ => None,
        }
    }
}

impl Penalty {
    pub(crate) fn entry(&self) -> ebpf_abi::Penalty {
        ebpf_abi::Penalty {
            until_ns: self.until_ns,
            tenant: self.tenant.0,
            reason: self.reason as u8,
            flags: if self.new_only { NEW_ONLY } else { 0 },
            pad: 0,
        }
    }

    pub(crate) fn of_entry(entry: &ebpf_abi::Penalty) -> Option<Self> {
        Some(Self {
            tenant: Tenant(entry.tenant),
            reason: *Reason::ALL.get(usize::from(entry.reason))?,
            until_ns: entry.until_ns,
            new_only: entry.flags & NEW_ONLY != 0,
        })
    }
}

fn address_of(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => ebpf_abi::mapped(ip.octets()),
        IpAddr::V6(ip) => ebpf_abi::address(ip.octets()),
    }
}

fn ip_of(address: Address) -> IpAddr {
    IpAddr::from(ebpf_abi::octets(address)).to_canonical()
}

impl fmt::Display for Target {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(flow) => write!(to, "flow {} to {}", flow.source, flow.service()),
            Self::Source(prefix) => write!(to, "source {prefix}"),
            Self::Service(service) => write!(to, "service {service}"),
            Self::Vlan(Vlan { outer, inner: None }) => write!(to, "vlan {outer}"),
            Self::Vlan(Vlan { outer, inner: Some(inner) }) => write!(to, "vlan {outer}.{inner}"),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Quic => "udp",
        };
        write!(to, "{protocol} {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_back_to_what_they_were_made_of() {
        let four: SocketAddr = "192.0.2.7:443".parse().unwrap();
        let six: SocketAddr = "[2001:db8::7]:8443".parse().unwrap();
        for (source, destination) in [(four, four), (six, six)] {
            for protocol in [Protocol::Tcp, Protocol::Quic] {
                let flow = Flow { protocol, source, destination };
                assert_eq!(Flow::of_key(flow.key(7), flow.service()), flow);
                assert_eq!(Service::of_key(flow.service().key()), Some(flow.service()));
            }
        }
        let v4 = (0..32).map(|bits| ("255.170.2.255", bits));
        for (address, bits) in v4.chain((0..64).map(|bits| ("feff:db8::7:0:0:0:0", bits))) {
            let prefix = Prefix::new(address.parse().unwrap(), bits).unwrap();
            assert_eq!(Prefix::of_key(prefix.key()), Some(prefix), "{prefix}");
        }
        for host in ["192.0.2.7", "255.255.255.255", "2001:db8::7", "::", "feff::"] {
            let host = Prefix::of_host(host.parse().unwrap());
            assert!(host.is_host());
            assert_eq!(Prefix::of_host_key(host.host_key()), Some(host));
        }
        for vlan in [Vlan::new(1, None).unwrap(), Vlan::new(4_094, Some(1)).unwrap()] {
            assert_eq!(Vlan::of_key(vlan.key()), Some(vlan));
        }
    }

    #[test]
    fn a_prefix_is_cut_to_its_bits() {
        let prefix = Prefix::new("192.0.2.130".parse().unwrap(), 25).unwrap();
        assert_eq!(prefix.to_string(), "192.0.2.128/25");
        assert!(prefix.holds("192.0.2.255".parse().unwrap()));
        assert!(!prefix.holds("192.0.2.127".parse().unwrap()));
        assert!(!prefix.holds("::ffff:192.0.3.128".parse().unwrap()));
        let host = Prefix::of_host("2001:db8::1:2:3:4".parse().unwrap());
        assert_eq!(host.to_string(), "2001:db8::/64");
    }

    #[test]
    fn what_does_not_exist_has_no_target() {
        assert_eq!(Prefix::new("192.0.2.1".parse().unwrap(), 33), None);
        assert_eq!(Prefix::new("::1".parse().unwrap(), 65), None);
        assert_eq!(Prefix::new("ff02::1".parse().unwrap(), 16), None);
        assert!(Prefix::new("ff02::1".parse().unwrap(), 7).is_some());
        assert_eq!(Vlan::new(0, None), None);
        assert_eq!(Vlan::new(4_095, None), None);
        assert_eq!(Vlan::new(1, Some(0)), None);
    }
}
