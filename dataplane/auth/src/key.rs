//! A provider's public key, and the one algorithm that it is for.
//!
//! The algorithm is a property of *our* record: a token cannot talk us into another one.

use std::fmt::{Display, Formatter};

use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

/// NIST SP 800-131A; RFC 7518 §3.3 asks for the same.
pub const RSA_BITS_MIN: usize = 2_048;

/// A check costs more with each bit, and forgers choose when we check.
pub const RSA_BITS_MAX: usize = 4_096;

/// NIST SP 800-56B: small exponents have a history.
pub const RSA_EXPONENT_MIN: u64 = 65_537;

/// What a key signs with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    Rs256,
    Es256,
    /// Ed25519 only.
    EdDsa,
}

impl Algorithm {
    /// Whether this is what a token's or a JWK's `alg` calls it. RFC 9864 has given EdDSA with
    /// Ed25519 a name of its own.
    #[must_use]
    pub fn is_called(self, alg: &str) -> bool {
        match self {
            Self::Rs256 => alg == "RS256",
            Self::Es256 => alg == "ES256",
            Self::EdDsa => alg == "EdDSA" || alg == "Ed25519",
        }
    }
}

impl Display for Algorithm {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        })
    }
}

/// A public key with the `kid` that tokens name it by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    pub(crate) key_id: Box<str>,
    material: Material,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Material {
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// Uncompressed point: 4, x, y.
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyFault {
    KeyId,
    RsaBits(usize),
    RsaExponent,
    /// Leading zeros (RFC 7518 §6.3.1.1 forbids them), or an even modulus.
    RsaModulus,
    Coordinate,
}

impl Key {
    /// RSASSA-PKCS1-v1_5 with SHA-256; big-endian numbers without leading zeros.
    ///
    /// # Errors
    /// See [`KeyFault`].
    pub fn rs256(key_id: &str, modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyFault> {
        let key_id = checked_id(key_id)?;
        let (Some(first), Some(last)) = (modulus.first(), modulus.last()) else {
            return Err(KeyFault::RsaModulus);
        };
        if *first == 0 || last % 2 == 0 {
            return Err(KeyFault::RsaModulus);
        }
        let bits = modulus.len() * 8 - first.leading_zeros() as usize;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyFault::RsaBits(bits));
        }
        // 33 bits are what ring takes.
        let plain = exponent.len() <= 5 && exponent.first().is_some_and(|first| *first != 0);
        let value = exponent.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        if !plain || value < RSA_EXPONENT_MIN || value % 2 == 0 || value >= 1 << 33 {
            return Err(KeyFault::RsaExponent);
        }
        let material = Material::Rsa { modulus: modulus.into(), exponent: exponent.into() };
        Ok(Self { key_id, material })
    }

    /// ECDSA on P-256 with SHA-256. A point off the curve verifies nothing.
    ///
    /// # Errors
    /// `KeyId`, or `Coordinate` where one has not 32 bytes.
    pub fn es256(key_id: &str, x: &[u8], y: &[u8]) -> Result<Self, KeyFault> {
        let key_id = checked_id(key_id)?;
        let mut point = [4; 65];
        let (_, coordinates) = point.split_at_mut(1);
        let (x_place, y_place) = coordinates.split_at_mut(32);
        if x.len() != 32 || y.len() != 32 {
            return Err(KeyFault::Coordinate);
        }
        x_place.copy_from_slice(x);
        y_place.copy_from_slice(y);
        Ok(Self { key_id, material: Material::P256(point) })
    }

    /// Ed25519, RFC 8037.
    ///
    /// # Errors
    /// `KeyId`, or `Coordinate` where it has not 32 bytes.
    pub fn ed25519(key_id: &str, x: &[u8]) -> Result<Self, KeyFault> {
        let key_id = checked_id(key_id)?;
        let x = x.try_into().map_err(|_| KeyFault::Coordinate)?;
        Ok(Self { key_id, material: Material::Ed25519(x) })
    }

    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// 45 µs (RSA 2048), 70 µs (Ed25519), 140 µs (P-256) on the reference machine.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked =
            match &self.material {
                Material::Rsa { modulus: n, exponent: e } => RsaPublicKeyComponents { n, e }
                    .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature),
                Material::P256(point) => {
                    UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, signature)
                }
                Material::Ed25519(x) => {
                    UnparsedPublicKey::new(&signature::ED25519, x).verify(message, signature)
                }
            };
        checked.is_ok()
    }
}

fn checked_id(key_id: &str) -> Result<Box<str>, KeyFault> {
    let usable = !key_id.is_empty() && key_id.len() <= crate::NAME_BYTES_MAX;
    if usable { Ok(key_id.into()) } else { Err(KeyFault::KeyId) }
}

impl Display for KeyFault {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyId => write!(out, "its kid is missing, empty or too long"),
            Self::RsaBits(bits) => write!(
                out,
                "its modulus has {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted"
            ),
            Self::RsaExponent => {
                write!(out, "its exponent is even, below {RSA_EXPONENT_MIN} or too large")
            }
            Self::RsaModulus => write!(out, "its modulus is empty, even or starts with zero"),
            Self::Coordinate => write!(out, "its coordinates have not 32 bytes each"),
        }
    }
}

impl std::error::Error for KeyFault {}

#[cfg(test)]
mod tests;
