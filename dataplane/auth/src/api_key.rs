//! API keys, `pck_<id>_<secret>`: for programs that have no identity provider.
//!
//! The box knows the SHA-256 of the secret only. The secret has 256 random bits, so a plain digest
//! is enough: there is nothing to guess that a slow hash would slow down.

use std::fmt::{Display, Formatter};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dataplane_telemetry::WallNanos;
use ring::digest;

use crate::{Caller, CallerKind, CredentialKind, Refused};

/// What tells an API key from a token; secret scanners look for it.
pub const API_KEY_PREFIX: &[u8] = b"pck_";

/// API keys of one appliance.
pub const API_KEYS_MAX: usize = 10_000;

const ID_CHARS: std::ops::RangeInclusive<usize> = 4..=32;

/// 32 bytes as base64url.
const SECRET_CHARS: usize = 43;

/// An API key as it stands in the bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// 4 to 32 of `a-z`, `0-9`.
    pub id: String,
    /// Of the secret part as text.
    pub secret_sha256: [u8; 32],
    pub tenant: String,
    pub kind: CallerKind,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    /// `None`: until it is taken back.
    pub expires_at: Option<WallNanos>,
}

/// All API keys, by id.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys {
    /// Sorted by id.
    keys: Vec<ApiKey>,
}

/// What is wrong with the configured keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ApiKeyFault {
    TooMany {
        keys: usize,
    },
    Id(String),
    Twice(String),
    Tenant {
        id: String,
    },
    /// Nobody to be: the kind's name is missing.
    Nobody {
        id: String,
    },
}

/// A key that was just made.
pub struct MintedKey {
    pub id: String,
    /// To be shown once, to the one who asked for it.
    pub text: String,
    pub secret_sha256: [u8; 32],
}

impl ApiKeys {
    /// # Errors
    /// See [`ApiKeyFault`].
    pub fn new(mut keys: Vec<ApiKey>) -> Result<Self, ApiKeyFault> {
        if keys.len() > API_KEYS_MAX {
            return Err(ApiKeyFault::TooMany { keys: keys.len() });
        }
        keys.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut last = "";
        for key in &keys {
            let name = match key.kind {
                CallerKind::User | CallerKind::Service => &key.user,
                CallerKind::Agent => &key.agent,
            };
            let id = || key.id.clone();
            if !is_id(key.id.as_bytes()) {
                return Err(ApiKeyFault::Id(id()));
            }
            if key.id == last {
                return Err(ApiKeyFault::Twice(id()));
            }
            if key.tenant.is_empty() || key.tenant.contains('/') {
                return Err(ApiKeyFault::Tenant { id: id() });
            }
            if name.as_ref().is_none_or(String::is_empty) {
                return Err(ApiKeyFault::Nobody { id: id() });
            }
            last = &key.id;
        }
        for key in &mut keys {
            for names in [&mut key.roles, &mut key.groups] {
                names.sort_unstable();
                names.dedup();
            }
        }
        Ok(Self { keys })
    }

    /// An id that is not known and a secret that is wrong are told alike.
    pub(crate) fn verify(&self, text: &[u8], wall: WallNanos) -> Result<Caller, Refused> {
        let (id, secret) = split(text).ok_or(Refused::ApiKeyShape)?;
        let presented = secret_sha256(secret);
        let found = self.keys.binary_search_by(|key| key.id.as_bytes().cmp(id)).ok();
        let key = found.and_then(|place| self.keys.get(place)).ok_or(Refused::UnknownApiKey)?;
        if !equal(&key.secret_sha256, &presented) {
            return Err(Refused::UnknownApiKey);
        }
        let expires_at = key.expires_at.unwrap_or(WallNanos(u64::MAX));
        if wall >= expires_at {
            return Err(Refused::Expired { at: expires_at });
        }
        Ok(Caller {
            tenant: key.tenant.clone(),
            kind: key.kind,
            user: key.user.clone(),
            agent: key.agent.clone(),
            roles: key.roles.clone(),
            groups: key.groups.clone(),
            client_id: None,
            token_id: Some(key.id.clone()),
            subject: None,
            credential: CredentialKind::ApiKey,
            provider: String::new(),
            issued_at: None,
            expires_at,
        })
    }
}

/// A new key from fresh random bytes: sixteen hexadecimal digits of id, 256 bits of secret.
#[must_use]
pub fn mint(id_random: [u8; 8], secret_random: &[u8; 32]) -> MintedKey {
    let id = format!("{:016x}", u64::from_be_bytes(id_random));
    let secret = URL_SAFE_NO_PAD.encode(secret_random);
    let secret_sha256 = secret_sha256(secret.as_bytes());
    MintedKey { text: format!("pck_{id}_{secret}"), id, secret_sha256 }
}

/// What is kept of a key's secret part.
#[must_use]
pub fn secret_sha256(secret: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, secret);
    for (place, byte) in out.iter_mut().zip(digest.as_ref()) {
        *place = *byte;
    }
    out
}

/// The id has no underscore, so the first one after the prefix ends it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_prefix(API_KEY_PREFIX)?;
    let end = rest.iter().position(|byte| *byte == b'_')?;
    let (id, secret) = (rest.get(..end)?, rest.get(end + 1..)?);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    let well_formed = is_id(id) && secret.len() == SECRET_CHARS && secret.iter().all(plain);
    well_formed.then_some((id, secret))
}

fn is_id(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    ID_CHARS.contains(&id.len()) && id.iter().all(plain)
}

/// Looks at every byte, wherever they differ.
fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let differing = left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right));
    std::hint::black_box(differing) == 0
}

/// Never shows the secret.
impl std::fmt::Debug for MintedKey {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("MintedKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Display for ApiKeyFault {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { keys } => {
                write!(out, "{keys} API keys; the limit is {API_KEYS_MAX} (API_KEYS_MAX)")
            }
            Self::Id(id) => {
                write!(out, "API key id {id:?} is not 4 to 32 lower-case letters and digits")
            }
            Self::Twice(id) => write!(out, "API key {id:?} appears twice"),
            Self::Tenant { id } => {
                write!(out, "API key {id:?} has a tenant that is empty or holds a slash")
            }
            Self::Nobody { id } => write!(out, "API key {id:?} does not name who holds it"),
        }
    }
}

impl std::error::Error for ApiKeyFault {}
