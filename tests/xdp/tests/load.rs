//! The card's tables while a flood goes on: a thousand changes leave nothing behind, and a penalty's
//! end is seen at once.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::scope;
use std::time::Duration;

use ebpf_loader::{
    Adopted, Card, Flow, Penalty, Prefix, Protocol, Reason, Table, Target, Wanted, now_ns,
};
use tests_xdp::flood::Flood;
use tests_xdp::net::Net;
use tests_xdp::packet::{Packet, SYN, quic_short};
use tests_xdp::scene::{
    ACME, Connection, GLOBEX, PATIENCE, VIP, VIP6, attached, by_table, open, serve,
};
use tests_xdp::{hour, one_in, source, told};

/// The changes of a table.
const CHANGES: u16 = 1_000;

/// Where the gateway is, who asks it, and what is flooded from and dropped all the time.
struct World {
    to: &'static str,
    client: &'static str,
    flooding: &'static str,
    /// Hosts of it, and one whose flows come and go.
    hosts: [&'static str; 3],
}

const WORLDS: [World; 2] = [
    World {
        to: VIP,
        client: "10.77.0.2:0",
        flooding: "10.77.64.0/24",
        hosts: ["10.77.64.1", "10.77.64.2", "10.77.0.3"],
    },
    World {
        to: VIP6,
        client: "[fd77::2]:0",
        flooding: "fd77:0:64::/48",
        hosts: ["fd77:0:64::1", "fd77:0:64::2", "fd77::3"],
    },
];

impl World {
    /// A host of its own for each change.
    fn host(&self, at: u16) -> IpAddr {
        match self.to == VIP {
            true => [10, 78, (at / 256) as u8, (at % 256) as u8].into(),
            false => [0xfd78, 0, 0, at, 0, 0, 0, 1].into(),
        }
    }

    /// What comes and goes at once: a flow, a host, a prefix.
    fn targets(&self, at: u16) -> [Target; 3] {
        let [_, _, source] = self.hosts.map(|host| SocketAddr::new(host.parse().unwrap(), 1 + at));
        let (destination, host) = (self.to.parse().unwrap(), Prefix::of_host(self.host(at)));
        let bits = if self.to == VIP { 31 } else { 63 };
        let prefix = Prefix::new(self.host(at), bits).unwrap();
        let flow = Flow { protocol: Protocol::Tcp, source, destination };
        [Target::Flow(flow), Target::Source(host), Target::Source(prefix)]
    }

    /// SYNs of all sources that a change is made for, and as many that are dropped throughout.
    fn packets(&self) -> Vec<Packet> {
        let sources = (0..CHANGES).flat_map(|at| {
            let [one, other, flow] = self.hosts.map(|host| host.parse().unwrap());
            [one, other, flow, self.host(at)].map(|ip| SocketAddr::new(ip, 1 + at))
        });
        sources.map(|from| Packet::tcp(&from.to_string(), self.to, SYN)).collect()
    }

    /// Floods for as long as the work takes, and says how much that was.
    fn under_flood<T: Send>(
        &self,
        net: &Net,
        card: &mut Card,
        work: impl FnOnce(&mut Card) -> T + Send,
    ) -> T {
        let flooding = source(self.flooding);
        card.penalise(flooding, hour(GLOBEX, Reason::Refusals)).unwrap();
        let before = by_table(card, GLOBEX, Table::Source);
        let mut flood = Flood::new(net, &self.packets());
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
        told(&format!("{} SYNs to {} meanwhile, {each_second} a second", flood.sent, self.to));
        let dropped = by_table(card, GLOBEX, Table::Source) - before;
        assert!(dropped > u64::from(CHANGES), "a flood: {dropped} dropped");
        assert!(card.release(&flooding).unwrap());
        done
    }
}

#[test]
fn a_thousand_penalties_and_releases_under_load_leave_nothing() {
    let test = "a_thousand_penalties_and_releases_under_load_leave_nothing";
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    let empty = card.fill();
    for world in WORLDS {
        let mut bystander = Connection::new(&net, world.to);
        world.under_flood(&net, &mut card, |card| {
            for at in 0..CHANGES {
                for target in world.targets(at) {
                    card.penalise(target, hour(ACME, Reason::Refusals)).unwrap();
                }
                assert!(bystander.answered(PATIENCE), "{}: {at}", world.to);
                for target in world.targets(at) {
                    assert!(card.release(&target).unwrap());
                }
            }
        });
        assert_eq!(card.fill(), empty);
    }
    drop(card);
    // What the kernel holds, not what we believe.
    let (mut card, adopted) = open(test, &net).unwrap();
    assert_eq!((adopted, card.fill()), (Adopted::default(), empty));
    net.attach(&mut card, Wanted::Best).unwrap();
    let before = [ACME, GLOBEX].map(|tenant| card.drops(tenant).unwrap());
    for world in WORLDS {
        let mut flood = Flood::new(&net, &world.packets());
        (0..4 * CHANGES).for_each(|_| flood.send());
        assert!(Connection::new(&net, world.to).answered(PATIENCE), "{}", world.to);
    }
    assert_eq!([ACME, GLOBEX].map(|tenant| card.drops(tenant).unwrap()), before);
    card.detach().unwrap();
}

/// From a penalty's end to the sending of the first packet that passed. One is sent each millisecond.
fn first_past_the_end(net: &Net, card: &mut Card, world: &World) -> Duration {
    const EACH_NS: u64 = 1_000_000;
    let gateway = net.at_gateway(|| UdpSocket::bind(world.to)).unwrap();
    gateway.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = net.at_clients(|| UdpSocket::bind(world.client)).unwrap();
    client.connect(world.to).unwrap();
    let (from, destination) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let flow = Target::Flow(Flow { protocol: Protocol::Quic, source: from, destination });
    let dropped = by_table(card, ACME, Table::Flow);
    let begun_ns = now_ns();
    let until_ns = begun_ns + 300 * EACH_NS;
    card.penalise(flow, Penalty { until_ns, ..hour(ACME, Reason::Refusals) }).unwrap();
    let mut sent_ns = Vec::new();
    let (number, arrived_ns) = scope(|scope| {
        let first = scope.spawn(|| {
            let mut payload = [0; 64];
            loop {
                let (length, sender) = gateway.recv_from(&mut payload).unwrap();
                let number = payload[length - 8..length].try_into().unwrap();
                let arrived = (u64::from_be_bytes(number), now_ns());
                // Behind a flood, a packet of the client before this one may be late.
                if sender == from {
                    return arrived;
                }
            }
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
    assert!(arrived_ns >= until_ns, "{number} came {} ns early", until_ns - arrived_ns);
    let dropped = by_table(card, ACME, Table::Flow) - dropped;
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
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    let mut waited = Vec::new();
    for world in WORLDS {
        // What asks for a neighbour may be lost in a flood, and is asked again a second later.
        assert!(Connection::new(&net, world.to).answered(PATIENCE), "{}", world.to);
        waited.extend(world.under_flood(&net, &mut card, |card| {
            let one = |_| first_past_the_end(&net, card, &world);
            (0..5).map(one).collect::<Vec<_>>()
        }));
    }
    told(&format!("from the end to the first that passes: {waited:.1?}"));
    assert!(waited.iter().all(|waited| *waited < bound), "{waited:?}");
    card.detach().unwrap();
}
