//! Who this box is: its key, its certificate, and whom it trusts.
//!
//! One file, so that key and certificate change together. It is made at enrolment, renewed at half
//! the certificate's life, and readable by its owner only.

use std::fmt;

use dataplane_bundle::enrol::{hex, unhex};
use dataplane_bundle::message::Certified;
use dataplane_bundle::{ApplianceId, PublicKey};
use dataplane_telemetry::WallNanos;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, Dirs, IDENTITY};

const FILE_BYTES_MAX: u64 = 256 << 10;

/// What an enrolled box knows of itself and of its control plane.
#[derive(Clone)]
pub struct Identity {
    pub appliance: ApplianceId,
    /// Host and port of the control plane's push listener.
    pub control: String,
    pub signing_keys: Vec<PublicKey>,
    pub certified: Certified,
    pub(crate) ca: Vec<u8>,
    pub(crate) key: Key,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Identity({} of {})", self.appliance, self.control)
    }
}

/// A private key, PKCS #8 in DER.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) Zeroizing<Vec<u8>>);

/// In front of the 65 bytes of a P-256 point, a SubjectPublicKeyInfo (RFC 5480 §2).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl Key {
    /// A new P-256 key, and its public half as SubjectPublicKeyInfo in DER.
    pub(crate) fn generate() -> Result<(Self, Vec<u8>), String> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let fault = |_| "the system has no randomness for a new key".to_owned();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(fault)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random)
            .map_err(|fault| fault.to_string())?;
        let public = [&SPKI_P256, pair.public_key().as_ref()].concat();
        Ok((Self(Zeroizing::new(pkcs8.as_ref().to_vec())), public))
    }
}

/// The file's form: bytes as hexadecimal digits.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    appliance: String,
    control: String,
    ca: String,
    certificate: String,
    key: String,
    renew_at_s: u64,
    expires_at_s: u64,
    signing_keys: Vec<String>,
}

impl Identity {
    /// `Ok(None)`: not enrolled.
    pub fn load(dirs: &Dirs) -> Result<Option<Self>, String> {
        let path = dirs.data.join(IDENTITY);
        let bytes = files::read(&path, FILE_BYTES_MAX).map_err(|fault| fault.to_string())?;
        let Some(bytes) = bytes else { return Ok(None) };
        let mut bytes = Zeroizing::new(bytes);
        let damaged = |why: &dyn fmt::Display| {
            format!("{}: {why}. Restore it, or remove it and enrol again", path.display())
        };
        let written: Written =
            simd_json::serde::from_slice(&mut bytes).map_err(|fault| damaged(&fault))?;
        written.read().map(Some).map_err(|why| damaged(&why))
    }

    pub(crate) fn store(&self, dirs: &Dirs) -> Result<(), String> {
        let written = Written {
            appliance: self.appliance.to_string(),
            control: self.control.clone(),
            ca: hex(&self.ca),
            certificate: hex(&self.certified.certificate),
            key: hex(&self.key.0),
            renew_at_s: self.certified.renew_at.secs(),
            expires_at_s: self.certified.expires_at.secs(),
            signing_keys: self.signing_keys.iter().map(|key| hex(&key.0)).collect(),
        };
        let json = simd_json::serde::to_vec(&written).map_err(|fault| fault.to_string())?;
        let path = dirs.data.join(IDENTITY);
        files::write(&path, &Zeroizing::new(json))
            .map_err(|fault| format!("{}: {fault}", path.display()))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Written {
    fn read(&self) -> Result<Identity, String> {
        let key = |text: &String| unhex(text).map(PublicKey).ok_or("signing_keys is not hex");
        let certified = Certified {
            certificate: bytes("certificate", &self.certificate)?,
            renew_at: WallNanos::from_secs(self.renew_at_s),
            expires_at: WallNanos::from_secs(self.expires_at_s),
        };
        Ok(Identity {
            appliance: ApplianceId::new(&self.appliance).map_err(|fault| fault.to_string())?,
            control: self.control.clone(),
            signing_keys: self.signing_keys.iter().map(key).collect::<Result<_, _>>()?,
            certified,
            ca: bytes("ca", &self.ca)?,
            key: Key(Zeroizing::new(bytes("key", &self.key)?)),
        })
    }
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, String> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| unhex::<1>(std::str::from_utf8(pair).unwrap_or_default()).map(|[byte]| byte);
    pairs.map(byte).collect::<Option<_>>().ok_or_else(|| format!("{field} is not hexadecimal"))
}
