//! Properties that the fuzz targets check.
//!
//! Each takes any bytes and panics only when the property does not hold.

use crate::{ChunkDecoder, ChunkFault, Framing, Head, HeadFault, Limits, Parsed, parse_head};

/// A stream of requests reads the same in one piece, byte by byte, and cut anywhere.
pub fn one_reading(bytes: &[u8]) {
    let whole = Connection::read([bytes]);
    assert_eq!(whole, Connection::read(bytes.chunks(1)), "byte by byte");
    let seed =
        bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    for size in [2, 7, 1 + seed % 61] {
        assert_eq!(whole, Connection::read(bytes.chunks(size)), "{size} bytes at a time");
    }
    let (first, second) = bytes.split_at(seed % (bytes.len() + 1));
    assert_eq!(whole, Connection::read([first, second]), "cut at {}", first.len());
}

/// A chunked body decodes the same however it is cut, and as a plain twin decodes it.
pub fn chunks(bytes: &[u8]) {
    let whole = Chunks::read([bytes]);
    assert_eq!(whole, Chunks::read(bytes.chunks(1)), "byte by byte");
    for size in [2, 3, 11] {
        assert_eq!(whole, Chunks::read(bytes.chunks(size)), "{size} bytes at a time");
    }
    match (plain_chunks(bytes), whole.fault) {
        (Some((data, len)), None) => {
            assert!(whole.done && data == whole.data && len == whole.consumed, "the twin reads on");
        }
        (None, _) => assert!(!whole.done, "the twin finds no end"),
        (Some(_), Some(fault)) => {
            // The twin knows no limits.
            let limit = matches!(fault, ChunkFault::ExtensionsTooLong | ChunkFault::TooLong { .. });
            assert!(limit, "the twin reads it, we say {fault}");
        }
    }
}

/// What a connection has read: for comparison only, it allocates.
#[derive(Debug, Default, Eq, PartialEq)]
struct Connection {
    heads: Vec<(Head, Vec<u8>)>,
    bodies: Vec<Vec<u8>>,
    fault: Option<Fault>,
    /// Inside a body when the bytes ended.
    open: bool,
}

#[derive(Debug, Eq, PartialEq)]
enum Fault {
    Head(HeadFault),
    Chunk(ChunkFault),
}

enum Expecting {
    Head,
    Bytes { left: u64, body: Vec<u8> },
    Chunks { decoder: ChunkDecoder, body: Vec<u8> },
    Nothing,
}

impl Connection {
    fn read<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut found = Self::default();
        let mut expecting = Expecting::Head;
        let mut buffer = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let before = buffer.len();
                expecting = found.step(expecting, &mut buffer);
                let waits = matches!(expecting, Expecting::Head | Expecting::Nothing);
                if buffer.len() == before && (waits || buffer.is_empty()) {
                    break;
                }
            }
        }
        found.open = matches!(expecting, Expecting::Bytes { .. } | Expecting::Chunks { .. });
        found
    }

    fn step(&mut self, expecting: Expecting, buffer: &mut Vec<u8>) -> Expecting {
        match expecting {
            Expecting::Nothing => Expecting::Nothing,
            Expecting::Head => match parse_head(buffer, &Limits::default()) {
                Ok(Parsed::Partial) => Expecting::Head,
                Ok(Parsed::Complete(head)) => {
                    let bytes = buffer.drain(..head.len).collect();
                    self.heads.push((head, bytes));
                    self.expect_body(&head)
                }
                Err(fault) => self.end(Fault::Head(fault)),
            },
            Expecting::Bytes { left, mut body } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                body.extend(buffer.drain(..taken));
                match left.saturating_sub(taken as u64) {
                    0 => self.close_body(body),
                    left => Expecting::Bytes { left, body },
                }
            }
            Expecting::Chunks { mut decoder, mut body } => match decoder.decode(buffer) {
                Ok(found) => {
                    body.extend_from_slice(buffer.get(found.data).unwrap_or_default());
                    buffer.drain(..found.consumed);
                    if found.done {
                        self.close_body(body)
                    } else {
                        Expecting::Chunks { decoder, body }
                    }
                }
                Err(fault) => self.end(Fault::Chunk(fault)),
            },
        }
    }

    fn expect_body(&mut self, head: &Head) -> Expecting {
        match head.framing {
            Framing::Empty => self.close_body(Vec::new()),
            Framing::Length(left) => Expecting::Bytes { left, body: Vec::new() },
            Framing::Chunked => {
                let decoder = ChunkDecoder::new(Limits::default().body_bytes);
                Expecting::Chunks { decoder, body: Vec::new() }
            }
        }
    }

    fn close_body(&mut self, body: Vec<u8>) -> Expecting {
        self.bodies.push(body);
        let last = self.heads.last().is_some_and(|(head, _)| !head.keep_alive);
        if last { Expecting::Nothing } else { Expecting::Head }
    }

    fn end(&mut self, fault: Fault) -> Expecting {
        self.fault = Some(fault);
        Expecting::Nothing
    }
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Chunks {
    data: Vec<u8>,
    consumed: usize,
    done: bool,
    fault: Option<ChunkFault>,
}

impl Chunks {
    fn read<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut decoder = ChunkDecoder::new(Limits::default().body_bytes);
        let mut found = Self::default();
        for piece in pieces {
            let mut piece = piece.to_vec();
            match decoder.decode(&mut piece) {
                Ok(part) => {
                    assert!(part.done || part.consumed == piece.len(), "bytes left over");
                    found.data.extend_from_slice(piece.get(part.data).unwrap_or_default());
                    found.consumed += part.consumed;
                    found.done = part.done;
                }
                // What came before a fault is thrown away with the request.
                Err(fault) => return Self { fault: Some(fault), ..Self::default() },
            }
        }
        found
    }
}

/// The data and the length of a complete chunked body, read line by line.
fn plain_chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut rest) = (Vec::new(), bytes);
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = str::from_utf8(rest.get(..end)?).ok()?;
        let (digits, extension) = line.split_once(';').unwrap_or((line, ""));
        let plain =
            (1..=8).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
        if !plain || !extension.bytes().all(|c| c == b'\t' || (b' '..=b'~').contains(&c)) {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        rest = rest.get(end + 2..)?;
        data.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((data, bytes.len() - rest.len()));
        }
    }
}
