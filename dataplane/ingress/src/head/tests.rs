//! Every framing rule by name, and every limit one past it.

use super::*;
use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, MCP_PARAMS_MAX, TARGET_BYTES_MAX};

const LINES: &str = "Host: gateway\r\n";

fn parse(bytes: &[u8]) -> Result<Parsed<Head>, HeadFault> {
    parse_head(bytes, &Limits::default())
}

fn head(text: &str) -> Head {
    match parse(text.as_bytes()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &str) -> HeadFault {
    match parse(text.as_bytes()) {
        Err(fault) => fault,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn post(lines: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\n{LINES}{lines}\r\n")
}

#[test]
fn a_call_is_read_whole() {
    let text = "POST /servers/crm/mcp HTTP/1.1\r\nhost: gateway:8443\r\nORIGIN: https://app\r\n\
        Authorization: Bearer abc\r\nContent-Type: application/json\r\n\
        Accept: application/json;q=0.9\r\nAccept: TEXT/event-stream\r\n\
        Content-Length: 282\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Session-Id: s1\r\n\
        Mcp-Method: tools/call\r\nMcp-Name: get_orders\r\nMcp-Param-Region:  eu \r\n\
        mcp-param-size: 5\r\nLast-Event-ID: e1\r\ntraceparent: t1\r\nUser-Agent: a\r\n\
        Content-Encoding: identity\r\nX-Other: \t \r\n\r\nbody";
    let head = head(text);
    let known = head.headers;
    let buffer = text.as_bytes();
    let text_of = |span: Option<Span>| str::from_utf8(span.unwrap().of(buffer)).unwrap();
    assert_eq!((head.method, head.framing), (Method::Post, Framing::Length(282)));
    assert_eq!(head.path.of(buffer), b"/servers/crm/mcp");
    assert_eq!(&text[head.len..], "body");
    assert!(head.keep_alive && head.takes_chunks);
    assert_eq!(known.host.of(buffer), b"gateway:8443");
    assert_eq!(text_of(known.origin), "https://app");
    assert_eq!(text_of(known.authorization), "Bearer abc");
    assert_eq!(text_of(known.content_type), "application/json");
    assert_eq!(text_of(known.content_encoding), "identity");
    assert_eq!(known.accept, crate::Accept { present: true, json: true, event_stream: true });
    assert_eq!(text_of(known.mcp_protocol_version), "2026-07-28");
    assert!(!known.version_repeated);
    assert_eq!(text_of(known.mcp_session_id), "s1");
    assert_eq!(text_of(known.mcp_method), "tools/call");
    assert_eq!(text_of(known.mcp_name), "get_orders");
    assert_eq!(text_of(known.last_event_id), "e1");
    assert_eq!(text_of(known.traceparent), "t1");
    assert_eq!(text_of(known.user_agent), "a");
    let params: Vec<_> = known.mcp_params.iter(buffer).collect();
    assert_eq!(params, [(&b"Region"[..], &b"eu"[..]), (b"size", b"5")]);
}

#[test]
fn every_prefix_of_a_head_is_partial() {
    let text = post("Content-Length: 5\r\n");
    for end in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..end]), Ok(Parsed::Partial), "{end}");
    }
    assert_eq!(head(&text).len, text.len());
}

#[test]
fn length_and_coding_together_are_refused() {
    let (length, coding) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for lines in [format!("{length}{coding}"), format!("{coding}{length}")] {
        assert_eq!(refused(&post(&lines)), HeadFault::LengthAndCoding);
    }
    let zero = format!("Content-Length: 0\r\n{coding}");
    assert_eq!(refused(&post(&zero)), HeadFault::LengthAndCoding, "0.CL hides a body too");
}

#[test]
fn a_repeated_length_is_refused_even_if_equal() {
    for second in ["5", "6"] {
        let lines = format!("Content-Length: 5\r\ncontent-length: {second}\r\n");
        assert_eq!(refused(&post(&lines)), HeadFault::Repeated("Content-Length"));
    }
    assert_eq!(refused(&post("Content-Length: 5, 5\r\n")), HeadFault::Length);
}

#[test]
fn a_signed_or_padded_length_is_refused() {
    for length in ["+5", "-5", "5;", "0x5", "5 5", "", "1e1", "5_0", "18446744073709551616"] {
        let lines = format!("Content-Length: {length}\r\n");
        assert_eq!(refused(&post(&lines)), HeadFault::Length, "{length}");
    }
}

#[test]
fn a_coding_other_than_chunked_is_refused() {
    for coding in ["gzip, chunked", "chunked, gzip", "identity", "xchunked", "chunked;q=1", "", ","]
    {
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        assert_eq!(refused(&post(&lines)), HeadFault::Coding, "{coding}");
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(refused(&post(twice)), HeadFault::Repeated("Transfer-Encoding"));
    assert_eq!(head(&post("transfer-encoding: Chunked\r\n")).framing, Framing::Chunked);
}

#[test]
fn a_coding_spelled_to_be_missed_is_refused() {
    for line in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
    ] {
        assert_eq!(refused(&post(line)).status(), 400, "{line:?}");
    }
}

#[test]
fn an_old_version_with_a_coding_is_refused() {
    let text = format!("POST /mcp HTTP/1.0\r\n{LINES}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(refused(&text), HeadFault::CodingInOldVersion);
}

#[test]
fn an_old_version_ends_the_connection() {
    let text = format!("GET /mcp HTTP/1.0\r\n{LINES}Connection: keep-alive\r\n\r\n");
    assert!(!head(&text).keep_alive && !head(&text).takes_chunks);
}

#[test]
fn a_folded_line_is_refused() {
    for fold in ["X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "X:\r\n Content-Length: 5\r\n"] {
        assert!(matches!(refused(&post(fold)), HeadFault::Syntax(_)), "{fold:?}");
    }
    let first = "POST /mcp HTTP/1.1\r\n Host: gateway\r\n\r\n";
    assert!(matches!(refused(first), HeadFault::Syntax(_)));
}

#[test]
fn a_bare_line_feed_is_refused_wherever_it_is() {
    let good = post("Content-Length: 5\r\nX:\r\nY: z\r\n");
    for (at, _) in good.match_indices("\r\n") {
        let bad = format!("{}{}", &good[..at], &good[at + 1..]);
        assert_eq!(parse(bad.as_bytes()), Err(HeadFault::BareLineFeed), "without CR at {at}");
    }
}

#[test]
fn a_bare_carriage_return_is_refused_wherever_it_is() {
    let good = post("Content-Length: 5\r\nX: y\r\n");
    for at in 0..=good.len() - 2 {
        let bad = format!("{}\r{}", &good[..at], &good[at..]);
        assert!(parse(bad.as_bytes()).is_err(), "CR at {at}");
    }
}

#[test]
fn a_control_byte_is_refused_wherever_it_is() {
    let good = post("X: y\r\n");
    for byte in (0..b' ').filter(|byte| !b"\t\r\n".contains(byte)).chain([0x7f]) {
        for at in 0..=good.len() - 2 {
            let mut bad = good.clone().into_bytes();
            bad.insert(at, byte);
            assert!(parse(&bad).is_err(), "{byte:#x} at {at}");
        }
    }
}

#[test]
fn an_empty_line_before_the_request_is_refused() {
    for start in ["\r\n", "\n", "\r"] {
        let text = format!("{start}{}", post(""));
        assert_eq!(refused(&text), HeadFault::LeadingLineEnd);
        assert_eq!(refused(start), HeadFault::LeadingLineEnd, "at the first byte");
    }
}

#[test]
fn a_request_line_is_three_words_and_single_spaces() {
    for line in [
        "POST  /mcp HTTP/1.1",
        "POST /mcp  HTTP/1.1",
        "POST /mcp HTTP/1.1 ",
        "POST /mcp x HTTP/1.1",
        "POST\t/mcp HTTP/1.1",
        " POST /mcp HTTP/1.1",
        "POST /mcp http/1.1",
        "POST /mcp",
        "POST",
    ] {
        let fault = refused(&format!("{line}\r\n{LINES}\r\n"));
        assert_eq!(fault.status(), 400, "{line:?}: {fault}");
    }
}

#[test]
fn other_versions_are_refused() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/1.10", "HTTP/11", "HTTP/3"] {
        let fault = refused(&format!("POST /mcp {version}\r\n{LINES}\r\n"));
        // 1.10 starts as 1.1 does, and then a line does not end.
        assert!(matches!(fault, HeadFault::Version | HeadFault::Syntax(_)), "{version}: {fault}");
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HeadFault::Version);
    assert_eq!(refused("GET /mcp HTTP/2.0\r\n").status(), 505);
}

#[test]
fn another_protocol_is_refused_at_its_first_bytes() {
    let hello = [0x16, 3, 1, 2, 0, 1, 0];
    assert!(matches!(parse(&hello), Err(HeadFault::Syntax(_))), "TLS to a plain port");
}

#[test]
fn upgrade_is_refused() {
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n";
    assert_eq!(refused(&post(lines)), HeadFault::Upgrade);
    assert_eq!(refused(&post("Upgrade: websocket\r\n")), HeadFault::Upgrade);
}

#[test]
fn expect_is_refused_so_that_the_client_sends_at_once() {
    let fault = refused(&post("Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert_eq!((fault, fault.status()), (HeadFault::Expect, 417));
}

#[test]
fn announced_trailers_are_refused() {
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Digest\r\n";
    assert_eq!(refused(&post(lines)), HeadFault::Trailer);
}

#[test]
fn targets_that_servers_normalise_are_refused() {
    for (target, rule) in [
        ("http://gateway/mcp", TargetRule::NotAPath),
        ("*", TargetRule::NotAPath),
        ("//mcp", TargetRule::DoubleSlash),
        ("/servers/%2e%2e/mcp", TargetRule::Percent),
        ("/mcp;v=1", TargetRule::Semicolon),
        ("/servers/../mcp", TargetRule::DotSegment),
        ("/mcp\u{e9}", TargetRule::Byte),
    ] {
        let fault = refused(&format!("POST {target} HTTP/1.1\r\n{LINES}\r\n"));
        assert_eq!((fault, fault.status()), (HeadFault::Target(rule), 400), "{target}");
    }
    let connect = refused(&format!("CONNECT gateway:443 HTTP/1.1\r\n{LINES}\r\n"));
    assert_eq!(connect, HeadFault::Target(TargetRule::NotAPath));
}

#[test]
fn a_query_stays_in_the_path() {
    let text = format!("GET /mcp?token=x HTTP/1.1\r\n{LINES}\r\n");
    assert_eq!(head(&text).path.of(text.as_bytes()), b"/mcp?token=x");
}

#[test]
fn singletons_may_not_be_repeated() {
    for name in [
        "Host",
        "Origin",
        "Authorization",
        "Content-Type",
        "Content-Encoding",
        "Mcp-Session-Id",
        "Mcp-Method",
        "Mcp-Name",
        "Last-Event-ID",
    ] {
        let once = if name == "Host" { "" } else { &format!("{name}: a\r\n") };
        let lines = format!("{once}X: y\r\n{}: a\r\n", name.to_uppercase());
        let fault = refused(&post(&lines));
        assert_eq!((fault, fault.status()), (HeadFault::Repeated(name), 400));
    }
}

#[test]
fn a_repeated_version_is_left_to_the_era_table() {
    let repeated = |lines: &str| head(&post(lines)).headers.version_repeated;
    let line = "Mcp-Protocol-Version: 2026-07-28\r\n";
    assert!(!repeated(line));
    assert!(repeated(&format!("{line}{line}")));
    assert!(repeated("MCP-Protocol-Version: 2026-07-28, 2025-11-25\r\n"));
}

#[test]
fn a_repeated_traceparent_is_no_trace() {
    let line = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    assert!(head(&post(line)).headers.traceparent.is_some());
    assert!(head(&post(&format!("{line}{line}"))).headers.traceparent.is_none());
}

#[test]
fn host_is_required_of_every_version() {
    for version in ["1.0", "1.1"] {
        assert_eq!(refused(&format!("GET / HTTP/{version}\r\n\r\n")), HeadFault::HostMissing);
    }
}

#[test]
fn connection_cannot_name_a_header_away() {
    let text = post("Connection: Mcp-Name, keep-alive\r\nMcp-Name: a\r\n");
    let head = head(&text);
    assert!(head.keep_alive);
    assert_eq!(head.headers.mcp_name.unwrap().of(text.as_bytes()), b"a");
}

#[test]
fn close_is_heard_on_any_line() {
    for lines in ["Connection: close\r\n", "Connection: a, CLOSE ,b\r\nConnection: keep-alive\r\n"]
    {
        assert!(!head(&post(lines)).keep_alive, "{lines}");
    }
}

#[test]
fn method_overrides_are_not_heard() {
    let text = post("X-HTTP-Method-Override: DELETE\r\nX-Method: GET\r\n");
    assert_eq!(head(&text).method, Method::Post);
}

#[test]
fn a_method_without_a_body_has_none() {
    for method in ["GET", "DELETE", "OPTIONS"] {
        for lines in ["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n"] {
            let text = format!("{method} /mcp HTTP/1.1\r\n{LINES}{lines}\r\n");
            assert_eq!(refused(&text), HeadFault::BodyNotExpected, "{text}");
        }
        let text = format!("{method} /mcp HTTP/1.1\r\n{LINES}Content-Length: 0\r\n\r\n");
        assert_eq!(head(&text).framing, Framing::Empty);
    }
}

#[test]
fn a_method_that_we_do_not_know_ends_the_connection() {
    for method in ["HEAD", "PUT", "post", "Get", "TRACE", "X"] {
        let head = head(&format!("{method} /mcp HTTP/1.1\r\n{LINES}\r\n"));
        assert_eq!((head.method, head.keep_alive), (Method::Other, false), "{method}");
    }
}

#[test]
fn a_post_without_framing_is_empty() {
    assert_eq!(head(&post("")).framing, Framing::Empty);
    assert_eq!(head(&post("Content-Length: 0\r\n")).framing, Framing::Empty);
}

#[test]
fn one_byte_of_head_past_the_limit() {
    let filled = |len: usize| post(&format!("X: {}\r\n", "a".repeat(len - post("X: \r\n").len())));
    assert_eq!(head(&filled(HEAD_BYTES_MAX)).len, HEAD_BYTES_MAX);
    let fault = refused(&filled(HEAD_BYTES_MAX + 1));
    assert_eq!(fault, HeadFault::HeadTooLong { max: HEAD_BYTES_MAX });
    assert_eq!(fault.status(), 431);
    let unfinished = &filled(HEAD_BYTES_MAX + 9)[..HEAD_BYTES_MAX];
    assert_eq!(refused(unfinished), fault, "known before the head ends");
    assert_eq!(parse(&unfinished.as_bytes()[..HEAD_BYTES_MAX - 1]), Ok(Parsed::Partial));
}

#[test]
fn one_header_past_the_limit() {
    let lines = |count: usize| post(&"X: y\r\n".repeat(count - 1));
    assert!(parse(lines(HEADERS_MAX).as_bytes()).is_ok());
    let fault = refused(&lines(HEADERS_MAX + 1));
    assert_eq!((fault, fault.status()), (HeadFault::TooManyHeaders { max: HEADERS_MAX }, 431));
}

#[test]
fn lowered_limits_hold() {
    let limits = Limits { headers: 2, head_bytes: 64, target_bytes: 4, body_bytes: 9 };
    let parse = |text: &str| parse_head(text.as_bytes(), &limits);
    assert!(parse(&post("X: y\r\n")).is_ok());
    assert_eq!(parse(&post("X: y\r\nX: y\r\n")), Err(HeadFault::TooManyHeaders { max: 2 }));
    assert_eq!(parse(&post("Content-Length: 10\r\n")), Err(HeadFault::BodyTooLong { max: 9 }));
    let longer = post("").replace("/mcp", "/mcpx");
    assert_eq!(parse(&longer), Err(HeadFault::TargetTooLong { max: 4 }));
    assert_eq!(parse(&post(&"X".repeat(64))), Err(HeadFault::HeadTooLong { max: 64 }));
    let none = Limits { headers: 0, ..limits };
    assert_eq!(parse_head(post("").as_bytes(), &none), Err(HeadFault::TooManyHeaders { max: 0 }));
}

#[test]
fn one_byte_of_target_past_the_limit() {
    let text = |len: usize| format!("GET /{} HTTP/1.1\r\n{LINES}\r\n", "a".repeat(len - 1));
    assert_eq!(head(&text(TARGET_BYTES_MAX)).path.range().len(), TARGET_BYTES_MAX);
    let fault = refused(&text(TARGET_BYTES_MAX + 1));
    assert_eq!((fault, fault.status()), (HeadFault::TargetTooLong { max: TARGET_BYTES_MAX }, 414));
    assert_eq!(refused(&text(HEAD_BYTES_MAX)), fault, "even when it fills the whole head");
}

#[test]
fn one_byte_of_body_past_the_limit() {
    let text = |length: u64| post(&format!("Content-Length: {length}\r\n"));
    assert_eq!(head(&text(BODY_BYTES_MAX)).framing, Framing::Length(BODY_BYTES_MAX));
    let fault = refused(&text(BODY_BYTES_MAX + 1));
    assert_eq!((fault, fault.status()), (HeadFault::BodyTooLong { max: BODY_BYTES_MAX }, 413));
}

#[test]
fn one_param_past_the_limit() {
    let lines = |count: usize| -> String {
        (0..count).map(|index| format!("Mcp-Param-P{index}: v\r\n")).collect()
    };
    let full = head(&post(&lines(MCP_PARAMS_MAX)));
    assert_eq!(full.headers.mcp_params.len(), MCP_PARAMS_MAX);
    let fault = refused(&post(&lines(MCP_PARAMS_MAX + 1)));
    assert_eq!((fault, fault.status()), (HeadFault::TooManyParams { max: MCP_PARAMS_MAX }, 431));
    let twice = "Mcp-Param-Region: eu\r\nmcp-param-REGION: eu\r\n";
    assert_eq!(refused(&post(twice)), HeadFault::Repeated("Mcp-Param"));
}
