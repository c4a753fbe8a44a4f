//! Reads an HTTP answer from a growing buffer: just enough for a client that trusts its servers.
//!
//! It is not the gateway's own reader on purpose: what measures should not share a fault with what
//! is measured.

use anyhow::{Context, bail};

/// Headers of one answer; more is a fault.
const HEADERS_MAX: usize = 48;

/// A whole answer at the beginning of the buffer.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub status: u16,
    /// Where its body is. A chunked body keeps its chunk heads: it is only searched, never parsed.
    pub body: std::ops::Range<usize>,
    /// `Mcp-Session-Id`.
    pub session: Option<std::ops::Range<usize>>,
    /// The server will close.
    pub last: bool,
    /// Bytes to drop from the buffer.
    pub consumed: usize,
}

enum Framing {
    Length(usize),
    Chunked,
}

/// `None` until the answer is whole.
///
/// # Errors
/// What is not HTTP, or has no end that can be found.
pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = match response.parse(bytes).context("the answer's head")? {
        httparse::Status::Complete(head_len) => head_len,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.context("the answer's status")?;
    let mut framing = None;
    let (mut last, mut session) = (false, None);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value)?.trim().parse();
            framing = Some(Framing::Length(length.context("Content-Length")?));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Some(Framing::Chunked);
        } else if header.name.eq_ignore_ascii_case("connection") {
            last = header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
            let start = header.value.as_ptr().addr() - bytes.as_ptr().addr();
            session = Some(start..start + header.value.len());
        }
    }
    let consumed = match framing {
        _ if status == 204 || status == 304 => head_len,
        Some(Framing::Length(length)) => head_len + length,
        Some(Framing::Chunked) => match chunked_end(bytes, head_len)? {
            Some(end) => end,
            None => return Ok(None),
        },
        None => bail!("status {status} with neither Content-Length nor Transfer-Encoding"),
    };
    if bytes.len() < consumed {
        return Ok(None);
    }
    Ok(Some(Answer { status, body: head_len..consumed, session, last, consumed }))
}

fn chunked_end(bytes: &[u8], mut at: usize) -> anyhow::Result<Option<usize>> {
    loop {
        let Some(rest) = bytes.get(at..) else { return Ok(None) };
        let Some(line_len) = memchr::memmem::find(rest, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&rest[..line_len])?;
        let digits = line.split(';').next().unwrap_or(line).trim();
        let size = usize::from_str_radix(digits, 16).with_context(|| format!("chunk `{line}`"))?;
        at += line_len + 2 + size + 2;
        if size == 0 {
            return Ok((at <= bytes.len()).then_some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cut before the end is "not yet", and what follows is left alone.
    fn whole(text: &str) -> Answer {
        let bytes = [text.as_bytes(), b"HTTP/1.1 "].concat();
        for cut in 0..text.len() {
            assert_eq!(read(&bytes[..cut]).unwrap(), None, "cut at {cut}");
        }
        let answer = read(&bytes).unwrap().unwrap();
        assert_eq!(answer.consumed, text.len());
        answer
    }

    #[test]
    fn by_length() {
        let text = "HTTP/1.1 200 OK\r\nMcp-Session-Id: s-1\r\ncontent-length: 2\r\n\r\n{}";
        let answer = whole(text);
        assert_eq!((answer.status, &text[answer.body]), (200, "{}"));
        assert_eq!(&text[answer.session.unwrap()], "s-1");
        assert!(!answer.last);
    }

    #[test]
    fn by_chunks() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(&text[whole(text).body], "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n");
    }

    #[test]
    fn without_a_body() {
        assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n").status, 204);
        assert!(
            whole("HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").last
        );
    }

    #[test]
    fn an_endless_answer_is_a_fault() {
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(read(b"nonsense\r\n\r\n").is_err());
    }
}
