//! Real connections through a real interface: two tenants behind one address, restarts, a dataplane
//! that dies, and a driver that has no native mode. `cargo xtask kernels` runs them on the drivers of
//! the cards that QEMU emulates, too.

use std::net::UdpSocket;

use ebpf_loader::{
    Card, Fault, Flow, Mode, Penalty, Protocol, Reason, Table, Target, Wanted, now_ns,
};
use tests_xdp::packet::{QUIC_1, quic_long, quic_short};
use tests_xdp::scene::{
    ACME, Connection, PATIENCE, SILENCE, VIP, VIP6, attached, by_table, connects, net, open, serve,
};
use tests_xdp::{HOUR_NS, host, hour, object, one_in};

#[test]
fn one_of_two_behind_an_address_is_dropped_and_the_other_notices_nothing() {
    let test = "one_of_two_behind_an_address_is_dropped_and_the_other_notices_nothing";
    let Some(net) = net(test) else { return };
    let Some((mut card, _)) = open(test, &net) else { return };
    let attached = net.attach(&mut card, Wanted::Best).unwrap();
    assert_eq!(attached.mode, net.mode());
    assert_eq!(attached.not_native.is_none(), net.mode() == Mode::Native);
    serve(&net);
    for to in [VIP, VIP6] {
        let (mut offender, mut neighbour) = (Connection::new(&net, to), Connection::new(&net, to));
        assert!(offender.answered(PATIENCE) && neighbour.answered(PATIENCE));
        card.penalise(offender.flow(), hour(ACME, Reason::Refusals)).unwrap();
        assert!(!offender.answered(SILENCE), "{to}");
        for _ in 0..1_000 / one_in() {
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
    let Some((net, mut card)) = attached(test) else { return };
    serve(&net);
    for (own, to) in [("10.77.0.2", VIP), ("fd77::2", VIP6)] {
        let source = host(own);
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
    let source = host("10.77.0.2");
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
    let first = net.attach(&mut card, Wanted::Best).unwrap();
    assert!(!first.replaced);
    serve(&net);
    let mut stream = Connection::new(&net, VIP);
    assert!(stream.answered(PATIENCE));
    card.penalise(stream.flow(), hour(ACME, Reason::Operator)).unwrap();
    let ended = host("192.0.2.1");
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
    let second = net.attach(&mut card, Wanted::Best).unwrap();
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
    // Too large for one page, which native XDP wants.
    net.mtu(9_000);
    let Some((mut card, _)) = open(test, &net) else { return };
    let only = net.attach(&mut card, Wanted::Only(Mode::Native));
    assert!(matches!(only, Err(Fault::NotAttached { .. })), "{only:?}");
    let attached = net.attach(&mut card, Wanted::Best).unwrap();
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

#[test]
fn a_flow_of_quic_is_dropped_and_its_neighbour_is_not() {
    let test = "a_flow_of_quic_is_dropped_and_its_neighbour_is_not";
    let Some((net, mut card)) = attached(test) else { return };
    for (to, any) in [(VIP, "10.77.0.2:0"), (VIP6, "[fd77::2]:0")] {
        let gateway = net.at_gateway(|| UdpSocket::bind(to)).unwrap();
        gateway.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = || {
            let socket = net.at_clients(|| UdpSocket::bind(any)).unwrap();
            socket.connect(to).unwrap();
            socket
        };
        let (offender, neighbour) = (client(), client());
        let (source, destination) = (offender.local_addr().unwrap(), offender.peer_addr().unwrap());
        let flow = Target::Flow(Flow { protocol: Protocol::Quic, source, destination });
        card.penalise(flow, hour(ACME, Reason::Refusals)).unwrap();
        // One interface, one order: what comes first is what was not dropped.
        for (socket, payload) in [
            (&offender, quic_long(0, QUIC_1)),
            (&offender, quic_short()),
            (&neighbour, quic_short()),
        ] {
            socket.send(&payload).unwrap();
        }
        let mut buffer = [0; 64];
        let (_, from) = gateway.recv_from(&mut buffer).unwrap();
        assert_eq!(from, neighbour.local_addr().unwrap());
        assert!(card.release(&flow).unwrap());
        offender.send(&quic_short()).unwrap();
        let (_, from) = gateway.recv_from(&mut buffer).unwrap();
        assert_eq!(from, source);
    }
    assert_eq!(by_table(&card, ACME, Table::Flow), 4);
    card.detach().unwrap();
}

#[test]
fn the_card_is_fed_without_capabilities() {
    let test = "the_card_is_fed_without_capabilities";
    let Some((_net, mut card)) = attached(test) else { return };
    let source = host("10.77.0.2");
    // Capabilities are a thread's: this one gives them up, the test keeps its own.
    let fed = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let none = rustix::thread::CapabilitySet::empty();
            let none = rustix::thread::CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            rustix::thread::set_capabilities(None, none).unwrap();
            assert!(matches!(Card::load(&object()), Err(Fault::NotPermitted { .. })));
            card.penalise(source, hour(ACME, Reason::Refusals))?;
            card.beat(now_ns() + HOUR_NS)?;
            card.drops(ACME)?;
            card.expire(now_ns())?;
            card.release(&source)
        });
        worker.join().unwrap()
    });
    assert!(fed.unwrap());
    card.detach().unwrap();
}
