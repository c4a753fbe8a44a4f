//! Our answers to clients: heads and chunk frames, written into a buffer that the caller keeps.
//!
//! Every field is either a constant of ours or a checked [`FieldValue`], so writing cannot fail and
//! nothing in a value can start a line.

use crate::date::HttpDate;
use crate::field::FieldValue;

/// The head of one answer. Start from [`ResponseHead::new`] and set what applies.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    pub status: u16,
    pub body: Body,
    /// Whether the connection stays open; `false` writes `Connection: close`.
    pub keep_alive: bool,
    pub content_type: Option<&'static str>,
    pub cache_control: Option<&'static str>,
    /// For 405: the methods that are served.
    pub allow: Option<&'static str>,
    /// `X-Accel-Buffering: no`, so that a proxy before us passes events on at once.
    pub unbuffered: bool,
    pub retry_after_s: Option<u64>,
    pub www_authenticate: Option<FieldValue<'a>>,
    pub session_id: Option<FieldValue<'a>>,
    pub protocol_version: Option<FieldValue<'a>>,
    pub date: Option<HttpDate>,
}

/// What follows the head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// So many bytes. Zero is written as `Content-Length: 0`, except for 204 and 304, which have none.
    Length(u64),
    /// Frames of [`write_chunk_head`] and [`write_chunk_end`], ended by [`LAST_CHUNK`].
    Chunked,
    /// For HTTP/1.0: the body ends with the connection, whatever `keep_alive` says.
    UntilClose,
}

/// Ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl<'a> ResponseHead<'a> {
    /// An empty answer on a connection that stays open.
    #[must_use]
    pub const fn new(status: u16) -> Self {
        Self {
            status,
            body: Body::Length(0),
            keep_alive: true,
            content_type: None,
            cache_control: None,
            allow: None,
            unbuffered: false,
            retry_after_s: None,
            www_authenticate: None,
            session_id: None,
            protocol_version: None,
            date: None,
        }
    }

    /// Appends the head, the empty line included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(out, u64::from(self.status));
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        let value = |field: Option<FieldValue<'a>>| field.map(FieldValue::bytes);
        line(out, b"Content-Type: ", self.content_type.map(str::as_bytes));
        line(out, b"Cache-Control: ", self.cache_control.map(str::as_bytes));
        line(out, b"Allow: ", self.allow.map(str::as_bytes));
        line(out, b"WWW-Authenticate: ", value(self.www_authenticate));
        line(out, b"Mcp-Session-Id: ", value(self.session_id));
        line(out, b"MCP-Protocol-Version: ", value(self.protocol_version));
        line(out, b"X-Accel-Buffering: ", self.unbuffered.then_some(b"no"));
        line(out, b"Date: ", self.date.as_ref().map(|date| date.bytes().as_slice()));
        let close = !self.keep_alive || self.body == Body::UntilClose;
        line(out, b"Connection: ", close.then_some(b"close"));
        if let Some(seconds) = self.retry_after_s {
            out.extend_from_slice(b"Retry-After: ");
            write_decimal(out, seconds);
            out.extend_from_slice(b"\r\n");
        }
        self.write_framing(out);
        out.extend_from_slice(b"\r\n");
    }

    fn write_framing(&self, out: &mut Vec<u8>) {
        match (self.body, self.status) {
            (_, 204 | 304) | (Body::UntilClose, _) => {}
            (Body::Length(bytes), _) => {
                out.extend_from_slice(b"Content-Length: ");
                write_decimal(out, bytes);
                out.extend_from_slice(b"\r\n");
            }
            (Body::Chunked, _) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
    }
}

/// Starts a chunk of `len` bytes. Writes nothing for zero, which would end the body.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let nibbles = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..nibbles).rev() {
        let nibble = (len >> (4 * place) & 15) as u8;
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunk, after its bytes.
pub fn write_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal, without allocation.
pub fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests {
    use dataplane_telemetry::WallNanos;

    use super::*;

    fn written(head: &ResponseHead<'_>) -> String {
        let mut out = Vec::new();
        head.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_with_everything() {
        let value = |text: &'static str| FieldValue::new(text.as_bytes()).ok();
        let head = ResponseHead {
            body: Body::Length(488),
            keep_alive: false,
            content_type: Some("application/json"),
            cache_control: Some("no-store"),
            allow: Some("POST"),
            unbuffered: true,
            retry_after_s: Some(3),
            www_authenticate: value("Bearer"),
            session_id: value("s1"),
            protocol_version: value("2026-07-28"),
            date: Some(HttpDate::at(WallNanos(0))),
            ..ResponseHead::new(429)
        };
        assert_eq!(
            written(&head),
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n\
             Cache-Control: no-store\r\nAllow: POST\r\nWWW-Authenticate: Bearer\r\n\
             Mcp-Session-Id: s1\r\nMCP-Protocol-Version: 2026-07-28\r\nX-Accel-Buffering: no\r\n\
             Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\nRetry-After: 3\r\n\
             Content-Length: 488\r\n\r\n"
        );
    }

    #[test]
    fn each_body_has_one_framing() {
        let framed = |status, body| written(&ResponseHead { body, ..ResponseHead::new(status) });
        assert_eq!(
            written(&ResponseHead::new(202)),
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(framed(200, Body::Chunked), chunked);
        assert_eq!(framed(200, Body::UntilClose), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        assert_eq!(framed(204, Body::Length(0)), "HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn every_status_of_a_fault_has_its_words() {
        for status in [400, 413, 414, 417, 431, 501, 505] {
            assert_ne!(reason(status), reason(0), "{status}");
        }
    }

    #[test]
    fn what_is_chunked_reads_back() {
        for len in [1_usize, 9, 10, 15, 16, 255, 256, 4_095, 65_536] {
            let mut out = Vec::new();
            write_chunk_head(&mut out, len);
            out.resize(out.len() + len, b'x');
            write_chunk_end(&mut out);
            write_chunk_head(&mut out, 0);
            out.extend_from_slice(LAST_CHUNK);
            let found = crate::ChunkDecoder::new(len as u64).decode(&mut out).unwrap();
            assert_eq!((found.data.len(), found.done, found.consumed), (len, true, out.len()));
        }
    }

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        for number in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
            let mut out = b"x".to_vec();
            write_decimal(&mut out, number);
            assert_eq!(out, format!("x{number}").into_bytes());
        }
    }
}
