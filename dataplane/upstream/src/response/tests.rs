//! Every rule for answers by name, and every limit one past it.

use super::*;

fn head(text: &str) -> ResponseHead {
    match parse_response(text.as_bytes()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &str) -> ResponseFault {
    match parse_response(text.as_bytes()) {
        Err(fault) => fault,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

#[test]
fn an_answer_is_read_whole() {
    let text = "HTTP/1.1 429 Slow\r\nContent-Type: Application/JSON; charset=utf-8\r\n\
        Content-Length: 5\r\nmcp-session-id: abc\r\nKeep-Alive: max=3, timeout=5\r\n\
        Retry-After: 7\r\nContent-Encoding: identity\r\n\r\nhello";
    let head = head(text);
    assert_eq!(&text[head.len..], "hello");
    assert_eq!((head.status, head.framing, head.content), (429, Framing::Length(5), Content::Json));
    assert_eq!(head.session_id.unwrap().of(text.as_bytes()), b"abc");
    assert!(head.keep_alive);
    assert_eq!((head.idle_s, head.retry_after_s), (Some(5), Some(7)));
}

#[test]
fn content_is_told_by_its_media_type() {
    for (line, content) in [
        ("Content-Type: text/event-stream;charset=utf-8\r\n", Content::EventStream),
        ("Content-Type: text/html\r\n", Content::Other),
        ("Content-Type: application/json-rpc\r\n", Content::Other),
        ("", Content::None),
    ] {
        assert_eq!(head(&ok(line)).content, content, "{line}");
    }
}

#[test]
fn interim_answers_are_skipped() {
    let interim =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nMcp-Session-Id: no\r\n\r\n";
    let text = format!("{interim}{}", ok("Mcp-Session-Id: s\r\nContent-Length: 0\r\n"));
    let head = head(&text);
    assert_eq!((head.len, head.status, head.framing), (text.len(), 200, Framing::Empty));
    assert_eq!(head.session_id.unwrap().of(text.as_bytes()), b"s");
    for end in 0..text.len() {
        assert_eq!(parse_response(&text.as_bytes()[..end]), Ok(Parsed::Partial), "{end}");
    }
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(RESPONSE_HEAD_BYTES_MAX / 20);
    assert_eq!(refused(&endless), ResponseFault::HeadTooLong);
}

#[test]
fn interim_answers_have_no_body() {
    let text = "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(refused(text), ResponseFault::BodyNotExpected);
}

#[test]
fn a_switch_of_protocols_is_refused() {
    let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(refused(text), ResponseFault::SwitchedProtocols);
}

#[test]
fn statuses_without_a_body_may_not_announce_one() {
    for status in [204, 304] {
        let text = |lines: &str| format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
        assert_eq!(head(&text("")).framing, Framing::Empty);
        assert_eq!(head(&text("Content-Length: 0\r\n")).framing, Framing::Empty);
        for lines in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            assert_eq!(refused(&text(lines)), ResponseFault::BodyNotExpected, "{status}");
        }
    }
}

#[test]
fn without_framing_the_body_ends_with_the_connection() {
    for status in [200, 202, 404] {
        let head = head(&format!("HTTP/1.1 {status} X\r\n\r\n"));
        assert_eq!((head.framing, head.keep_alive), (Framing::UntilClose, false));
    }
}

#[test]
fn length_and_coding_together_are_refused() {
    for length in [0, 5] {
        let lines = format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(refused(&ok(&lines)), ResponseFault::LengthAndCoding);
    }
}

#[test]
fn singletons_may_not_be_repeated() {
    for (name, value) in [
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Type", "text/plain"),
        ("Mcp-Session-Id", "s"),
    ] {
        let lines = format!("{name}: {value}\r\nX: y\r\n{}: {value}\r\n", name.to_lowercase());
        assert_eq!(refused(&ok(&lines)), ResponseFault::Repeated(name));
    }
}

#[test]
fn lengths_and_codings_are_plain() {
    for length in ["+5", "5, 5", "", "0x5", "99999999999999999999"] {
        assert_eq!(refused(&ok(&format!("Content-Length: {length}\r\n"))), ResponseFault::Length);
    }
    for coding in ["gzip, chunked", "identity", "chunked, chunked", "xchunked", ""] {
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        assert_eq!(refused(&ok(&lines)), ResponseFault::Coding, "{coding}");
    }
}

#[test]
fn an_old_version_has_no_coding_and_ends_the_connection() {
    let old = |lines: &str| format!("HTTP/1.0 200 OK\r\n{lines}\r\n");
    assert_eq!(refused(&old("Transfer-Encoding: chunked\r\n")), ResponseFault::CodingInOldVersion);
    let head = head(&old("Content-Length: 5\r\nConnection: keep-alive\r\n"));
    assert_eq!((head.framing, head.keep_alive), (Framing::Length(5), false));
}

#[test]
fn close_is_heard() {
    let lines = "Content-Length: 5\r\nConnection: x, Close\r\n";
    assert!(!head(&ok(lines)).keep_alive);
}

#[test]
fn a_bare_line_feed_is_refused_wherever_it_is() {
    let good = ok("Content-Length: 5\r\nX:\r\n");
    for (at, _) in good.match_indices("\r\n") {
        let bad = format!("{}{}", &good[..at], &good[at + 1..]);
        assert_eq!(refused(&bad), ResponseFault::BareLineFeed, "without CR at {at}");
    }
}

#[test]
fn what_is_not_http_is_refused() {
    for text in [
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "{\"jsonrpc\":\"2.0\"}",
        "SSH-2.0-OpenSSH\r\n",
    ] {
        assert!(matches!(refused(text), ResponseFault::Syntax(_)), "{text:?}");
    }
}

#[test]
fn statuses_are_those_of_http() {
    for status in ["000", "099", "600", "999"] {
        let text = format!("HTTP/1.1 {status} X\r\n\r\n");
        assert_eq!(refused(&text), ResponseFault::Status(status.parse().unwrap()));
    }
}

#[test]
fn a_compressed_answer_is_refused() {
    assert_eq!(refused(&ok("Content-Encoding: gzip\r\n")), ResponseFault::Compressed);
}

#[test]
fn one_byte_of_session_id_past_the_limit() {
    let line = |id: &str| ok(&format!("Mcp-Session-Id: {id}\r\n"));
    assert!(head(&line(&"!".repeat(SESSION_ID_BYTES_MAX))).session_id.is_some());
    let long = "!".repeat(SESSION_ID_BYTES_MAX + 1);
    for bad in [long.as_str(), "", "a b", "é", "a\tb"] {
        assert_eq!(refused(&line(bad)), ResponseFault::SessionId, "{bad}");
    }
}

#[test]
fn one_byte_of_head_past_the_limit() {
    let filled = |len: usize| ok(&format!("X: {}\r\n", "a".repeat(len - ok("X: \r\n").len())));
    assert_eq!(head(&filled(RESPONSE_HEAD_BYTES_MAX)).len, RESPONSE_HEAD_BYTES_MAX);
    assert_eq!(refused(&filled(RESPONSE_HEAD_BYTES_MAX + 1)), ResponseFault::HeadTooLong);
}

#[test]
fn one_header_past_the_limit() {
    let lines = |count: usize| ok(&"X: y\r\n".repeat(count));
    assert_eq!(head(&lines(RESPONSE_HEADERS_MAX)).status, 200);
    assert_eq!(refused(&lines(RESPONSE_HEADERS_MAX + 1)), ResponseFault::TooManyHeaders);
}

#[test]
fn a_retry_date_is_not_read() {
    let lines = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(head(&ok(lines)).retry_after_s, None);
    assert_eq!(head(&ok("Retry-After: 99999999999\r\n")).retry_after_s, Some(u32::MAX));
}
