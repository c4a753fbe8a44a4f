//! What the tests in namespaces begin with: a gateway that answers whoever connects, a card before it,
//! and clients that ask and wait.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ebpf_loader::{
    Adopted, Attribution, Card, Fault, Flow, Protocol, Table, Target, Tenant, Wanted, now_ns,
};

use crate::net::Net;
use crate::{HOUR_NS, object, owned, quic, skip, tcp};

pub const ACME: Tenant = Tenant(1);
pub const GLOBEX: Tenant = Tenant(2);
/// The gateway's, for TCP and QUIC.
pub const VIP: &str = "10.77.0.1:8443";
pub const VIP6: &str = "[fd77::1]:8443";
/// Long enough for an answer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to say that there is none: a dropped packet is not answered a little later.
pub const SILENCE: Duration = Duration::from_millis(150);

/// Namespaces, or why there can be none.
#[must_use]
pub fn net(test: &str) -> Option<Net> {
    let net = Net::new();
    if let Err(why) = &net {
        skip(test, why);
    }
    net.ok()
}

/// What every tenant may call.
#[must_use]
pub fn services() -> Vec<Attribution> {
    let services = [tcp(VIP), tcp(VIP6), quic(VIP), quic(VIP6)];
    services.map(|at| owned(Target::Service(at), None)).to_vec()
}

/// The card of a net, or why there can be none.
///
/// # Panics
/// When the kernel does not take the program.
#[must_use]
pub fn open(test: &str, net: &Net) -> Option<(Card, Adopted)> {
    match net.at_gateway(|| Card::open(&object(), &net.pins())) {
        Ok((mut card, adopted)) => {
            card.configure(&services()).expect("services of ours");
            card.beat(now_ns() + HOUR_NS).expect("the heartbeat is taken");
            Some((card, adopted))
        }
        Err(fault @ Fault::NotPermitted { .. }) => {
            skip(test, &fault.to_string());
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// A net and a card that is attached as well as it can be, or why there can be none.
///
/// # Panics
/// When the kernel does not take the program.
#[must_use]
pub fn attached(test: &str) -> Option<(Net, Card)> {
    let net = net(test)?;
    let (mut card, _) = open(test, &net)?;
    net.attach(&mut card, Wanted::Best).expect("the program is attached");
    Some((net, card))
}

/// Packets of a tenant that were dropped, by a table.
///
/// # Panics
/// When the counters cannot be read.
#[must_use]
pub fn by_table(card: &Card, tenant: Tenant, table: Table) -> u64 {
    card.drops(tenant).expect("counters are read").tables[table as usize]
}

/// Echoes what comes, each connection in a thread, until the process ends. Tells from where each
/// connection came, as the gateway sees it.
///
/// # Panics
/// When the gateway's addresses are taken.
pub fn serve(net: &Net) -> Receiver<SocketAddr> {
    let (tell, accepted) = channel();
    for at in [VIP, VIP6] {
        let listener = net.at_gateway(|| TcpListener::bind(at)).expect("an address of ours");
        let tell = tell.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                // Not every test asks.
                let _ = tell.send(from);
                std::thread::spawn(move || {
                    let mut byte = [0; 1];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
    }
    accepted
}

/// A connection to the gateway. Each byte that it sends is another one.
pub struct Connection {
    pub stream: TcpStream,
    sent: u8,
}

impl Connection {
    /// From the clients' side.
    ///
    /// # Panics
    /// When it cannot be made in time.
    #[must_use]
    pub fn new(net: &Net, to: &str) -> Self {
        let to: SocketAddr = to.parse().expect("an address and port");
        let stream = net.at_clients(|| TcpStream::connect_timeout(&to, PATIENCE));
        Self::over(stream.expect("a connection"))
    }

    /// One that was made already.
    ///
    /// # Panics
    /// When it is broken.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an open connection");
        Self { stream, sent: 0 }
    }

    /// Sends another byte, and waits for nothing.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn ask(&mut self) {
        self.sent = self.sent.wrapping_add(1);
        self.stream.write_all(&[self.sent]).expect("an open connection");
    }

    /// Whether another byte comes back in time.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn answered(&mut self, within: Duration) -> bool {
        self.ask();
        self.thaws(within)
    }

    /// Whether the last byte comes back in time: TCP sends it again.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn thaws(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).expect("an open connection");
        let mut byte = [0; 1];
        while self.stream.read_exact(&mut byte).is_ok() {
            if byte[0] == self.sent {
                return true;
            }
        }
        false
    }

    /// What the card knows it by, where nothing stands between.
    ///
    /// # Panics
    /// When the connection is broken.
    #[must_use]
    pub fn flow(&self) -> Target {
        self.flow_from(self.stream.local_addr().expect("an open connection"))
    }

    /// The same, from where the gateway saw it come.
    ///
    /// # Panics
    /// When the connection is broken.
    #[must_use]
    pub fn flow_from(&self, source: SocketAddr) -> Target {
        let destination = self.stream.peer_addr().expect("an open connection");
        Target::Flow(Flow { protocol: Protocol::Tcp, source, destination })
    }
}

/// Whether a connection can be made in time.
///
/// # Panics
/// When that is no address.
#[must_use]
pub fn connects(net: &Net, to: &str, within: Duration) -> bool {
    let to: SocketAddr = to.parse().expect("an address and port");
    net.at_clients(|| TcpStream::connect_timeout(&to, within)).is_ok()
}
