//! Prefixes in one another: the longest decides, whatever comes and goes around it and within it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ebpf_loader::{Penalty, Prefix, Reason, Table, Target, Tenant, now_ns};
use tests_xdp::asked::Asked;
use tests_xdp::model::Model;
use tests_xdp::packet::{ACK, Packet, SYN};
use tests_xdp::{HOUR_NS, card, hour, owned, source, tcp, told, try_counted};

const TENANTS: [Tenant; 3] = [Tenant(1), Tenant(2), Tenant(3)];
const VIP: &str = "203.0.113.1:443";
const VIP6: &str = "[2001:db8:1::1]:443";
const PACKETS: usize = 3_000;

/// A generator of its own: the same prefixes and packets each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }

    /// An address among few, so that prefixes nest and packets fall into them.
    fn address(&mut self) -> IpAddr {
        let near = self.below(1 << 12);
        match self.below(2) {
            0 => Ipv4Addr::from(0x0a00_0000 + near as u32 * 5).into(),
            _ => Ipv6Addr::from((0x2001_0db8_u128 << 96) + (u128::from(near) << 62)).into(),
        }
    }

    fn prefix(&mut self) -> Prefix {
        let address = self.address();
        let (most, spread) = if address.is_ipv4() { (32, 16) } else { (64, 18) };
        // The shortest of all now and then.
        let bits = if self.below(200) == 0 { 0 } else { most - self.below(spread) };
        Prefix::new(address, bits as u8).expect("bits that there are")
    }
}

#[test]
fn the_longest_of_many_decides() {
    let Some(mut card) = card("the_longest_of_many_decides") else { return };
    let services = vec![tcp(VIP), tcp(VIP6)];
    let wanted = [VIP, VIP6].map(|at| owned(Target::Service(tcp(at)), None));
    card.configure(&wanted).unwrap();
    let mut random = Random(7);
    let mut model = Model { services, penalties: Vec::new() };
    let (mut tried, mut dropped) = (0, 0);
    // They come, some go, more come.
    for round in 0..6 {
        for at in 0..300 {
            let target = Target::Source(random.prefix());
            let tenant = TENANTS[at % TENANTS.len()];
            let new_only = random.below(3) == 0;
            let penalty = Penalty { new_only, ..hour(tenant, Reason::Refusals) };
            assert_eq!(card.penalise(target, penalty).unwrap(), None);
            model.penalties.retain(|(known, _)| *known != target);
            model.penalties.push((target, penalty));
        }
        while round % 2 == 1 && model.penalties.len() > 100 {
            let at = random.below(model.penalties.len() as u64) as usize;
            let (target, _) = model.penalties.swap_remove(at);
            assert!(card.release(&target).unwrap());
        }
        for _ in 0..PACKETS / 6 {
            let from = random.address();
            let to = if from.is_ipv4() { VIP } else { VIP6 };
            let from = std::net::SocketAddr::new(from, 9).to_string();
            let flags = if random.below(2) == 0 { ACK } else { SYN };
            let packet = Packet::tcp(&from, to, flags).bytes();
            let wanted = model.drops(&packet);
            let found = try_counted(&mut card, &packet, &TENANTS);
            assert_eq!(found, (wanted.is_none(), wanted), "from {from} in round {round}");
            (tried, dropped) = (tried + 1, dropped + usize::from(wanted.is_some()));
        }
    }
    told(&format!("{tried} packets, {dropped} dropped"));
    assert!(dropped > tried / 10 && dropped < tried, "{dropped} of {tried}: nothing was tried");
}

#[test]
fn what_comes_and_goes_opens_no_gap() {
    let Some(mut two) = Asked::open("what_comes_and_goes_opens_no_gap") else { return };
    two.fed.configure(&[owned(Target::Service(tcp(VIP)), None)]).unwrap();
    let outer = source("10.0.0.0/8");
    // It ends last, so that it makes no room for another.
    let until_ns = now_ns() + 2 * HOUR_NS;
    two.fed.penalise(outer, Penalty { until_ns, ..hour(TENANTS[0], Reason::Kill) }).unwrap();
    let packet = Packet::tcp("10.200.0.7:1", VIP, ACK).bytes();
    let mut random = Random(11);
    let (tried, changes) = two.while_changing(&packet, |card| {
        // Around the packet, and beside it: on both sides.
        let first = [0x0a00_0000, 0x0ac8_0100, 0x0ac8_0000][random.below(3) as usize];
        let beside = first & 0xff_ffff != 0xc8_0000;
        let next = if beside { random.below(1 << 13) as u32 * 256 } else { 0 };
        let address = Ipv4Addr::from(first + next);
        let inner = Target::Source(Prefix::new(address.into(), 24).unwrap());
        card.penalise(inner, hour(TENANTS[1], Reason::Refusals)).unwrap();
        if random.below(2) == 0 {
            card.release(&inner).unwrap();
        }
    });
    let dropped =
        [0, 1].map(|at| two.fed.drops(TENANTS[at]).unwrap().tables[Table::Source as usize]);
    let overtaken = tried - (dropped[0] + dropped[1]);
    told(&format!("{tried} packets, {changes} changes, {overtaken} searches overtaken by two"));
    // A test run is preempted, unlike a card's: a search that stands still for longer than two changes
    // take finds no prefix, as it should. A gap would be in each of the changes.
    assert!(overtaken <= tried / 10_000, "{overtaken} were not dropped: {dropped:?}");
    assert!(dropped.iter().all(|count| *count > 0), "{dropped:?}");
    assert!(changes > 100, "{changes}: nothing was changed");
}
