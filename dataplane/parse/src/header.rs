//! Values that travel in headers: plain ASCII, or `=?base64?…?=`.
//!
//! A header is compared with the body's value without being decoded into memory. Base64 is the
//! standard alphabet, padded, and canonical: each value has one spelling.

const PREFIX: &[u8] = b"=?base64?";
const SUFFIX: &[u8] = b"?=";

/// The value claims to be base64 and is not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the header's value is not canonical base64 between =?base64? and ?=")]
pub struct BadBase64;

/// Whether a header says exactly `expected`, after the white space around it is removed.
///
/// # Errors
/// When the value has the form of base64 and is none.
pub fn header_value_equals(raw: &[u8], expected: &[u8]) -> Result<bool, BadBase64> {
    match split(raw) {
        Coding::Plain(plain) => Ok(plain == expected && plain.iter().all(is_plain)),
        Coding::Base64(coded) => {
            let mut rest = expected;
            let mut equal = true;
            decode(coded, |bytes| match rest.split_at_checked(bytes.len()) {
                Some((head, tail)) if head == bytes => rest = tail,
                _ => equal = false,
            })?;
            Ok(equal && rest.is_empty())
        }
    }
}

/// Appends what a header says to `out`.
///
/// # Errors
/// When the value has the form of base64 and is none; `out` is then as it was.
pub fn header_value_decode(raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadBase64> {
    let before = out.len();
    let decoded = match split(raw) {
        Coding::Plain(plain) => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Coding::Base64(coded) => decode(coded, |bytes| out.extend_from_slice(bytes)),
    };
    if decoded.is_err() {
        out.truncate(before);
    }
    decoded
}

/// Appends `value` as a header's value: plainly if it can stand there, else as base64.
pub fn header_value_encode(value: &str, out: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    let space_around =
        [bytes.first(), bytes.last()].iter().any(|end| matches!(end, Some(b' ' | b'\t')));
    let looks_coded = matches!(split(bytes), Coding::Base64(_));
    if !space_around && !looks_coded && bytes.iter().all(is_plain) {
        out.extend_from_slice(bytes);
        return;
    }
    out.extend_from_slice(PREFIX);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            out.push(if index <= group.len() { letter(bits >> (18 - 6 * index)) } else { b'=' });
        }
    }
    out.extend_from_slice(SUFFIX);
}

/// Removes spaces and tabs around a value.
pub(crate) fn trim(raw: &[u8]) -> &[u8] {
    let mut value = raw;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

enum Coding<'a> {
    Plain(&'a [u8]),
    Base64(&'a [u8]),
}

fn split(raw: &[u8]) -> Coding<'_> {
    let value = trim(raw);
    match value.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) {
        Some(coded) => Coding::Base64(coded),
        None => Coding::Plain(value),
    }
}

const fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn decode(coded: &[u8], mut give: impl FnMut(&[u8])) -> Result<(), BadBase64> {
    let groups = coded.chunks_exact(4);
    if !groups.remainder().is_empty() {
        return Err(BadBase64);
    }
    let mut left = groups.len();
    for group in groups {
        left -= 1;
        let padding = match group {
            [_, _, b'=', b'='] if left == 0 => 2,
            [_, _, _, b'='] if left == 0 => 1,
            _ => 0,
        };
        let bits = group.iter().take(4 - padding).try_fold(0u32, |bits, letter| {
            sextet(*letter).map(|sextet| bits << 6 | u32::from(sextet)).ok_or(BadBase64)
        })?;
        let bits = bits << (6 * padding);
        let [_, a, b, c] = bits.to_be_bytes();
        match (padding, b, c) {
            (0, ..) => give(&[a, b, c]),
            (1, _, 0) => give(&[a, b]),
            (2, 0, 0) => give(&[a]),
            // Bits beyond the last byte: another spelling of the same value.
            _ => return Err(BadBase64),
        }
    }
    Ok(())
}

const fn sextet(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Of the lowest six bits.
const fn letter(bits: u32) -> u8 {
    let sextet = (bits & 0x3F) as u8;
    match sextet {
        0..=25 => b'A' + sextet,
        26..=51 => b'a' + sextet - 26,
        52..=61 => b'0' + sextet - 52,
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::{BadBase64, header_value_decode, header_value_encode, header_value_equals};

    #[test]
    fn what_is_encoded_equals_and_decodes() {
        for value in ["", "a", "ab", "crm__get", " a", "a\t", "é", "a\nb", "=?base64?YQ==?=", "🦀"]
        {
            let mut coded = Vec::new();
            header_value_encode(value, &mut coded);
            assert!(coded.iter().all(|byte| (0x20..0x7F).contains(byte)), "{value:?}");
            assert_eq!(header_value_equals(&coded, value.as_bytes()), Ok(true), "{value:?}");
            assert_eq!(header_value_equals(&coded, b"other"), Ok(false));
            let mut decoded = Vec::new();
            header_value_decode(&coded, &mut decoded).unwrap();
            assert_eq!(decoded, value.as_bytes());
        }
    }

    #[test]
    fn agrees_with_another_base64_for_every_short_text() {
        let letters = b"A/=+b-";
        for case in 0..6usize.pow(5) {
            for length in [4, 5] {
                let coded: Vec<u8> =
                    (0..length).map(|at| letters[case / 6usize.pow(at) % 6]).collect();
                let mut header = b"=?base64?".to_vec();
                header.extend_from_slice(&coded);
                header.extend_from_slice(b"?=");
                let mut decoded = Vec::new();
                let ours = header_value_decode(&header, &mut decoded).map(|()| decoded);
                assert_eq!(ours.ok(), BASE64_STANDARD.decode(&coded).ok(), "{coded:?}");
            }
        }
    }

    #[test]
    fn white_space_around_is_nothing_and_inside_is_something() {
        assert_eq!(header_value_equals(b" \ta b\t ", b"a b"), Ok(true));
        assert_eq!(header_value_equals(b"a  b", b"a b"), Ok(false));
        assert_eq!(header_value_equals(b"=?base64?%?=", b"%"), Err(BadBase64));
        assert_eq!(header_value_equals("é".as_bytes(), "é".as_bytes()), Ok(false));
        assert_eq!(header_value_equals(b"=?BASE64?YQ==?=", b"a"), Ok(false));
    }
}
