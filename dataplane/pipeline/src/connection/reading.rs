//! From a client's bytes to a judged request: head, caller, body, judgement.
//!
//! A head that cannot be read, or whose caller is nobody, is answered once; where the next request
//! would start is known only after a whole one, so anything else ends the connection. A body has to
//! keep coming: each KiB buys a second.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use dataplane_ingress::{ChunkDecoder, Framing, Head, Method, Parsed, parse_head};
use dataplane_telemetry::{Nanos, Now};

use super::{Connection, State, Then};
use crate::admit::Admitted;
use crate::core::Core;
use crate::exchange::Begun;
use crate::fault::{Fault, Refusal};
use crate::judge::{Asked, Verdict};
use crate::limits::{
    ANSWER_NS_MAX, BODY_BYTES_PER_S_MIN, BUFFER_BYTES_KEPT, HEAD_NS_MAX, IDLE_NS_MAX,
};

/// Bytes of chunk framing that may lie between a body and what is still to be read.
const GAP_BYTES_MAX: usize = 4_096;

impl Connection {
    pub(super) fn advance(&mut self, core: &mut Core, now: Now) {
        self.has_part = !self.inbox.is_empty();
        if matches!(self.state, State::Head)
            && !self.inbox.is_empty()
            && let Err(fault) = self.read_head(core, now)
        {
            self.refuse(core, fault, now);
            return;
        }
        if let State::Body { caller, chunks, at, began } = &mut self.state {
            let caller = Rc::clone(caller);
            match read_body(&mut self.inbox, &mut self.body, chunks, at) {
                Ok(false) => {
                    let come = self.inbox.len().saturating_sub(self.body.start) as u64;
                    let patience = come.saturating_mul(1_000_000_000) / BODY_BYTES_PER_S_MIN;
                    self.deadline = began.plus(HEAD_NS_MAX.saturating_add(patience));
                }
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
        let Parsed::Complete(mut head) = parsed else {
            let whole = self.deadline.0.min(now.mono.plus(HEAD_NS_MAX).0);
            self.deadline = Nanos(whole);
            return Ok(());
        };
        // The last answer of this connection.
        head.keep_alive &= !core.stages.is_draining;
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
        let caller = self.admit(core, &mut head, now)?;
        self.head = Some(head);
        self.deadline = now.mono.plus(HEAD_NS_MAX);
        self.state = State::Body { caller, chunks, at: end, began: now.mono };
        Ok(())
    }

    /// Whose request this is. Who is slowed, or cannot come back, has the connection closed after the answer.
    fn admit(
        &mut self,
        core: &mut Core,
        head: &mut Head,
        now: Now,
    ) -> Result<Rc<Admitted>, Fault<'static>> {
        let stages = &mut core.stages;
        let admitted = stages.admit(head, &self.inbox, self.known.flow.peer.ip(), now);
        match &admitted {
            Ok(caller) => {
                stages.on_authenticated(&mut self.known, caller.owner, now.mono);
                head.keep_alive &= !stages.closes(caller, self.known.flow.peer.ip(), now.mono);
            }
            Err(Fault::Caller(Refusal::Unauthenticated(_))) => {
                stages.on_unauthenticated(&mut self.known);
            }
            Err(_) => {}
        }
        admitted
    }

    /// Judges the whole request in the inbox. Who was admitted under another bundle is admitted anew.
    pub(super) fn judge(&mut self, core: &mut Core, caller: &Rc<Admitted>, now: Now) {
        let Some(mut head) = self.head else { return };
        let current = if caller.epoch == core.stages.epoch {
            Ok(Rc::clone(caller))
        } else {
            self.admit(core, &mut head, now)
        };
        let caller = match &current {
            Ok(caller) => caller,
            Err(fault) => {
                self.refuse(core, fault.clone(), now);
                return;
            }
        };
        let asked = Asked::new(&head, &self.inbox, self.body.clone(), caller, &self.known, now);
        if head.method != Method::Post {
            core.stages.without_body(&asked, &mut self.outbox);
            self.reply(None, now);
            return;
        }
        match core.judge(&asked, &mut self.outbox, &mut self.forward) {
            Verdict::Reply { gate, id } => {
                self.asked = id;
                self.reply(gate, now);
            }
            Verdict::Forward { exchange, gate } => {
                self.deadline = exchange.deadline(core, now.mono);
                self.incoming.reset();
                self.asked = exchange.id.clone();
                self.exchange = Some(exchange);
                self.state = State::Forward { gate };
            }
        }
    }

    /// Refuses a request before it was judged.
    pub(super) fn refuse(&mut self, core: &mut Core, fault: Fault<'static>, now: Now) {
        // After a framing fault nobody knows where the next request starts; after any other the
        // rest of this one would have to be read first.
        let is_whole = self.inbox.len() >= self.request_end
            && self.head.is_some_and(|head| head.keep_alive && head.framing != Framing::Chunked)
            && self.body.end <= self.inbox.len();
        core.stages.counters.refused += 1;
        let stages = &mut core.stages;
        stages.teller.refuse(
            stages.configuration.as_deref().map(Arc::as_ref),
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

    pub(super) fn next_request(&mut self, now: Now) {
        let end = self.request_end.max(self.body.end).min(self.inbox.len());
        self.inbox.drain(..end);
        for buffer in [&mut self.inbox, &mut self.outbox, &mut self.forward] {
            buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
        self.incoming.reset();
        (self.head, self.exchange, self.body, self.request_end) = (None, None, 0..0, 0);
        (self.asked, self.has_run, self.begun, self.held) = (0..0, false, Begun::Nothing, None);
        self.state = State::Head;
        let patience = if self.inbox.is_empty() { IDLE_NS_MAX } else { HEAD_NS_MAX };
        self.deadline = now.mono.plus(patience);
    }
}

/// Unwraps what has come of the body, in place; true when it is whole.
fn read_body(
    inbox: &mut Vec<u8>,
    body: &mut Range<usize>,
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
        // Framing may be many times the body; it is not kept.
        if at.saturating_sub(body.end) > GAP_BYTES_MAX {
            inbox.drain(body.end..*at);
            *at = body.end;
        }
        if step.consumed == 0 && !step.done {
            return Ok(false);
        }
    }
    Ok(true)
}
