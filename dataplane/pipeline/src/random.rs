//! Numbers that nobody outside can predict, from a seed that the shell drew.
//!
//! A counter under SipHash-2-4-128 with a secret key is a pseudo-random function of that counter:
//! good for ids and nonces, which must not repeat, and never used as a key.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

#[derive(Debug)]
pub(crate) struct Random {
    key: [u8; 16],
    salt: [u8; 16],
    count: u64,
}

impl Random {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let (mut key, mut salt) = ([0; 16], [0; 16]);
        key.iter_mut().zip(seed.iter().take(16)).for_each(|(to, from)| *to = *from);
        salt.iter_mut().zip(seed.iter().skip(16)).for_each(|(to, from)| *to = *from);
        Self { key, salt, count: 0 }
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        self.count += 1;
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&self.salt);
        hasher.write_u64(self.count);
        hasher.finish128().as_u128().to_le_bytes()
    }

    /// As many as asked for.
    pub(crate) fn fill<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for chunk in out.chunks_mut(16) {
            let fresh = self.bytes16();
            chunk.iter_mut().zip(fresh).for_each(|(to, from)| *to = from);
        }
        out
    }

    /// A trace id and a span id, neither of them zero.
    pub(crate) fn trace_ids(&mut self) -> ([u8; 16], [u8; 8]) {
        let mut trace = self.bytes16();
        let mut span: [u8; 8] = self.fill();
        trace[0] |= u8::from(trace == [0; 16]);
        span[0] |= u8::from(span == [0; 8]);
        (trace, span)
    }
}
