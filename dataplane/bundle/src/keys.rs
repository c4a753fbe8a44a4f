//! Ed25519 keys that say who a control plane is, and what a signature is for.
//!
//! Each kind of document is signed under its own purpose, so that none can be passed off as another.
//! A signature is a fixed place in the format: there is no document without one.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::Refused;

/// Bytes of an Ed25519 signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// A key that an appliance trusts to sign bundles and kill lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(digest(&SHA256, &self.0).as_ref()) {
            *to = *from;
        }
        KeyId(id)
    }
}

/// The first eight bytes of the SHA-256 of a public key: which key to try, never why to trust it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// The control plane's signing key.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// `seed` is 32 secret random bytes; the same seed is the same key. `None` for any other length.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, purpose: Purpose, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        let made = self.pair.sign(&purpose.message(bytes));
        for (to, from) in signature.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
        signature
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signer({})", self.public.id())
    }
}

/// What a signature is for. Its text is signed in front of the document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Bundle,
    KillList,
}

impl Purpose {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Bundle => b"portcullis bundle v1\0",
            Self::KillList => b"portcullis kill list v1\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.text(), bytes].concat()
    }
}

/// Checks `signature` by the trusted key of that id.
pub(crate) fn verify(
    trusted: &[PublicKey],
    key_id: KeyId,
    purpose: Purpose,
    what: &'static str,
    bytes: &[u8],
    signature: &[u8],
) -> Result<(), Refused> {
    let Some(key) = trusted.iter().find(|key| key.id() == key_id) else {
        return Err(Refused::UnknownKey { key_id: key_id.to_string() });
    };
    UnparsedPublicKey::new(&ED25519, key.0)
        .verify(&purpose.message(bytes), signature)
        .map_err(|_| Refused::Signature { what })
}
