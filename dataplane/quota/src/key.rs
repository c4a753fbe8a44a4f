//! Names of buckets: a keyed 128-bit hash of quota and identity.
//!
//! Callers choose parts of what is hashed, so the hash is SipHash-2-4-128 under a key that the
//! process drew: nobody can aim at another's bucket, or fill one set on purpose. Two identities
//! share a bucket with a chance of 2^-62 a pair.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13, SipHasher24};

/// Which bucket a call is counted in. Made once for a caller and quota, then kept with the caller.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct BucketKey {
    pub(crate) place: u64,
    pub(crate) fingerprint: u64,
}

impl BucketKey {
    /// Each part with its length, so that no two lists of parts read alike.
    pub(crate) fn of(key: &[u8; 16], quota: u32, identity: &[&[u8]]) -> Self {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write_u32(quota);
        for part in identity {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        Self::from_hash(hasher.finish128().as_u128())
    }

    /// The bucket of the same caller for one tool. This key is itself a secret of the process, so
    /// it keys the next hash; 13 rounds do for twelve bytes that policy numbers, not callers.
    #[must_use]
    pub fn with_tool(self, tool: u32) -> Self {
        let mut hasher = SipHasher13::new_with_keys(self.place, self.fingerprint);
        hasher.write_u32(tool);
        Self::from_hash(hasher.finish128().as_u128())
    }

    const fn from_hash(hash: u128) -> Self {
        // The set marks a claim by the top bit, and an empty slot by zero.
        let fingerprint = ((hash >> 64) as u64 & !(1 << 63)) | 1;
        Self { place: hash as u64, fingerprint }
    }
}

/// Shows nothing: a key keys further hashes.
impl std::fmt::Debug for BucketKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("BucketKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_parts_do_not_run_together() {
        let of = |quota, parts: &[&[u8]]| BucketKey::of(&[7; 16], quota, parts);
        let keys = [
            of(0, &[]),
            of(0, &[b""]),
            of(0, &[b"", b""]),
            of(0, &[b"ab", b"c"]),
            of(0, &[b"a", b"bc"]),
            of(0, &[b"abc"]),
            of(1, &[b"abc"]),
            of(1, &[b"abc"]).with_tool(0),
            of(1, &[b"abc"]).with_tool(1),
            BucketKey::of(&[8; 16], 1, &[b"abc"]),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "key {place}");
        }
    }
}
