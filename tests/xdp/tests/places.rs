//! What shares a place in the table of services with one of them, and differs in one field only, is
//! not taken for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ebpf_abi::{ServiceKey, TCP, UDP};
use ebpf_loader::{Card, Flow, Protocol, Reason, Service, Table, Target, Tenant};
use tests_xdp::packet::{ACK, Packet, quic_short};
use tests_xdp::{card, hour, owned, source, tcp, try_counted};

const ACME: Tenant = Tenant(1);
const AGENT: &str = "198.51.100.7:1";

fn key(address: u32, port: u16, protocol: u8) -> ServiceKey {
    let address = ebpf_abi::mapped(address.to_be_bytes());
    ServiceKey { address, port_be: port.to_be(), protocol, pad: 0 }
}

fn packet(address: u32, port: u16, protocol: u8) -> Vec<u8> {
    let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port).to_string();
    match protocol {
        TCP => Packet::tcp(AGENT, &to, ACK).bytes(),
        _ => Packet::udp(AGENT, &to, &quic_short()).bytes(),
    }
}

#[test]
fn a_packet_that_shares_a_place_with_a_service_passes() {
    let test = "a_packet_that_shares_a_place_with_a_service_passes";
    let Some(mut card) = card(test) else { return };
    card.penalise(source("0.0.0.0/0"), hour(ACME, Reason::Kill)).unwrap();
    let vip = u32::from(Ipv4Addr::new(203, 0, 113, 1));
    // The one service of a table is in the first of its places.
    let shares = |one: ServiceKey, other: ServiceKey| one.slots()[0] == other.slots()[0];
    let port = (1..u16::MAX).find(|port| shares(key(vip, *port, TCP), key(vip, *port, UDP)));
    let by_protocol = (vip, port.unwrap(), UDP);
    let port = by_protocol.1;
    let own = key(vip, port, TCP);
    let other = (1..u16::MAX).find(|at| *at != port && shares(own, key(vip, *at, TCP)));
    let by_port = (vip, other.unwrap(), TCP);
    let other = (1..u32::MAX).find(|at| *at != vip && shares(own, key(*at, port, TCP)));
    let by_address = (other.unwrap(), port, TCP);

    let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(vip)), port);
    let service = Service { protocol: Protocol::Tcp, at };
    card.configure(&[owned(Target::Service(service), None)]).unwrap();
    let counted = Some((ACME, Reason::Kill, Table::Source));
    assert_eq!(try_counted(&mut card, &packet(vip, port, TCP), &[ACME]), (false, counted));
    for (address, port, protocol) in [by_protocol, by_port, by_address] {
        let found = try_counted(&mut card, &packet(address, port, protocol), &[ACME]);
        assert_eq!(found, (true, None), "{} {port} {protocol}", Ipv4Addr::from(address));
    }
}

/// Flows name their service by a number, and a number that is free is given again.
#[test]
fn a_service_that_goes_takes_its_flows_along_and_others_keep_theirs() {
    let test = "a_service_that_goes_takes_its_flows_along_and_others_keep_theirs";
    let Some(mut card) = card(test) else { return };
    let service = |at: &str| Target::Service(tcp(at));
    let [old, kept, new] = ["203.0.113.1:443", "203.0.113.2:443", "203.0.113.3:443"];
    card.configure(&[owned(service(old), None), owned(service(kept), None)]).unwrap();
    let flow = |to: &str| {
        let (source, destination) = (AGENT.parse().unwrap(), to.parse().unwrap());
        Target::Flow(Flow { protocol: Protocol::Tcp, source, destination })
    };
    for to in [old, kept] {
        card.penalise(flow(to), hour(ACME, Reason::Kill)).unwrap();
    }
    assert!(card.penalise(flow(new), hour(ACME, Reason::Kill)).is_err());
    let counted = Some((ACME, Reason::Kill, Table::Flow));
    let tried = |card: &mut Card, to: &str| {
        try_counted(card, &Packet::tcp(AGENT, to, ACK).bytes(), &[ACME])
    };
    assert_eq!(tried(&mut card, old), (false, counted));
    card.configure(&[owned(service(new), None), owned(service(kept), None)]).unwrap();
    assert_eq!(tried(&mut card, new), (true, None));
    assert_eq!(tried(&mut card, kept), (false, counted));
    let left: Vec<_> = card.penalties().into_iter().map(|(target, _)| target).collect();
    assert_eq!(left, [flow(kept)]);
    assert!(!card.release(&flow(old)).unwrap());
    card.configure(&[owned(service(old), None), owned(service(kept), None)]).unwrap();
    assert_eq!(tried(&mut card, old), (true, None));
}
