//! The keyed digest of a call's arguments.
//!
//! Whoever holds the key can prove that a record speaks of given arguments; whoever reads the log
//! without it cannot guess them, not even a short order number.

use ring::hmac;

/// HMAC-SHA256 of the arguments' bytes as forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArgumentsDigest {
    /// Which key made it.
    pub key: u32,
    pub mac: [u8; 32],
}

/// A digest key with its two inner states computed.
pub struct DigestKey {
    number: u32,
    key: hmac::Key,
}

impl DigestKey {
    /// `secret` has at least as many random bytes as the digest, 32.
    #[must_use]
    pub fn new(number: u32, secret: &[u8; 32]) -> Self {
        Self { number, key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// About 350 ns for 300 bytes; allocates nothing.
    #[must_use]
    pub fn digest(&self, arguments: &[u8]) -> ArgumentsDigest {
        let mut mac = [0; 32];
        let tag = hmac::sign(&self.key, arguments);
        for (byte, source) in mac.iter_mut().zip(tag.as_ref()) {
            *byte = *source;
        }
        ArgumentsDigest { key: self.number, mac }
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DigestKey").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3 uses a short key; HMAC pads a key with zeros, so ours is the same key.
    #[test]
    fn agrees_with_rfc_4231() {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(b"Jefe");
        let digest = DigestKey::new(7, &secret).digest(b"what do ya want for nothing?");
        let text: String = digest.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(digest.key, 7);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", DigestKey::new(7, &[0xAB; 32]));
        assert_eq!(shown, "DigestKey { number: 7, .. }");
    }
}
