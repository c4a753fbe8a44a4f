//! Properties that the fuzz targets check.
//!
//! Each takes any bytes and panics only when the property does not hold.

use dataplane_ingress::Parsed;

use crate::{BodyDecoder, Framing, Origin, ResponseFault, ResponseHead, parse_response};

/// An answer reads the same in one piece, byte by byte, and cut anywhere; and a head, once complete or
/// refused, does not change with what follows.
pub fn response(bytes: &[u8]) {
    let whole = Answer::read([bytes]);
    assert_eq!(whole, Answer::read(bytes.chunks(1)), "byte by byte");
    let seed =
        bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    for size in [2, 5, 1 + seed % 47] {
        assert_eq!(whole, Answer::read(bytes.chunks(size)), "{size} bytes at a time");
    }
    if let Some(head) = whole.head {
        assert!(head.len <= bytes.len() && (200..600).contains(&head.status));
        assert!(!head.keep_alive || head.framing != Framing::UntilClose);
    }
}

/// A URL that is accepted is written so that it reads back as itself.
pub fn origin(bytes: &[u8]) {
    let Ok(url) = str::from_utf8(bytes) else { return };
    let Ok(origin) = Origin::parse(url) else { return };
    let scheme = if origin.scheme() == crate::Scheme::Http { "http" } else { "https" };
    let again = Origin::parse(&format!("{scheme}://{}{}", origin.authority(), origin.path()));
    assert_eq!(again, Ok(origin));
}

/// What was read of one answer: for comparison only, it allocates.
#[derive(Debug, Default, Eq, PartialEq)]
struct Answer {
    head: Option<ResponseHead>,
    body: Vec<u8>,
    /// Bytes of the connection that belong to the answer.
    consumed: usize,
    done: bool,
    fault: Option<ResponseFault>,
}

impl Answer {
    fn read<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let (mut answer, mut buffer, mut body) = (Self::default(), Vec::new(), None);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            if let Err(fault) = answer.step(&mut buffer, &mut body) {
                // What came before a fault depends on the cut, and is thrown away with the connection.
                return Self { head: answer.head, fault: Some(fault), ..Self::default() };
            }
        }
        answer
    }

    fn step(
        &mut self,
        buffer: &mut Vec<u8>,
        body: &mut Option<BodyDecoder>,
    ) -> Result<(), ResponseFault> {
        let decoder = match body {
            Some(decoder) => decoder,
            None => {
                let Parsed::Complete(head) = parse_response(buffer)? else { return Ok(()) };
                self.head = Some(head);
                self.consumed += buffer.drain(..head.len).len();
                body.insert(BodyDecoder::new(head.framing, 1 << 20)?)
            }
        };
        let piece = decoder.push(buffer)?;
        self.body.extend_from_slice(buffer.get(piece.data).unwrap_or_default());
        self.consumed += buffer.drain(..piece.consumed).len();
        self.done = piece.done;
        assert!(piece.done || buffer.is_empty(), "bytes left over before the end");
        Ok(())
    }
}
