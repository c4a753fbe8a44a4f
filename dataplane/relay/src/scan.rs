//! JSON read as it passes: the grammar, without a tape.
//!
//! As strict as `dataplane-parse` on the same text: UTF-8, RFC 8259's grammar, whole surrogate pairs,
//! no key twice in an object at any depth, and the same bounds on values, depth and numbers. What is
//! kept is the kind of each open bracket, one key, and a keyed hash of each key of the objects that
//! are open: eight bytes for a key, whatever its length. Two keys of one hash are taken for equal,
//! which refuses a text but never lets one pass.

use std::hash::Hasher;

use dataplane_parse::{Limits, NUMBER_BYTES_MAX, ParseFault};
use memchr::memchr2;
use siphasher::sip::SipHasher13;

/// Bytes of a key in the message or in its result.
const KEY_BYTES_MAX: usize = 256;

/// What happened at a level that is judged: 0 the message, 1 its members, 2 the members of those.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// [`Scanner::key`] is whole; its value is at this level.
    Key(usize),
    /// A value begins with this byte, which is next.
    Begin(usize, u8),
    /// It has ended before the byte that is next.
    End(usize),
}

/// The deepest level of which events are told.
const LEVEL_MAX: usize = 2;

/// Reads one text.
#[derive(Debug)]
pub(crate) struct Scanner {
    limits: Limits,
    hash_key: [u8; 16],
    place: Place,
    /// A bit for each open bracket, the innermost lowest: whether it is an object's.
    objects: u64,
    depth: usize,
    values: usize,
    /// Bytes of the pieces before this one.
    before: usize,
    /// The beginning of a character that the last piece ended within.
    tail: [u8; 4],
    tail_len: usize,
    key: Vec<u8>,
    hash: SipHasher13,
    /// Of the keys of all open objects, and where each of those begins.
    hashes: Vec<u64>,
    starts: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Before a value; a bracket may close instead.
    Value {
        may_close: bool,
    },
    /// At a value's first byte, of which has been told.
    Begun,
    /// Before a key; a brace may close instead.
    Key {
        may_close: bool,
    },
    Colon,
    /// After a value.
    After,
    Text {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    /// Within `\uXXXX`: what has come of it, and the first half of a pair.
    Unit {
        is_key: bool,
        digits: u8,
        unit: u16,
        high: u16,
    },
    /// After the first half of a pair: `\`, then `u`.
    Pair {
        is_key: bool,
        has_slash: bool,
        high: u16,
    },
    Word {
        rest: &'static [u8],
    },
    Number {
        part: Number,
        len: usize,
    },
    Over,
}

/// RFC 8259 §6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Scanner {
    pub(crate) fn new(limits: Limits, hash_key: [u8; 16]) -> Self {
        Self {
            limits,
            hash_key,
            place: Place::Value { may_close: false },
            objects: 0,
            depth: 0,
            values: 0,
            before: 0,
            tail: [0; 4],
            tail_len: 0,
            key: Vec::new(),
            hash: SipHasher13::new_with_key(&hash_key),
            hashes: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// The last key of the message or of its result, as it was written.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Once for each piece, before its events: whether the text is UTF-8 so far.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), ParseFault> {
        let mut rest = bytes;
        while self.tail_len > 0 {
            let Some((first, after)) = rest.split_first() else { return Ok(()) };
            let Some(place) = self.tail.get_mut(self.tail_len) else {
                return Err(ParseFault::NotUtf8);
            };
            (*place, rest) = (*first, after);
            self.tail_len += 1;
            match std::str::from_utf8(self.tail.get(..self.tail_len).unwrap_or_default()) {
                Ok(_) => self.tail_len = 0,
                Err(fault) if fault.error_len().is_some() => return Err(ParseFault::NotUtf8),
                Err(_) => {}
            }
        }
        if let Err(fault) = std::str::from_utf8(rest) {
            let left = rest.get(fault.valid_up_to()..).unwrap_or_default();
            if fault.error_len().is_some() || left.len() >= self.tail.len() {
                return Err(ParseFault::NotUtf8);
            }
            self.tail_len = left.len();
            self.tail.iter_mut().zip(left).for_each(|(place, byte)| *place = *byte);
        }
        Ok(())
    }

    /// The piece is read; the next one follows it.
    pub(crate) fn end_piece(&mut self, bytes: usize) {
        self.before += bytes;
    }

    /// Bytes of the pieces before this one.
    pub(crate) fn read(&self) -> usize {
        self.before
    }

    /// Whether one whole value was read, and nothing else.
    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::Over && self.tail_len == 0
    }

    /// Reads on from `at` to the next event; `None` when the piece is used up.
    pub(crate) fn next(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ParseFault> {
        while let Some(byte) = bytes.get(*at).copied() {
            let event = match self.place {
                Place::Text { is_key } => {
                    let plain = plain_len(bytes.get(*at..).unwrap_or_default());
                    if is_key {
                        self.on_key_bytes(bytes.get(*at..*at + plain).unwrap_or_default())?;
                    }
                    *at += plain;
                    match bytes.get(*at) {
                        None => None,
                        Some(byte) => {
                            *at += 1;
                            self.on_text(is_key, *byte, *at)?
                        }
                    }
                }
                // A number ends with the byte after it, which is not its own.
                Place::Number { part, len } => match part.next(byte) {
                    Some(part) if len < NUMBER_BYTES_MAX => {
                        self.place = Place::Number { part, len: len + 1 };
                        *at += 1;
                        None
                    }
                    Some(_) => return Err(ParseFault::NumberTooLong { at: self.before + *at }),
                    None if part.may_end() => self.end_value(),
                    None => return Err(self.syntax(*at)),
                },
                Place::Begun => {
                    *at += 1;
                    self.on_begin(byte, *at)?;
                    None
                }
                Place::Value { .. }
                | Place::Key { .. }
                | Place::Colon
                | Place::After
                | Place::Over
                    if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') =>
                {
                    *at += 1;
                    None
                }
                Place::Value { may_close } if !(may_close && byte == b']') => {
                    self.count()?;
                    self.place = Place::Begun;
                    (self.depth <= LEVEL_MAX).then_some(Event::Begin(self.depth, byte))
                }
                _ => {
                    *at += 1;
                    self.on_mark(byte, *at)?
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn syntax(&self, at: usize) -> ParseFault {
        ParseFault::Syntax { at: self.before + at }
    }

    fn count(&mut self) -> Result<(), ParseFault> {
        self.values += 1;
        let values_max = self.limits.values_max;
        if self.values > values_max {
            Err(ParseFault::TooManyValues { values_max })
        } else {
            Ok(())
        }
    }

    /// A value's first byte.
    fn on_begin(&mut self, byte: u8, at: usize) -> Result<(), ParseFault> {
        self.place = match byte {
            b'{' | b'[' => {
                if self.depth >= self.limits.depth_max.min(64) {
                    return Err(ParseFault::TooDeep { depth_max: self.limits.depth_max });
                }
                self.depth += 1;
                self.objects = self.objects << 1 | u64::from(byte == b'{');
                if byte == b'{' {
                    self.starts.push(self.hashes.len());
                    Place::Key { may_close: true }
                } else {
                    Place::Value { may_close: true }
                }
            }
            b'"' => Place::Text { is_key: false },
            b't' => Place::Word { rest: b"rue" },
            b'f' => Place::Word { rest: b"alse" },
            b'n' => Place::Word { rest: b"ull" },
            b'-' => Place::Number { part: Number::Minus, len: 1 },
            b'0' => Place::Number { part: Number::Zero, len: 1 },
            b'1'..=b'9' => Place::Number { part: Number::Integer, len: 1 },
            _ => return Err(self.syntax(at)),
        };
        Ok(())
    }

    /// What is neither a value's first byte nor plain text.
    fn on_mark(&mut self, byte: u8, at: usize) -> Result<Option<Event>, ParseFault> {
        let is_object = self.objects & 1 == 1;
        match (self.place, byte) {
            (Place::Value { .. }, b']') => return Ok(self.close()),
            (Place::After, b']') if !is_object && self.depth > 0 => return Ok(self.close()),
            (Place::Key { may_close: true }, b'}') => return self.close_object(at),
            (Place::After, b'}') if is_object => return self.close_object(at),
            (Place::After, b',') if is_object => self.place = Place::Key { may_close: false },
            (Place::After, b',') => self.place = Place::Value { may_close: false },
            (Place::Key { .. }, b'"') => {
                self.count()?;
                self.key.clear();
                self.hash = SipHasher13::new_with_key(&self.hash_key);
                self.place = Place::Text { is_key: true };
            }
            (Place::Colon, b':') => self.place = Place::Value { may_close: false },
            (Place::Word { rest }, _) => match rest.split_first() {
                Some((wanted, [])) if *wanted == byte => return Ok(self.end_value()),
                Some((wanted, rest)) if *wanted == byte => self.place = Place::Word { rest },
                _ => return Err(self.syntax(at)),
            },
            (Place::Escape { is_key }, _) => self.on_escape(is_key, byte, at)?,
            (Place::Unit { is_key, digits, unit, high }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or_else(|| self.syntax(at))?;
                let unit = unit << 4 | u16::try_from(digit).unwrap_or_default();
                self.place = Place::Unit { is_key, digits: digits + 1, unit, high };
                if digits == 3 {
                    self.on_unit(is_key, unit, high, at)?;
                }
            }
            (Place::Pair { is_key, has_slash: false, high }, b'\\') => {
                self.place = Place::Pair { is_key, has_slash: true, high };
            }
            (Place::Pair { is_key, has_slash: true, high }, b'u') => {
                self.place = Place::Unit { is_key, digits: 0, unit: 0, high };
            }
            (Place::Pair { .. }, _) => {
                return Err(ParseFault::LoneSurrogate { at: self.before + at });
            }
            _ => return Err(self.syntax(at)),
        }
        Ok(None)
    }

    /// The byte that ends a run of plain text.
    fn on_text(&mut self, is_key: bool, byte: u8, at: usize) -> Result<Option<Event>, ParseFault> {
        match byte {
            b'"' if is_key => {
                self.hashes.push(self.hash.finish());
                self.place = Place::Colon;
                Ok((self.depth <= LEVEL_MAX).then_some(Event::Key(self.depth)))
            }
            b'"' => Ok(self.end_value()),
            b'\\' if is_key && self.depth <= LEVEL_MAX => {
                Err(ParseFault::EscapedKey { at: self.before + at })
            }
            b'\\' => {
                self.place = Place::Escape { is_key };
                Ok(None)
            }
            _ => Err(self.syntax(at)),
        }
    }

    fn on_escape(&mut self, is_key: bool, byte: u8, at: usize) -> Result<(), ParseFault> {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.place = Place::Unit { is_key, digits: 0, unit: 0, high: 0 };
                return Ok(());
            }
            _ => return Err(self.syntax(at)),
        };
        self.place = Place::Text { is_key };
        if is_key { self.on_key_bytes(&[plain]) } else { Ok(()) }
    }

    /// Four digits are there; `high` is the first half of a pair, or zero.
    fn on_unit(&mut self, is_key: bool, unit: u16, high: u16, at: usize) -> Result<(), ParseFault> {
        let lone = ParseFault::LoneSurrogate { at: self.before + at };
        let units: &[u16] = match (unit, high) {
            (0xD800..=0xDBFF, 0) => {
                self.place = Place::Pair { is_key, has_slash: false, high: unit };
                return Ok(());
            }
            (0xDC00..=0xDFFF, 1..) => &[high, unit],
            (0xD800..=0xDFFF, _) | (_, 1..) => return Err(lone),
            (0, 0) if !self.limits.nul_allowed => {
                return Err(ParseFault::Nul { at: self.before + at });
            }
            (_, 0) => &[unit],
        };
        self.place = Place::Text { is_key };
        if is_key {
            for character in char::decode_utf16(units.iter().copied()).flatten() {
                self.on_key_bytes(character.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
        }
        Ok(())
    }

    fn on_key_bytes(&mut self, bytes: &[u8]) -> Result<(), ParseFault> {
        self.hash.write(bytes);
        if self.depth <= LEVEL_MAX {
            if self.key.len() + bytes.len() > KEY_BYTES_MAX {
                return Err(ParseFault::WrongType {
                    field: "key",
                    wanted: "at most 256 bytes long",
                });
            }
            self.key.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn close_object(&mut self, at: usize) -> Result<Option<Event>, ParseFault> {
        let start = self.starts.pop().unwrap_or_default();
        let keys = self.hashes.get_mut(start..).unwrap_or_default();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(ParseFault::DuplicateKey { at: self.before + at });
        }
        self.hashes.truncate(start);
        Ok(self.close())
    }

    fn close(&mut self) -> Option<Event> {
        self.depth -= 1;
        self.objects >>= 1;
        self.end_value()
    }

    fn end_value(&mut self) -> Option<Event> {
        self.place = if self.depth == 0 { Place::Over } else { Place::After };
        (self.depth <= LEVEL_MAX).then_some(Event::End(self.depth))
    }
}

impl Number {
    /// The part that this byte belongs to, if it goes on.
    const fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    const fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}

/// Bytes before the next quote, backslash or control character.
fn plain_len(text: &[u8]) -> usize {
    let end = memchr2(b'"', b'\\', text).unwrap_or(text.len());
    let plain = text.get(..end).unwrap_or_default();
    plain.iter().position(|byte| *byte < 0x20).unwrap_or(end)
}
