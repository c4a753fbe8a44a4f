//! An answer that is too long to be held: it passes piece by piece, and its end waits.
//!
//! Short answers are held whole, because then a wrong one can be replaced. A long result passes as the
//! server sends it, no faster than the client reads. Before its first byte the intent of the call is
//! durable; its end leaves when the outcome is. What goes wrong midway cuts the connection, so that
//! nobody takes the pieces for an answer, and the outcome says what it was.

use dataplane_ingress::{Body, Head, ResponseHead};
use dataplane_parse::{Limits, Revision};
use dataplane_relay::ReplyId;
use dataplane_relay::answer::Client;
use dataplane_relay::long::LongAnswer;
use dataplane_telemetry::Now;
use dataplane_upstream::Framing;

use crate::core::Core;
use crate::exchange::{Exchange, Progress, released};
use crate::fault::ServerFault;
use crate::incoming::{Heard, Incoming};
use crate::limits::HELD_ANSWER_BYTES_MAX;
use crate::outcome::Outcome;
use crate::stream::{end, write_piece};
use crate::wire;

/// A long answer that passes.
pub(crate) struct Passing {
    answer: LongAnswer,
    /// Whether its head, and so a part of it, was written for the client.
    has_head: bool,
    bytes: u64,
}

/// Whether this body is longer than is held, as announced or as come.
pub(crate) fn is_long(incoming: &Incoming) -> bool {
    let announced = match incoming.head().map(|head| head.framing) {
        Some(Framing::Length(length)) => length,
        _ => 0,
    };
    announced.max(incoming.body.len() as u64) > HELD_ANSWER_BYTES_MAX as u64
}

/// Whether a long answer may pass to such a client; else it is held.
pub(crate) fn suits(revision: Revision) -> bool {
    LongAnswer::suits(revision)
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
                write_head(&self.head, outbox);
            }
            passing.bytes += page.len() as u64;
            write_piece(&self.head, &page, outbox);
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
        end(&self.head, outbox);
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

fn write_head(head: &Head, outbox: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(200);
    answer.content_type = Some(wire::JSON);
    answer.cache_control = Some("no-store");
    answer.body = if head.takes_chunks { Body::Chunked } else { Body::UntilClose };
    answer.keep_alive = head.keep_alive;
    answer.write(outbox);
}
