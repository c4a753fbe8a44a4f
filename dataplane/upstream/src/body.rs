//! The body of an answer, in pieces, without its framing.

use std::ops::Range;

use dataplane_ingress::ChunkDecoder;

use crate::response::{Framing, ResponseFault};

/// Where an answer's body stands. One an answer.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    max: u64,
}

#[derive(Clone, Debug)]
enum State {
    Length { left: u64 },
    Chunked(ChunkDecoder),
    UntilClose { room: u64 },
    Done,
}

/// What came of some bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Bytes that belong to this answer. When `done` and bytes are left, the server sent something that
    /// nobody asked for: close the connection.
    pub consumed: usize,
    /// The body's bytes among them, inside the same slice.
    pub data: Range<usize>,
    /// The answer is complete.
    pub done: bool,
}

impl BodyDecoder {
    /// For a body of at most `body_bytes_max` bytes; `u64::MAX` for a stream that is judged by event.
    ///
    /// # Errors
    /// When the head already announces more.
    pub fn new(framing: Framing, body_bytes_max: u64) -> Result<Self, ResponseFault> {
        let state = match framing {
            Framing::Empty => State::Done,
            Framing::Length(left) if left > body_bytes_max => {
                return Err(ResponseFault::TooLong { max: body_bytes_max });
            }
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::Chunked(ChunkDecoder::new(body_bytes_max)),
            Framing::UntilClose => State::UntilClose { room: body_bytes_max },
        };
        Ok(Self { state, max: body_bytes_max })
    }

    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// What is wrong with the body. The decoder must not be used again.
    pub fn push(&mut self, bytes: &mut [u8]) -> Result<Piece, ResponseFault> {
        let len = bytes.len();
        match &mut self.state {
            State::Done => Ok(Piece { consumed: 0, data: 0..0, done: true }),
            State::Length { left } => {
                let taken = usize::try_from(*left).map_or(len, |left| left.min(len));
                *left = left.saturating_sub(taken as u64);
                let done = *left == 0;
                if done {
                    self.state = State::Done;
                }
                Ok(Piece { consumed: taken, data: 0..taken, done })
            }
            State::Chunked(chunks) => {
                let found = chunks.decode(bytes)?;
                if found.done {
                    self.state = State::Done;
                }
                Ok(Piece { consumed: found.consumed, data: found.data, done: found.done })
            }
            State::UntilClose { room } => {
                let too_long = ResponseFault::TooLong { max: self.max };
                *room = room.checked_sub(len as u64).ok_or(too_long)?;
                Ok(Piece { consumed: len, data: 0..len, done: false })
            }
        }
    }

    /// The server closed its side.
    ///
    /// # Errors
    /// When the answer was not complete.
    pub fn on_close(&mut self) -> Result<(), ResponseFault> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose { .. } => {
                self.state = State::Done;
                Ok(())
            }
            State::Length { .. } | State::Chunked(_) => Err(ResponseFault::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of `bytes`, and what is left of them.
    fn read(
        framing: Framing,
        bytes: &[u8],
        size: usize,
    ) -> Result<(Vec<u8>, usize, bool), ResponseFault> {
        let mut decoder = BodyDecoder::new(framing, 10)?;
        let (mut body, mut consumed) = (Vec::new(), 0);
        for piece in bytes.chunks(size) {
            let mut piece = piece.to_vec();
            let found = decoder.push(&mut piece)?;
            body.extend_from_slice(&piece[found.data]);
            consumed += found.consumed;
        }
        Ok((body, bytes.len() - consumed, decoder.is_done()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for size in 1..20 {
            let (empty, length) = (Framing::Empty, Framing::Length(5));
            assert_eq!(read(empty, b"HTTP", size), Ok((vec![], 4, true)));
            assert_eq!(read(length, b"helloHTTP", size), Ok((b"hello".to_vec(), 4, true)));
            let chunked = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nHTTP";
            assert_eq!(read(Framing::Chunked, chunked, size), Ok((b"hello".to_vec(), 4, true)));
            assert_eq!(
                read(Framing::UntilClose, b"hello", size),
                Ok((b"hello".to_vec(), 0, false))
            );
        }
    }

    #[test]
    fn one_byte_past_the_limit() {
        let fault = Err(ResponseFault::TooLong { max: 10 });
        assert!(read(Framing::Length(10), b"0123456789", 3).is_ok());
        assert_eq!(read(Framing::Length(11), b"", 3), fault);
        assert!(read(Framing::UntilClose, b"0123456789", 3).is_ok());
        assert_eq!(read(Framing::UntilClose, b"0123456789a", 3), fault);
        let chunk_fault = dataplane_ingress::ChunkFault::TooLong { max: 10 };
        let chunk_fault = Err(ResponseFault::Chunk(chunk_fault));
        assert_eq!(read(Framing::Chunked, b"b\r\n", 3), chunk_fault);
    }

    #[test]
    fn a_close_before_the_end_is_a_fault() {
        for (framing, closes) in [
            (Framing::Empty, Ok(())),
            (Framing::UntilClose, Ok(())),
            (Framing::Length(5), Err(ResponseFault::Truncated)),
            (Framing::Chunked, Err(ResponseFault::Truncated)),
        ] {
            let mut decoder = BodyDecoder::new(framing, 10).unwrap();
            assert_eq!(decoder.on_close(), closes, "{framing:?}");
            assert_eq!(decoder.is_done(), closes.is_ok());
        }
    }
}
