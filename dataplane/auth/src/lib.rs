//! Who is calling: bearer tokens, API keys, and the cache of verified callers.
//!
//! A token is believed only where everything fits: its issuer is configured, its key is in that
//! issuer's set, its algorithm is the one *our* record of the key names, its audience is this
//! endpoint, its times hold, and every byte has one reading. Nothing in a token is ever fetched or
//! followed. Cheap checks come first and the signature last, so that most garbage costs us little;
//! what does cost a signature check is budgeted by source ([`MissBudget`]).
//!
//! Pure: time, keys and random bytes are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod api_key;
mod budget;
mod cache;
mod caller;
mod claims;
pub mod fuzz;
mod header;
mod json;
mod jwks;
mod key;
mod provider;
mod refused;
mod verifier;

pub use api_key::{
    API_KEY_PREFIX, API_KEYS_MAX, ApiKey, ApiKeyFault, ApiKeys, MintedKey, mint, secret_sha256,
};
pub use budget::{
    CHECKS_FAILED_PER_SOURCE, CHECKS_FAILED_PER_SOURCE_BURST, CHECKS_FAILED_TOTAL,
    CHECKS_FAILED_TOTAL_BURST, MissBudget,
};
pub use cache::{Cache, TOKENS_CACHED_DEFAULT, TokenKey};
pub use caller::{Caller, CallerKind, CredentialKind};
pub use jwks::{JWKS_BYTES_MAX, Jwks, JwksFault, KEYS_MAX, Skipped};
pub use key::{Algorithm, Key, KeyFault, RSA_BITS_MAX, RSA_BITS_MIN, RSA_EXPONENT_MIN};
pub use provider::{
    CLOCK_SKEW_S_MAX, ClaimMap, ClaimPath, PROVIDERS_MAX, Provider, ProviderFault, TenantFrom,
};
pub use refused::{Part, Refused};
pub use verifier::Verifier;

/// A token with a few hundred groups fits; request heads end at 16 KiB.
pub const TOKEN_BYTES_MAX: usize = 8_192;

/// A token's header before decoding: `alg`, `kid` and `typ` need a tenth of it.
pub const TOKEN_HEADER_BYTES_MAX: usize = 1_024;

/// Objects and lists inside each other, in headers, claims and key sets.
pub const JSON_DEPTH_MAX: usize = 16;

/// Bytes of a tenant's, user's, agent's, role's or group's name.
pub const NAME_BYTES_MAX: usize = 256;

/// Roles of one caller, and groups of one caller.
pub const ROLES_MAX: usize = 256;

/// Audiences that one token may name.
pub const AUDIENCES_MAX: usize = 16;
