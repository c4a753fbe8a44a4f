//! Little-endian integers and length-prefixed bytes, read without a panic.

use crate::Refused;

/// Reads from the front; remembers what it reads, for the refusal's text.
pub(crate) struct Reader<'a> {
    what: &'static str,
    all: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, all: bytes.len(), rest: bytes }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.all - self.rest.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            let need = self.at().saturating_add(count);
            return Err(Refused::Truncated { what: self.what, have: self.all, need });
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.bytes(N)?) {
            *to = *from;
        }
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Refused> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Refused> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Refused> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Refused> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length in 16 bits, then so many bytes, at most `max`.
    pub(crate) fn short(&mut self, field: &str, max: usize) -> Result<&'a [u8], Refused> {
        let length = usize::from(self.u16()?);
        crate::names::at_most(field, length, max)?;
        self.bytes(length)
    }

    pub(crate) fn text(&mut self, field: &str, max: usize) -> Result<&'a str, Refused> {
        let bytes = self.short(field, max)?;
        std::str::from_utf8(bytes).map_err(|_| crate::names::wrong(field, "", "is not UTF-8"))
    }

    /// Everything up to the end.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn end(self) -> Result<(), Refused> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(Refused::TrailingBytes { what: self.what, count }),
        }
    }
}

/// Appends a length in 16 bits and the bytes; what is longer is cut, which no checked value is.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}
