//! Places in a connection's buffer, so that what was read needs neither a copy nor a lifetime.

/// A range of bytes of the buffer that was parsed. Valid until that buffer is changed or compacted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` lies in `whole`. `None` when it is not a part of it, or lies past 4 GiB.
    #[must_use]
    pub fn within(whole: &[u8], part: &[u8]) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        if end > whole.len() {
            return None;
        }
        Some(Self { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    /// The bytes, from the buffer that was parsed. Empty when that buffer is shorter than this.
    #[must_use]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The same bytes as indices.
    #[must_use]
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a parser makes of the bytes so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parsed<T> {
    /// Nothing is wrong yet, but more bytes must come. Ask again with all of them.
    Partial,
    Complete(T),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_and_read_back() {
        let whole = b"one two";
        let two = Span::within(whole, &whole[4..]).unwrap();
        assert_eq!((two.of(whole), two.range()), (&b"two"[..], 4..7));
        assert_eq!(two.of(b"other"), b"", "a shorter buffer is not read past its end");
        assert_eq!(Span::within(&whole[..3], &whole[2..]), None);
        assert_eq!(Span::within(&whole[3..], whole), None);
    }
}
