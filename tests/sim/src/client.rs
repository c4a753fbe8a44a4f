//! One connection to a [`World`], carried out without sockets.

use dataplane_pipeline::{Connection, ServerTrouble, Step};

use crate::{Seed, World};

/// What a server does with a request.
pub trait Server {
    /// The bytes that it answers; `None`: it closes without a word.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>>;
}

impl<F: FnMut(&[u8]) -> Option<Vec<u8>>> Server for F {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self(request)
    }
}

/// An HTTP answer, taken apart.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// A client connection and its shell.
pub struct Client {
    pub machine: Connection,
    pub received: Vec<u8>,
    pub is_closed: bool,
    /// Cuts what passes into pieces; `None`: everything at once.
    pub cuts: Option<Seed>,
    /// What the server was sent, whole requests.
    pub forwarded: Vec<Vec<u8>>,
    upstream: Vec<u8>,
    upstream_has_closed: bool,
}

impl Client {
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self {
            machine: Connection::new(crate::FLOW, world.now.mono),
            received: Vec::new(),
            is_closed: false,
            cuts: None,
            forwarded: Vec::new(),
            upstream: Vec::new(),
            upstream_has_closed: false,
        }
    }

    /// Sends bytes and goes on until the machine wants more of them or closes.
    pub fn send(&mut self, world: &mut World, bytes: &[u8], server: &mut dyn Server) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_closed {
            let (piece, after) = rest.split_at(self.cut(rest.len()));
            rest = after;
            self.machine.inbox().extend_from_slice(piece);
            self.machine.on_client_bytes(&mut world.core, world.now);
            self.run(world, server);
        }
    }

    fn cut(&mut self, len: usize) -> usize {
        match &mut self.cuts {
            Some(seed) => 1 + seed.below(len as u64) as usize,
            None => len,
        }
    }

    fn run(&mut self, world: &mut World, server: &mut dyn Server) {
        loop {
            match self.machine.step(&world.core) {
                Step::ReadClient => return,
                Step::Close => {
                    self.is_closed = true;
                    return;
                }
                Step::AwaitRecord(_) => {
                    world.commit();
                    self.machine.on_recorded(&mut world.core, true, world.now);
                }
                Step::WriteClient => {
                    self.received.append(self.machine.outbox());
                    self.machine.on_written(&mut world.core, world.now);
                }
                Step::Forward(_) => self.forward(world, server),
                Step::ReadUpstream => self.read_upstream(world),
            }
            let _ = self.machine.take_fate();
        }
    }

    fn forward(&mut self, world: &mut World, server: &mut dyn Server) {
        let request = std::mem::take(self.machine.forward());
        let answer = server.answer(&request);
        self.forwarded.push(request);
        self.upstream.clear();
        self.upstream_has_closed = answer.is_none();
        self.upstream.extend(answer.unwrap_or_default());
        self.machine.on_forwarded(&world.core, world.now);
    }

    fn read_upstream(&mut self, world: &mut World) {
        if self.upstream.is_empty() {
            if self.upstream_has_closed {
                self.machine.on_upstream_closed(&mut world.core, world.now);
            } else {
                let trouble = ServerTrouble::TimedOut;
                self.machine.on_upstream_failed(&mut world.core, trouble, world.now);
            }
            return;
        }
        let cut = self.cut(self.upstream.len());
        let rest = self.upstream.split_off(cut);
        self.machine.answer().append(&mut self.upstream);
        self.upstream = rest;
        self.machine.on_upstream_bytes(&mut world.core, world.now);
    }

    /// Sends one request to a server that answers `done`, and takes the answer.
    pub fn ask(&mut self, world: &mut World, request: &[u8]) -> Reply {
        self.send(world, request, &mut |request: &[u8]| Some(crate::http::result(request, "done")));
        self.reply()
    }

    /// What was received since the last time, as one answer.
    ///
    /// # Panics
    /// When it is not one whole HTTP answer.
    pub fn reply(&mut self) -> Reply {
        let text = String::from_utf8(std::mem::take(&mut self.received)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap();
        let is_passed = head.contains("\r\nTransfer-Encoding: chunked")
            && head.contains("\r\nContent-Type: application/json");
        let body = if is_passed { crate::http::whole(body).expect(body) } else { body.to_owned() };
        Reply { status, head: head.into(), body }
    }
}
