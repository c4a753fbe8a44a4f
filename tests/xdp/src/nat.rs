//! A NAT: hosts behind the clients' side, whose packets it sends as its own.
//!
//! Both versions of IP are masqueraded, so the card sees one address and tells the hosts apart by
//! ports that are the NAT's choice.

use std::net::{SocketAddr, TcpStream};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::net::{CLIENTS_INTERFACE, Net, run, within};
use crate::scene::PATIENCE;

/// Two hosts, and how they get out.
pub struct Nat {
    name: String,
}

impl Nat {
    /// The addresses of the two hosts.
    pub const HOSTS: [&str; 2] = ["10.78.0.2", "10.78.0.3"];
    pub const HOSTS6: [&str; 2] = ["fd78::2", "fd78::3"];

    /// A third namespace, and rules in the clients'.
    ///
    /// # Errors
    /// Why this machine lets us have none: `nft` is missing, or its kernel side.
    pub fn new(net: &Net) -> Result<Self, String> {
        let clients = net.clients();
        let inside = format!("{clients}-in");
        run("ip", &format!("netns add {inside}"))?;
        // From here on it is taken away again.
        let nat = Self { name: inside.clone() };
        run("ip", &format!("-n {clients} link add in0 type veth peer name ho0 netns {inside}"))?;
        for (name, link, host) in [(&clients, "in0", 1), (&inside, "ho0", 2), (&inside, "ho0", 3)] {
            run("ip", &format!("-n {name} addr add 10.78.0.{host}/24 dev {link}"))?;
            run("ip", &format!("-n {name} addr add fd78::{host}/64 dev {link} nodad"))?;
            run("ip", &format!("-n {name} link set {link} up"))?;
        }
        run("ip", &format!("-n {inside} route add default via 10.78.0.1"))?;
        run("ip", &format!("-n {inside} route add default via fd78::1"))?;
        net.at_clients(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                let path = format!("/proc/sys/net/{switch}");
                std::fs::write(&path, "1").map_err(|why| format!("{path}: {why}"))?;
            }
            for family in ["ip", "ip6"] {
                let chain = "out { type nat hook postrouting priority 100 ; }";
                run("nft", &format!("add table {family} nat"))?;
                run("nft", &format!("add chain {family} nat {chain}"))?;
                let rule = format!("oifname {CLIENTS_INTERFACE} masquerade");
                run("nft", &format!("add rule {family} nat out {rule}"))?;
            }
            Ok::<_, String>(())
        })?;
        Ok(nat)
    }

    /// A connection from one of the hosts.
    ///
    /// # Errors
    /// When it cannot be made in time.
    pub fn connect(&self, from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        within(&self.name, || {
            let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let stream = socket(family, SocketType::STREAM, None)?;
            // Connecting waits as long as sending.
            set_socket_timeout(&stream, Timeout::Send, Some(PATIENCE))?;
            bind(&stream, &from)?;
            connect(&stream, &to)?;
            Ok(TcpStream::from(stream))
        })
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        let _ = run("ip", &format!("netns del {}", self.name));
    }
}
