//! The head of a server's answer.
//!
//! A server is trusted with its callers' data, not with our connection: an answer whose end could be
//! read in two ways is a fault of that server and the connection is closed. Interim answers (1xx) are
//! skipped; 101 is refused, since nobody asked to upgrade.

use std::mem::MaybeUninit;

use dataplane_ingress::framing::{
    content_length, is_chunked, lines_end_with_crlf, list, media_type,
};
use dataplane_ingress::{ChunkFault, Parsed, Span};
use thiserror::Error;

use crate::limits::{RESPONSE_HEAD_BYTES_MAX, RESPONSE_HEADERS_MAX, SESSION_ID_BYTES_MAX};

/// What of an answer's head is acted on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResponseHead {
    /// Bytes of the head, interim answers included; the body starts there.
    pub len: usize,
    /// 200 to 599.
    pub status: u16,
    pub framing: Framing,
    pub content: Content,
    /// `Mcp-Session-Id`: visible ASCII.
    pub session_id: Option<Span>,
    /// Whether the connection may be used again once the body is read to its end.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=…`: how long the server keeps an idle connection.
    pub idle_s: Option<u32>,
    /// `Retry-After` in seconds; its form as a date is not read.
    pub retry_after_s: Option<u32>,
}

/// Where the body ends. RFC 9112 §6.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    Empty,
    /// At least one byte.
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// What the body claims to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    Json,
    EventStream,
    Other,
    /// No `Content-Type`.
    None,
}

/// What is wrong with a server's answer. Ends that connection; the call may have run.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ResponseFault {
    #[error("the answer is not HTTP/1.1: {0}")]
    Syntax(&'static str),
    #[error("a line of the answer's head ends with a bare LF")]
    BareLineFeed,
    #[error("the answer's head is longer than {RESPONSE_HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("the answer has more than {RESPONSE_HEADERS_MAX} header lines")]
    TooManyHeaders,
    #[error("the answer's status is {0}, which is none")]
    Status(u16),
    #[error("the server switched protocols, which nobody asked for")]
    SwitchedProtocols,
    #[error("the answer's header {0} is there twice")]
    Repeated(&'static str),
    #[error("the answer's Content-Length is not a plain decimal number")]
    Length,
    #[error("the answer has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("the answer's Transfer-Encoding is not exactly `chunked`")]
    Coding,
    #[error("an HTTP/1.0 answer has Transfer-Encoding")]
    CodingInOldVersion,
    #[error("an answer that has no body (204, 304) announces one")]
    BodyNotExpected,
    #[error("the answer is compressed although nobody asked for it")]
    Compressed,
    #[error("the answer's session id is not 1 to {SESSION_ID_BYTES_MAX} visible ASCII characters")]
    SessionId,
    #[error("the answer's body is longer than {max} bytes")]
    TooLong { max: u64 },
    #[error("the answer's chunks: {0}")]
    Chunk(#[from] ChunkFault),
    #[error("the server closed the connection before the answer's end")]
    Truncated,
}

/// Reads the answer's head that `bytes` start with. No allocation.
///
/// # Errors
/// What is wrong with it.
pub fn parse_response(bytes: &[u8]) -> Result<Parsed<ResponseHead>, ResponseFault> {
    let allowed = bytes.get(..RESPONSE_HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut at = 0;
    loop {
        let rest = allowed.get(at..).unwrap_or_default();
        let Parsed::Complete(head) = parse_one(allowed, rest, at)? else {
            let full = bytes.len() >= RESPONSE_HEAD_BYTES_MAX;
            return if full { Err(ResponseFault::HeadTooLong) } else { Ok(Parsed::Partial) };
        };
        match head.status {
            101 => return Err(ResponseFault::SwitchedProtocols),
            100..=199 => at = head.len,
            200..=599 => return Ok(Parsed::Complete(head)),
            other => return Err(ResponseFault::Status(other)),
        }
    }
}

/// One head at `at`, interim or final; its spans count from the start of `bytes`.
fn parse_one(bytes: &[u8], rest: &[u8], at: usize) -> Result<Parsed<ResponseHead>, ResponseFault> {
    if let Some(b'\r' | b'\n') = rest.first() {
        return Err(ResponseFault::Syntax("an empty line before the status line"));
    }
    let mut lines = [const { MaybeUninit::uninit() }; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, rest, &mut lines) {
        Ok(httparse::Status::Partial) => Ok(Parsed::Partial),
        Ok(httparse::Status::Complete(len)) => {
            let head = rest.get(..len).unwrap_or_default();
            if !lines_end_with_crlf(head, response.headers.iter().map(|header| header.name)) {
                return Err(ResponseFault::BareLineFeed);
            }
            let mut reader = Reader { newest: response.version == Some(1), ..Reader::default() };
            for header in response.headers.iter() {
                reader.read(bytes, header.name, header.value)?;
            }
            reader.finish(at + len, response.code.unwrap_or_default()).map(Parsed::Complete)
        }
        Err(error) => Err(refuse(error)),
    }
}

#[derive(Default)]
struct Reader {
    newest: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    content: Option<Content>,
    session_id: Option<Span>,
    idle_s: Option<u32>,
    retry_after_s: Option<u32>,
}

impl Reader {
    fn read(&mut self, buffer: &[u8], name: &str, value: &[u8]) -> Result<(), ResponseFault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            10 if is("connection") => {
                self.close |= list(value).any(|option| option.eq_ignore_ascii_case(b"close"));
            }
            10 if is("keep-alive") => self.idle_s = idle_seconds(value),
            11 if is("retry-after") => self.retry_after_s = seconds(value),
            12 if is("content-type") => once(&mut self.content, content(value), "Content-Type")?,
            14 if is("content-length") => {
                let length = content_length(value).ok_or(ResponseFault::Length)?;
                once(&mut self.length, length, "Content-Length")?;
            }
            14 if is("mcp-session-id") => {
                let place = session_id(buffer, value).ok_or(ResponseFault::SessionId)?;
                once(&mut self.session_id, place, "Mcp-Session-Id")?;
            }
            16 if is("content-encoding") && !value.eq_ignore_ascii_case(b"identity") => {
                return Err(ResponseFault::Compressed);
            }
            17 if is("transfer-encoding") => {
                if self.chunked {
                    return Err(ResponseFault::Repeated("Transfer-Encoding"));
                }
                self.chunked = is_chunked(value);
                if !self.chunked {
                    return Err(ResponseFault::Coding);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, len: usize, status: u16) -> Result<ResponseHead, ResponseFault> {
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(ResponseFault::LengthAndCoding),
            (true, None) if !self.newest => return Err(ResponseFault::CodingInOldVersion),
            (true, None) => Framing::Chunked,
            (false, Some(0)) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
            (false, None) if matches!(status, 100..=199 | 204 | 304) => Framing::Empty,
            (false, None) => Framing::UntilClose,
        };
        // A 304 may say how long its page is; we never ask conditionally, so it is refused with the rest.
        if matches!(status, 100..=199 | 204 | 304) && framing != Framing::Empty {
            return Err(ResponseFault::BodyNotExpected);
        }
        Ok(ResponseHead {
            len,
            status,
            framing,
            content: self.content.unwrap_or(Content::None),
            session_id: self.session_id,
            keep_alive: self.newest && !self.close && framing != Framing::UntilClose,
            idle_s: self.idle_s,
            retry_after_s: self.retry_after_s,
        })
    }
}

fn content(value: &[u8]) -> Content {
    let media = media_type(value);
    if media.eq_ignore_ascii_case(b"application/json") {
        Content::Json
    } else if media.eq_ignore_ascii_case(b"text/event-stream") {
        Content::EventStream
    } else {
        Content::Other
    }
}

fn session_id(buffer: &[u8], value: &[u8]) -> Option<Span> {
    let good = (1..=SESSION_ID_BYTES_MAX).contains(&value.len())
        && value.iter().all(|byte| matches!(byte, 0x21..=0x7e));
    if good { Span::within(buffer, value) } else { None }
}

/// A whole number of seconds; larger ones than fit are the largest.
fn seconds(value: &[u8]) -> Option<u32> {
    content_length(value).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn idle_seconds(value: &[u8]) -> Option<u32> {
    list(value).find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
        if name.eq_ignore_ascii_case(b"timeout=") { seconds(value) } else { None }
    })
}

fn once<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), ResponseFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ResponseFault::Repeated(name)),
    }
}

/// What httparse refused, in our words.
const fn refuse(error: httparse::Error) -> ResponseFault {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => ResponseFault::TooManyHeaders,
        Error::Version => ResponseFault::Syntax("it does not start with HTTP/1.1 or HTTP/1.0"),
        Error::Status => ResponseFault::Syntax("its status line"),
        Error::HeaderName => {
            ResponseFault::Syntax("a header name, a folded line, or a space before a colon")
        }
        Error::HeaderValue => ResponseFault::Syntax("a header value holds a control byte"),
        Error::NewLine => ResponseFault::Syntax("CR without LF"),
        Error::Token => ResponseFault::Syntax("a byte that is not allowed in a head"),
    }
}

#[cfg(test)]
mod tests;
