//! One client connection, as a machine that is given bytes and time and says what to do next.
//!
//! Requests of a connection are served one after the other: head, caller, body, judgement, then
//! either an answer of our own or an [`Exchange`] with a server. After each `on_*` the shell asks
//! [`Connection::step`] and carries it out. Equal inputs give equal steps; nothing here waits, reads
//! a clock or touches a socket.

mod calling;
mod reading;

use std::ops::Range;
use std::rc::Rc;

use dataplane_drops::Flow;
use dataplane_ingress::{ChunkDecoder, Head};
use dataplane_policy::ServerIndex;
use dataplane_telemetry::{Nanos, Now};

use crate::admit::Admitted;
use crate::core::{Announcement, Core};
use crate::exchange::{Begun, Exchange};
use crate::fault::{Fault, Refusal, ServerFault};
use crate::incoming::Incoming;
use crate::ladder::Known;
use crate::ledger::RecordNumber;
use crate::limits::{ANSWER_NS_MAX, HEAD_NS_MAX, PIECE_BYTES_KEPT};
use crate::outcome::Outcome;
use crate::passing::Held;

/// What the shell does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Append to [`Connection::inbox`], then `on_client_bytes`; on the end, drop the connection.
    ReadClient,
    /// Wait until this record of the core is durable, then `on_recorded`. It may be durable already:
    /// then the machine wants to be asked again before anything is sent.
    AwaitRecord(RecordNumber),
    /// Send all of [`Connection::outbox`], then `on_written`.
    WriteClient,
    /// Make a connection to this server and, if this is still the step, take and send all of
    /// [`Connection::forward`]; then `on_forwarded`, or `on_upstream_failed`.
    Forward(ServerIndex),
    /// Append to [`Connection::answer`], then `on_upstream_bytes`; on the end `on_upstream_closed`.
    ReadUpstream,
    /// Close the connection to the client.
    Close,
}

/// What becomes of the connection to the server, once the exchange on it is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Idle again; the server closes it after so long, if it said so.
    Reuse {
        idle_ns: Option<u64>,
    },
    Close,
}

enum State {
    Head,
    Body {
        caller: Rc<Admitted>,
        chunks: Option<ChunkDecoder>,
        /// The first byte after what was unwrapped, or the request's end where its length is known.
        at: usize,
        began: Nanos,
    },
    Forward {
        gate: Option<RecordNumber>,
    },
    Receive,
    Reply {
        gate: Option<RecordNumber>,
        then: Then,
    },
    Closed,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    NextRequest,
    Receive,
    Close,
}

/// A client connection.
pub struct Connection {
    known: Known,
    state: State,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    forward: Vec<u8>,
    incoming: Incoming,
    head: Option<Head>,
    /// The request's body, in `inbox`, and the first byte after the request.
    body: Range<usize>,
    request_end: usize,
    exchange: Option<Exchange>,
    /// A long answer was held whole, and may be in the outbox still.
    held: Option<Held>,
    /// The id of the request whose answer waits, in `inbox`, and whether a server may have run it.
    asked: Range<usize>,
    has_run: bool,
    /// What of the answer is with the client: what follows must be of the same kind.
    begun: Begun,
    fate: Option<Fate>,
    deadline: Nanos,
    /// Whether a part of a request has come. The inbox itself may be with the kernel.
    has_part: bool,
}

impl Connection {
    /// A fresh connection; its handshake and first head have to come soon.
    #[must_use]
    pub fn new(flow: Flow, now: Nanos) -> Self {
        Self {
            known: Known::new(flow),
            state: State::Head,
            inbox: Vec::new(),
            outbox: Vec::new(),
            forward: Vec::new(),
            incoming: Incoming::default(),
            head: None,
            body: 0..0,
            request_end: 0,
            exchange: None,
            held: None,
            asked: 0..0,
            has_run: false,
            begun: Begun::Nothing,
            fate: None,
            deadline: now.plus(HEAD_NS_MAX),
            has_part: false,
        }
    }

    #[must_use]
    pub fn step(&self, core: &Core) -> Step {
        let open = |gate: &Option<RecordNumber>| gate.filter(|gate| !core.is_durable(*gate));
        match &self.state {
            State::Head | State::Body { .. } => Step::ReadClient,
            State::Receive => Step::ReadUpstream,
            State::Closed => Step::Close,
            State::Forward { gate } => match (open(gate), &self.exchange) {
                (Some(gate), _) => Step::AwaitRecord(gate),
                // What the kernel is sending is the server's, whatever bundle has come since.
                (None, Some(exchange)) if exchange.is_sent || exchange.is_current(core) => {
                    Step::Forward(exchange.server)
                }
                (None, Some(exchange)) => Step::AwaitRecord(exchange.intent),
                (None, None) => Step::Close,
            },
            State::Reply { gate, .. } => open(gate).map_or(Step::WriteClient, Step::AwaitRecord),
        }
    }

    /// When the present step has taken too long; then `on_deadline`.
    #[must_use]
    pub const fn deadline(&self) -> Nanos {
        self.deadline
    }

    /// Plaintext from the client.
    pub fn inbox(&mut self) -> &mut Vec<u8> {
        &mut self.inbox
    }

    /// Plaintext for the client.
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Bytes for the server. Whoever takes them may have sent them.
    pub fn forward(&mut self) -> &mut Vec<u8> {
        if let (State::Forward { .. }, Some(exchange)) = (&self.state, &mut self.exchange) {
            exchange.is_sent = true;
        }
        &mut self.forward
    }

    /// Bytes from the server.
    pub fn answer(&mut self) -> &mut Vec<u8> {
        self.incoming.buffer()
    }

    /// Memory that its buffers take: what one client, or its server, can make us keep.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let own = [&self.inbox, &self.outbox, &self.forward];
        own.iter().map(|buffer| buffer.capacity()).sum::<usize>() + self.incoming.buffer_bytes()
    }

    /// What becomes of the server's connection, told once.
    pub fn take_fate(&mut self) -> Option<Fate> {
        self.fate.take()
    }

    /// Whether nothing of a request has come yet: the moment to give memory back, or to drain.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && !self.has_part
    }

    /// Whether a server has a call of this connection.
    #[must_use]
    pub const fn is_calling(&self) -> bool {
        self.exchange.is_some()
    }

    /// Whether the client's going would end what runs: the modern era's cancellation.
    #[must_use]
    pub fn ends_with_client(&self) -> bool {
        let modern = self.exchange.as_ref().is_some_and(Exchange::is_modern);
        modern && matches!(self.state, State::Receive)
    }

    /// Whether its call is to be ended: by news of this kind, or by a kill that is in force.
    #[must_use]
    pub fn is_over(&self, core: &Core, news: Option<&Announcement>, now: Now) -> bool {
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        self.exchange.as_ref().is_some_and(|exchange| exchange.is_over(core, inbox, news, now))
    }

    /// The kills or the configuration have changed. A call that is not yet with its server is held
    /// against them; one that is, ends when its server's connection does ([`Connection::is_over`]).
    pub fn on_change(&mut self, core: &mut Core, now: Now) {
        let (State::Forward { .. }, Some(exchange)) = (&self.state, &self.exchange) else { return };
        if let Some(kill) = exchange.killed(core, now) {
            self.refuse_exchange(core, Fault::Caller(Refusal::Killed(kill)), now);
        } else if !exchange.is_current(core) && !exchange.is_sent {
            self.judge_again(core, now);
        }
    }

    /// The client has cancelled its call: nothing more is sent for it.
    pub fn on_cancelled(&mut self, core: &mut Core, now: Now) {
        if self.exchange.is_some() {
            self.give_up(core, Outcome::Cancelled, now);
        }
    }

    pub fn on_client_bytes(&mut self, core: &mut Core, now: Now) {
        self.known.has_asked = true;
        self.advance(core, now);
    }

    /// The record is durable, or, with false, never will be.
    pub fn on_recorded(&mut self, core: &mut Core, is_durable: bool, now: Now) {
        if is_durable {
            self.on_change(core, now);
        } else if matches!(self.step(core), Step::AwaitRecord(_)) {
            self.unrecorded(core, now);
        }
    }

    pub fn on_forwarded(&mut self, core: &Core, now: Now) {
        self.forward.clear();
        if !matches!(self.state, State::Forward { .. }) {
            return;
        }
        self.state = State::Receive;
        if let Some(exchange) = &mut self.exchange {
            exchange.on_forwarded(now.mono);
            self.deadline = exchange.deadline(core, now.mono);
        }
    }

    pub fn on_upstream_bytes(&mut self, core: &mut Core, now: Now) {
        if !matches!(self.state, State::Receive) {
            return;
        }
        let Some(exchange) = &mut self.exchange else { return };
        // Bytes that were on their way when it was killed are not the answer any more.
        if let Some(kill) = exchange.killed(core, now) {
            self.refuse_exchange(core, Fault::Caller(Refusal::Killed(kill)), now);
            return;
        }
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        let progress = exchange.on_bytes(core, &mut self.incoming, inbox, &mut self.outbox, now);
        self.carry_on(core, progress, now);
    }

    pub fn on_upstream_closed(&mut self, core: &mut Core, now: Now) {
        let (State::Receive, Some(exchange)) = (&self.state, &self.exchange) else { return };
        if let Some(kill) = exchange.killed(core, now) {
            self.refuse_exchange(core, Fault::Caller(Refusal::Killed(kill)), now);
            return;
        }
        if self.incoming.on_close().is_ok() {
            self.on_upstream_bytes(core, now);
            return;
        }
        self.on_upstream_failed(core, ServerTrouble::Broken { maybe_ran: true }, now);
    }

    /// No connection was made, or it broke.
    pub fn on_upstream_failed(&mut self, core: &mut Core, trouble: ServerTrouble, now: Now) {
        let (State::Forward { .. } | State::Receive, Some(exchange)) =
            (&self.state, &self.exchange)
        else {
            return;
        };
        let ran = exchange.maybe_ran();
        let fault = match trouble {
            ServerTrouble::Unreachable => ServerFault::Unreachable,
            ServerTrouble::Broken { maybe_ran } => {
                ServerFault::Broken { maybe_ran: maybe_ran && ran }
            }
            ServerTrouble::TimedOut => ServerFault::TimedOut { maybe_ran: ran },
        };
        let server = exchange.server;
        match exchange.killed(core, now) {
            Some(kill) => self.refuse_exchange(core, Fault::Caller(Refusal::Killed(kill)), now),
            None => self.refuse_exchange(core, Fault::Server(server, fault), now),
        }
    }

    /// All of the outbox is with the client.
    pub fn on_written(&mut self, core: &mut Core, now: Now) {
        let State::Reply { then, .. } = &self.state else { return };
        self.outbox.clear();
        match then {
            Then::Close => self.state = State::Closed,
            Then::Receive => {
                self.outbox.shrink_to(PIECE_BYTES_KEPT);
                self.begun = self.exchange.as_ref().map_or(Begun::Stream, Exchange::begun);
                self.state = State::Receive;
                // What came while the client was slow is read now: it stalls only its own server.
                self.on_upstream_bytes(core, now);
            }
            Then::NextRequest => {
                self.next_request(now);
                self.advance(core, now);
            }
        }
    }

    /// The connection is over: its ports may be another's next.
    pub fn on_closed(&mut self, core: &mut Core) {
        core.stages.on_flow_closed(&mut self.known);
    }

    /// The client has closed. In the modern era that is the cancellation of its call; in the legacy
    /// era the call goes on and is recorded.
    pub fn on_client_gone(&mut self, core: &mut Core, now: Now) {
        self.give_up(core, Outcome::CallerGone, now);
    }

    /// The deadline has passed.
    pub fn on_deadline(&mut self, core: &mut Core, now: Now) {
        if now.mono < self.deadline {
            return;
        }
        let is_waiting = matches!(self.step(core), Step::AwaitRecord(_));
        match &self.state {
            State::Forward { .. } | State::Reply { .. } if is_waiting => self.unrecorded(core, now),
            State::Forward { .. } | State::Receive => {
                self.on_upstream_failed(core, ServerTrouble::TimedOut, now);
            }
            State::Head if self.has_part => self.refuse(core, Refusal::Slow.into(), now),
            State::Body { .. } => self.refuse(core, Refusal::Slow.into(), now),
            State::Head | State::Reply { .. } | State::Closed => {
                self.give_up(core, Outcome::CallerGone, now);
            }
        }
    }

    fn reply(&mut self, gate: Option<RecordNumber>, now: Now) {
        let keep_alive = self.head.is_some_and(|head| head.keep_alive);
        let then = if keep_alive { Then::NextRequest } else { Then::Close };
        self.state = State::Reply { gate, then };
        self.deadline = now.mono.plus(ANSWER_NS_MAX);
    }
}

/// What happened between us and a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerTrouble {
    /// Nothing was sent.
    Unreachable,
    /// The connection broke while sending or receiving.
    Broken {
        maybe_ran: bool,
    },
    TimedOut,
}
