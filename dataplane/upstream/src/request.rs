//! The head of a request to a server, built anew.
//!
//! Only what is named here is sent. Values are checked before they come here ([`FieldValue`]), so
//! writing cannot fail; the body is written by the caller, who knows it in pieces.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataplane_ingress::{FieldName, FieldValue, McpParams, write_decimal};

use crate::origin::Origin;

/// What to ask. Start from [`Request::new`] and set what applies.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub origin: &'a Origin,
    pub verb: Verb,
    /// Bytes of the body that the caller writes after the head. Only a POST has one.
    pub body_bytes: u64,
    pub protocol_version: Option<FieldValue<'a>>,
    pub session_id: Option<FieldValue<'a>>,
    pub mcp_method: Option<FieldValue<'a>>,
    /// The name as it is in the body; written in base64 where HTTP cannot carry it.
    pub mcp_name: Option<&'a str>,
    /// `Mcp-Param-*` of the client and the buffer that they were found in.
    pub mcp_params: Option<(&'a McpParams, &'a [u8])>,
    pub last_event_id: Option<FieldValue<'a>>,
    pub traceparent: Option<&'a [u8; dataplane_telemetry::TRACEPARENT_LEN]>,
    pub inject: Option<Inject<'a>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// A message.
    Post,
    /// A legacy server's stream.
    Get,
    /// The end of a legacy session.
    Delete,
}

/// A secret on its way into one header: `header: prefix secret`, without a space between the two.
#[derive(Clone, Copy, Debug)]
pub struct Inject<'a> {
    pub header: FieldName<'a>,
    pub prefix: FieldValue<'a>,
    pub secret: FieldValue<'a>,
}

impl<'a> Request<'a> {
    /// A bare POST.
    #[must_use]
    pub const fn new(origin: &'a Origin, body_bytes: u64) -> Self {
        Self {
            origin,
            verb: Verb::Post,
            body_bytes,
            protocol_version: None,
            session_id: None,
            mcp_method: None,
            mcp_name: None,
            mcp_params: None,
            last_event_id: None,
            traceparent: None,
            inject: None,
        }
    }

    /// Appends the head, the empty line included. No compression is asked for: answers are judged as
    /// they come.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (verb, accept) = match self.verb {
            Verb::Post => ("POST ", "application/json, text/event-stream"),
            Verb::Get => ("GET ", "text/event-stream"),
            Verb::Delete => ("DELETE ", "application/json"),
        };
        push(out, &[verb.as_bytes(), self.origin.path().as_bytes(), b" HTTP/1.1\r\nHost: "]);
        push(out, &[self.origin.authority().as_bytes(), b"\r\nAccept: ", accept.as_bytes()]);
        push(out, &[b"\r\nAccept-Encoding: identity\r\nUser-Agent: portcullis\r\n"]);
        if self.verb == Verb::Post {
            push(out, &[b"Content-Type: application/json\r\nContent-Length: "]);
            write_decimal(out, self.body_bytes);
            push(out, &[b"\r\n"]);
        }
        let value = |field: Option<FieldValue<'a>>| field.map(FieldValue::bytes);
        line(out, b"MCP-Protocol-Version: ", value(self.protocol_version));
        line(out, b"Mcp-Session-Id: ", value(self.session_id));
        line(out, b"Mcp-Method: ", value(self.mcp_method));
        if let Some(name) = self.mcp_name {
            push(out, &[b"Mcp-Name: "]);
            write_name(out, name);
            push(out, &[b"\r\n"]);
        }
        self.write_params(out);
        line(out, b"Last-Event-ID: ", value(self.last_event_id));
        line(out, b"traceparent: ", self.traceparent.map(<[u8; _]>::as_slice));
        if let Some(Inject { header, prefix, secret }) = self.inject {
            push(out, &[header.bytes(), b": ", prefix.bytes(), secret.bytes(), b"\r\n"]);
        }
        push(out, &[b"\r\n"]);
    }

    /// A head's parser passes no control byte, so none is left out unless the buffer is another one;
    /// then the server misses it and refuses.
    fn write_params(&self, out: &mut Vec<u8>) {
        let Some((params, buffer)) = self.mcp_params else { return };
        for (name, value) in params.iter(buffer) {
            if let (Ok(name), Ok(value)) = (FieldValue::new(name), FieldValue::new(value)) {
                push(out, &[b"Mcp-Param-", name.bytes(), b": ", value.bytes(), b"\r\n"]);
            }
        }
    }
}

/// As the transport writes values that are not plain: `=?base64?…?=`.
fn write_name(out: &mut Vec<u8>, name: &str) {
    let bytes = name.as_bytes();
    let carried = |byte: &u8| matches!(byte, b' '..=b'~');
    let trimmed = bytes.starts_with(b" ") || bytes.ends_with(b" ");
    let looks_coded = bytes.starts_with(b"=?base64?") && bytes.ends_with(b"?=");
    let plain = bytes.iter().all(carried) && !trimmed && !looks_coded;
    if plain {
        push(out, &[bytes]);
        return;
    }
    push(out, &[b"=?base64?"]);
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    if let Some(room) = out.get_mut(start..) {
        // The room is exact, so this cannot fail; if it did, the padding above is refused by any reader.
        let _ = STANDARD.encode_slice(bytes, room);
    }
    push(out, &[b"?="]);
}

fn line(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        push(out, &[name, value, b"\r\n"]);
    }
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use dataplane_ingress::{Limits, Parsed, parse_head};

    use super::*;

    fn written(request: &Request<'_>) -> String {
        let mut out = Vec::new();
        request.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn value(text: &str) -> Option<FieldValue<'_>> {
        FieldValue::new(text.as_bytes()).ok()
    }

    #[test]
    fn a_call_with_everything() {
        let origin = Origin::parse("http://crm.internal:8000/mcp").unwrap();
        let client = b"POST / HTTP/1.1\r\nHost: g\r\nMcp-Param-Region: eu\r\nX-Other: 1\r\n\r\n";
        let Ok(Parsed::Complete(head)) = parse_head(client, &Limits::default()) else {
            panic!("the client's head is good")
        };
        let request = Request {
            protocol_version: value("2026-07-28"),
            session_id: value("s1"),
            mcp_method: value("tools/call"),
            mcp_name: Some("get_orders"),
            mcp_params: Some((&head.headers.mcp_params, client)),
            last_event_id: value("e1"),
            traceparent: Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            inject: Some(Inject {
                header: FieldName::new(b"Authorization").unwrap(),
                prefix: value("Bearer ").unwrap(),
                secret: value("k").unwrap(),
            }),
            ..Request::new(&origin, 282)
        };
        assert_eq!(
            written(&request),
            "POST /mcp HTTP/1.1\r\nHost: crm.internal:8000\r\n\
             Accept: application/json, text/event-stream\r\nAccept-Encoding: identity\r\n\
             User-Agent: portcullis\r\nContent-Type: application/json\r\nContent-Length: 282\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMcp-Session-Id: s1\r\nMcp-Method: tools/call\r\n\
             Mcp-Name: get_orders\r\nMcp-Param-Region: eu\r\nLast-Event-ID: e1\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
             Authorization: Bearer k\r\n\r\n"
        );
    }

    #[test]
    fn what_has_no_body_says_nothing_of_one() {
        let origin = Origin::parse("https://h").unwrap();
        for (verb, line) in [(Verb::Get, "GET / HTTP/1.1"), (Verb::Delete, "DELETE / HTTP/1.1")] {
            let text = written(&Request { verb, ..Request::new(&origin, 5) });
            assert!(text.starts_with(line) && !text.contains("Content-"), "{text}");
        }
    }

    #[test]
    fn our_own_parser_accepts_what_is_written() {
        let origin = Origin::parse("http://[::1]:8000/a/mcp?x=1").unwrap();
        let text = written(&Request::new(&origin, 7));
        let Ok(Parsed::Complete(head)) = parse_head(text.as_bytes(), &Limits::default()) else {
            panic!("{text}")
        };
        assert_eq!(head.framing, dataplane_ingress::Framing::Length(7));
        assert_eq!(head.headers.host.of(text.as_bytes()), b"[::1]:8000");
    }

    #[test]
    fn names_that_http_cannot_carry_travel_in_base64() {
        for (name, sent) in [
            ("get_orders", "get_orders"),
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("a ", "=?base64?YSA=?="),
            ("caf\u{e9}", "=?base64?Y2Fmw6k=?="),
            ("a\r\nX: y", "=?base64?YQ0KWDogeQ==?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
            ("", ""),
        ] {
            let mut out = Vec::new();
            write_name(&mut out, name);
            assert_eq!(String::from_utf8(out).unwrap(), sent, "{name:?}");
        }
    }
}
