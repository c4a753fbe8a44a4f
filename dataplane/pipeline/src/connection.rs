//! One client connection, as a machine that is given bytes and time and says what to do next.
//!
//! Requests of a connection are served one after the other: head, caller, body, judgement, then
//! either an answer of our own or an [`Exchange`] with a server. After each `on_*` the shell asks
//! [`Connection::step`] and carries it out. Equal inputs give equal steps; nothing here waits, reads
//! a clock or touches a socket.

use std::net::IpAddr;
use std::rc::Rc;

use dataplane_ingress::{ChunkDecoder, Framing, Head, Method, Parsed, parse_head};
use dataplane_policy::ServerIndex;
use dataplane_telemetry::{Nanos, Now};

use crate::admit::Admitted;
use crate::core::{Announcement, Core};
use crate::exchange::{Exchange, Outcome, Progress};
use crate::fault::{Fault, Refusal, ServerFault};
use crate::incoming::Incoming;
use crate::judge::{Asked, Verdict};
use crate::ledger::RecordNumber;
use crate::limits::{
    ANSWER_NS_MAX, BODY_BYTES_PER_S_MIN, BUFFER_BYTES_KEPT, HEAD_NS_MAX, IDLE_NS_MAX,
};
use crate::wire;

/// What the shell does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Append to [`Connection::inbox`], then `on_client_bytes`; on the end, drop the connection.
    ReadClient,
    /// Wait until this record of the core is durable, then `on_recorded`.
    AwaitRecord(RecordNumber),
    /// Send all of [`Connection::outbox`], then `on_written`.
    WriteClient,
    /// Send all of [`Connection::forward`] on a connection to this server, then `on_forwarded`, or
    /// `on_upstream_failed`.
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
    Body { caller: Rc<Admitted>, chunks: Option<ChunkDecoder>, at: usize },
    Forward { gate: Option<RecordNumber> },
    Receive,
    Reply { gate: Option<RecordNumber>, then: Then },
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
    peer: IpAddr,
    state: State,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    forward: Vec<u8>,
    incoming: Incoming,
    head: Option<Head>,
    /// The request's body, in `inbox`, and the first byte after the request.
    body: std::ops::Range<usize>,
    request_end: usize,
    exchange: Option<Exchange>,
    fate: Option<Fate>,
    deadline: Nanos,
    /// Whether a part of a request has come. The inbox itself may be with the kernel.
    has_part: bool,
}

impl Connection {
    /// A fresh connection; its handshake and first head have to come soon.
    #[must_use]
    pub fn new(peer: IpAddr, now: Nanos) -> Self {
        Self {
            peer,
            state: State::Head,
            inbox: Vec::new(),
            outbox: Vec::new(),
            forward: Vec::new(),
            incoming: Incoming::default(),
            head: None,
            body: 0..0,
            request_end: 0,
            exchange: None,
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
                (None, Some(exchange)) => Step::Forward(exchange.server),
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

    /// Bytes for the server.
    pub fn forward(&mut self) -> &mut Vec<u8> {
        &mut self.forward
    }

    /// Bytes from the server.
    pub fn answer(&mut self) -> &mut Vec<u8> {
        self.incoming.buffer()
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

    /// The client has cancelled its call: nothing more is sent for it.
    pub fn on_cancelled(&mut self, core: &mut Core, now: Now) {
        if let Some(exchange) = &mut self.exchange {
            let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
            exchange.record_end(core, inbox, Outcome::Cancelled, now);
            self.end_upstream(Fate::Close);
        }
        self.state = State::Closed;
    }

    pub fn on_client_bytes(&mut self, core: &mut Core, now: Now) {
        self.advance(core, now);
    }

    /// The record is durable, or, with false, never will be.
    pub fn on_recorded(&mut self, core: &mut Core, is_durable: bool, now: Now) {
        if is_durable {
            return;
        }
        // Nothing may be answered that is not on record; what was sent to a server may have run.
        let ran = matches!(self.state, State::Reply { .. }) && self.exchange.is_some();
        self.outbox.clear();
        let id = self.exchange.as_ref().map(|exchange| exchange.request_id(&self.inbox));
        wire::unrecorded(core.log_fault(), ran, id, &mut self.outbox);
        self.end_upstream(Fate::Close);
        self.state = State::Reply { gate: None, then: Then::Close };
        self.deadline = now.mono.plus(ANSWER_NS_MAX);
    }

    pub fn on_forwarded(&mut self, core: &Core, now: Now) {
        self.forward.clear();
        self.state = State::Receive;
        if let Some(exchange) = &mut self.exchange {
            exchange.on_forwarded(now.mono);
            self.deadline = exchange.deadline(core, now.mono);
        }
    }

    pub fn on_upstream_bytes(&mut self, core: &mut Core, now: Now) {
        let Some(exchange) = &mut self.exchange else { return };
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        let progress = exchange.on_bytes(core, &mut self.incoming, inbox, &mut self.outbox, now);
        self.carry_on(core, progress, now);
    }

    pub fn on_upstream_closed(&mut self, core: &mut Core, now: Now) {
        let Some(exchange) = &mut self.exchange else { return };
        if let Some(kill) = exchange.killed(core, now) {
            self.refuse_exchange(core, Fault::Caller(Refusal::Killed(kill)), now);
            return;
        }
        if self.incoming.on_close().is_ok() {
            self.on_upstream_bytes(core, now);
            return;
        }
        let maybe_ran = exchange.maybe_ran();
        self.on_upstream_failed(core, ServerTrouble::Broken { maybe_ran }, now);
    }

    /// No connection was made, or it broke.
    pub fn on_upstream_failed(&mut self, core: &mut Core, trouble: ServerTrouble, now: Now) {
        let Some(exchange) = &mut self.exchange else { return };
        let fault = match trouble {
            ServerTrouble::Unreachable => ServerFault::Unreachable,
            ServerTrouble::Broken { maybe_ran } => ServerFault::Broken { maybe_ran },
            ServerTrouble::TimedOut => ServerFault::TimedOut { maybe_ran: exchange.maybe_ran() },
        };
        let server = exchange.server;
        match exchange.killed(core, now) {
            Some(kill) => self.refuse_exchange(core, Fault::Caller(Refusal::Killed(kill)), now),
            None => self.refuse_exchange(core, Fault::Server(server, fault), now),
        }
    }

    /// All of the outbox is with the client.
    pub fn on_written(&mut self, core: &mut Core, now: Now) {
        self.outbox.clear();
        let State::Reply { then, .. } = &self.state else { return };
        match then {
            Then::Close => self.state = State::Closed,
            Then::Receive => {
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

    /// The client has closed. In the modern era that is the cancellation of its call; in the legacy
    /// era the call goes on and is recorded.
    pub fn on_client_gone(&mut self, core: &mut Core, now: Now) {
        if let Some(exchange) = &mut self.exchange {
            let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
            exchange.record_end(core, inbox, Outcome::CallerGone, now);
            self.end_upstream(Fate::Close);
        }
        self.state = State::Closed;
    }

    /// The deadline has passed.
    pub fn on_deadline(&mut self, core: &mut Core, now: Now) {
        if now.mono < self.deadline {
            return;
        }
        match &self.state {
            State::Forward { .. } | State::Receive => {
                self.on_upstream_failed(core, ServerTrouble::TimedOut, now);
            }
            State::Head if self.has_part => self.refuse(core, Refusal::Slow.into(), now),
            State::Body { .. } => self.refuse(core, Refusal::Slow.into(), now),
            State::Head | State::Reply { .. } | State::Closed => self.state = State::Closed,
        }
    }

    fn advance(&mut self, core: &mut Core, now: Now) {
        self.has_part = !self.inbox.is_empty();
        if matches!(self.state, State::Head)
            && !self.inbox.is_empty()
            && let Err(fault) = self.read_head(core, now)
        {
            self.refuse(core, fault, now);
            return;
        }
        if let State::Body { caller, chunks, at } = &mut self.state {
            let caller = Rc::clone(caller);
            match read_body(&mut self.inbox, &mut self.body, chunks, at) {
                Ok(false) => {}
                Ok(true) => {
                    self.request_end = *at;
                    self.judge(core, &caller, now);
                }
                Err(refusal) => self.refuse(core, refusal.into(), now),
            }
        }
    }

    /// Reads a head once it is whole, and admits its caller.
    fn read_head(&mut self, core: &mut Core, now: Now) -> Result<(), Fault<'static>> {
        let parsed = parse_head(&self.inbox, &core.stages.limits).map_err(Refusal::Head)?;
        let Parsed::Complete(head) = parsed else {
            let whole = self.deadline.0.min(now.mono.plus(HEAD_NS_MAX).0);
            self.deadline = Nanos(whole);
            return Ok(());
        };
        self.head = Some(head);
        core.stages.counters.requests += 1;
        let (chunks, end) = match head.framing {
            Framing::Empty => (None, head.len),
            Framing::Length(length) => {
                (None, head.len.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)))
            }
            Framing::Chunked => (Some(ChunkDecoder::new(core.stages.limits.body_bytes)), head.len),
        };
        (self.body, self.request_end) = (head.len..end, end.min(self.inbox.len()));
        if core.stages.answer_without_caller(&head, &self.inbox, &mut self.outbox)? {
            self.reply(None, now);
            return Ok(());
        }
        let caller = core.stages.admit(&head, &self.inbox, self.peer, now)?;
        let length = end.saturating_sub(head.len) as u64;
        let slowest_ns = length / BODY_BYTES_PER_S_MIN * 1_000_000_000;
        self.deadline = now.mono.plus(HEAD_NS_MAX.saturating_add(slowest_ns));
        self.state = State::Body { caller, chunks, at: end };
        Ok(())
    }

    fn judge(&mut self, core: &mut Core, caller: &Rc<Admitted>, now: Now) {
        let Some(head) = self.head else { return };
        let asked = Asked::new(&head, &self.inbox, self.body.clone(), caller, now);
        if head.method != Method::Post {
            core.stages.without_body(&asked, &mut self.outbox);
            self.reply(None, now);
            return;
        }
        match core.judge(&asked, &mut self.outbox, &mut self.forward) {
            Verdict::Reply { gate, keep_alive } => {
                let then = if keep_alive { Then::NextRequest } else { Then::Close };
                self.state = State::Reply { gate, then };
                self.deadline = now.mono.plus(ANSWER_NS_MAX);
            }
            Verdict::Forward { exchange, gate } => {
                self.deadline = exchange.deadline(core, now.mono);
                self.incoming.reset();
                self.exchange = Some(exchange);
                self.state = State::Forward { gate };
            }
        }
    }

    fn carry_on(&mut self, core: &mut Core, progress: Progress, now: Now) {
        match progress {
            Progress::More => {
                self.state = State::Receive;
                if let Some(exchange) = &self.exchange {
                    self.deadline = exchange.deadline(core, now.mono);
                }
            }
            Progress::Again => {
                self.end_upstream_keeping_exchange();
                if let Some(exchange) = &mut self.exchange {
                    let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
                    match exchange.write_next(core, inbox, &mut self.forward, now) {
                        Ok(()) => {
                            self.incoming.reset();
                            self.state = State::Forward { gate: None };
                        }
                        Err(fault) => {
                            let server = exchange.server;
                            self.refuse_exchange(core, Fault::Server(server, fault), now);
                        }
                    }
                }
            }
            Progress::Piece { gate } => {
                self.state = State::Reply { gate, then: Then::Receive };
                self.deadline = now.mono.plus(ANSWER_NS_MAX);
            }
            Progress::Done { gate } => {
                self.end_upstream_keeping_exchange();
                self.exchange = None;
                self.reply(gate, now);
            }
            Progress::Failed(fault) => {
                if let Some(exchange) = &self.exchange {
                    let server = exchange.server;
                    self.refuse_exchange(core, Fault::Server(server, fault), now);
                }
            }
        }
    }

    /// Ends a call that a server has, with an answer of ours.
    fn refuse_exchange(&mut self, core: &mut Core, fault: Fault<'_>, now: Now) {
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        let Some(exchange) = &mut self.exchange else { return };
        let gate = exchange.refuse(core, inbox, &fault, &mut self.outbox, now);
        let is_streaming = exchange.is_streaming();
        self.end_upstream(Fate::Close);
        self.reply(gate, now);
        if is_streaming {
            // The head said 200 long ago: the event said why, and the end of the stream shows it.
            self.state = State::Reply { gate, then: Then::Close };
        }
    }

    /// Refuses a request before it was judged.
    fn refuse(&mut self, core: &mut Core, fault: Fault<'static>, now: Now) {
        // After a framing fault nobody knows where the next request starts; after any other the
        // rest of this one would have to be read first.
        let is_whole = self.inbox.len() >= self.request_end
            && self.head.is_some_and(|head| head.keep_alive && head.framing != Framing::Chunked)
            && self.body.end <= self.inbox.len();
        core.stages.counters.refused += 1;
        wire::refuse(
            &core.stages,
            &fault,
            self.head.as_ref(),
            &self.inbox,
            is_whole,
            &mut self.outbox,
        );
        let then = if is_whole { Then::NextRequest } else { Then::Close };
        self.state = State::Reply { gate: None, then };
        self.deadline = now.mono.plus(ANSWER_NS_MAX);
    }

    fn reply(&mut self, gate: Option<RecordNumber>, now: Now) {
        let keep_alive = self.head.is_some_and(|head| head.keep_alive);
        let then = if keep_alive { Then::NextRequest } else { Then::Close };
        self.state = State::Reply { gate, then };
        self.deadline = now.mono.plus(ANSWER_NS_MAX);
    }

    fn next_request(&mut self, now: Now) {
        let end = self.request_end.max(self.body.end).min(self.inbox.len());
        self.inbox.drain(..end);
        for buffer in [&mut self.inbox, &mut self.outbox, &mut self.forward] {
            buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
        self.incoming.reset();
        (self.head, self.exchange, self.body, self.request_end) = (None, None, 0..0, 0);
        self.state = State::Head;
        let patience = if self.inbox.is_empty() { IDLE_NS_MAX } else { HEAD_NS_MAX };
        self.deadline = now.mono.plus(patience);
    }

    fn end_upstream(&mut self, fate: Fate) {
        if self.exchange.take().is_some() {
            self.fate = Some(fate);
        }
    }

    fn end_upstream_keeping_exchange(&mut self) {
        let idle_ns = self.incoming.head().and_then(|head| head.idle_s);
        let idle_ns = idle_ns.map(|seconds| u64::from(seconds) * 1_000_000_000);
        let reusable = self.incoming.is_reusable();
        self.fate = Some(if reusable { Fate::Reuse { idle_ns } } else { Fate::Close });
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

/// Unwraps what has come of the body, in place; true when it is whole. `at` is the first byte after
/// what was unwrapped, or the request's end where its length is known.
fn read_body(
    inbox: &mut [u8],
    body: &mut std::ops::Range<usize>,
    chunks: &mut Option<ChunkDecoder>,
    at: &mut usize,
) -> Result<bool, Refusal<'static>> {
    let Some(chunks) = chunks else { return Ok(inbox.len() >= *at) };
    while !chunks.is_done() {
        let Some(rest) = inbox.get_mut(*at..).filter(|rest| !rest.is_empty()) else {
            return Ok(false);
        };
        let step = chunks.decode(rest).map_err(Refusal::Chunk)?;
        let data = *at + step.data.start..*at + step.data.end;
        let (start, len) = (body.end, data.len());
        inbox.copy_within(data, start);
        body.end = start + len;
        *at += step.consumed;
        if step.consumed == 0 && !step.done {
            return Ok(false);
        }
    }
    Ok(true)
}
