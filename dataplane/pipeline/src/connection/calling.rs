//! A connection whose call is with a server, or was: what becomes of it.
//!
//! Each way out writes the outcome down, says what becomes of the server's connection, and leaves an
//! answer in the outbox that waits for its record: the server's, or ours in its place. Where the log
//! takes no record the answer says that, and nothing of the server's.

use std::rc::Rc;

use dataplane_telemetry::Now;

use super::{Connection, Fate, State, Then};
use crate::core::Core;
use crate::exchange::{Begun, Progress};
use crate::fault::{Fault, Incident};
use crate::limits::ANSWER_NS_MAX;
use crate::outcome::Outcome;
use crate::stream::Stream;

impl Connection {
    pub(super) fn carry_on(&mut self, core: &mut Core, progress: Progress, now: Now) {
        match progress {
            Progress::More => {
                self.state = State::Receive;
                if let Some(exchange) = &self.exchange {
                    self.deadline = exchange.deadline(core, now.mono);
                }
            }
            Progress::Again => self.go_on(core, now),
            Progress::Piece { gate } => {
                self.state = State::Reply { gate, then: Then::Receive };
                self.deadline = now.mono.plus(ANSWER_NS_MAX);
            }
            Progress::Done { gate } => {
                self.settle_upstream();
                self.end_exchange();
                self.reply(Some(gate), now);
            }
            Progress::Unrecorded => self.unrecorded(core, now),
            Progress::Failed(fault) => {
                if let Some(exchange) = &self.exchange {
                    let server = exchange.server;
                    self.refuse_exchange(core, Fault::Server(server, fault), now);
                }
            }
        }
    }

    /// The next stage of an exchange, on any connection.
    fn go_on(&mut self, core: &mut Core, now: Now) {
        self.settle_upstream();
        self.incoming.reset();
        let Some(exchange) = &mut self.exchange else { return };
        if !exchange.is_current(core) {
            self.judge_again(core, now);
            return;
        }
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        match exchange.write_next(core, inbox, &mut self.forward, now) {
            Ok(()) => {
                self.deadline = exchange.deadline(core, now.mono);
                self.state = State::Forward { gate: None };
            }
            Err(fault) => {
                let server = exchange.server;
                self.refuse_exchange(core, Fault::Server(server, fault), now);
            }
        }
    }

    /// The bundle changed before the call was sent: what was judged by the old one, and its numbers,
    /// mean nothing any more. The request is still whole in the inbox.
    pub(super) fn judge_again(&mut self, core: &mut Core, now: Now) {
        let Some(exchange) = self.exchange.take() else { return };
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        exchange.record_end(core, inbox, Outcome::Superseded, now);
        let caller = Rc::clone(&exchange.caller);
        self.judge(core, &caller, now);
    }

    /// Ends a call that a server has, with an answer of ours.
    pub(super) fn refuse_exchange(&mut self, core: &mut Core, fault: Fault<'_>, now: Now) {
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        let Some(exchange) = &mut self.exchange else { return };
        let Some(gate) = exchange.refuse(core, inbox, &fault, &mut self.outbox, now) else {
            self.unrecorded(core, now);
            return;
        };
        let begun = exchange.begun();
        self.end_exchange();
        self.fate = Some(Fate::Close);
        self.reply(Some(gate), now);
        match begun {
            Begun::Nothing => {}
            // The head said 200 long ago: the event said why, and the end of the stream shows it.
            Begun::Stream => self.state = State::Reply { gate: Some(gate), then: Then::Close },
            Begun::Text => self.cut(),
        }
    }

    /// Nothing may be answered that is not on record; what was sent to a server may have run.
    pub(super) fn unrecorded(&mut self, core: &mut Core, now: Now) {
        let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
        if let Some(exchange) = &self.exchange {
            let incident = Fault::Ours(Incident::Unrecorded(Box::default()));
            exchange.record_end(core, inbox, Outcome::of(&incident), now);
            self.end_exchange();
            self.fate = Some(Fate::Close);
        }
        if self.begun == Begun::Text {
            self.cut();
            return;
        }
        let why = core.stages.log_fault();
        let id = self.inbox.get(self.asked.clone()).unwrap_or_default();
        let teller = &mut core.stages.teller;
        self.outbox.clear();
        match &self.head {
            Some(head) if self.begun == Begun::Stream => {
                teller.write_unrecorded(&why, self.has_run, id);
                Stream::end_with(&teller.body, head, &mut self.outbox);
            }
            _ => teller.unrecorded(&why, self.has_run, id, &mut self.outbox),
        }
        self.state = State::Reply { gate: None, then: Then::Close };
        self.deadline = now.mono.plus(ANSWER_NS_MAX);
    }

    /// The client has a part of an answer that will have no end, and must not take it for the whole.
    fn cut(&mut self) {
        self.outbox.clear();
        self.state = State::Closed;
    }

    /// Nobody is there to be answered.
    pub(super) fn give_up(&mut self, core: &mut Core, outcome: Outcome, now: Now) {
        if let Some(exchange) = &self.exchange {
            let inbox = self.inbox.get(..self.request_end).unwrap_or_default();
            exchange.record_end(core, inbox, outcome, now);
            self.end_exchange();
            self.fate = Some(Fate::Close);
        }
        self.state = State::Closed;
    }

    fn end_exchange(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        self.has_run = exchange.maybe_ran();
        self.held = exchange.held;
    }

    fn settle_upstream(&mut self) {
        let idle_ns = self.incoming.head().and_then(|head| head.idle_s);
        let idle_ns = idle_ns.map(|seconds| u64::from(seconds) * 1_000_000_000);
        let reusable = self.incoming.is_reusable();
        self.fate = Some(if reusable { Fate::Reuse { idle_ns } } else { Fate::Close });
    }
}
