//! The headers that this gateway reads; all others are neither kept nor forwarded.
//!
//! One dispatch a line, on the length of its name. A header that means one thing may be there once:
//! which of two a server would believe is not ours to guess. `Connection` cannot name headers away:
//! what is hop-by-hop is our list, not the client's.

use crate::fault::HeadFault;
use crate::framing::{content_length, is_chunked, list, media_type};
use crate::limits::MCP_PARAMS_MAX;
use crate::span::Span;

/// What was found, as places in the buffer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KnownHeaders {
    /// Always there once a head is complete.
    pub host: Span,
    pub origin: Option<Span>,
    pub authorization: Option<Span>,
    pub content_type: Option<Span>,
    pub content_encoding: Option<Span>,
    pub accept: Accept,
    /// The first one; see `version_repeated`.
    pub mcp_protocol_version: Option<Span>,
    /// `Mcp-Protocol-Version` is there twice, or holds a comma: the era table answers that.
    pub version_repeated: bool,
    pub mcp_session_id: Option<Span>,
    pub mcp_method: Option<Span>,
    pub mcp_name: Option<Span>,
    pub mcp_params: McpParams,
    pub last_event_id: Option<Span>,
    /// Absent when it was there twice, as W3C Trace Context asks.
    pub traceparent: Option<Span>,
    pub user_agent: Option<Span>,
}

/// What the client takes, over all its `Accept` lines. Quality values are not weighed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Accept {
    pub present: bool,
    /// `application/json`, by name or by wildcard.
    pub json: bool,
    /// `text/event-stream`, by name or by wildcard.
    pub event_stream: bool,
}

/// The `Mcp-Param-*` headers in the order of the head, at most [`MCP_PARAMS_MAX`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct McpParams {
    list: [(Span, Span); MCP_PARAMS_MAX],
    len: usize,
}

impl McpParams {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Name after `Mcp-Param-` and value of each, from the buffer that was parsed. No two names are
    /// equal but for case.
    pub fn iter<'b>(&self, buffer: &'b [u8]) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        let found = self.list.get(..self.len).unwrap_or_default();
        found.iter().map(move |(name, value)| (name.of(buffer), value.of(buffer)))
    }

    fn push(&mut self, buffer: &[u8], name: Span, value: Span) -> Result<(), HeadFault> {
        if self.iter(buffer).any(|(known, _)| known.eq_ignore_ascii_case(name.of(buffer))) {
            return Err(HeadFault::Repeated("Mcp-Param"));
        }
        let full = HeadFault::TooManyParams { max: MCP_PARAMS_MAX };
        *self.list.get_mut(self.len).ok_or(full)? = (name, value);
        self.len += 1;
        Ok(())
    }
}

/// Gathers the headers of one head, and with them what the framing hangs on.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) known: KnownHeaders,
    pub(crate) host: Option<Span>,
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    traceparents: u32,
}

impl Reader {
    /// One line. `buffer` is what `name` and `value` are slices of.
    #[inline]
    pub(crate) fn read(
        &mut self,
        buffer: &[u8],
        name: &str,
        value: &[u8],
    ) -> Result<(), HeadFault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let place = || Span::within(buffer, value).unwrap_or_default();
        let known = &mut self.known;
        match name.len() {
            4 if is("host") => once(&mut self.host, place(), "Host")?,
            6 if is("accept") => known.accept.add(value),
            6 if is("origin") => once(&mut known.origin, place(), "Origin")?,
            6 if is("expect") => return Err(HeadFault::Expect),
            7 if is("upgrade") => return Err(HeadFault::Upgrade),
            7 if is("trailer") => return Err(HeadFault::Trailer),
            8 if is("mcp-name") => once(&mut known.mcp_name, place(), "Mcp-Name")?,
            10 if is("connection") => self.close |= list(value).any(is_close),
            10 if is("mcp-method") => once(&mut known.mcp_method, place(), "Mcp-Method")?,
            10 if is("user-agent") => known.user_agent = known.user_agent.or_else(|| Some(place())),
            11 if is("traceparent") => {
                known.traceparent = Some(place());
                self.traceparents += 1;
            }
            12 if is("content-type") => once(&mut known.content_type, place(), "Content-Type")?,
            13 if is("authorization") => once(&mut known.authorization, place(), "Authorization")?,
            13 if is("last-event-id") => once(&mut known.last_event_id, place(), "Last-Event-ID")?,
            14 if is("content-length") => {
                let length = content_length(value).ok_or(HeadFault::Length)?;
                once(&mut self.length, length, "Content-Length")?;
            }
            14 if is("mcp-session-id") => {
                once(&mut known.mcp_session_id, place(), "Mcp-Session-Id")?;
            }
            16 if is("content-encoding") => {
                once(&mut known.content_encoding, place(), "Content-Encoding")?;
            }
            17 if is("transfer-encoding") => self.coding(value)?,
            20 if is("mcp-protocol-version") => self.version(place(), value),
            10.. => self.param(buffer, name.as_bytes(), place)?,
            _ => {}
        }
        Ok(())
    }

    /// What was gathered, once all lines are read.
    pub(crate) fn finish(&mut self) -> Result<(), HeadFault> {
        self.known.host = self.host.ok_or(HeadFault::HostMissing)?;
        if self.traceparents > 1 {
            self.known.traceparent = None;
        }
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.chunked {
            return Err(HeadFault::Repeated("Transfer-Encoding"));
        }
        self.chunked = is_chunked(value);
        if self.chunked { Ok(()) } else { Err(HeadFault::Coding) }
    }

    fn version(&mut self, place: Span, value: &[u8]) {
        let known = &mut self.known;
        known.version_repeated |= known.mcp_protocol_version.is_some() || value.contains(&b',');
        known.mcp_protocol_version = known.mcp_protocol_version.or(Some(place));
    }

    fn param(
        &mut self,
        buffer: &[u8],
        name: &[u8],
        value: impl Fn() -> Span,
    ) -> Result<(), HeadFault> {
        const PREFIX: &[u8] = b"mcp-param-";
        match name.split_at_checked(PREFIX.len()) {
            Some((prefix, name)) if prefix.eq_ignore_ascii_case(PREFIX) => {
                let name = Span::within(buffer, name).unwrap_or_default();
                self.known.mcp_params.push(buffer, name, value())
            }
            _ => Ok(()),
        }
    }
}

impl Accept {
    fn add(&mut self, value: &[u8]) {
        self.present = true;
        for member in list(value) {
            let media = media_type(member);
            let is = |known: &[u8]| media.eq_ignore_ascii_case(known);
            let any = is(b"*/*");
            self.json |= any || is(b"application/json") || is(b"application/*");
            self.event_stream |= any || is(b"text/event-stream") || is(b"text/*");
        }
    }
}

fn is_close(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close")
}

fn once<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), HeadFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadFault::Repeated(name)),
    }
}
