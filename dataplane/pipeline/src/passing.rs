//! An answer that is too long to be held: it passes piece by piece, and its end waits.
//!
//! Short answers are held whole, because then a wrong one can be replaced; for old clients also some
//! long ones ([`Held`]). Else a long result passes as the server sends it, no faster than the client reads. Before its first byte the intent of the call is
//! durable; its end leaves when the outcome is. What goes wrong midway cuts the connection, so that
//! nobody takes the pieces for an answer, and the outcome says what it was.

use std::rc::Rc;

use dataplane_parse::Limits;
use dataplane_relay::ReplyId;
use dataplane_relay::answer::Client;
use dataplane_relay::long::LongAnswer;
use dataplane_telemetry::Now;
use dataplane_upstream::Framing;

use crate::core::Core;
use crate::exchange::{Exchange, Progress, released};
use crate::fault::ServerFault;
use crate::incoming::{Heard, Incoming};
use crate::limits::{HELD_ANSWER_BYTES_MAX, LONG_ANSWERS_HELD_MAX};
use crate::outcome::Outcome;
use crate::wire;

/// A long answer that passes.
pub(crate) struct Passing {
    answer: LongAnswer,
    /// Whether its head, and so a part of it, was written for the client.
    has_head: bool,
    bytes: u64,
}

/// Long answers that a core holds whole, because they may not pass: each keeps one of these until
/// its memory is given back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Rc<()>);

impl Held {
    pub(crate) fn one_more(&self) -> Option<Self> {
        // The core's own is not an answer.
        (Rc::strong_count(&self.0) <= LONG_ANSWERS_HELD_MAX).then(|| self.clone())
    }
}

/// Whether this body is longer than is held, as announced or as come.
pub(crate) fn is_long(incoming: &Incoming) -> bool {
    let announced = match incoming.head().map(|head| head.framing) {
        Some(Framing::Length(length)) => length,
        _ => 0,
    };
    announced.max(incoming.body.len() as u64) > HELD_ANSWER_BYTES_MAX as u64
}

impl Exchange {
    pub(crate) fn on_long(
        &mut self,
        core: &mut Core,
        incoming: &mut Incoming,
        heard: Heard,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Progress {
        let limits = core.answers.limits();
        let values_max = limits.values_max;
        let mut passing = self.passing.take().unwrap_or_else(|| {
            let limits = Limits { values_max, ..Limits::ANSWER };
            let answer = LongAnswer::new(limits, core.stages.random.bytes16());
            Box::new(Passing { answer, has_head: false, bytes: 0 })
        });
        let progress = self.pass(core, &mut passing, incoming, heard, inbox, outbox, now);
        incoming.forget_body();
        self.passing = Some(passing);
        progress.unwrap_or_else(Progress::Failed)
    }

    #[expect(clippy::too_many_arguments, reason = "what one step of an exchange is given")]
    fn pass(
        &self,
        core: &mut Core,
        passing: &mut Passing,
        incoming: &Incoming,
        heard: Heard,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Result<Progress, ServerFault> {
        let id = self.request_id(inbox);
        let client = Client { id: ReplyId::Raw(id), revision: self.revision };
        let mut page = std::mem::take(&mut core.stages.page);
        page.clear();
        let read = passing.answer.push(&incoming.body, id, &client, &mut page);
        let ended = read.and_then(|()| match heard {
            Heard::More => Ok(None),
            Heard::Complete => passing.answer.finish(&client, &mut page).map(Some),
        });
        let ended = ended.map_err(ServerFault::NotAnAnswer);
        if ended.is_ok() && !page.is_empty() {
            if !std::mem::replace(&mut passing.has_head, true) {
                wire::open(&self.head, wire::JSON, outbox);
            }
            passing.bytes += page.len() as u64;
            wire::piece(&self.head, &page, outbox);
        }
        core.stages.page = page;
        let Some(kind) = ended? else {
            let is_empty = outbox.is_empty();
            return Ok(if is_empty {
                Progress::More
            } else {
                Progress::Piece { gate: Some(self.intent) }
            });
        };
        released(kind)?;
        self.on_success(core);
        wire::end(&self.head, outbox);
        let outcome = Outcome::Answered { upstream_status: 200, kind, bytes: passing.bytes };
        Ok(match self.record_end(core, inbox, outcome, now) {
            Some(gate) => Progress::Done { gate },
            None => Progress::Unrecorded,
        })
    }

    /// Whether the client may have a part of a long answer: nothing else can follow it.
    pub(crate) fn has_begun_to_pass(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.has_head)
    }
}
