//! Why a credential is refused.
//!
//! `Display` is for log and audit: it names the rule, and what the token held where that helps.
//! [`Refused::description`] is for the wire: it holds no byte of the token.

use std::fmt::{Display, Formatter, Result};

use dataplane_telemetry::WallNanos;

use crate::Algorithm;

/// All of them are the caller's fault, or its identity provider's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    TooLong {
        bytes: usize,
        bytes_max: usize,
    },
    /// Not three parts with two dots.
    Parts,
    /// Five parts: an encrypted token.
    Encrypted,
    /// Not base64url in its one canonical spelling.
    Base64(Part),
    /// Not one JSON object with unique keys; says what is wrong with it.
    Json {
        part: Part,
        why: Box<str>,
    },
    /// A header parameter that is refused wherever it appears.
    Parameter(&'static str),
    /// `typ` names another kind of token.
    Type(Box<str>),
    NoAlgorithm,
    NoKeyId,
    UnknownIssuer(Box<str>),
    UnknownKey {
        provider: Box<str>,
        key_id: Box<str>,
    },
    Algorithm {
        token: Box<str>,
        key: Algorithm,
    },
    MissingClaim(Box<str>),
    Claim {
        name: Box<str>,
        why: &'static str,
    },
    Audience {
        wanted: Box<str>,
    },
    Expired {
        at: WallNanos,
    },
    NotYet {
        from: WallNanos,
    },
    IssuedInFuture {
        at: WallNanos,
    },
    /// `cnf`: only good with a proof that a bearer does not give.
    Bound,
    Signature,
    ApiKeyShape,
    UnknownApiKey,
}

/// Which part of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Header,
    Claims,
    Signature,
}

impl Refused {
    /// Whether a signature was checked to find this out: only these count against a source's
    /// budget.
    #[must_use]
    pub const fn cost_a_check(&self) -> bool {
        matches!(self, Self::Signature)
    }

    /// A short constant name for metrics and records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Parts => "parts",
            Self::Encrypted => "encrypted",
            Self::Base64(_) => "base64",
            Self::Json { .. } => "json",
            Self::Parameter(_) => "header_parameter",
            Self::Type(_) => "type",
            Self::NoAlgorithm => "no_algorithm",
            Self::NoKeyId => "no_key_id",
            Self::UnknownIssuer(_) => "unknown_issuer",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Algorithm { .. } => "algorithm",
            Self::MissingClaim(_) => "missing_claim",
            Self::Claim { .. } => "claim",
            Self::Audience { .. } => "audience",
            Self::Expired { .. } => "expired",
            Self::NotYet { .. } => "not_yet",
            Self::IssuedInFuture { .. } => "issued_in_future",
            Self::Bound => "bound",
            Self::Signature => "signature",
            Self::ApiKeyShape => "api_key_shape",
            Self::UnknownApiKey => "unknown_api_key",
        }
    }

    /// For `error_description` of RFC 6750 §3: no quote, no backslash, nothing of the token.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "the token is too long",
            Self::Parts | Self::Base64(_) | Self::Json { .. } => {
                "the token is not a well-formed JWT"
            }
            Self::Encrypted => "encrypted tokens are not accepted",
            Self::Parameter(_) => "the token header has a parameter that is not accepted",
            Self::Type(_) => "the token is not an access token",
            Self::NoAlgorithm | Self::Algorithm { .. } => "the token has the wrong algorithm",
            Self::NoKeyId => "the token does not name its key",
            Self::UnknownIssuer(_) => "the issuer of the token is not trusted here",
            Self::UnknownKey { .. } => "the key of the token is not known here",
            Self::MissingClaim(_) => "the token lacks a claim that is needed here",
            Self::Claim { .. } => "a claim of the token is not usable",
            Self::Audience { .. } => "the token is for another audience",
            Self::Expired { .. } => "the token or key has expired",
            Self::NotYet { .. } | Self::IssuedInFuture { .. } => "the token is not valid yet",
            Self::Bound => "the token is bound to a key and cannot be used as a bearer token",
            Self::Signature => "the signature of the token is wrong",
            Self::ApiKeyShape => "the API key is not well-formed",
            Self::UnknownApiKey => "the API key is not known here",
        }
    }
}

impl Display for Refused {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(out, "the token has {bytes} bytes or more; the limit is {bytes_max}")
            }
            Self::Parts => write!(out, "a token is three base64url parts with dots between"),
            Self::Base64(part) => write!(out, "the token's {part} is not canonical base64url"),
            Self::Json { part, why } => {
                write!(out, "the token's {part} is not one JSON object with unique keys: {why}")
            }
            Self::Parameter(name) => {
                write!(out, "the token's header has {name:?}, which is refused wherever it appears")
            }
            Self::Type(found) => {
                write!(out, "the token's typ is {found:?}; access tokens have at+jwt, JWT or none")
            }
            Self::NoAlgorithm => write!(out, "the token's header names no alg"),
            Self::NoKeyId => write!(
                out,
                "the token's header has no kid; have the identity provider name its key"
            ),
            Self::UnknownIssuer(found) => {
                write!(out, "no identity provider is configured with issuer {found:?}")
            }
            Self::UnknownKey { provider, key_id } => {
                write!(out, "identity provider {provider:?} has no usable key {key_id:?}")
            }
            Self::Algorithm { token, key } => {
                write!(out, "the token says alg {token:?}, but its key is for {key}")
            }
            Self::MissingClaim(name) => write!(out, "the token has no claim {name:?}"),
            Self::Claim { name, why } => write!(out, "the token's claim {name:?} {why}"),
            Self::Audience { wanted } => {
                write!(
                    out,
                    "the token's aud does not name {wanted:?}, nor another audience of its provider"
                )
            }
            Self::Expired { at } => write!(out, "expired at {} (Unix seconds)", at.secs()),
            Self::NotYet { from } => write!(out, "not valid before {} (Unix seconds)", from.secs()),
            Self::IssuedInFuture { at } => {
                write!(
                    out,
                    "issued at {} (Unix seconds), which is yet to come: compare the clocks",
                    at.secs()
                )
            }
            Self::ApiKeyShape => write!(out, "an API key is pck_<id>_<secret>"),
            Self::Encrypted | Self::Bound | Self::Signature | Self::UnknownApiKey => {
                out.write_str(self.description())
            }
        }
    }
}

impl std::error::Error for Refused {}

impl Display for Part {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        out.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// As much of a foreign text as a log line should carry.
pub(crate) fn shown(text: &str) -> Box<str> {
    text.chars().take(96).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_wire_says_needs_no_quoting() {
        let all = [
            Refused::Parts,
            Refused::Encrypted,
            Refused::Type("x".into()),
            Refused::NoKeyId,
            Refused::Bound,
            Refused::Signature,
            Refused::ApiKeyShape,
            Refused::UnknownApiKey,
            Refused::Expired { at: WallNanos(0) },
        ];
        for refused in all {
            let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            assert!(refused.description().bytes().all(plain), "{refused:?}");
        }
    }
}
