//! Floods from the clients' side: packets from sources that nobody has, as many as the card takes.
//!
//! One that is counted is never more than a window ahead of what became of it, so a virtual pair
//! loses none, and on any machine what was dropped and what arrived are together what was sent.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Instant;

use ebpf_loader::{Rate, now_ns};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recvfrom, sendto, socket,
};

use crate::net::Net;
use crate::packet::Packet;
use crate::scene::PATIENCE;

/// A quarter of the ring of a virtual pair (`VETH_RING_SIZE` of the kernel's `veth.c`): a second flood
/// and others have room beside it.
const WINDOW: u64 = 64;
/// For a socket that is read when its reader comes round to it.
pub const RECEIVE_BYTES: usize = 4 << 20;

/// Packets that are sent one after the other, over and over.
pub struct Flood {
    socket: OwnedFd,
    to: SocketAddr,
    packets: Vec<Vec<u8>>,
    pub sent: u64,
}

/// What became of the packets of a flood so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fate {
    /// As the card counts them.
    pub dropped: u64,
    /// As the gateway does.
    pub arrived: u64,
}

/// How long a flood was at a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From a packet that was dropped to the last, which was, too: no less than this.
    pub empty_ns: u64,
    /// From the first packet to the last: no more than this.
    pub ns: u64,
}

impl Flood {
    /// All to one address.
    ///
    /// # Panics
    /// Without a packet, or where a process may not write headers.
    #[must_use]
    pub fn new(net: &Net, packets: &[Packet]) -> Self {
        let to = packets.first().expect("packets").destination.ip();
        let socket = net.at_clients(|| socket(family(to), SocketType::RAW, Some(ipproto::RAW)));
        Self {
            socket: socket.expect("a socket whose headers are ours"),
            // A port would be a protocol here.
            to: SocketAddr::new(to, 0),
            packets: packets.iter().map(Packet::summed).collect(),
            sent: 0,
        }
    }

    /// Sends the next packet.
    ///
    /// # Panics
    /// When the kernel does not take it.
    pub fn send(&mut self) {
        let packet = &self.packets[(self.sent % self.packets.len() as u64) as usize];
        let sent = sendto(&self.socket, packet, SendFlags::empty(), &self.to);
        assert_eq!(sent, Ok(packet.len()));
        self.sent += 1;
    }

    /// Sends for as long as told by how many were sent, a window ahead of what became of it at most;
    /// waits for the rest.
    ///
    /// # Panics
    /// When packets are lost.
    pub fn run(&mut self, mut goes_on: impl FnMut(u64) -> bool, mut fate: impl FnMut() -> Fate) {
        while goes_on(self.sent) {
            self.send();
            self.wait(WINDOW, &mut fate);
        }
        self.wait(1, &mut fate);
    }

    /// The same at a bucket that is full, with packets that each take from it: begins by emptying it,
    /// and ends with a packet that is dropped.
    ///
    /// # Panics
    /// When packets are lost, or the bucket does not get empty.
    pub fn thin(
        &mut self,
        mut goes_on: impl FnMut(u64) -> bool,
        mut fate: impl FnMut() -> Fate,
    ) -> Span {
        let begun_ns = now_ns();
        self.until_one_is_dropped(WINDOW, &mut fate);
        self.wait(1, &mut fate);
        let empty_ns = now_ns();
        self.run(&mut goes_on, &mut fate);
        let last_ns = self.until_one_is_dropped(1, &mut fate);
        Span { empty_ns: last_ns - empty_ns, ns: now_ns() - begun_ns }
    }

    /// When the last packet was sent, or a little before.
    fn until_one_is_dropped(&mut self, ahead: u64, fate: &mut impl FnMut() -> Fate) -> u64 {
        let (begun, dropped) = (Instant::now(), fate().dropped);
        loop {
            let last_ns = now_ns();
            self.send();
            self.wait(ahead, fate);
            if fate().dropped > dropped {
                return last_ns;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is thinned");
        }
    }

    /// Waits until fewer than `ahead` packets are on their way.
    fn wait(&self, ahead: u64, fate: &mut impl FnMut() -> Fate) {
        let mut begun = None;
        loop {
            let Fate { dropped, arrived } = fate();
            let came = dropped + arrived;
            assert!(came <= self.sent, "{came} of {}", self.sent);
            if self.sent - came < ahead {
                return;
            }
            let begun = *begun.get_or_insert_with(Instant::now);
            assert!(begun.elapsed() < PATIENCE, "{came} of {} came", self.sent);
            std::thread::yield_now();
        }
    }
}

impl Span {
    /// What a bucket grants in this time that was full before. One that is full loses what it might
    /// have granted while a flood makes a pause, one that was emptied first does not.
    #[must_use]
    pub fn granted(&self, rate: Rate) -> RangeInclusive<u64> {
        let each_ns = rate.each.as_nanos() as u64;
        let of = |ns| u64::from(rate.burst.get()) + ns / each_ns;
        of(self.empty_ns)..=of(self.ns)
    }
}

/// Hears, behind the card, every TCP packet from the sources of a flood.
pub struct Tap {
    socket: OwnedFd,
    sources: BTreeSet<IpAddr>,
    heard: u64,
}

impl Tap {
    /// At the gateway.
    ///
    /// # Panics
    /// Without a packet, or where a process may not listen so.
    #[must_use]
    pub fn new(net: &Net, packets: &[Packet]) -> Self {
        let family = family(packets.first().expect("packets").destination.ip());
        let socket = net.at_gateway(|| socket(family, SocketType::RAW, Some(ipproto::TCP)));
        let socket = socket.expect("a socket that hears all");
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES).expect("room");
        let sources = packets.iter().map(|packet| packet.source.ip()).collect();
        Self { socket, sources, heard: 0 }
    }

    /// Packets so far.
    ///
    /// # Panics
    /// When the socket is broken.
    pub fn heard(&mut self) -> u64 {
        let mut bytes = [0; 128];
        loop {
            let from = match recvfrom(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((_, _, from)) => SocketAddr::try_from(from.expect("a source")),
                Err(Errno::AGAIN) => return self.heard,
                Err(why) => panic!("{why}"),
            };
            let from = from.expect("an address");
            self.heard += u64::from(self.sources.contains(&from.ip()));
        }
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}
