//! Where each value stands in the text.
//!
//! One pass over tape and text side by side. Every token is held against its node, and the grammar
//! is checked again on the way, so that text which the tape does not describe exactly is refused,
//! whichever of the two readings is wrong.

use memchr::memchr2;
use simd_json::{Node, StaticNode};

use crate::document::Extent;
use crate::fault::ParseFault;
use crate::limits::{Limits, NUMBER_BYTES_MAX};

/// Writes the extent of each node of `tape` into `extents`.
pub(crate) fn walk(
    body: &[u8],
    tape: &[Node<'_>],
    limits: &Limits,
    open: &mut Stack,
    extents: &mut Vec<Extent>,
) -> Result<(), ParseFault> {
    extents.clear();
    open.frames.clear();
    let mut reader = Reader { body, at: 0, nul_allowed: limits.nul_allowed };
    for (index, node) in tape.iter().enumerate() {
        let is_key = open.separate(&mut reader, extents)?;
        reader.skip_space();
        let start = reader.at;
        match node {
            Node::String(text) => reader.string(text)?,
            _ if is_key => return Err(reader.inconsistent()),
            Node::Object { len, .. } => {
                reader.expect(b'{')?;
                open.push(Frame::new(index, *len, true), limits)?;
            }
            Node::Array { len, .. } => {
                reader.expect(b'[')?;
                open.push(Frame::new(index, *len, false), limits)?;
            }
            Node::Static(StaticNode::Null) => reader.word(b"null")?,
            Node::Static(StaticNode::Bool(true)) => reader.word(b"true")?,
            Node::Static(StaticNode::Bool(false)) => reader.word(b"false")?,
            Node::Static(_) => reader.number()?,
        }
        extents.push(Extent { start: narrow(start), end: narrow(reader.at) });
    }
    open.close_all(&mut reader, extents)?;
    reader.skip_space();
    if reader.at == body.len() { Ok(()) } else { Err(reader.inconsistent()) }
}

/// Lengths are below `u32::MAX`: the parser refuses longer texts.
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// An object or array whose end is still to come.
struct Frame {
    node: usize,
    /// Members or items that are still to come.
    left: usize,
    is_object: bool,
    /// A key was read and its value is next.
    value_due: bool,
    started: bool,
}

impl Frame {
    const fn new(node: usize, left: usize, is_object: bool) -> Self {
        Self { node, left, is_object, value_due: false, started: false }
    }
}

/// What is open, outermost first. Kept between texts for its memory.
#[derive(Default)]
pub(crate) struct Stack {
    frames: Vec<Frame>,
}

impl Stack {
    fn top(&mut self) -> Option<&mut Frame> {
        self.frames.last_mut()
    }

    fn push(&mut self, frame: Frame, limits: &Limits) -> Result<(), ParseFault> {
        if self.frames.len() >= limits.depth_max {
            return Err(ParseFault::TooDeep { depth_max: limits.depth_max });
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Reads what stands before the next value; says whether that value is a key.
    fn separate(
        &mut self,
        reader: &mut Reader<'_>,
        extents: &mut [Extent],
    ) -> Result<bool, ParseFault> {
        self.close_finished(reader, extents)?;
        let Some(frame) = self.top() else {
            return if extents.is_empty() { Ok(false) } else { Err(reader.inconsistent()) };
        };
        if frame.value_due {
            frame.value_due = false;
            frame.left -= 1;
            reader.skip_space();
            reader.expect(b':')?;
            return Ok(false);
        }
        if frame.started {
            reader.skip_space();
            reader.expect(b',')?;
        }
        frame.started = true;
        if frame.is_object {
            frame.value_due = true;
        } else {
            frame.left -= 1;
        }
        Ok(frame.is_object)
    }

    /// Closes what has nothing left.
    fn close_finished(
        &mut self,
        reader: &mut Reader<'_>,
        extents: &mut [Extent],
    ) -> Result<(), ParseFault> {
        while let Some(frame) = self.top() {
            if frame.left > 0 {
                break;
            }
            let (node, bracket) = (frame.node, if frame.is_object { b'}' } else { b']' });
            reader.skip_space();
            reader.expect(bracket)?;
            if let Some(extent) = extents.get_mut(node) {
                extent.end = narrow(reader.at);
            }
            self.frames.pop();
        }
        Ok(())
    }

    fn close_all(
        &mut self,
        reader: &mut Reader<'_>,
        extents: &mut [Extent],
    ) -> Result<(), ParseFault> {
        self.close_finished(reader, extents)?;
        if self.frames.is_empty() { Ok(()) } else { Err(reader.inconsistent()) }
    }
}

struct Reader<'b> {
    body: &'b [u8],
    at: usize,
    nul_allowed: bool,
}

impl Reader<'_> {
    fn inconsistent(&self) -> ParseFault {
        ParseFault::Inconsistent { at: self.at }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.body.get(self.at) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseFault> {
        if self.body.get(self.at) != Some(&byte) {
            return Err(self.inconsistent());
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), ParseFault> {
        if !self.body.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.inconsistent());
        }
        self.at += word.len();
        Ok(())
    }

    /// RFC 8259 §6, to the end of the number; what follows is the caller's to check.
    fn number(&mut self) -> Result<(), ParseFault> {
        let start = self.at;
        if self.body.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.body.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.body.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.body.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.at - start > NUMBER_BYTES_MAX {
            return Err(ParseFault::NumberTooLong { at: start });
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ParseFault> {
        let start = self.at;
        while self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.inconsistent()) } else { Ok(()) }
    }

    /// A string that unescapes to `text`.
    fn string(&mut self, text: &str) -> Result<(), ParseFault> {
        self.expect(b'"')?;
        // What stands there letter by letter, with a quote after it, has no escape in it: each escape
        // is longer than what it stands for, so the first quote would have to stand before itself.
        let end = self.at.saturating_add(text.len());
        if self.body.get(self.at..end) == Some(text.as_bytes()) && self.body.get(end) == Some(&b'"')
        {
            self.at = end + 1;
            return Ok(());
        }
        self.escaped(text)
    }

    /// The rest of a string that is written with escapes.
    fn escaped(&mut self, text: &str) -> Result<(), ParseFault> {
        let start = self.at;
        let mut unescaped = 0;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let Some(plain) = memchr2(b'"', b'\\', rest) else { return Err(self.inconsistent()) };
            unescaped += plain;
            self.at += plain;
            if rest.get(plain) == Some(&b'"') {
                break;
            }
            unescaped += self.escape()?;
        }
        let has_escape = unescaped < self.at - start;
        self.at += 1;
        if has_escape && unescaped == text.len() { Ok(()) } else { Err(self.inconsistent()) }
    }

    /// One escape; answers how many bytes of UTF-8 it stands for.
    fn escape(&mut self) -> Result<usize, ParseFault> {
        let at = self.at;
        match self.body.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(1);
            }
            Some(b'u') => {}
            _ => return Err(self.inconsistent()),
        }
        let unit = self.unit(at)?;
        self.at += 6;
        match unit {
            0 if !self.nul_allowed => Err(ParseFault::Nul { at }),
            0..=0x7F => Ok(1),
            0x80..=0x7FF => Ok(2),
            0xD800..=0xDBFF => match self.unit(at + 6) {
                Ok(0xDC00..=0xDFFF) => {
                    self.at += 6;
                    Ok(4)
                }
                _ => Err(ParseFault::LoneSurrogate { at }),
            },
            0xDC00..=0xDFFF => Err(ParseFault::LoneSurrogate { at }),
            0x800..=0xFFFF => Ok(3),
        }
    }

    /// The UTF-16 unit of the `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Result<u16, ParseFault> {
        let Some([b'\\', b'u', hex @ ..]) = self.body.get(at..at + 6) else {
            return Err(self.inconsistent());
        };
        hex.iter().try_fold(0u16, |unit, byte| {
            let digit = char::from(*byte).to_digit(16).ok_or_else(|| self.inconsistent())?;
            Ok(unit << 4 | u16::try_from(digit).unwrap_or_default())
        })
    }
}
