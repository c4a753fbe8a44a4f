//! Two tenants behind a NAT: one address at the card, in both versions of IP. The offender's
//! connections are dropped by the ports that the gateway saw; the neighbour notices nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ebpf_loader::{Reason, Table};
use tests_xdp::nat::Nat;
use tests_xdp::scene::{
    ACME, Connection, GLOBEX, PATIENCE, SILENCE, VIP, VIP6, attached, by_table, serve,
};
use tests_xdp::{hour, one_in, skip};

/// What both hosts send from: only one of them can have it outside.
const PORT: u16 = 40_000;
/// More connections of each.
const OTHERS: u16 = 10;

#[test]
fn a_tenant_behind_a_nat_is_dropped_and_its_neighbour_is_not() {
    let test = "a_tenant_behind_a_nat_is_dropped_and_its_neighbour_is_not";
    let Some((net, mut card)) = attached(test) else { return };
    let nat = match Nat::new(&net) {
        Ok(nat) => nat,
        Err(why) => return skip(test, &why),
    };
    let accepted = serve(&net);
    let worlds = [(VIP, Nat::HOSTS, "10.77.0.2"), (VIP6, Nat::HOSTS6, "fd77::2")];
    for (to, hosts, outside) in worlds {
        let [offender, neighbour] = hosts.map(|host| host.parse().unwrap());
        // A connection, and where the gateway saw it come from.
        let connect = |host, port| {
            let from = SocketAddr::new(host, port);
            let stream = nat.connect(from, to.parse().unwrap()).expect("a connection");
            (Connection::over(stream), accepted.recv_timeout(PATIENCE).unwrap())
        };
        let (mut dropped, from) = connect(offender, PORT);
        let (mut kept, neighbours) = connect(neighbour, PORT);
        let outside: IpAddr = outside.parse().unwrap();
        assert_eq!([from.ip(), neighbours.ip()], [outside; 2]);
        assert_ne!(from.port(), neighbours.port());
        assert!(dropped.answered(PATIENCE) && kept.answered(PATIENCE), "{to}");

        card.penalise(dropped.flow_from(from), hour(ACME, Reason::Refusals)).unwrap();
        assert!(!dropped.answered(SILENCE), "{to}");
        for _ in 0..1_000 / one_in() {
            assert!(kept.answered(PATIENCE), "{to}");
        }
        // New ones of both, each from another port of the same address.
        let mut ports = BTreeSet::from([from.port(), neighbours.port()]);
        for nth in 1..=OTHERS {
            for host in [offender, neighbour] {
                let (mut another, from) = connect(host, PORT + nth);
                assert!(ports.insert(from.port()) && another.answered(PATIENCE), "{to}");
            }
        }
        assert!(!dropped.thaws(SILENCE), "{to}");
        assert_eq!(
            by_table(&card, ACME, Table::Flow),
            card.drops(ACME).unwrap().tables.iter().sum()
        );
        assert!(card.release(&dropped.flow_from(from)).unwrap());
        assert!(dropped.thaws(PATIENCE) && dropped.answered(PATIENCE), "{to}");
        assert!(kept.answered(PATIENCE), "{to}");
    }
    assert!(by_table(&card, ACME, Table::Flow) >= 2);
    assert_eq!(card.drops(GLOBEX).unwrap().tables.iter().sum::<u64>(), 0);
    card.detach().unwrap();
}
