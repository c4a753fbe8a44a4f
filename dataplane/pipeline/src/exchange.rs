//! One call that a server has: what is sent, how its answer comes back, how it ends on record.
//!
//! A legacy server may first have to be told `initialize`; that is the same exchange in an earlier
//! stage. An answer reaches the client only behind its record: a short one is held whole, of a long
//! one its end is held, of a stream the last event. A call that may have run is never sent again;
//! the one repetition is after a 404, by which a legacy server says that it does not know the session
//! and ran nothing.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use dataplane_audit::{ArgumentsDigest, CallId};
use dataplane_bundle::Kill;
use dataplane_parse::Revision;
use dataplane_policy::{PolicyIndex, ServerIndex, ToolIndex};
use dataplane_relay::ReplyId;
use dataplane_relay::answer::{self, Answer, AnswerKind, Client, ResultType};
use dataplane_relay::long::LongAnswer;
use dataplane_telemetry::{Nanos, Now, TraceContext};

use crate::admit::Admitted;
use crate::core::{Announcement, Core};
use crate::fault::{Fault, ServerFault};
use crate::incoming::{Heard, Incoming};
use crate::ledger::RecordNumber;
use crate::limits::HELD_ANSWER_BYTES_MAX;
use crate::outcome::Outcome;
use crate::passing::{self, Held, Passing};
use crate::stages::Shared;
use crate::stream::Stream;
use crate::upstream_sessions::SessionNumber;
use crate::{outgoing, wire};

/// A call between its intent and its outcome.
pub struct Exchange {
    pub server: ServerIndex,
    pub tool: ToolIndex,
    pub(crate) configuration: Shared,
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
    /// Whether the shell has taken the request to send it: from then on it may have run.
    pub(crate) is_sent: bool,
    pub(crate) stream: Option<Stream>,
    pub(crate) passing: Option<Box<Passing>>,
    /// One of the core's long answers that are held whole.
    pub(crate) held: Option<Held>,
    /// The server's session that the call was sent in, where the server keeps one.
    pub(crate) sent_in: Option<SessionNumber>,
    pub(crate) may_reopen: bool,
}

/// What a client has of an answer that has not ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Begun {
    Nothing,
    /// Events; another may say what went wrong.
    Stream,
    /// A part of one text; nothing can be said any more.
    Text,
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
        gate: RecordNumber,
    },
    /// It has answered, and the log takes no record of that.
    Unrecorded,
    Failed(ServerFault),
}

impl Exchange {
    /// Whether the client speaks the modern era.
    #[must_use]
    pub const fn is_modern(&self) -> bool {
        self.revision.is_modern()
    }

    /// Whether the server may have seen the call itself.
    pub(crate) fn maybe_ran(&self) -> bool {
        self.stage == Stage::Calling && self.is_sent
    }

    /// What the client has of the answer: with anything of it, it has been told 200.
    pub(crate) fn begun(&self) -> Begun {
        if self.has_begun_to_pass() {
            Begun::Text
        } else if self.has_begun_stream() {
            Begun::Stream
        } else {
            Begun::Nothing
        }
    }

    pub(crate) fn request_id<'b>(&self, inbox: &'b [u8]) -> &'b [u8] {
        inbox.get(self.id.clone()).unwrap_or_default()
    }

    /// Whether its numbers still mean what they meant when it was judged.
    pub(crate) fn is_current(&self, core: &Core) -> bool {
        core.stages.is_current(&self.configuration)
    }

    /// The kill that ends this call, if one does.
    pub(crate) fn killed(&self, core: &Core, now: Now) -> Option<Arc<Kill>> {
        let (stages, wall) = (&core.stages, now.wall);
        let of_tool = || stages.kill_of_tool(self.server, self.tool, &self.configuration, wall);
        stages.kill_of_caller(&self.caller, wall).or_else(of_tool)
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
        (self.forwarded, self.is_sent) = (Some(now), true);
    }

    /// When the server has taken too long.
    pub(crate) fn deadline(&self, _core: &Core, now: Nanos) -> Nanos {
        let Some(upstream) = self.configuration.upstream(self.server) else { return now };
        let limits = &upstream.timeouts;
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let patience = match (self.forwarded, self.begun()) {
            (None, _) => ns(limits.connect_ms).saturating_add(ns(limits.response_head_ms)),
            (Some(_), Begun::Nothing) => ns(limits.response_head_ms),
            (Some(_), Begun::Stream | Begun::Text) => ns(limits.idle_ms),
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
        (self.forwarded, self.is_sent) = (None, false);
        self.sent_in = outgoing::write(self, &core.stages, inbox, forward, now)?;
        Ok(())
    }

    pub(crate) fn on_bytes(
        &mut self,
        core: &mut Core,
        incoming: &mut Incoming,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Progress {
        let is_call = self.stage == Stage::Calling;
        let max = u64::from(self.configuration.catalog.limits.answer_bytes_max);
        // Only the answer to the call is read event by event, or may be long; the rest is held.
        let max = if is_call { max } else { max.min(HELD_ANSWER_BYTES_MAX as u64) };
        let heard = match incoming.on_bytes(max, is_call) {
            Ok(heard) => heard,
            Err(dataplane_upstream::ResponseFault::TooLong { max }) => {
                return Progress::Failed(ServerFault::TooLong { bytes_max: max });
            }
            Err(_) => return Progress::Failed(ServerFault::Misframed),
        };
        let Some(head) = incoming.head().copied() else { return Progress::More };
        match self.stage {
            Stage::Opening => self.on_opened(core, incoming, heard),
            Stage::Announcing if heard == Heard::Complete => {
                self.stage = Stage::Calling;
                Progress::Again
            }
            Stage::Announcing => Progress::More,
            Stage::Calling if incoming.is_stream() => {
                self.on_stream(core, incoming, heard, inbox, outbox, now)
            }
            Stage::Calling if head.status == 200 && self.passes(incoming) => {
                self.on_long(core, incoming, heard, inbox, outbox, now)
            }
            Stage::Calling if head.status != 200 && passing::is_long(incoming) => {
                Progress::Failed(ServerFault::Status(head.status))
            }
            Stage::Calling => {
                if passing::is_long(incoming) && !self.holds(core) {
                    return Progress::Failed(ServerFault::TooManyHeld);
                }
                match heard {
                    Heard::More => Progress::More,
                    Heard::Complete => {
                        self.on_answer(core, incoming, head.status, inbox, outbox, now)
                    }
                }
            }
        }
    }

    fn passes(&self, incoming: &Incoming) -> bool {
        let may_pass = || LongAnswer::suits(self.revision) && passing::is_long(incoming);
        self.passing.is_some() || may_pass()
    }

    /// Whether there is room to hold its long answer whole.
    fn holds(&mut self, core: &Core) -> bool {
        self.held = self.held.take().or_else(|| core.stages.held.one_more());
        self.held.is_some()
    }

    /// The answer to `initialize`, by JSON or as an event.
    fn on_opened(&mut self, core: &mut Core, incoming: &Incoming, heard: Heard) -> Progress {
        match outgoing::read_opening(core, incoming, heard) {
            Ok(None) => Progress::More,
            Ok(Some(revision)) => {
                if self.is_current(core) {
                    let id = incoming.session_id().map(Into::into);
                    let key = (self.session.unwrap_or_default(), self.server);
                    core.stages.upstream_sessions.keep(key, id, revision);
                }
                self.stage = Stage::Announcing;
                Progress::Again
            }
            Err(fault) => Progress::Failed(fault),
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
        if status == 404 && self.may_reopen && self.leave_session(core) {
            self.may_reopen = false;
            return Progress::Again;
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
        self.on_success(core);
        let bytes = core.stages.page.len() as u64;
        let outcome = Outcome::Answered { upstream_status: status, kind, bytes };
        match self.record_end(core, inbox, outcome, now) {
            Some(gate) => {
                wire::json(&self.head, 200, &core.stages.page, outbox);
                Progress::Done { gate }
            }
            None => Progress::Unrecorded,
        }
    }

    /// Whether there was a session that its server may have ended: then the call goes on in another.
    /// Only a request that named one can have been refused for it; any other 404 may mean anything.
    fn leave_session(&mut self, core: &mut Core) -> bool {
        let Some(session) = self.session.filter(|_| self.is_current(core)) else { return false };
        let Some(ended) = self.sent_in.take() else { return false };
        let sessions = &mut core.stages.upstream_sessions;
        let key = (session, self.server);
        sessions.forget(key, ended);
        // A call beside this one may have opened the next session already.
        let is_open = sessions.find(key).is_some();
        self.stage = if is_open { Stage::Calling } else { Stage::Opening };
        true
    }

    pub(crate) fn on_success(&self, core: &mut Core) {
        if self.is_current(core) {
            core.stages.on_server_success(self.server);
        }
    }

    /// Ends the call with an answer of ours, on record; `None` when the log takes none.
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
            && self.is_current(core)
        {
            core.stages.on_server_failure(*server, now.mono);
        }
        let outcome = Outcome::of(fault);
        let gate = self.record_end(core, inbox, outcome, now)?;
        let (id, is_modern) = (self.request_id(inbox), self.is_modern());
        let configuration = Some(self.configuration.as_ref().as_ref());
        let teller = &mut core.stages.teller;
        match self.begun() {
            Begun::Nothing => {
                teller.answer(configuration, fault, &self.head, Some(id), is_modern, outbox);
            }
            Begun::Stream => {
                teller.write_body(configuration, fault, Some(id), is_modern);
                Stream::end_with(&teller.body, &self.head, outbox);
            }
            Begun::Text => {}
        }
        Some(gate)
    }
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
