//! Real connections through a real interface: two tenants behind one address, restarts, a dataplane
//! that dies, and a driver that has no native mode.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ebpf_loader::{
    Card, Fault, Flow, Mode, Penalty, Prefix, Protocol, Reason, Table, Target, Tenant, Wanted,
    now_ns,
};
use tests_xdp::net::{INTERFACE, Net};
use tests_xdp::{HOUR_NS, hour, object, owned, skip, tcp};

const ACME: Tenant = Tenant(1);
const VIP: &str = "10.77.0.1:8443";
const VIP6: &str = "[fd77::1]:8443";
/// Long enough for an answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to say that there is none: a dropped packet is not answered a little later.
const SILENCE: Duration = Duration::from_millis(150);

fn net(test: &str) -> Option<Net> {
    let net = Net::new();
    if let Err(why) = &net {
        skip(test, why);
    }
    net.ok()
}

/// The card of a net, or why there can be none.
fn open(test: &str, net: &Net) -> Option<(Card, ebpf_loader::Adopted)> {
    match net.at_gateway(|| Card::open(&object(), &net.pins())) {
        Ok((mut card, adopted)) => {
            let services = [tcp(VIP), tcp(VIP6)];
            card.configure(&services.map(|at| owned(Target::Service(at), None))).unwrap();
            card.beat(now_ns() + HOUR_NS).unwrap();
            Some((card, adopted))
        }
        Err(fault @ Fault::NotPermitted { .. }) => {
            skip(test, &fault.to_string());
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// Echoes what comes, each connection in a thread, until the process ends.
fn serve(net: &Net) {
    for at in [VIP, VIP6] {
        let listener = net.at_gateway(|| TcpListener::bind(at)).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let mut byte = [0; 1];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
    }
}

/// A connection from the clients' side. Each byte that it sends is another one.
struct Connection {
    stream: TcpStream,
    sent: u8,
}

impl Connection {
    fn new(net: &Net, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let stream = net.at_clients(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, sent: 0 }
    }

    /// Whether a byte comes back in time.
    fn answered(&mut self, within: Duration) -> bool {
        self.sent = self.sent.wrapping_add(1);
        self.stream.write_all(&[self.sent]).unwrap();
        self.thaws(within)
    }

    /// Whether the last byte comes back in time: TCP sends it again.
    fn thaws(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).unwrap();
        let mut byte = [0; 1];
        while self.stream.read_exact(&mut byte).is_ok() {
            if byte[0] == self.sent {
                return true;
            }
        }
        false
    }

    fn flow(&self) -> Target {
        Target::Flow(Flow {
            protocol: Protocol::Tcp,
            source: self.stream.local_addr().unwrap(),
            destination: self.stream.peer_addr().unwrap(),
        })
    }
}

/// Whether a connection can be made in time.
fn connects(net: &Net, to: &str, within: Duration) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    net.at_clients(|| TcpStream::connect_timeout(&to, within)).is_ok()
}

#[test]
fn one_of_two_behind_an_address_is_dropped_and_the_other_notices_nothing() {
    let test = "one_of_two_behind_an_address_is_dropped_and_the_other_notices_nothing";
    let Some(net) = net(test) else { return };
    let Some((mut card, _)) = open(test, &net) else { return };
    let attached = net.at_gateway(|| card.attach(INTERFACE, Wanted::Best)).unwrap();
    assert_eq!((attached.mode, attached.not_native), (Mode::Native, None));
    serve(&net);
    for to in [VIP, VIP6] {
        let (mut offender, mut neighbour) = (Connection::new(&net, to), Connection::new(&net, to));
        assert!(offender.answered(PATIENCE) && neighbour.answered(PATIENCE));
        card.penalise(offender.flow(), hour(ACME, Reason::Refusals)).unwrap();
        assert!(!offender.answered(SILENCE), "{to}");
        for _ in 0..1_000 {
            assert!(neighbour.answered(PATIENCE), "{to}");
        }
        assert!(card.release(&offender.flow()).unwrap());
        assert!(offender.thaws(PATIENCE), "{to}");
        assert!(offender.answered(PATIENCE), "{to}");
    }
    let drops = card.drops(ACME).unwrap();
    assert!(drops.tables[Table::Flow as usize] >= 2, "{drops:?}");
    assert_eq!(
        drops.tables[Table::Flow as usize],
        drops.reasons[Reason::Refusals as usize].packets
    );
    let mut seen = 0;
    card.samples(10, |sample| {
        seen += usize::from(sample.tenant == ACME && sample.interface == attached.index)
    });
    // The first of each processor.
    assert!(seen >= 1);
    card.detach().unwrap();
}

#[test]
fn a_source_is_dropped_in_both_versions_and_its_neighbours_are_found() {
    let test = "a_source_is_dropped_in_both_versions_and_its_neighbours_are_found";
    let Some(net) = net(test) else { return };
    let Some((mut card, _)) = open(test, &net) else { return };
    net.at_gateway(|| card.attach(INTERFACE, Wanted::Best)).unwrap();
    serve(&net);
    for (own, to) in [("10.77.0.2", VIP), ("fd77::2", VIP6)] {
        let source = Target::Source(Prefix::of_host(own.parse().unwrap()));
        let new_only = Penalty { new_only: true, ..hour(ACME, Reason::Kill) };
        // The first packet of all asks for the gateway's hardware address: that is never dropped.
        card.penalise(source, hour(ACME, Reason::Kill)).unwrap();
        assert!(!connects(&net, to, SILENCE), "{to}");
        assert!(card.release(&source).unwrap());
        let mut stream = Connection::new(&net, to);
        assert!(stream.answered(PATIENCE), "{to}");
        card.penalise(source, new_only).unwrap();
        assert!(stream.answered(PATIENCE), "established: {to}");
        assert!(!connects(&net, to, SILENCE), "{to}");
        assert!(card.release(&source).unwrap());
        assert!(connects(&net, to, PATIENCE), "{to}");
    }
    // It ends by itself, within a tick of the coarse clock.
    let source = Target::Source(Prefix::of_host("10.77.0.2".parse().unwrap()));
    let mut stream = Connection::new(&net, VIP);
    let until_ns = now_ns() + 300_000_000;
    card.penalise(source, Penalty { until_ns, ..hour(ACME, Reason::Refusals) }).unwrap();
    assert!(!stream.answered(SILENCE));
    assert!(stream.thaws(PATIENCE));
    assert!(now_ns() >= until_ns);
    assert_eq!(card.expire(now_ns()).unwrap().len(), 1);
    card.detach().unwrap();
}

#[test]
fn a_restart_adopts_what_is_pinned_and_a_dead_dataplane_drops_nothing() {
    let test = "a_restart_adopts_what_is_pinned_and_a_dead_dataplane_drops_nothing";
    let Some(net) = net(test) else { return };
    let Some((mut card, adopted)) = open(test, &net) else { return };
    assert_eq!(adopted, ebpf_loader::Adopted::default());
    let first = net.at_gateway(|| card.attach(INTERFACE, Wanted::Best)).unwrap();
    assert!(!first.replaced);
    serve(&net);
    let mut stream = Connection::new(&net, VIP);
    assert!(stream.answered(PATIENCE));
    card.penalise(stream.flow(), hour(ACME, Reason::Operator)).unwrap();
    let ended = Target::Source(Prefix::of_host("192.0.2.1".parse().unwrap()));
    card.penalise(ended, Penalty { until_ns: 1, ..hour(ACME, Reason::Refusals) }).unwrap();
    assert!(!stream.answered(SILENCE));
    let told = card.penalties();
    // The process ends; what is pinned goes on, and so does what it drops.
    drop(card);
    assert!(!stream.answered(SILENCE));
    std::fs::create_dir(net.pins().join("v0")).unwrap();

    let (mut card, adopted) = open(test, &net).unwrap();
    assert_eq!((adopted.penalties, adopted.ended, adopted.flushed), (1, 1, 1));
    assert_eq!(card.penalties(), [told[0]]);
    let second = net.at_gateway(|| card.attach(INTERFACE, Wanted::Best)).unwrap();
    assert_eq!((second.mode, second.replaced), (first.mode, true));
    assert!(!stream.answered(SILENCE));
    assert!(card.drops(ACME).unwrap().reasons[Reason::Operator as usize].packets > 0);

    card.beat(now_ns()).unwrap();
    assert!(stream.thaws(PATIENCE), "no heartbeat: everything passes");
    card.beat(now_ns() + HOUR_NS).unwrap();
    assert!(!stream.answered(SILENCE));
    card.detach().unwrap();
    assert!(!net.pins().exists());
    assert!(stream.thaws(PATIENCE), "detached: everything passes");
}

#[test]
fn a_driver_without_a_native_mode_gets_the_generic_kind_and_says_so() {
    let test = "a_driver_without_a_native_mode_gets_the_generic_kind_and_says_so";
    let Some(net) = net(test) else { return };
    // Too large for one page, which native XDP over veth wants.
    net.mtu(9_000);
    let Some((mut card, _)) = open(test, &net) else { return };
    let only = net.at_gateway(|| card.attach(INTERFACE, Wanted::Only(Mode::Native)));
    assert!(matches!(only, Err(Fault::NotAttached { .. })), "{only:?}");
    let attached = net.at_gateway(|| card.attach(INTERFACE, Wanted::Best)).unwrap();
    assert_eq!(attached.mode, Mode::Generic);
    assert!(attached.not_native.is_some());
    serve(&net);
    let mut stream = Connection::new(&net, VIP);
    assert!(stream.answered(PATIENCE));
    card.penalise(stream.flow(), hour(ACME, Reason::Refusals)).unwrap();
    assert!(!stream.answered(SILENCE));
    let status = card.status().unwrap();
    assert_eq!(status.attached.unwrap().mode, Mode::Generic);
    assert!(status.tag != 0 && status.machine_bytes > 0);
    let nowhere = net.at_gateway(|| card.attach("nowhere0", Wanted::Best));
    assert!(matches!(nowhere, Err(Fault::NoInterface(_))), "{nowhere:?}");
    card.detach().unwrap();
}
