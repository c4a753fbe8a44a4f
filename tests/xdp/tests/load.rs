//! The card's tables while a flood goes on: a thousand changes leave nothing behind, and a penalty's
//! end is seen at once.

use std::net::{SocketAddr, UdpSocket};
use std::thread::scope;
use std::time::Duration;

use ebpf_loader::{
    Adopted, Card, Flow, Penalty, Prefix, Protocol, Reason, Table, Target, Wanted, now_ns,
};
use tests_xdp::flood::Flood;
use tests_xdp::net::Net;
use tests_xdp::packet::{Packet, SYN, quic_short};
use tests_xdp::scene::{ACME, Connection, GLOBEX, PATIENCE, VIP, VIP6, net, open, serve};
use tests_xdp::{hour, one_in, source, told};

/// The changes of a table.
const CHANGES: u16 = 1_000;
/// What is flooded from and dropped all the time.
const FLOODING: &str = "10.77.64.0/24";

/// A host of its own for each change.
fn host(at: u16) -> [u8; 4] {
    [10, 78, (at / 256) as u8, (at % 256) as u8]
}

/// SYNs of all sources that a change is made for, and as many that are dropped throughout.
fn packets() -> Vec<Packet> {
    let sources = (0..CHANGES).flat_map(|at| {
        let port = 1 + at;
        [
            SocketAddr::new([10, 77, 0, 3].into(), port),
            SocketAddr::new(host(at).into(), port),
            SocketAddr::new([10, 77, 64, 1].into(), port),
            SocketAddr::new([10, 77, 64, 2].into(), port),
        ]
    });
    sources.map(|from| Packet::tcp(&from.to_string(), VIP, SYN)).collect()
}

/// Floods for as long as the work takes, and says how much that was.
fn under_flood<T: Send>(net: &Net, card: &mut Card, work: impl FnOnce(&mut Card) -> T + Send) -> T {
    let flooding = source(FLOODING);
    card.penalise(flooding, hour(GLOBEX, Reason::Refusals)).unwrap();
    let mut flood = Flood::new(net, &packets());
    let begun_ns = now_ns();
    let done = scope(|scope| {
        let worker = scope.spawn(|| work(card));
        while !worker.is_finished() {
            flood.send();
        }
        worker.join()
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let each_second = u128::from(flood.sent) * 1_000_000_000 / u128::from(now_ns() - begun_ns);
    told(&format!("{} SYNs meanwhile, {each_second} a second", flood.sent));
    let dropped = card.drops(GLOBEX).unwrap().tables[Table::Source as usize];
    assert!(dropped > u64::from(CHANGES), "a flood: {dropped} dropped");
    assert!(card.release(&flooding).unwrap());
    done
}

#[test]
fn a_thousand_penalties_and_releases_under_load_leave_nothing() {
    let test = "a_thousand_penalties_and_releases_under_load_leave_nothing";
    let Some(net) = net(test) else { return };
    let Some((mut card, _)) = open(test, &net) else { return };
    net.attach(&mut card, Wanted::Best).unwrap();
    serve(&net);
    let mut bystander = Connection::new(&net, VIP);
    let empty = card.fill();
    under_flood(&net, &mut card, |card| {
        for at in 0..CHANGES {
            let from = SocketAddr::new([10, 77, 0, 3].into(), 1 + at);
            let destination = VIP.parse().unwrap();
            let targets = [
                Target::Flow(Flow { protocol: Protocol::Tcp, source: from, destination }),
                Target::Source(Prefix::of_host(host(at).into())),
                Target::Source(Prefix::new(host(at).into(), 31).unwrap()),
            ];
            for target in targets {
                card.penalise(target, hour(ACME, Reason::Refusals)).unwrap();
            }
            assert!(bystander.answered(PATIENCE));
            for target in targets {
                assert!(card.release(&target).unwrap());
            }
        }
    });
    assert_eq!(card.fill(), empty);
    drop(card);
    // What the kernel holds, not what we believe.
    let (mut card, adopted) = open(test, &net).unwrap();
    assert_eq!((adopted, card.fill()), (Adopted::default(), empty));
    net.attach(&mut card, Wanted::Best).unwrap();
    let before = [ACME, GLOBEX].map(|tenant| card.drops(tenant).unwrap());
    let mut flood = Flood::new(&net, &packets());
    (0..4 * CHANGES).for_each(|_| flood.send());
    assert!(bystander.answered(PATIENCE));
    assert_eq!([ACME, GLOBEX].map(|tenant| card.drops(tenant).unwrap()), before);
    card.detach().unwrap();
}

/// From a penalty's end to the sending of the first packet that passed. One is sent each millisecond.
fn first_past_the_end(net: &Net, card: &mut Card, to: &str, any: &str) -> Duration {
    const EACH_NS: u64 = 1_000_000;
    let gateway = net.at_gateway(|| UdpSocket::bind(to)).unwrap();
    gateway.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = net.at_clients(|| UdpSocket::bind(any)).unwrap();
    client.connect(to).unwrap();
    let (from, destination) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let flow = Target::Flow(Flow { protocol: Protocol::Quic, source: from, destination });
    let by_flow = |card: &Card| card.drops(ACME).unwrap().tables[Table::Flow as usize];
    let dropped = by_flow(card);
    let begun_ns = now_ns();
    let until_ns = begun_ns + 300 * EACH_NS;
    card.penalise(flow, Penalty { until_ns, ..hour(ACME, Reason::Refusals) }).unwrap();
    let mut sent_ns = Vec::new();
    let (number, arrived_ns) = scope(|scope| {
        let first = scope.spawn(|| {
            let mut payload = [0; 64];
            let length = gateway.recv(&mut payload).unwrap();
            let number = payload[length - 8..length].try_into().unwrap();
            (u64::from_be_bytes(number), now_ns())
        });
        while !first.is_finished() {
            let number = sent_ns.len() as u64;
            let payload = [quic_short(), number.to_be_bytes().to_vec()].concat();
            sent_ns.push(now_ns());
            client.send(&payload).unwrap();
            while now_ns() < begun_ns + (number + 1) * EACH_NS && !first.is_finished() {
                std::thread::yield_now();
            }
        }
        first.join().unwrap()
    });
    assert!(arrived_ns >= until_ns, "{} ns early", until_ns - arrived_ns);
    let dropped = by_flow(card) - dropped;
    assert!(dropped > 0 && dropped <= number, "{dropped} dropped, the first was {number}");
    assert_eq!(card.expire(now_ns()).unwrap().len(), 1);
    // One that was sent before the end was judged after it.
    Duration::from_nanos(sent_ns[number as usize].saturating_sub(until_ns))
}

#[test]
fn what_has_ended_passes_within_50_ms_under_load() {
    // An emulated processor is late for its own milliseconds.
    let bound = Duration::from_millis(50 * one_in());
    let test = "what_has_ended_passes_within_50_ms_under_load";
    let Some(net) = net(test) else { return };
    let Some((mut card, _)) = open(test, &net) else { return };
    net.attach(&mut card, Wanted::Best).unwrap();
    serve(&net);
    let waited = under_flood(&net, &mut card, |card| {
        let worlds = [(VIP, "10.77.0.2:0"), (VIP6, "[fd77::2]:0")];
        let worlds = worlds.iter().cycle().take(10);
        worlds.map(|(to, any)| first_past_the_end(&net, card, to, any)).collect::<Vec<_>>()
    });
    told(&format!("from the end to the first that passes: {waited:.1?}"));
    assert!(waited.iter().all(|waited| *waited < bound), "{waited:?}");
    card.detach().unwrap();
}
