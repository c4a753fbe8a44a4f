//! New inputs from old ones, by a seed: what a fuzzer does first, without what it learns.

/// SplitMix64: a whole state in one integer, so that a seed is one number.
#[derive(Clone, Debug)]
pub struct Mutator {
    state: u64,
}

/// Bytes and words that parsers branch on.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\0",
    b"\"",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"=",
    b"..",
    b"%2e",
    b"0",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"id",
    b"method",
    b"params",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"data: ",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\x01",
];

/// The longest input that is made.
const INPUT_BYTES_MAX: usize = 65_536;

impl Mutator {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// `seed` changed in one to four places; `other` is material to splice from.
    pub fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut input = seed.to_vec();
        for _ in 0..=self.below(4) {
            self.step(&mut input, other);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn step(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.below(8) {
            0 => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let value = self.next().to_le_bytes();
                if let Some(byte) = input.get_mut(at) {
                    *byte = value[0];
                }
            }
            2 => input.truncate(at),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input.get(at..end).unwrap_or_default().to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let word = WORDS.get(self.below(WORDS.len())).copied().unwrap_or_default();
                input.splice(at..at, word.iter().copied());
            }
            6 => {
                let word = WORDS.get(self.below(WORDS.len())).copied().unwrap_or_default();
                input.splice(at..end, word.iter().copied());
            }
            _ => {
                let from = self.below(other.len() + 1);
                let to = from + self.below((other.len() - from).min(256) + 1);
                let part = other.get(from..to).unwrap_or_default().to_vec();
                input.splice(at..end, part);
            }
        }
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
