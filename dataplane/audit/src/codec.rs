//! The record's bytes, written and read.
//!
//! [`Sink`] cuts a text that is too long and remembers it; [`Source`] refuses whatever `Sink` would
//! not have written. Texts are numbered in the order in which they are written: that is their bit in
//! [`Truncated`].

use thiserror::Error;

use crate::record::RECORD_BYTES_MAX;

/// What a record may carry in [`Extra`].
pub const EXTRA_BYTES_MAX: usize = 16_384;

/// Which texts of a record were cut: bit n is the n-th text of its layout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Truncated(pub u16);

impl Truncated {
    pub const NONE: Self = Self(0);

    /// Whether anything was cut.
    #[must_use]
    pub const fn any(self) -> bool {
        self.0 != 0
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Malformed {
    #[error("record version {0} is not known here: read the log with the release that wrote it")]
    Version(u8),
    #[error("the record ends too early")]
    Short,
    #[error("bytes follow the record's end")]
    Trailing,
    #[error("the record's {0} has a value that is not known or not canonical")]
    Value(&'static str),
    #[error("the record's {0} is longer than a record may carry, or not UTF-8")]
    Text(&'static str),
}

/// Tagged values: tag `u16`, length `u16`, bytes; tags strictly ascending.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extra<'a>(&'a [u8]);

/// Bytes that are not tagged values in ascending order, or too many of them.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "extra values are (tag, length, bytes) with ascending tags, at most {EXTRA_BYTES_MAX} bytes"
)]
pub struct ExtraMalformed;

impl<'a> Extra<'a> {
    pub const NONE: Self = Self(&[]);

    /// Accepts well-formed tagged values.
    ///
    /// # Errors
    /// Tags out of order or doubled, a value past the end, or too many bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ExtraMalformed> {
        if bytes.len() > EXTRA_BYTES_MAX {
            return Err(ExtraMalformed);
        }
        let (mut rest, mut last_tag) = (bytes, None);
        while !rest.is_empty() {
            let (tag, _, after) = Self::split(rest).ok_or(ExtraMalformed)?;
            if last_tag.is_some_and(|last| tag <= last) {
                return Err(ExtraMalformed);
            }
            (rest, last_tag) = (after, Some(tag));
        }
        Ok(Self(bytes))
    }

    /// The values with their tags.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (tag, value, after) = Self::split(rest)?;
            rest = after;
            Some((tag, value))
        })
    }

    fn split(bytes: &'a [u8]) -> Option<(u16, &'a [u8], &'a [u8])> {
        let (tag, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        Some((u16::from_le_bytes(*tag), value, rest))
    }
}

/// Writes one record.
pub(crate) struct Sink<'v> {
    out: &'v mut Vec<u8>,
    truncated: u16,
    texts: u32,
}

impl<'v> Sink<'v> {
    pub(crate) const fn new(out: &'v mut Vec<u8>, truncated: Truncated) -> Self {
        Self { out, truncated: truncated.0, texts: 0 }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.array(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.array(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.array(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.array(&value.to_le_bytes());
    }

    pub(crate) fn array(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// At most `most` bytes of it, whole characters.
    pub(crate) fn text(&mut self, text: &str, most: usize) {
        let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
        if kept.len() < text.len() {
            self.truncated |= 1 << self.texts;
        }
        self.texts += 1;
        self.u16(kept.len() as u16);
        self.array(kept.as_bytes());
    }

    pub(crate) fn extra(&mut self, extra: Extra<'_>) {
        self.u16(extra.0.len() as u16);
        self.array(extra.0);
    }

    /// Where `finish` is to put the bits that are not known yet.
    pub(crate) fn reserve_truncated(&mut self) -> usize {
        let place = self.out.len();
        self.u16(0);
        place
    }

    /// Bits of texts that the record does not have are dropped, or it would not be canonical.
    pub(crate) fn finish(self, truncated_at: usize) {
        let known = (1_u32 << self.texts) - 1;
        let bits = self.truncated & known as u16;
        if let Some(place) = self.out.get_mut(truncated_at..truncated_at + 2) {
            place.copy_from_slice(&bits.to_le_bytes());
        }
    }
}

/// Reads one record.
pub(crate) struct Source<'a> {
    rest: &'a [u8],
    texts: u32,
}

impl<'a> Source<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, texts: 0 }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self, field: &'static str, most: usize) -> Result<&'a str, Malformed> {
        self.texts += 1;
        let len = usize::from(self.u16()?);
        if len > most {
            return Err(Malformed::Text(field));
        }
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| Malformed::Text(field))
    }

    pub(crate) fn truncated(&mut self) -> Result<Truncated, Malformed> {
        self.u16().map(Truncated)
    }

    pub(crate) fn extra(&mut self) -> Result<Extra<'a>, Malformed> {
        let len = usize::from(self.u16()?);
        let bytes = self.take(len)?;
        Extra::new(bytes).map_err(|ExtraMalformed| Malformed::Value("extra"))
    }

    pub(crate) fn finish(self, truncated: Truncated) -> Result<(), Malformed> {
        if !self.rest.is_empty() {
            return Err(Malformed::Trailing);
        }
        match u32::from(truncated.0) >> self.texts {
            0 => Ok(()),
            _ => Err(Malformed::Value("truncated bits")),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(bytes)
    }
}

// The fixed fields and all texts at their limits take less than 8 KiB (a test measures it).
const _: () = assert!(EXTRA_BYTES_MAX + 8_192 < RECORD_BYTES_MAX);
