//! How long a body is, by the headers that say so. Shared with the side towards servers.

/// Where a body ends. RFC 9112 §6.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes, at least one.
    Length(u64),
    Chunked,
}

/// A `Content-Length`: digits and nothing else, at most 19 of them. `None` for a sign, a list, a space,
/// an empty value and what does not fit.
#[must_use]
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Whether a `Transfer-Encoding` is `chunked` and nothing else.
#[must_use]
pub const fn is_chunked(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"chunked")
}

/// The members of a comma-separated list, without the white space around them.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The media type of a `Content-Type` or of a member of `Accept`, without its parameters.
#[must_use]
pub fn media_type(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Whether each line of a head ends with CRLF, given that it ends at all: httparse takes a bare LF too.
///
/// `names` are the header names, in order, as slices of `head`. The line before each of them, and the
/// last two lines, are looked at; that is all lines.
pub fn lines_end_with_crlf<'h>(head: &[u8], names: impl Iterator<Item = &'h str>) -> bool {
    let start = head.as_ptr() as usize;
    head.ends_with(b"\r\n\r\n")
        && names.into_iter().all(|name| {
            let at = (name.as_ptr() as usize).wrapping_sub(start);
            head.get(at.wrapping_sub(2)) == Some(&b'\r')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_plain_digits() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"007"), Some(7));
        assert_eq!(content_length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for bad in ["", "+5", "-5", "5 ", " 5", "5,5", "5, 5", "0x5", "5_0", "5.0", "1e3", "٥"] {
            assert_eq!(content_length(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(content_length(b"00000000000000000005"), None, "20 digits");
    }

    #[test]
    fn one_coding_is_known() {
        assert!(is_chunked(b"chunked") && is_chunked(b"Chunked"));
        for bad in ["", "chunked,", "chunked, chunked", "gzip, chunked", "xchunked", "chunked;a=b"]
        {
            assert!(!is_chunked(bad.as_bytes()), "{bad}");
        }
    }
}
