//! A shell around one connection, without sockets: bytes in, bytes out, nothing allocated by itself.
//!
//! What the kernel would carry is a slice here. The log makes records durable at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dataplane_drops::Flow;
use dataplane_pipeline::{Connection, Step};

use crate::world::World;

/// Any client's connection.
const FLOW: Flow = Flow {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443),
};

/// A kept connection and what its server answers.
pub struct Shell {
    machine: Connection,
    answer: Vec<u8>,
    /// The answer to the last call.
    pub received: Vec<u8>,
    /// What the server was last sent.
    pub forwarded: Vec<u8>,
}

impl Shell {
    /// `answer` is what the server says to every request.
    #[must_use]
    pub fn new(world: &World, answer: Vec<u8>) -> Self {
        Self {
            machine: Connection::new(FLOW, world.now.mono),
            answer,
            received: Vec::with_capacity(256 * 1024),
            forwarded: Vec::with_capacity(16 * 1024),
        }
    }

    /// One request and its whole answer. True when the connection is kept.
    pub fn call(&mut self, world: &mut World, request: &[u8]) -> bool {
        world.pass();
        self.received.clear();
        self.forwarded.clear();
        self.machine.inbox().extend_from_slice(request);
        self.machine.on_client_bytes(&mut world.core, world.now);
        loop {
            match self.machine.step(&world.core) {
                Step::ReadClient => return true,
                Step::Close => return false,
                Step::AwaitRecord(_) => {
                    world.commit();
                    self.machine.on_recorded(&mut world.core, true, world.now);
                }
                Step::WriteClient => {
                    self.received.extend_from_slice(self.machine.outbox());
                    self.machine.on_written(&mut world.core, world.now);
                }
                Step::Forward(_) => {
                    self.forwarded.extend_from_slice(self.machine.forward());
                    self.machine.on_forwarded(&world.core, world.now);
                }
                Step::ReadUpstream => {
                    self.machine.answer().extend_from_slice(&self.answer);
                    self.machine.on_upstream_bytes(&mut world.core, world.now);
                }
            }
            let _ = self.machine.take_fate();
        }
    }
}
