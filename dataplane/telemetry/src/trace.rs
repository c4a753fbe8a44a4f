//! W3C Trace Context (`traceparent`, version 00): read, continued and written without allocation.

/// Bytes of a `traceparent` value of version 00.
pub const TRACEPARENT_LEN: usize = 55;

/// Which trace a call belongs to. <https://www.w3.org/TR/trace-context/#traceparent-header>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a header value. `None` where the specification says to ignore it: another version's
    /// shape, upper case, or an all-zero id.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value: &[u8; TRACEPARENT_LEN] = value.get(..TRACEPARENT_LEN)?.try_into().ok()?;
        let [b'0', b'0', b'-', rest @ ..] = value else { return None };
        let (trace_text, rest) = rest.split_at_checked(32)?;
        let (b'-', rest) = (rest.first()?, rest.get(1..)?) else { return None };
        let (span_text, rest) = rest.split_at_checked(16)?;
        let (b'-', flags_text) = (rest.first()?, rest.get(1..)?) else { return None };
        let (mut trace_id, mut span_id, mut flags) = ([0; 16], [0; 8], [0; 1]);
        unhex(trace_text, &mut trace_id)?;
        unhex(span_text, &mut span_id)?;
        unhex(flags_text, &mut flags)?;
        let named = trace_id != [0; 16] && span_id != [0; 8];
        named.then_some(Self { trace_id, span_id, sampled: flags[0] & 1 == 1 })
    }

    /// The same trace, one hop further.
    #[must_use]
    pub const fn child(self, span_id: [u8; 8]) -> Self {
        Self { trace_id: self.trace_id, span_id, sampled: self.sampled }
    }

    /// The header value.
    #[must_use]
    pub fn to_header(self) -> [u8; TRACEPARENT_LEN] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let flags = [u8::from(self.sampled)];
        let digits = self.trace_id.iter().chain(&self.span_id).chain(&flags);
        let places = out.iter_mut().skip(3).filter(|byte| **byte != b'-');
        let nibbles = digits.flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, nibble) in places.zip(nibbles) {
            *place = hex_digit(nibble);
        }
        out
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn unhex(text: &[u8], out: &mut [u8]) -> Option<()> {
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        let [high, low] = pair else { return None };
        *byte = hex_value(*high)? << 4 | hex_value(*low)?;
    }
    Some(())
}

/// Lower case only, as the specification demands.
const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(header).unwrap();
        assert!(context.sampled);
        assert_eq!(&context.to_header(), header);
        assert_eq!(&context.child([1; 8]).to_header()[..35], &header[..35]);
    }

    #[test]
    fn what_the_specification_ignores_is_ignored() {
        for header in [
            &b"00-00000000000000000000000000000000-b7ad6b7169203331-01"[..],
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            b"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            b"",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{}", header.escape_ascii());
        }
    }
}
