//! Floods through a real interface, in both versions of IP: of SYNs, of connections that are open, of
//! QUIC. What is meant is dropped or thinned, to the packet, and the neighbour is answered each time.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::thread::scope;
use std::time::Duration;

use ebpf_loader::{Card, Drops, Prefix, Rate, Reason, Table, Target};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tests_xdp::flood::{Fate, Flood, RECEIVE_BYTES, Span, Tap};
use tests_xdp::net::Net;
use tests_xdp::packet::{Packet, QUIC_1, QUIC_2, SYN, quic_long, quic_short};
use tests_xdp::scene::{
    ACME, Connection, GLOBEX, PATIENCE, SILENCE, VIP, VIP6, attached, by_table, connects, serve,
    services,
};
use tests_xdp::{hour, one_in, owned, source, told};

/// Where the gateway is, the flooding prefix (a text before a host's number), its neighbour.
const WORLDS: [World; 2] = [
    World { to: VIP, prefix: "10.77.64.0/24", host: "10.77.64.", neighbour: "10.77.0.2" },
    World { to: VIP6, prefix: "fd77:0:64::/48", host: "fd77:0:64::", neighbour: "fd77::2" },
];

struct World {
    to: &'static str,
    prefix: &'static str,
    host: &'static str,
    neighbour: &'static str,
}

/// A burst that a flood is past at once, and that takes longer to come back than anybody is kept
/// from sending.
fn rate() -> Rate {
    let [units, burst] = [100, 200].map(|value| NonZeroU32::new(value).unwrap());
    Rate::new(units, Duration::from_secs(1), burst)
}

impl World {
    /// Packets of 16 hosts in the prefix, with 64 ports each.
    fn packets(&self, packet: impl Fn(&str, u16) -> Packet) -> Vec<Packet> {
        let from = |at: u16| {
            let ip = format!("{}{}", self.host, 1 + at % 16).parse().unwrap();
            packet(&SocketAddr::new(ip, 1_024 + at / 16).to_string(), at)
        };
        (0..1_024).map(from).collect()
    }

    /// The prefix is a tenant's with a bucket that is full, and the neighbour another's.
    fn bound(&self, card: &mut Card) {
        let mut wanted = services();
        wanted.push(owned(source(self.prefix), Some(ACME)));
        let neighbour = Prefix::of_host(self.neighbour.parse().unwrap());
        wanted.push(owned(Target::Source(neighbour), Some(GLOBEX)));
        card.configure(&wanted).unwrap();
        for tenant in [ACME, GLOBEX] {
            card.limit_connections(tenant, None).unwrap();
            card.limit_connections(tenant, Some(rate())).unwrap();
        }
    }
}

/// What the bucket had arrived, and the rest was counted.
fn thinned(what: &str, flood: &Flood, fate: Fate, span: Span) {
    let (Fate { dropped, arrived }, granted) = (fate, span.granted(rate()));
    assert_eq!(dropped + arrived, flood.sent, "{what}");
    assert!(granted.contains(&arrived), "{what}: {arrived} passed, {granted:?} granted");
    let ms = span.ns / 1_000_000;
    told(&format!("{} {what} in {ms} ms: {arrived} passed, {granted:?} granted", flood.sent));
}

/// Packets of a flood, at least.
fn many() -> u64 {
    50_000 / one_in()
}

fn exchanges() -> u64 {
    1_000 / one_in()
}

#[test]
fn a_flood_of_syns_is_thinned_and_another_tenant_is_answered() {
    let test = "a_flood_of_syns_is_thinned_and_another_tenant_is_answered";
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    for world in WORLDS {
        world.bound(&mut card);
        let packets = world.packets(|from, _| Packet::tcp(from, world.to, SYN));
        let (mut flood, mut tap) = (Flood::new(&net, &packets), Tap::new(&net, &packets));
        let mut neighbour = Connection::new(&net, world.to);
        let before = by_table(&card, ACME, Table::Bucket);
        let mut fate = || {
            let dropped = by_table(&card, ACME, Table::Bucket) - before;
            Fate { dropped, arrived: tap.heard() }
        };
        let span = scope(|scope| {
            let answered = scope.spawn(|| {
                for nth in 0..exchanges() {
                    assert!(neighbour.answered(PATIENCE), "{}: {nth}", world.to);
                    if nth % 10 == 0 {
                        assert!(connects(&net, world.to, PATIENCE), "{}: {nth}", world.to);
                    }
                }
            });
            flood.thin(|sent| sent < many() || !answered.is_finished(), &mut fate)
        });
        thinned(&format!("SYNs to {}", world.to), &flood, fate(), span);
    }
    assert_eq!(card.drops(GLOBEX).unwrap(), Drops::default());
    let drops = card.drops(ACME).unwrap();
    assert_eq!(drops.reasons[Reason::Connections as usize].packets, drops.tables.iter().sum());
    card.detach().unwrap();
}

#[test]
fn a_flood_on_open_connections_is_dropped_but_for_the_neighbours_among_them() {
    let test = "a_flood_on_open_connections_is_dropped_but_for_the_neighbours_among_them";
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    let count = 200 / one_in();
    for to in [VIP, VIP6] {
        let connections = |count| (0..count).map(|_| Connection::new(&net, to));
        let mut flooding: Vec<_> = connections(count / 2).collect();
        let mut neighbour = Connection::new(&net, to);
        flooding.extend(connections(count - count / 2));
        for connection in &mut flooding {
            assert!(connection.answered(PATIENCE), "{to}");
        }
        for connection in &flooding {
            card.penalise(connection.flow(), hour(ACME, Reason::Refusals)).unwrap();
        }
        let before = by_table(&card, ACME, Table::Flow);
        for connection in &mut flooding {
            connection.ask();
            assert!(neighbour.answered(PATIENCE), "{to}");
        }
        for _ in 0..exchanges() {
            assert!(neighbour.answered(PATIENCE), "{to}");
        }
        assert!(by_table(&card, ACME, Table::Flow) - before >= count, "{to}");
        // The first of them gives the others time.
        assert!(!flooding[0].thaws(SILENCE), "{to}");
        for connection in &mut flooding {
            connection.stream.set_nonblocking(true).unwrap();
            assert!(!connection.thaws(SILENCE), "{to}");
            connection.stream.set_nonblocking(false).unwrap();
        }
        for connection in &flooding {
            assert!(card.release(&connection.flow()).unwrap(), "{to}");
        }
        for connection in &mut flooding {
            assert!(connection.thaws(PATIENCE), "{to}");
            assert!(connection.answered(PATIENCE), "{to}");
        }
    }
    card.detach().unwrap();
}

/// The gateway's socket: echoes, and counts by the first byte of the payload.
struct Gateway {
    socket: UdpSocket,
    arrived: [u64; 256],
}

impl Gateway {
    fn new(net: &Net, to: &str) -> Self {
        let socket = net.at_gateway(|| UdpSocket::bind(to)).unwrap();
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, arrived: [0; 256] }
    }

    /// Takes what has come; echoes to the neighbour, who alone waits for it.
    fn serve(&mut self, neighbour: SocketAddr) {
        let mut payload = [0; 64];
        while let Ok((length, from)) = self.socket.recv_from(&mut payload) {
            if from == neighbour {
                self.socket.send_to(&payload[..length], from).unwrap();
            } else {
                self.arrived[usize::from(payload[0])] += 1;
            }
        }
    }
}

/// The neighbour's QUIC: each packet has a number, and comes back.
fn exchanged(neighbour: &UdpSocket, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let kinds = [quic_long(0, QUIC_1), quic_short()];
        let mut payload = kinds[number as usize % 2].clone();
        payload.extend(number.to_be_bytes());
        neighbour.send(&payload).unwrap();
        let mut answer = [0; 64];
        let length = neighbour.recv(&mut answer).unwrap_or_else(|why| panic!("{number}: {why}"));
        assert_eq!(answer[..length], payload);
    }
}

fn neighbour(net: &Net, world: &World) -> UdpSocket {
    let ip = world.neighbour.parse().unwrap();
    let socket = net.at_clients(|| UdpSocket::bind(SocketAddr::new(ip, 0))).unwrap();
    socket.connect(world.to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn a_flood_of_quic_from_a_penalised_source_reaches_nobody() {
    let test = "a_flood_of_quic_from_a_penalised_source_reaches_nobody";
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    for world in WORLDS {
        // Hardware addresses are known from here on.
        assert!(connects(&net, world.to, PATIENCE), "{}", world.to);
        card.penalise(source(world.prefix), hour(ACME, Reason::Refusals)).unwrap();
        let payloads = [quic_long(0, QUIC_1), quic_long(1, QUIC_2), quic_short()];
        let payload = |at: u16| &payloads[usize::from(at) % payloads.len()];
        let mut flood =
            Flood::new(&net, &world.packets(|from, at| Packet::udp(from, world.to, payload(at))));
        let (mut gateway, neighbour) = (Gateway::new(&net, world.to), neighbour(&net, &world));
        let from = neighbour.local_addr().unwrap();
        let before = by_table(&card, ACME, Table::Source);
        let mut fate = || {
            gateway.serve(from);
            let dropped = by_table(&card, ACME, Table::Source) - before;
            Fate { dropped, arrived: gateway.arrived.iter().sum() }
        };
        scope(|scope| {
            let answered = scope.spawn(|| exchanged(&neighbour, 0..exchanges()));
            flood.run(|sent| sent < many() || !answered.is_finished(), &mut fate);
        });
        assert_eq!(fate(), Fate { dropped: flood.sent, arrived: 0 }, "{}", world.to);
        told(&format!("{}: {} packets of QUIC, none passed", world.to, flood.sent));
    }
    card.detach().unwrap();
}

#[test]
fn a_flood_of_initials_is_thinned_and_what_is_open_goes_on() {
    let test = "a_flood_of_initials_is_thinned_and_what_is_open_goes_on";
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    for world in WORLDS {
        assert!(connects(&net, world.to, PATIENCE), "{}", world.to);
        world.bound(&mut card);
        let initials = [quic_long(0, QUIC_1), quic_long(1, QUIC_2)];
        let initial = |at: u16| &initials[usize::from(at) % initials.len()];
        let mut flood =
            Flood::new(&net, &world.packets(|from, at| Packet::udp(from, world.to, initial(at))));
        let mut open =
            Flood::new(&net, &world.packets(|from, _| Packet::udp(from, world.to, &quic_short())));
        let (mut gateway, neighbour) = (Gateway::new(&net, world.to), neighbour(&net, &world));
        let from = neighbour.local_addr().unwrap();
        let (before, short) = (by_table(&card, ACME, Table::Bucket), usize::from(quic_short()[0]));
        // Every other is an Initial: as many as its own bucket holds.
        let numbers = exchanges().min(2 * u64::from(rate().burst.get()));
        // Of Initials.
        let fate = |gateway: &mut Gateway| {
            gateway.serve(from);
            let dropped = by_table(&card, ACME, Table::Bucket) - before;
            let arrived: u64 = gateway.arrived.iter().sum();
            Fate { dropped, arrived: arrived - gateway.arrived[short] }
        };
        let span = scope(|scope| {
            let answered = scope.spawn(|| exchanged(&neighbour, 0..numbers));
            let goes_on = |sent| {
                open.send();
                sent < many() || !answered.is_finished()
            };
            flood.thin(goes_on, || fate(&mut gateway))
        });
        thinned(&format!("Initials to {}", world.to), &flood, fate(&mut gateway), span);
        assert_eq!(gateway.arrived[short], open.sent, "{}", world.to);
    }
    assert_eq!(card.drops(GLOBEX).unwrap(), Drops::default());
    card.detach().unwrap();
}
