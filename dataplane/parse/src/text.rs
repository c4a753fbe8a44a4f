//! JSON strings, written.

use memchr::memchr2;

/// Appends `text` as a JSON string with its quotes. Only what RFC 8259 §7 demands is escaped.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if memchr2(b'"', b'\\', text.as_bytes()).is_none() && text.bytes().all(|byte| byte >= 0x20) {
        out.extend_from_slice(text.as_bytes());
    } else {
        text.bytes().for_each(|byte| write_byte(out, byte));
    }
    out.push(b'"');
}

fn write_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x00..=0x1F => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[hex(byte >> 4), hex(byte & 0xF)]);
        }
        _ => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::write_string;

    #[test]
    fn every_character_of_the_plane_reads_back() {
        let text: String = (0..0x3000).filter_map(char::from_u32).chain(['\u{1F980}']).collect();
        let mut out = Vec::new();
        write_string(&mut out, &text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        out.clear();
        write_string(&mut out, "plain");
        assert_eq!(out, b"\"plain\"");
    }
}
