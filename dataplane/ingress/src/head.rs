//! A request head: the request line and the headers, as places in the buffer.
//!
//! All or nothing: a head is judged once it is whole, except that what can never become one is refused
//! at the first byte that shows it. So the reading does not depend on how the bytes arrived.

use std::mem::MaybeUninit;

use crate::fault::{HeadFault, TargetRule};
use crate::framing::{Framing, lines_end_with_crlf};
use crate::headers::{KnownHeaders, Reader};
use crate::limits::{HEADERS_MAX, Limits};
use crate::span::{Parsed, Span};
use crate::target;

/// A head that may be acted on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Bytes of the head; the body, or the next head, starts there.
    pub len: usize,
    pub method: Method,
    /// The target as it was sent, a query included: compare it whole.
    pub path: Span,
    /// Whether the client may send another request. Never after HTTP/1.0, nor after a method that we do
    /// not know, whose answer might have to go without a body (`HEAD`).
    pub keep_alive: bool,
    /// Whether the client understands a chunked answer: HTTP/1.0 does not.
    pub takes_chunks: bool,
    pub framing: Framing,
    pub headers: KnownHeaders,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    Get,
    Post,
    Delete,
    Options,
    Other,
}

/// Reads the head that `bytes` start with. Costs no allocation, and time linear in the head.
///
/// # Errors
/// The rule or limit that it breaks. The connection is then over: answer, close.
pub fn parse_head(bytes: &[u8], limits: &Limits) -> Result<Parsed<Head>, HeadFault> {
    if let Some(b'\r' | b'\n') = bytes.first() {
        return Err(HeadFault::LeadingLineEnd);
    }
    let allowed = bytes.get(..limits.head_bytes).unwrap_or(bytes);
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let lines_max = limits.headers.min(HEADERS_MAX);
    let lines = lines.get_mut(..lines_max).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(allowed, lines) {
        Ok(httparse::Status::Complete(len)) => {
            let head = allowed.get(..len).unwrap_or_default();
            read(head, &request, limits).map(Parsed::Complete)
        }
        Ok(httparse::Status::Partial) if bytes.len() < limits.head_bytes => Ok(Parsed::Partial),
        Ok(httparse::Status::Partial) if allowed.contains(&b'\n') => {
            Err(HeadFault::HeadTooLong { max: limits.head_bytes })
        }
        Ok(httparse::Status::Partial) => Err(HeadFault::TargetTooLong { max: limits.target_bytes }),
        Err(error) => Err(refuse(error, allowed, lines_max)),
    }
}

fn read(
    head: &[u8],
    request: &httparse::Request<'_, '_>,
    limits: &Limits,
) -> Result<Head, HeadFault> {
    if !lines_end_with_crlf(head, request.headers.iter().map(|header| header.name)) {
        return Err(HeadFault::BareLineFeed);
    }
    let path = request.path.unwrap_or_default().as_bytes();
    if path.len() > limits.target_bytes {
        return Err(HeadFault::TargetTooLong { max: limits.target_bytes });
    }
    target::check(path).map_err(HeadFault::Target)?;
    let mut reader = Reader::default();
    for header in request.headers.iter() {
        reader.read(head, header.name, header.value)?;
    }
    reader.finish()?;
    let method = Method::of(request.method.unwrap_or_default());
    let newest = request.version == Some(1);
    Ok(Head {
        len: head.len(),
        method,
        path: Span::within(head, path).ok_or(HeadFault::Target(TargetRule::NotAPath))?,
        keep_alive: newest && !reader.close && method != Method::Other,
        takes_chunks: newest,
        framing: framing(&reader, method, newest, limits)?,
        headers: reader.known,
    })
}

/// RFC 9112 §6.3, with every choice that it leaves open taken away.
fn framing(
    reader: &Reader,
    method: Method,
    newest: bool,
    limits: &Limits,
) -> Result<Framing, HeadFault> {
    let framing = match (reader.chunked, reader.length) {
        (true, Some(_)) => return Err(HeadFault::LengthAndCoding),
        (true, None) if !newest => return Err(HeadFault::CodingInOldVersion),
        (true, None) => Framing::Chunked,
        (false, None | Some(0)) => Framing::Empty,
        (false, Some(length)) if length > limits.body_bytes => {
            return Err(HeadFault::BodyTooLong { max: limits.body_bytes });
        }
        (false, Some(length)) => Framing::Length(length),
    };
    match method {
        Method::Get | Method::Delete | Method::Options if framing != Framing::Empty => {
            Err(HeadFault::BodyNotExpected)
        }
        Method::Get | Method::Delete | Method::Options | Method::Post | Method::Other => {
            Ok(framing)
        }
    }
}

impl Method {
    fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// What httparse refused, in our words.
fn refuse(error: httparse::Error, bytes: &[u8], lines_max: usize) -> HeadFault {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => HeadFault::TooManyHeaders { max: lines_max },
        Error::Version => {
            let third = bytes.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
            if third.starts_with(b"HTTP/") {
                HeadFault::Version
            } else {
                HeadFault::Syntax(
                    "the request line is not METHOD, one space, path, one space, HTTP/1.1",
                )
            }
        }
        Error::HeaderName => HeadFault::Syntax(
            "a header name holds a byte that is no token, or a line is folded or has a space before its colon",
        ),
        Error::HeaderValue => HeadFault::Syntax("a header value holds a control byte"),
        Error::NewLine => HeadFault::Syntax("CR without LF"),
        Error::Token => {
            HeadFault::Syntax("the request line holds a byte that is not allowed there")
        }
        Error::Status => HeadFault::Syntax("the request line"),
    }
}

#[cfg(test)]
mod tests;
