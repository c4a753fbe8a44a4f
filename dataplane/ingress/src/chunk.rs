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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BODY_BYTES_MAX;

    fn decode(text: &str) -> Result<(String, usize, bool), ChunkFault> {
        let mut bytes = text.as_bytes().to_vec();
        let found = ChunkDecoder::new(BODY_BYTES_MAX).decode(&mut bytes)?;
        let data = String::from_utf8(bytes[found.data].to_vec()).unwrap();
        Ok((data, found.consumed, found.done))
    }

    #[test]
    fn chunks_are_joined_and_the_next_head_is_left() {
        let text = "4\r\nWiki\r\n5;a=\"b\"\r\npedia\r\n00B\r\n in\r\nchunks\r\n0\r\n\r\nPOST";
        let (data, consumed, done) = decode(text).unwrap();
        assert_eq!(
            (data.as_str(), &text[consumed..], done),
            ("Wikipedia in\r\nchunks", "POST", true)
        );
    }

    #[test]
    fn one_chunk_is_not_moved() {
        let mut bytes = b"4\r\nWiki\r\n".to_vec();
        let found = ChunkDecoder::new(9).decode(&mut bytes).unwrap();
        assert_eq!(found, Chunked { consumed: 9, data: 3..7, done: false });
    }

    #[test]
    fn every_cut_reads_the_same() {
        let text = b"4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\n\r\nPOST";
        for cut in 0..=text.len() {
            let mut decoder = ChunkDecoder::new(9);
            let (mut data, mut consumed) = (Vec::new(), 0);
            for piece in [&text[..cut], &text[cut..]] {
                let mut piece = piece.to_vec();
                let found = decoder.decode(&mut piece).unwrap();
                data.extend_from_slice(&piece[found.data]);
                consumed += found.consumed;
            }
            assert_eq!((data.as_slice(), consumed), (&b"Wikipedia"[..], text.len() - 4), "{cut}");
            assert!(decoder.is_done());
        }
    }

    #[test]
    fn a_size_is_plain_hexadecimal() {
        for bad in ["", "+5", "-5", "0x5", " 5", "5 ", "5\t", "g", "5_0", "٥"] {
            let fault = decode(&format!("{bad}\r\nhello\r\n")).unwrap_err();
            assert_eq!(fault, ChunkFault::Size, "{bad:?}");
        }
    }

    #[test]
    fn one_digit_past_the_limit() {
        assert_eq!(decode("00000001\r\n").unwrap(), (String::new(), 10, false));
        assert_eq!(decode("000000001\r\n"), Err(ChunkFault::Size));
    }

    #[test]
    fn lines_end_with_crlf_only() {
        for bad in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloo\r\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\rhello\r\n",
            "0\n\r\n",
            "0\r\n\n",
            "0\r\n\rX",
            "5;a\nhello",
        ] {
            assert_eq!(decode(bad), Err(ChunkFault::LineEnd), "{bad:?}");
        }
    }

    #[test]
    fn trailers_are_refused() {
        for trailer in ["Content-Length: 5", "X: y", " ", "\0", ":"] {
            let text = format!("0\r\n{trailer}\r\n\r\n");
            assert_eq!(decode(&text), Err(ChunkFault::Trailer), "{trailer}");
        }
    }

    #[test]
    fn one_byte_of_extensions_past_the_limit() {
        let extended = |len: usize| {
            let (first, second) = (len / 2, len - len / 2);
            format!("1;{}\r\na\r\n0;{}\r\n\r\n", "x".repeat(first - 1), "x".repeat(second - 1))
        };
        assert!(decode(&extended(CHUNK_EXTENSION_BYTES_MAX)).unwrap().2);
        let past = extended(CHUNK_EXTENSION_BYTES_MAX + 1);
        assert_eq!(decode(&past), Err(ChunkFault::ExtensionsTooLong), "over the whole body");
    }

    #[test]
    fn extensions_hold_no_control_byte() {
        for byte in ['\0', '\u{b}', '\u{7f}', 'é'] {
            assert_eq!(decode(&format!("1;a{byte}\r\n")), Err(ChunkFault::Extension));
        }
    }

    #[test]
    fn one_byte_of_body_past_the_limit() {
        let read = |text: &str| ChunkDecoder::new(5).decode(&mut text.as_bytes().to_vec());
        assert!(read("2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n").unwrap().done);
        let fault = read("2\r\nab\r\n4\r\n").unwrap_err();
        assert_eq!(
            (fault, fault.status()),
            (ChunkFault::TooLong { max: 5 }, 413),
            "before its data"
        );
    }

    #[test]
    fn after_the_end_nothing_is_taken() {
        let mut decoder = ChunkDecoder::new(5);
        assert!(decoder.decode(&mut b"0\r\n\r\n".to_vec()).unwrap().done);
        let more = decoder.decode(&mut b"5\r\n".to_vec()).unwrap();
        assert_eq!(more, Chunked { consumed: 0, data: 0..0, done: true });
    }
}
