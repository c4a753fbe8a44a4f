//! What the program should do with a packet, written slowly and apart from it.
//!
//! The model takes a packet apart from the front, layer by layer, and gives up where the next layer
//! is not wholly there. It knows nothing of the kernel's maps: it walks lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ebpf_loader::{Flow, Penalty, Protocol, Service, Table, Target, Vlan};

use crate::Counted;

/// A packet with ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    pub flow: Flow,
    pub vlan: Option<Vlan>,
    pub opens: bool,
}

/// The bytes that are left.
struct Rest<'p>(&'p [u8]);

impl<'p> Rest<'p> {
    fn take(&mut self, count: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn two(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
}

/// Takes a packet apart; `None` for one without ports.
#[must_use]
pub fn parse(packet: &[u8]) -> Option<Seen> {
    let mut rest = Rest(packet);
    rest.take(12)?;
    let mut ethertype = rest.two()?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        if ethertype == 0x8100 || ethertype == 0x88a8 {
            ids.push(rest.two()? % 4096);
            ethertype = rest.two()?;
        }
    }
    ids.retain(|id| *id != 0);
    let (source, destination, protocol) = match ethertype {
        0x0800 => ipv4(&mut rest)?,
        0x86dd => ipv6(&mut rest)?,
        _ => return None,
    };
    let mut ports = Rest(rest.0);
    let (source_port, destination_port) = match protocol {
        6 | 17 => (ports.two()?, ports.two()?),
        _ => return None,
    };
    let (protocol, opens) = match protocol {
        6 => (Protocol::Tcp, rest.0.get(13).is_none_or(|flags| flags & 0b1_0010 == 0b10)),
        _ => (Protocol::Quic, initial(rest.0.get(8..).unwrap_or_default())),
    };
    Some(Seen {
        flow: Flow {
            protocol,
            source: SocketAddr::new(source.to_canonical(), source_port),
            destination: SocketAddr::new(destination.to_canonical(), destination_port),
        },
        // 4095 is reserved: nobody can be configured by it.
        vlan: ids.first().and_then(|outer| Vlan::new(*outer, ids.get(1).copied())),
        opens,
    })
}

fn ipv4(rest: &mut Rest<'_>) -> Option<(IpAddr, IpAddr, u8)> {
    let header = rest.take(20)?;
    let length = usize::from(header[0] % 16) * 4;
    let later = (u16::from_be_bytes([header[6], header[7]])) % 0x2000 != 0;
    if header[0] / 16 != 4 || length < 20 || later {
        return None;
    }
    rest.take(length - 20)?;
    let address = |at: usize| {
        let octets: [u8; 4] = header[at..at + 4].try_into().unwrap_or_default();
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    Some((address(12), address(16), header[9]))
}

fn ipv6(rest: &mut Rest<'_>) -> Option<(IpAddr, IpAddr, u8)> {
    let header = rest.take(40)?;
    if header[0] / 16 != 6 {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().unwrap_or_default();
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut next = header[6];
    for _ in 0..8 {
        let length = match next {
            0 | 43 | 60 => 8 * (1 + usize::from(*rest.0.get(1)?)),
            51 => 4 * (2 + usize::from(*rest.0.get(1)?)),
            44 => 8,
            _ => break,
        };
        let kind = next;
        let extension = rest.take(length)?;
        if kind == 44 && u16::from_be_bytes([extension[2], extension[3]]) / 8 != 0 {
            return None;
        }
        next = extension[0];
    }
    Some((address(8), address(24), next))
}

fn initial(payload: &[u8]) -> bool {
    let Some(header) = payload.get(..5) else { return true };
    let kind = header[0] / 16 % 4;
    header[0] >= 128
        && match header[1..] {
            [0, 0, 0, 1] => kind == 0,
            [0x6b, 0x33, 0x43, 0xcf] => kind == 1,
            _ => true,
        }
}

/// The tables as lists. Times and buckets are left out: every penalty lasts.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub services: Vec<Service>,
    pub penalties: Vec<(Target, Penalty)>,
}

impl Model {
    /// By what this packet is dropped; `None` when it passes.
    #[must_use]
    pub fn drops(&self, packet: &[u8]) -> Option<Counted> {
        let seen = parse(packet)?;
        if !self.services.contains(&seen.flow.service()) {
            return None;
        }
        let order = [Table::Source, Table::Flow, Table::Service, Table::Vlan];
        order.into_iter().find_map(|table| {
            let (_, penalty) = self.entry(table, &seen)?;
            (seen.opens || !penalty.new_only).then_some((penalty.tenant, penalty.reason, table))
        })
    }

    fn entry(&self, table: Table, seen: &Seen) -> Option<&(Target, Penalty)> {
        let hits = |target: &Target| match (table, target) {
            (Table::Flow, Target::Flow(flow)) => *flow == seen.flow,
            (Table::Source, Target::Source(prefix)) => prefix.holds(seen.flow.source.ip()),
            (Table::Service, Target::Service(service)) => *service == seen.flow.service(),
            (Table::Vlan, Target::Vlan(vlan)) => seen.vlan == Some(*vlan),
            _ => false,
        };
        let bits = |target: &Target| match target {
            Target::Source(prefix) => prefix.bits(),
            _ => 0,
        };
        let found = self.penalties.iter().filter(|(target, _)| hits(target));
        found.max_by_key(|(target, _)| bits(target))
    }
}
