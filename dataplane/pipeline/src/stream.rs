//! An answer that comes as a stream of events.
//!
//! Events are judged one by one and written anew: progress and log lines pass at once, a server's
//! own requests do not (nobody could answer them), and the last event, the answer, is held until its
//! record is durable. Event ids of servers do not cross. Before the first byte leaves, the intent of
//! the call is durable.

use dataplane_ingress::Head;
use dataplane_relay::ReplyId;
use dataplane_relay::answer::{self, AnswerKind, Client};
use dataplane_relay::sse;
use dataplane_telemetry::Now;

use crate::core::Core;
use crate::exchange::{Exchange, Progress, released};
use crate::fault::ServerFault;
use crate::incoming::{Heard, Incoming};
use crate::outcome::Outcome;
use crate::wire;

/// A stream that has begun.
pub(crate) struct Stream {
    reader: sse::Reader,
    /// Kept for its memory.
    event: Vec<u8>,
    has_head: bool,
    is_answered: bool,
}

impl Stream {
    fn new(event_bytes_max: usize) -> Self {
        let reader = sse::Reader::new(sse::Limits { event_bytes_max });
        Self { reader, event: Vec::new(), has_head: false, is_answered: false }
    }

    /// The event that ends a stream when its call failed midway.
    pub(crate) fn end_with(body: &[u8], head: &Head, out: &mut Vec<u8>) {
        let mut event = Vec::new();
        sse::write_event(&mut event, b"", body);
        wire::piece(head, &event, out);
        wire::end(head, out);
    }
}

impl Exchange {
    pub(crate) fn on_stream(
        &mut self,
        core: &mut Core,
        incoming: &mut Incoming,
        heard: Heard,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Progress {
        let max = self.configuration.catalog.limits.event_bytes_max as usize;
        let mut stream = self.stream.take().unwrap_or_else(|| Stream::new(max));
        let read = self.read_events(core, &mut stream, incoming, inbox, outbox, now);
        incoming.body.clear();
        let is_answered = stream.is_answered;
        self.stream = Some(stream);
        match read {
            Err(fault) => Progress::Failed(fault),
            Ok(Some(progress)) => progress,
            Ok(None) if heard == Heard::Complete && !is_answered => {
                Progress::Failed(ServerFault::Nonsense("its stream ended without the answer"))
            }
            Ok(None) if outbox.is_empty() => Progress::More,
            Ok(None) => Progress::Piece { gate: Some(self.intent) },
        }
    }

    /// Writes what events there are to the outbox; the answer, if it is among them, ends it.
    fn read_events(
        &mut self,
        core: &mut Core,
        stream: &mut Stream,
        incoming: &Incoming,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
        now: Now,
    ) -> Result<Option<Progress>, ServerFault> {
        let id = self.request_id(inbox);
        let client = Client { id: ReplyId::Raw(id), revision: self.revision };
        let mut rest = incoming.body.as_slice();
        loop {
            let next = stream.reader.next(&mut rest);
            let next = next.map_err(|fault| match fault {
                sse::SseFault::TooLong { event_bytes_max } => {
                    ServerFault::TooLong { bytes_max: event_bytes_max as u64 }
                }
            })?;
            let Some(event) = next else { return Ok(None) };
            // A priming event has an id and nothing else.
            if event.data.is_empty() {
                continue;
            }
            core.stages.page.clear();
            let judged = answer::judge_into(
                &mut core.answers,
                event.data,
                id,
                &client,
                &mut core.stages.page,
            );
            let judged = judged.map_err(ServerFault::NotAnAnswer)?;
            stream.event.clear();
            match judged.kind {
                AnswerKind::Notification(_) => {
                    sse::write_event(&mut stream.event, b"", event.data);
                    self.open_stream(stream, outbox);
                    wire::piece(&self.head, &stream.event, outbox);
                }
                // Servers were told of no capability to ask for.
                AnswerKind::Request { .. } => {}
                kind @ (AnswerKind::Result { .. } | AnswerKind::Error { .. }) => {
                    released(kind)?;
                    stream.is_answered = true;
                    let bytes = core.stages.page.len() as u64;
                    sse::write_event(&mut stream.event, b"", &core.stages.page);
                    self.on_success(core);
                    let outcome = Outcome::Answered { upstream_status: 200, kind, bytes };
                    let Some(gate) = self.record_end(core, inbox, outcome, now) else {
                        return Ok(Some(Progress::Unrecorded));
                    };
                    self.open_stream(stream, outbox);
                    wire::piece(&self.head, &stream.event, outbox);
                    wire::end(&self.head, outbox);
                    return Ok(Some(Progress::Done { gate }));
                }
            }
        }
    }

    fn open_stream(&self, stream: &mut Stream, outbox: &mut Vec<u8>) {
        if stream.has_head {
            return;
        }
        stream.has_head = true;
        wire::open(&self.head, wire::EVENTS, outbox);
    }

    pub(crate) fn has_begun_stream(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.has_head)
    }
}
