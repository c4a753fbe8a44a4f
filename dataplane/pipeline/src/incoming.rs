//! An answer on its way in: head, framing, body, as the server's bytes arrive.
//!
//! The shell appends to [`Incoming::buffer`]; what is read from it is the body without its framing.
//! Buffers are kept from one answer to the next.

use dataplane_ingress::Parsed;
use dataplane_upstream::{BodyDecoder, Content, ResponseFault, ResponseHead, parse_response};

/// Memory that is kept between answers; what a larger answer needed is given back.
const KEPT_BYTES: usize = 16_384;

/// One answer.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    raw: Vec<u8>,
    head: Option<ResponseHead>,
    decoder: Option<BodyDecoder>,
    /// The body's bytes that nobody has taken yet.
    pub body: Vec<u8>,
    may_stream: bool,
    /// The session id of the head, kept because the head's bytes are not.
    session_id: Vec<u8>,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    More,
    Complete,
}

impl Incoming {
    /// Ready for the next answer.
    pub(crate) fn reset(&mut self) {
        for buffer in [&mut self.raw, &mut self.body, &mut self.session_id] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        (self.head, self.decoder) = (None, None);
    }

    /// What has come of the body is dealt with; memory that a long one took is given back.
    pub(crate) fn forget_body(&mut self) {
        self.body.clear();
        self.body.shrink_to(KEPT_BYTES);
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.raw.capacity() + self.body.capacity()
    }

    /// Where the shell appends what the server sent.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    pub(crate) const fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    /// `Mcp-Session-Id` of the answer.
    pub(crate) fn session_id(&self) -> Option<&[u8]> {
        self.head.and_then(|head| head.session_id).map(|_| self.session_id.as_slice())
    }

    /// Whether the body is read event by event, so that it may be of any length.
    pub(crate) fn is_stream(&self) -> bool {
        let is_stream =
            |head: &ResponseHead| head.content == Content::EventStream && head.status == 200;
        self.may_stream && self.head.as_ref().is_some_and(is_stream)
    }

    /// Reads on. `body_bytes_max` holds for the whole body, unless it may be a stream of events and
    /// is one.
    pub(crate) fn on_bytes(
        &mut self,
        body_bytes_max: u64,
        may_stream: bool,
    ) -> Result<Heard, ResponseFault> {
        if self.head.is_none() {
            let Parsed::Complete(head) = parse_response(&self.raw)? else {
                return Ok(Heard::More);
            };
            if let Some(span) = head.session_id {
                self.session_id.extend_from_slice(span.of(&self.raw));
            }
            self.raw.drain(..head.len);
            (self.head, self.may_stream) = (Some(head), may_stream);
            let max = if self.is_stream() { u64::MAX } else { body_bytes_max };
            self.decoder = Some(BodyDecoder::new(head.framing, max)?);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(Heard::More) };
        let mut at = 0;
        while !decoder.is_done() {
            let Some(rest) = self.raw.get_mut(at..).filter(|rest| !rest.is_empty()) else { break };
            let piece = decoder.push(rest)?;
            let data = rest.get(piece.data).unwrap_or_default();
            self.body.extend_from_slice(data);
            at += piece.consumed;
            if piece.consumed == 0 {
                break;
            }
        }
        self.raw.drain(..at);
        Ok(if decoder.is_done() { Heard::Complete } else { Heard::More })
    }

    /// The server closed its side.
    pub(crate) fn on_close(&mut self) -> Result<(), ResponseFault> {
        match &mut self.decoder {
            Some(decoder) => decoder.on_close(),
            None => Err(ResponseFault::Truncated),
        }
    }

    /// Whether the connection may serve another call: everything was read and nothing more came.
    pub(crate) fn is_reusable(&self) -> bool {
        self.head.is_some_and(|head| head.keep_alive)
            && self.decoder.as_ref().is_some_and(BodyDecoder::is_done)
            && self.raw.is_empty()
    }
}
