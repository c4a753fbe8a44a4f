//! Header names and values that are safe to write: nothing in them can end their line.

use thiserror::Error;

/// A value without control bytes (a tab is allowed). RFC 9110 §5.5.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct FieldValue<'a>(&'a [u8]);

impl<'a> FieldValue<'a> {
    /// # Errors
    /// Where the first control byte is. The value itself is not repeated: it may be a secret.
    pub fn new(value: &'a [u8]) -> Result<Self, BadField> {
        let bad = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        match value.iter().position(bad) {
            None => Ok(Self(value)),
            Some(at) => Err(BadField::Value { at }),
        }
    }

    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Says the length only: values may be secrets.
impl std::fmt::Debug for FieldValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FieldValue({} bytes)", self.0.len())
    }
}

/// A name that an operator may choose for a header of his own: a token, and none that says how the
/// message is framed, where it goes or what the protocol layer writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FieldName<'a>(&'a [u8]);

impl<'a> FieldName<'a> {
    /// # Errors
    /// When it is no token (RFC 9110 §5.6.2), longer than 64 bytes, or one of ours.
    pub fn new(name: &'a [u8]) -> Result<Self, BadField> {
        if name.is_empty() || name.len() > 64 || !name.iter().all(|byte| is_token(*byte)) {
            return Err(BadField::Name);
        }
        let ours = OURS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let prefix = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"mcp-"));
        if ours || prefix { Err(BadField::Reserved) } else { Ok(Self(name)) }
    }

    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Why something cannot be written into a head.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BadField {
    #[error("the header value holds a control byte at position {at}")]
    Value { at: usize },
    #[error("the header name is not 1 to 64 characters of letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    #[error("the header name is reserved: the gateway writes this header itself")]
    Reserved,
}

/// Framing, hop-by-hop (RFC 9110 §7.6.1) and what each request to a server has anyway.
const OURS: [&str; 19] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "accept",
    "accept-encoding",
    "last-event-id",
    "traceparent",
    "user-agent",
    "date",
];

pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_end_its_line() {
        for byte in (0..b' ').filter(|byte| *byte != b'\t').chain([0x7f]) {
            assert_eq!(FieldValue::new(&[b'a', byte]), Err(BadField::Value { at: 1 }), "{byte:#x}");
            assert_eq!(FieldName::new(&[b'a', byte]), Err(BadField::Name), "{byte:#x}");
        }
        assert_eq!(
            FieldValue::new("Bearer \té".as_bytes()).unwrap().bytes(),
            "Bearer \té".as_bytes()
        );
    }

    #[test]
    fn framing_headers_cannot_be_injected() {
        for name in ["Content-Length", "TRANSFER-ENCODING", "Host", "connection", "Mcp-Name"] {
            assert_eq!(FieldName::new(name.as_bytes()), Err(BadField::Reserved), "{name}");
        }
        for name in ["", "a:b", "a b", "é", &"a".repeat(65)] {
            assert_eq!(FieldName::new(name.as_bytes()), Err(BadField::Name), "{name}");
        }
        for name in ["Authorization", "X-Api-Key", "Cookie"] {
            assert!(FieldName::new(name.as_bytes()).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_value_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", FieldValue::new(b"secret").unwrap()), "FieldValue(6 bytes)");
    }
}
