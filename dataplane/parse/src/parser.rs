//! One text after the other, with the buffers of the one before.
//!
//! A text is copied once, because strings are unescaped in place; the original stays what is
//! forwarded. Buffers that an unusually long text made grow are given back.

use memchr::memchr2;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use crate::document::{Document, Extent};
use crate::fault::ParseFault;
use crate::limits::{DEPTH_MAX, KEPT_BYTES_MAX, KEPT_NODES_MAX, Limits};
use crate::message::Message;
use crate::{envelope, keys, walk};

/// Reads messages. One for each core and direction; about 300 KiB at most between calls.
pub struct Parser {
    limits: Limits,
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    open: walk::Stack,
    extents: Vec<Extent>,
    keys: Vec<u32>,
}

impl Parser {
    /// A parser with empty buffers: the first messages allocate.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { depth_max: limits.depth_max.min(DEPTH_MAX), ..limits };
        Self {
            limits,
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(0, limits.depth_max),
            tape: Tape(Vec::new()),
            open: walk::Stack::default(),
            extents: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// The limits that it was made with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads one JSON-RPC message and shows it to `f`.
    ///
    /// # Errors
    /// When it is not strict JSON or not one message or batch. Which era it is for, whether the
    /// method is known and whether the id is acceptable is not judged here but in [`crate::era()`].
    pub fn with<R>(
        &mut self,
        body: &[u8],
        f: impl FnOnce(&Message<'_>) -> R,
    ) -> Result<R, ParseFault> {
        self.with_document(body, |document| envelope::read(document).map(|message| f(&message)))?
    }

    /// Reads any JSON text just as strictly and shows it to `f`.
    ///
    /// # Errors
    /// When it is not strict JSON, or beyond a limit.
    pub fn with_document<R>(
        &mut self,
        body: &[u8],
        f: impl FnOnce(Document<'_>) -> R,
    ) -> Result<R, ParseFault> {
        self.load(body)?;
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let read = fill(&mut self.scratch, body.len(), &mut self.buffers, &mut tape, &self.limits)
            .and_then(|()| {
                walk::walk(body, &tape.0, &self.limits, &mut self.open, &mut self.extents)?;
                keys::refuse_duplicates(&tape.0, &self.extents, &mut self.keys)?;
                Ok(f(Document { body, tape: &tape.0, extents: &self.extents }))
            });
        self.tape = tape.reset();
        self.give_back();
        read
    }

    fn load(&mut self, body: &[u8]) -> Result<(), ParseFault> {
        if body.len() > self.limits.bytes_max || u32::try_from(body.len()).is_err() {
            return Err(ParseFault::TooLong { bytes_max: self.limits.bytes_max });
        }
        if body.starts_with(b"\xEF\xBB\xBF") {
            return Err(ParseFault::ByteOrderMark);
        }
        refuse_swarm(body, self.limits.values_max)?;
        self.scratch.clear();
        self.scratch.extend_from_slice(body);
        self.scratch.extend_from_slice(&[b' '; INPUT_PADDING]);
        Ok(())
    }

    fn give_back(&mut self) {
        if self.scratch.capacity() > KEPT_BYTES_MAX + INPUT_PADDING
            || self.tape.0.capacity() > KEPT_NODES_MAX
        {
            *self = Self::new(self.limits);
        }
    }
}

/// Refuses far too many values before memory is taken for them: a value costs the sender two bytes
/// and us forty. Each value stands after a bracket, a comma or a colon, and at most two of these
/// belong to one value, so what is refused here is beyond the limit by any count.
fn refuse_swarm(body: &[u8], values_max: usize) -> Result<(), ParseFault> {
    let marks_max = values_max.saturating_mul(2);
    if body.len() <= marks_max {
        return Ok(());
    }
    let (mut rest, mut marks) = (body, 0usize);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'[' | b'{' | b',' | b':' => {
                marks += 1;
                if marks > marks_max {
                    return Err(ParseFault::TooManyValues { values_max });
                }
            }
            b'"' => rest = after_string(after),
            _ => {}
        }
    }
    Ok(())
}

/// What follows the string that `inside` begins in.
fn after_string(inside: &[u8]) -> &[u8] {
    let mut rest = inside;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let quote = rest.get(at) == Some(&b'"');
        rest = rest.get(at + if quote { 1 } else { 2 }..).unwrap_or_default();
        if quote {
            return rest;
        }
    }
    &[]
}

fn fill<'s>(
    scratch: &'s mut [u8],
    len: usize,
    buffers: &mut Buffers,
    tape: &mut Tape<'s>,
    limits: &Limits,
) -> Result<(), ParseFault> {
    simd_json::fill_tape_padded(scratch, len, buffers, tape).map_err(|error| {
        match error.error() {
            ErrorType::InvalidUtf8 => ParseFault::NotUtf8,
            ErrorType::DepthLimitExceeded => ParseFault::TooDeep { depth_max: limits.depth_max },
            _ => ParseFault::Syntax { at: error.index() },
        }
    })?;
    if tape.0.len() > limits.values_max {
        return Err(ParseFault::TooManyValues { values_max: limits.values_max });
    }
    Ok(())
}
