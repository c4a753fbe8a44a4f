//! Key sets (RFC 7517): which of a provider's keys are used, and why the others are not.
//!
//! Providers publish keys of many kinds in one set, so a key that is not for us is skipped by name;
//! a set that is broken, ambiguous, or that publishes a private key is refused whole.

use std::fmt::{Display, Formatter};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{self, Json, Object};
use crate::refused::shown;
use crate::{Algorithm, Key, KeyFault};

/// Bytes of a set: large providers publish some 20 KiB.
pub const JWKS_BYTES_MAX: usize = 128 * 1024;

/// Keys of a set, skipped ones included.
pub const KEYS_MAX: usize = 128;

/// A set that was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jwks {
    pub keys: Vec<Key>,
    pub skipped: Vec<Skipped>,
}

/// A key that is not used, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Empty where it has none.
    pub key_id: Box<str>,
    pub why: Box<str>,
}

/// What is wrong with a whole set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JwksFault {
    TooLong {
        bytes: usize,
    },
    Json(Box<str>),
    NoKeys,
    TooMany {
        keys: usize,
    },
    NotAnObject,
    /// A private or secret key is published: nothing of that provider can be believed.
    Private {
        key_id: Box<str>,
    },
    /// Two usable keys with one name: which is meant could be read two ways.
    Twice {
        key_id: Box<str>,
    },
}

impl Jwks {
    /// Reads a set.
    ///
    /// # Errors
    /// See [`JwksFault`]. A set without a usable key is none: look at `skipped`.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksFault> {
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(JwksFault::TooLong { bytes: bytes.len() });
        }
        let set = json::object(bytes).map_err(JwksFault::Json)?;
        let Some(Json::List(entries)) = set.get("keys") else { return Err(JwksFault::NoKeys) };
        if entries.len() > KEYS_MAX {
            return Err(JwksFault::TooMany { keys: entries.len() });
        }
        let mut jwks = Self::default();
        for entry in entries {
            let Json::Object(entry) = entry else { return Err(JwksFault::NotAnObject) };
            jwks.add(entry)?;
        }
        Ok(jwks)
    }

    fn add(&mut self, entry: &Object) -> Result<(), JwksFault> {
        let key_id = entry.get("kid").and_then(Json::text).unwrap_or_default();
        // RFC 7518: `d` of RSA, EC and (RFC 8037) OKP.
        if entry.contains_key("d") {
            return Err(JwksFault::Private { key_id: shown(key_id) });
        }
        let key = match usable(entry).and_then(|algorithm| read(entry, key_id, algorithm)) {
            Ok(key) => key,
            Err(why) => {
                self.skipped.push(Skipped { key_id: shown(key_id), why });
                return Ok(());
            }
        };
        if self.keys.iter().any(|other| other.key_id == key.key_id) {
            return Err(JwksFault::Twice { key_id: shown(key_id) });
        }
        self.keys.push(key);
        Ok(())
    }
}

/// The algorithm that the key is for, if it is one of ours and for signatures.
fn usable(entry: &Object) -> Result<Algorithm, Box<str>> {
    let text = |name: &str| entry.get(name).map(|value| value.text().unwrap_or_default());
    if text("use").is_some_and(|used| used != "sig") {
        return Err("its use is not sig".into());
    }
    let verify = |ops: &Json| matches!(ops, Json::List(ops) if ops.iter().any(|op| op.text() == Some("verify")));
    if entry.get("key_ops").is_some_and(|ops| !verify(ops)) {
        return Err("its key_ops do not hold verify".into());
    }
    let algorithm = match (text("kty").unwrap_or_default(), text("crv")) {
        ("RSA", None) => Algorithm::Rs256,
        ("EC", Some("P-256")) => Algorithm::Es256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
        (kty, crv) => {
            let curve = crv.unwrap_or("none");
            let why = format!("kty {:?} with crv {:?} is not accepted", shown(kty), shown(curve));
            return Err(why.into());
        }
    };
    match text("alg") {
        Some(alg) if !algorithm.is_called(alg) => {
            Err(format!("its alg is {:?}, not {algorithm}", shown(alg)).into())
        }
        _ => Ok(algorithm),
    }
}

fn read(entry: &Object, key_id: &str, algorithm: Algorithm) -> Result<Key, Box<str>> {
    let bytes = |name: &str| {
        let text = entry.get(name).and_then(Json::text);
        let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        bytes.ok_or_else(|| format!("its {name} is missing or not base64url").into_boxed_str())
    };
    let key = match algorithm {
        Algorithm::Rs256 => Key::rs256(key_id, &bytes("n")?, &bytes("e")?),
        Algorithm::Es256 => Key::es256(key_id, &bytes("x")?, &bytes("y")?),
        Algorithm::EdDsa => Key::ed25519(key_id, &bytes("x")?),
    };
    key.map_err(|fault: KeyFault| fault.to_string().into())
}

impl Display for JwksFault {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                out,
                "the key set has {bytes} bytes; the limit is {JWKS_BYTES_MAX} (JWKS_BYTES_MAX)"
            ),
            Self::Json(why) => {
                write!(out, "the key set is not one JSON object with unique keys: {why}")
            }
            Self::NoKeys => write!(out, "the key set has no list `keys`"),
            Self::TooMany { keys } => {
                write!(out, "the key set has {keys} keys; the limit is {KEYS_MAX} (KEYS_MAX)")
            }
            Self::NotAnObject => write!(out, "an entry of `keys` is not an object"),
            Self::Private { key_id } => {
                write!(out, "key {key_id:?} is published with its private part: have it replaced")
            }
            Self::Twice { key_id } => write!(out, "two usable keys have the kid {key_id:?}"),
        }
    }
}

impl std::error::Error for JwksFault {}
