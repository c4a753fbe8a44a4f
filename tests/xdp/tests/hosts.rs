//! Hosts that share a bit of the filter before their table: none is dropped for another, and none passes
//! because another was released.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use ebpf_abi::{ABI_VERSION, HOST_FILTER_WORDS};
use ebpf_loader::{Card, Penalty, Reason, Table, Target, now_ns};
use tests_xdp::asked::Asked;
use tests_xdp::packet::{ACK, Packet};
use tests_xdp::scene::{ACME, GLOBEX, VIP, VIP6, net, open, services};
use tests_xdp::{Counted, card, filter_bit, host, hour, owned, tcp, told, try_counted};

const ACMES: Option<Counted> = Some((ACME, Reason::Refusals, Table::Source));
const GLOBEXES: Option<Counted> = Some((GLOBEX, Reason::Kill, Table::Source));

/// Three hosts of one bit, of both versions.
fn of_one_bit() -> [String; 3] {
    let one = Ipv4Addr::new(198, 51, 100, 7);
    let shares = |other: &IpAddr| filter_bit(*other) == filter_bit(one.into());
    let ipv4 = (0..u32::MAX).map(|at| Ipv4Addr::from(0x0a00_0000 + at).into()).find(shares);
    let ipv6 = (0..u128::from(u32::MAX))
        .map(|at| Ipv6Addr::from((0x2001_0db8_u128 << 96) + (at << 64) + 1).into())
        .find(shares);
    [one.into(), ipv4.unwrap(), ipv6.unwrap()].map(|ip| ip.to_string())
}

fn check(card: &mut Card, from: &str, counted: Option<Counted>) {
    let (from, to) = match from.contains(':') {
        true => (format!("[{from}]:1"), VIP6),
        false => (format!("{from}:1"), VIP),
    };
    let found = try_counted(card, &Packet::tcp(&from, to, ACK).bytes(), &[ACME, GLOBEX]);
    assert_eq!(found, (counted.is_none(), counted), "{from}");
}

#[test]
fn hosts_of_one_bit_are_told_apart() {
    let Some(mut card) = card("hosts_of_one_bit_are_told_apart") else { return };
    card.configure(&services()).unwrap();
    let [one, other, third] = of_one_bit();
    card.penalise(host(&one), hour(ACME, Reason::Refusals)).unwrap();
    check(&mut card, &one, ACMES);
    check(&mut card, &other, None);
    check(&mut card, &third, None);

    card.penalise(host(&third), hour(GLOBEX, Reason::Kill)).unwrap();
    // What is changed is in once, not twice.
    card.penalise(host(&one), hour(ACME, Reason::Refusals)).unwrap();
    check(&mut card, &one, ACMES);
    check(&mut card, &other, None);
    check(&mut card, &third, GLOBEXES);

    assert!(card.release(&host(&one)).unwrap());
    check(&mut card, &one, None);
    check(&mut card, &third, GLOBEXES);

    card.penalise(host(&other), hour(ACME, Reason::Refusals)).unwrap();
    let ended = Penalty { until_ns: 1, ..hour(GLOBEX, Reason::Kill) };
    card.penalise(host(&third), ended).unwrap();
    assert_eq!(card.expire(now_ns()).unwrap().len(), 1);
    check(&mut card, &other, ACMES);
    check(&mut card, &third, None);

    // Owned, and no longer: a configured host is in the table, too.
    card.configure(&[owned(Target::Service(tcp(VIP)), None), owned(host(&one), Some(ACME))])
        .unwrap();
    check(&mut card, &one, None);
    check(&mut card, &other, ACMES);
    card.configure(&services()).unwrap();
    check(&mut card, &other, ACMES);
}

#[test]
fn a_host_is_dropped_while_others_of_its_bit_come_and_go() {
    let test = "a_host_is_dropped_while_others_of_its_bit_come_and_go";
    let Some(mut two) = Asked::open(test) else { return };
    let [one, other, third] = of_one_bit();
    two.fed.penalise(host(&one), hour(ACME, Reason::Refusals)).unwrap();
    let packet = Packet::tcp(&format!("{one}:1"), VIP, ACK).bytes();
    let (tried, changes) = two.while_changing(&packet, |card| {
        for host in [&other, &third].map(|text| host(text)) {
            card.penalise(host, hour(GLOBEX, Reason::Kill)).unwrap();
            assert!(card.release(&host).unwrap());
        }
    });
    let dropped = two.fed.drops(ACME).unwrap().tables[Table::Source as usize];
    told(&format!("{tried} packets, {changes} changes"));
    assert_eq!(dropped, tried);
    assert!(changes > 100, "{changes}: nothing was changed");
}

#[test]
fn a_restart_knows_the_bits_of_what_it_adopts_and_clears_all_others() {
    let test = "a_restart_knows_the_bits_of_what_it_adopts_and_clears_all_others";
    let Some(net) = net(test) else { return };
    let [one, other, third] = of_one_bit();
    let Some((mut card, _)) = open(test, &net) else { return };
    card.penalise(host(&one), hour(ACME, Reason::Refusals)).unwrap();
    card.penalise(host(&third), hour(GLOBEX, Reason::Kill)).unwrap();
    drop(card);
    let bit = filter_bit(one.parse().unwrap());
    let mut filter = filter(&net.pins());
    assert_eq!(set_bits(&filter), [bit]);
    // A process that ended after it had set a bit, or before it had cleared one.
    let stray = bit ^ 1;
    let word = 1 << (bit % 64) | 1 << (stray % 64);
    filter.set(bit / 64, word, 0).unwrap();
    filter.set(0, 1_u64, 0).unwrap();

    let (mut card, adopted) = open(test, &net).unwrap();
    assert_eq!(adopted.penalties, 2);
    assert_eq!(set_bits(&filter), [bit]);
    check(&mut card, &one, ACMES);
    check(&mut card, &other, None);
    assert!(card.release(&host(&one)).unwrap());
    check(&mut card, &one, None);
    check(&mut card, &third, GLOBEXES);
    assert_eq!(set_bits(&filter), [bit]);
    assert!(card.release(&host(&third)).unwrap());
    assert_eq!(set_bits(&filter), [0; 0]);
    card.detach().unwrap();
}

fn filter(pins: &Path) -> Array<MapData, u64> {
    let path = pins.join(format!("v{ABI_VERSION}")).join("HOST_FILTER");
    Array::try_from(Map::Array(MapData::from_pin(path).unwrap())).unwrap()
}

fn set_bits(filter: &Array<MapData, u64>) -> Vec<u32> {
    let bits = (0..HOST_FILTER_WORDS).flat_map(|at| {
        let word = filter.get(&at, 0).unwrap();
        (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
    });
    bits.collect()
}
