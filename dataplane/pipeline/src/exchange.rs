//! One call that a server has: what is sent, how its answer comes back, how it ends on record.
//!
//! A legacy server may first have to be told `initialize`; that is the same exchange in an earlier
//! stage. An answer reaches the client only behind its record: a JSON answer is held whole, of a
//! stream the last event is held. A call that may have run is never sent again; the one repetition
//! is after a 404, by which a legacy server says that it does not know the session and ran nothing.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use dataplane_audit::{
    ArgumentsDigest, Call, CallId, CallerNames, Decision, End, Ending, Phase, Verdict,
};
use dataplane_bundle::Kill;
use dataplane_parse::Revision;
use dataplane_policy::{PolicyIndex, ServerIndex, ToolIndex};
use dataplane_relay::ReplyId;
use dataplane_relay::answer::{self, Answer, AnswerKind, Client, ResultType};
use dataplane_telemetry::{Nanos, Now, TraceContext};
use dataplane_upstream::Content;

use crate::admit::Admitted;
use crate::configuration::Configuration;
use crate::core::{Announcement, Core};
use crate::fault::{Fault, ServerFault};
use crate::incoming::{Heard, Incoming};
use crate::ledger::RecordNumber;
use crate::outgoing;
use crate::stream::Stream;
use crate::wire;

/// A call between its intent and its outcome.
pub struct Exchange {
    pub server: ServerIndex,
    pub tool: ToolIndex,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) caller: Rc<Admitted>,
    pub(crate) revision: Revision,
    /// The client's session, in the legacy era.
    pub(crate) session: Option<[u8; 16]>,
    pub(crate) call: CallId,
    pub(crate) arguments: ArgumentsDigest,
    pub(crate) trace: TraceContext,
    pub(crate) rule: Option<PolicyIndex>,
    pub(crate) intent: RecordNumber,
    /// Places in the connection's inbox.
    pub(crate) id: Range<usize>,
    pub(crate) body: Range<usize>,
    /// The tool's name, between its quotes.
    pub(crate) name: Range<usize>,
    pub(crate) head: dataplane_ingress::Head,
    pub(crate) started: Nanos,
    pub(crate) stage: Stage,
    pub(crate) forwarded: Option<Nanos>,
    pub(crate) stream: Option<Stream>,
    pub(crate) may_reopen: bool,
}

/// What the server is being told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// `initialize`, to a legacy server.
    Opening,
    /// `notifications/initialized`.
    Announcing,
    Calling,
}

/// What came of some bytes.
pub(crate) enum Progress {
    More,
    /// The stage is over: write and send the next one, on any connection.
    Again,
    /// A piece of a stream is in the outbox.
    Piece {
        gate: Option<RecordNumber>,
    },
    /// The answer is in the outbox.
    Done {
        gate: Option<RecordNumber>,
    },
    Failed(ServerFault),
}

/// How a call ended, for its record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Answered { upstream_status: u16, kind: AnswerKind, bytes: u64 },
    CallerGone,
    Cancelled,
    Fault { end: End, status: u16, code: i32 },
}

impl Exchange {
    /// Whether the client speaks the modern era.
    #[must_use]
    pub const fn is_modern(&self) -> bool {
        self.revision.is_modern()
    }

    /// Whether the server may have seen the call itself.
    pub(crate) fn maybe_ran(&self) -> bool {
        self.stage == Stage::Calling && self.forwarded.is_some()
    }

    /// Whether the client has been told 200 already.
    pub(crate) fn is_streaming(&self) -> bool {
        self.has_begun_stream()
    }

    pub(crate) fn request_id<'b>(&self, inbox: &'b [u8]) -> &'b [u8] {
        inbox.get(self.id.clone()).unwrap_or_default()
    }

    /// The kill that ends this call, if one does.
    pub(crate) fn killed(&self, core: &Core, now: Now) -> Option<Box<Kill>> {
        core.stages.kill_of(&self.caller, self.server, self.tool, &self.configuration, now.wall)
    }

    /// Whether a kill or the client's own cancellation ends this call now.
    #[must_use]
    pub fn is_over(
        &self,
        core: &Core,
        inbox: &[u8],
        news: Option<&Announcement>,
        now: Now,
    ) -> bool {
        match news {
            Some(Announcement::Cancelled { session, id }) => {
                self.session.as_ref() == Some(session) && self.request_id(inbox) == id.as_ref()
            }
            Some(Announcement::SessionEnded(session)) => self.session.as_ref() == Some(session),
            None => self.killed(core, now).is_some(),
        }
    }

    pub(crate) fn on_forwarded(&mut self, now: Nanos) {
        self.forwarded = Some(now);
    }

    /// When the server has taken too long.
    pub(crate) fn deadline(&self, _core: &Core, now: Nanos) -> Nanos {
        let Some(upstream) = self.configuration.upstream(self.server) else { return now };
        let limits = &upstream.timeouts;
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let patience = match (self.forwarded, self.is_streaming()) {
            (None, _) => ns(limits.connect_ms).saturating_add(ns(limits.response_head_ms)),
            (Some(_), false) => ns(limits.response_head_ms),
            (Some(_), true) => ns(limits.idle_ms),
        };
        let whole = self.started.plus(ns(limits.call_ms));
        now.plus(patience).min(whole)
    }

    /// Writes what the server is told at this stage.
    pub(crate) fn write_next(
        &mut self,
        core: &mut Core,
        inbox: &[u8],
        forward: &mut Vec<u8>,
        now: Now,
    ) -> Result<(), ServerFault> {
        self.forwarded = None;
        outgoing::write(self, &core.stages, inbox, forward, now)
    }

    pub(crate) fn on_bytes(
        &mut self,
        core: &mut Core,
        incoming: &mut Incoming,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Progress {
        let max = u64::from(self.configuration.catalog.limits.answer_bytes_max);
        let heard = match incoming.on_bytes(max) {
            Ok(heard) => heard,
            Err(dataplane_upstream::ResponseFault::TooLong { max }) => {
                return Progress::Failed(ServerFault::TooLong { bytes_max: max });
            }
            Err(_) => return Progress::Failed(ServerFault::Misframed),
        };
        let Some(head) = incoming.head().copied() else { return Progress::More };
        match self.stage {
            Stage::Opening => self.on_opened(core, incoming, heard, now),
            Stage::Announcing if heard == Heard::Complete => {
                self.stage = Stage::Calling;
                Progress::Again
            }
            Stage::Announcing => Progress::More,
            Stage::Calling if head.content == Content::EventStream && head.status == 200 => {
                self.on_stream(core, incoming, heard, inbox, outbox, now)
            }
            Stage::Calling if heard == Heard::Complete => {
                self.on_answer(core, incoming, head.status, inbox, outbox, now)
            }
            Stage::Calling => Progress::More,
        }
    }

    /// The answer to `initialize`, by JSON or as an event.
    fn on_opened(
        &mut self,
        core: &mut Core,
        incoming: &Incoming,
        heard: Heard,
        now: Now,
    ) -> Progress {
        match outgoing::read_opening(core, incoming, heard) {
            Ok(None) => Progress::More,
            Ok(Some(revision)) => {
                let id = incoming.session_id().map(Into::into);
                let key = (self.session.unwrap_or_default(), self.server);
                core.stages.upstream_sessions.keep(key, id, revision);
                self.stage = Stage::Announcing;
                Progress::Again
            }
            Err(fault) => {
                core.stages.on_server_failure(self.server, now.mono);
                Progress::Failed(fault)
            }
        }
    }

    /// A whole JSON answer.
    fn on_answer(
        &mut self,
        core: &mut Core,
        incoming: &Incoming,
        status: u16,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Progress {
        if status == 404 && self.session.is_some() && self.may_reopen {
            self.may_reopen = false;
            let key = (self.session.unwrap_or_default(), self.server);
            if core.stages.upstream_sessions.forget(key) {
                self.stage = Stage::Opening;
                return Progress::Again;
            }
        }
        let id = self.request_id(inbox);
        let client = Client { id: ReplyId::Raw(id), revision: self.revision };
        core.stages.page.clear();
        let judged = answer::judge_into(
            &mut core.answers,
            &incoming.body,
            id,
            &client,
            &mut core.stages.page,
        );
        let kind = match judged {
            Ok(Answer { kind, .. }) => match released(kind) {
                Ok(()) => kind,
                Err(fault) => return Progress::Failed(fault),
            },
            Err(_) if status != 200 => return Progress::Failed(ServerFault::Status(status)),
            Err(fault) => return Progress::Failed(ServerFault::NotAnAnswer(fault)),
        };
        core.stages.on_server_success(self.server);
        let bytes = core.stages.page.len() as u64;
        let outcome = Outcome::Answered { upstream_status: status, kind, bytes };
        match self.record_end(core, inbox, outcome, now) {
            Some(gate) => {
                wire::json(&self.head, 200, &core.stages.page, outbox);
                Progress::Done { gate: Some(gate) }
            }
            None => self.unrecorded(core, inbox, outbox),
        }
    }

    pub(crate) fn unrecorded(&self, core: &Core, inbox: &[u8], outbox: &mut Vec<u8>) -> Progress {
        outbox.clear();
        wire::unrecorded(core.log_fault(), true, Some(self.request_id(inbox)), outbox);
        Progress::Done { gate: None }
    }

    /// Ends the call with an answer of ours, on record.
    pub(crate) fn refuse(
        &mut self,
        core: &mut Core,
        inbox: &[u8],
        fault: &Fault<'_>,
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Option<RecordNumber> {
        if let Fault::Server(server, what) = fault
            && what.counts_against_health()
        {
            core.stages.on_server_failure(*server, now.mono);
        }
        let ending = wire::ending(fault);
        let gate = self.record_end(
            core,
            inbox,
            Outcome::Fault { end: ending.end, status: ending.status, code: ending.code },
            now,
        );
        if gate.is_none() {
            self.unrecorded(core, inbox, outbox);
            return None;
        }
        if self.is_streaming() {
            Stream::write_fault(&core.stages, fault, self.request_id(inbox), &self.head, outbox);
        } else {
            let id = self.request_id(inbox);
            wire::answer(&core.stages, fault, &self.head, Some(id), self.is_modern(), outbox);
        }
        gate
    }

    /// Writes the outcome down; `None` when the log takes nothing.
    pub(crate) fn record_end(
        &self,
        core: &mut Core,
        inbox: &[u8],
        outcome: Outcome,
        now: Now,
    ) -> Option<RecordNumber> {
        let mut ending = Ending {
            latency_ns: now.mono.since(self.started),
            upstream_ns: self.forwarded.map_or(0, |at| now.mono.since(at)),
            bytes_in: self.body.len() as u64,
            ..Ending::default()
        };
        match outcome {
            Outcome::Answered { upstream_status, kind, bytes } => {
                (ending.end, ending.rpc_code) = match kind {
                    AnswerKind::Error { code } => (End::RpcError, clamp(code)),
                    AnswerKind::Result { is_error: true, .. } => (End::ToolError, 0),
                    _ => (End::Answered, 0),
                };
                ending.upstream_status = upstream_status;
                (ending.status, ending.bytes_out) = (200, bytes);
            }
            Outcome::CallerGone => ending.end = End::CallerGone,
            Outcome::Cancelled => ending.end = End::Cancelled,
            Outcome::Fault { end, status, code } => {
                (ending.end, ending.status, ending.rpc_code) = (end, status, code);
            }
        }
        core.stages.counters.on_end(ending.end);
        let call = self.call_record(inbox, Phase::Outcome, ending);
        core.stages.ledger.push(call, now).ok()
    }

    /// The record of this call in one of its phases.
    pub(crate) fn call_record<'a>(
        &'a self,
        inbox: &'a [u8],
        phase: Phase,
        ending: Ending,
    ) -> Call<'a> {
        let table = &self.configuration.table;
        let (_, tool) = table.tool(self.tool).unwrap_or((self.server, ""));
        let rule = self.rule.and_then(|rule| table.policy(rule)).map_or("", |policy| policy.id);
        Call {
            phase,
            call: self.call,
            caller: self.caller_names(),
            era: era(self.revision),
            method: "tools/call",
            server: table.server(self.server).unwrap_or_default(),
            tool,
            request_id: std::str::from_utf8(self.request_id(inbox)).unwrap_or_default(),
            trace_id: self.trace.trace_id,
            arguments: Some(self.arguments),
            decision: Decision {
                verdict: Verdict::Allowed,
                rule,
                revision: self.configuration.revision.0,
                ..Decision::default()
            },
            ending,
        }
    }

    fn caller_names(&self) -> CallerNames<'_> {
        self.caller.names()
    }
}

pub(crate) const fn era(revision: Revision) -> dataplane_audit::Era {
    if revision.is_modern() { dataplane_audit::Era::Modern } else { dataplane_audit::Era::Legacy }
}

/// Whether an answer may reach the client: a result or an error, and nothing that would have to come
/// back to be redeemed. What a server hands out for that must be sealed to its caller first.
pub(crate) fn released(kind: AnswerKind) -> Result<(), ServerFault> {
    match kind {
        AnswerKind::Error { .. }
        | AnswerKind::Result { result_type: ResultType::Absent | ResultType::Complete, .. } => {
            Ok(())
        }
        AnswerKind::Result {
            result_type: ResultType::InputRequired | ResultType::Task, ..
        } => Err(ServerFault::Nonsense("it asks for input or begins a task, which is not carried")),
        AnswerKind::Notification(_) | AnswerKind::Request { .. } => {
            Err(ServerFault::Nonsense("it answered with a message of its own"))
        }
    }
}

/// A server's code outside 32 bits is recorded as the nearest one inside.
fn clamp(code: i64) -> i32 {
    i32::try_from(code).unwrap_or(if code < 0 { i32::MIN } else { i32::MAX })
}
