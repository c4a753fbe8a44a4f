//! New connections and the listeners that they come to, in the kernel of this machine.

use std::net::{SocketAddr, TcpListener, TcpStream};

use ebpf_loader::{Fault, Steering};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tests_xdp::{skip, steering_object};

const CORES: usize = 4;
/// A core is passed over past it; more, for counts that are a batch old.
const BETWEEN_COUNTS: usize = 10;
const UNEVEN_MAX: usize = ebpf_abi::STEERING_SLACK as usize + BETWEEN_COUNTS;

fn load(test: &str) -> Option<Steering> {
    // A connection is two descriptors, and 1,024 is what many machines give.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    match Steering::load(&steering_object()) {
        Ok(steering) => Some(steering),
        Err(fault @ Fault::NotPermitted { .. }) => {
            skip(test, &fault.to_string());
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// Listeners of one address. A port that is free where none is told.
fn listeners(address: SocketAddr) -> (Vec<TcpListener>, SocketAddr) {
    let mut address = address;
    let made = (0..CORES).map(|_| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1_024).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from(socket);
        address = listener.local_addr().unwrap();
        listener
    });
    (made.collect(), address)
}

fn loopback() -> (Vec<TcpListener>, SocketAddr) {
    listeners("127.0.0.1:0".parse().unwrap())
}

/// Accepted connections, by listener, beside the clients' ends.
#[derive(Default)]
struct Open {
    clients: Vec<TcpStream>,
    accepted: [Vec<TcpStream>; CORES],
}

impl Open {
    fn connect(&mut self, to: SocketAddr, count: usize) {
        self.clients.extend((0..count).map(|_| TcpStream::connect(to).unwrap()));
    }

    /// A connection that the client's side has is in a listener's queue.
    fn accept(&mut self, listeners: &[TcpListener]) {
        for (accepted, listener) in self.accepted.iter_mut().zip(listeners) {
            while let Ok((stream, _)) = listener.accept() {
                accepted.push(stream);
            }
        }
    }

    fn counts(&self) -> [usize; CORES] {
        self.accepted.each_ref().map(Vec::len)
    }

    fn unevenness(&self) -> usize {
        let counts = self.counts();
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }
}

#[test]
fn each_core_gets_as_many_connections() {
    let Some(mut steering) = load("each_core_gets_as_many_connections") else { return };
    let v6 = listeners("[::1]:0".parse().unwrap());
    for (listeners, address) in [loopback(), v6] {
        steering.attach(&listeners).unwrap();
        let mut open = Open::default();
        open.connect(address, 400);
        open.accept(&listeners);
        assert_eq!(open.counts(), [100; CORES], "{address}");
    }
}

#[test]
fn what_has_become_uneven_becomes_even() {
    let Some(mut steering) = load("what_has_become_uneven_becomes_even") else { return };
    let (listeners, address) = loopback();
    steering.attach(&listeners).unwrap();
    let mut open = Open::default();
    open.connect(address, 240);
    open.accept(&listeners);
    // All of one core's go, most of another's; as somebody could arrange who opens and closes.
    open.accepted[0].clear();
    open.accepted[1].truncate(20);
    assert_eq!(open.unevenness(), 60);
    for _ in 0..24 {
        steering.tell(open.counts().map(|count| u32::try_from(count).unwrap())).unwrap();
        open.connect(address, BETWEEN_COUNTS);
        open.accept(&listeners);
    }
    assert!(open.unevenness() <= UNEVEN_MAX, "{:?}", open.counts());
    assert_eq!(open.counts().iter().sum::<usize>(), 140 + 24 * BETWEEN_COUNTS);
}

#[test]
fn a_core_that_has_ended_gets_none_and_no_connection_is_lost() {
    let test = "a_core_that_has_ended_gets_none_and_no_connection_is_lost";
    let Some(mut steering) = load(test) else { return };
    let (mut listeners, address) = loopback();
    steering.attach(&listeners).unwrap();
    drop(listeners.remove(1));
    let mut open = Open::default();
    open.connect(address, 400);
    open.accept(&listeners);
    let [first, second, third, none] = open.counts();
    assert_eq!((first + second + third, none), (400, 0));
    assert!([first, second, third].iter().all(|count| *count >= 100), "{:?}", open.counts());
}

#[test]
fn a_process_that_takes_over_gets_all_that_is_new() {
    let test = "a_process_that_takes_over_gets_all_that_is_new";
    let (Some(mut old), Some(mut new)) = (load(test), load(test)) else { return };
    let (old_listeners, address) = loopback();
    old.attach(&old_listeners).unwrap();
    let (new_listeners, _) = listeners(address);
    new.attach(&new_listeners).unwrap();
    let (mut before, mut after) = (Open::default(), Open::default());
    after.connect(address, 400);
    before.accept(&old_listeners);
    after.accept(&new_listeners);
    assert_eq!((before.counts(), after.counts()), ([0; CORES], [100; CORES]));
}

#[test]
fn one_listener_too_many_is_refused() {
    let Some(mut steering) = load("one_listener_too_many_is_refused") else { return };
    let (listeners, _) = loopback();
    let many: Vec<&TcpListener> =
        listeners.iter().cycle().take(ebpf_abi::CORES_MAX as usize + 1).collect();
    let refused = steering.attach(&many);
    assert!(matches!(refused, Err(Fault::Full { table: "listeners", .. })), "{refused:?}");
}
