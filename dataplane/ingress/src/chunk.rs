//! Chunked bodies, unwrapped in place. RFC 9112 §7.1, without its options.
//!
//! Lines end with CRLF, a size is one to eight hexadecimal digits, extensions are skipped up to a cap
//! over the whole body, trailers are refused. The decoder stops at the body's end, so what follows is
//! left for the next head.

use std::ops::Range;

use thiserror::Error;

use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX};

/// Where a chunked body stands. Keep it with the connection, one a body.
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    /// What the body may still have.
    room: u64,
    max: u64,
    extension_bytes: usize,
}

/// What came of some bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunked {
    /// Bytes that belong to the body and are dealt with. All of them, unless `done`.
    pub consumed: usize,
    /// The body's bytes among them, moved together inside the same slice.
    pub data: Range<usize>,
    /// The body is complete.
    pub done: bool,
}

/// A body that cannot be read in one way. Ends the connection.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ChunkFault {
    #[error("a chunk's size is not 1 to {CHUNK_SIZE_DIGITS_MAX} hexadecimal digits")]
    Size,
    #[error("a line of the chunked body does not end with CRLF")]
    LineEnd,
    #[error("the chunk extensions hold a control byte")]
    Extension,
    #[error("the chunk extensions of the body are longer than {CHUNK_EXTENSION_BYTES_MAX} bytes")]
    ExtensionsTooLong,
    #[error("trailers are refused: send every header before the body")]
    Trailer,
    #[error("the body is longer than {max} bytes")]
    TooLong { max: u64 },
}

impl ChunkFault {
    /// The HTTP status that says so to a client.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Size
            | Self::LineEnd
            | Self::Extension
            | Self::ExtensionsTooLong
            | Self::Trailer => 400,
            Self::TooLong { .. } => 413,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Size { digits: usize, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    Done,
}

const NEXT_SIZE: State = State::Size { digits: 0, size: 0 };

impl ChunkDecoder {
    /// For a body of at most `body_bytes_max` bytes, framing not counted.
    #[must_use]
    pub const fn new(body_bytes_max: u64) -> Self {
        Self { state: NEXT_SIZE, room: body_bytes_max, max: body_bytes_max, extension_bytes: 0 }
    }

    /// Whether the body's end has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next bytes of the stream. The data of several chunks is moved together to where the
    /// first of it lies; the data of one chunk stays where it is.
    ///
    /// # Errors
    /// The rule that the body breaks. The decoder must not be used again.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Chunked, ChunkFault> {
        let mut at = 0;
        let mut data = 0..0;
        while self.state != State::Done {
            let Some(byte) = bytes.get(at) else { break };
            if let State::Data { left } = self.state {
                let here = bytes.len().saturating_sub(at);
                let taken = usize::try_from(left).map_or(here, |left| left.min(here));
                gather(bytes, &mut data, at, taken);
                at += taken;
                let left = left.saturating_sub(taken as u64);
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.state = self.frame(*byte)?;
                at += 1;
            }
        }
        Ok(Chunked { consumed: at, data, done: self.is_done() })
    }

    /// One byte that is not data.
    fn frame(&mut self, byte: u8) -> Result<State, ChunkFault> {
        match (self.state, byte) {
            (State::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < CHUNK_SIZE_DIGITS_MAX =>
            {
                Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(hex(byte)) })
            }
            (State::Size { digits: 1.., size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { digits: 1.., size }, b';') => self.extension(size),
            (State::Size { digits: 1.., .. }, b'\n') => Err(ChunkFault::LineEnd),
            (State::Size { .. }, _) => Err(ChunkFault::Size),
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size }, b'\t' | b' '..=b'~') => self.extension(size),
            (State::Extension { .. }, b'\n') => Err(ChunkFault::LineEnd),
            (State::Extension { .. }, _) => Err(ChunkFault::Extension),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::LastCr),
            (State::SizeLf { size }, b'\n') => self.grant(size),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(NEXT_SIZE),
            (State::LastCr, b'\r') => Ok(State::LastLf),
            (State::LastCr, b'\n') => Err(ChunkFault::LineEnd),
            (State::LastCr, _) => Err(ChunkFault::Trailer),
            (State::LastLf, b'\n') => Ok(State::Done),
            (State::SizeLf { .. } | State::DataCr | State::DataLf | State::LastLf, _) => {
                Err(ChunkFault::LineEnd)
            }
            (state @ (State::Data { .. } | State::Done), _) => Ok(state),
        }
    }

    fn extension(&mut self, size: u64) -> Result<State, ChunkFault> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(ChunkFault::ExtensionsTooLong);
        }
        Ok(State::Extension { size })
    }

    fn grant(&mut self, size: u64) -> Result<State, ChunkFault> {
        self.room = self.room.checked_sub(size).ok_or(ChunkFault::TooLong { max: self.max })?;
        Ok(State::Data { left: size })
    }
}

/// Appends `bytes[from..from + len]` to what was gathered before it.
fn gather(bytes: &mut [u8], data: &mut Range<usize>, from: usize, len: usize) {
    if data.start == data.end {
        *data = from..from + len;
    } else {
        bytes.copy_within(from..from + len, data.end);
        data.end += len;
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
