//! Identity providers: whose tokens are believed, and which claims say who the caller is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{check_list, check_url, one_or_many};
use crate::bounds::{AUDIENCES_MAX, JWKS_BYTES_MAX};
use crate::names::{check_principal, check_tenant};
use crate::{Problem, Time};

/// `[identity.NAME]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `iss` of the tokens, letter by letter.
    pub issuer: String,
    /// `aud` that a token must carry; a text or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    /// Which claim says what.
    #[serde(default)]
    pub claims: Claims,
    /// Every caller of this provider is of this tenant; instead of `claims.tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Where the keys are; else `<issuer>/.well-known/openid-configuration` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// The keys themselves, as a JWKS document, for closed networks. Then nothing is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// How far the provider's clock may be from ours, in seconds.
    #[serde(default = "clock_skew_s")]
    pub clock_skew_s: u32,
}

/// Names of claims.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `sub` unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
}

/// Keys as fetched from a provider. Kept beside the folder; changed by the control plane itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    /// The document's usable keys, as fetched.
    pub document: String,
    /// Where it came from.
    pub url: String,
    /// When the keys were first seen like this.
    pub since: Time,
}

fn clock_skew_s() -> u32 {
    30
}

/// More would let a token live on long after its end.
const CLOCK_SKEW_S_MAX: u32 = 300;

impl Identity {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_url("issuer", &self.issuer)?;
        check_list("audience", &self.audience, AUDIENCES_MAX)?;
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            return Err(Problem::invalid("`audience` is empty").field("audience").help(
                "write the gateway's address, for example `https://gateway.example.com/mcp`",
            ));
        }
        self.check_tenant()?;
        let claims = &self.claims;
        let named = [&claims.tenant, &claims.user, &claims.agent, &claims.roles, &claims.groups];
        named.into_iter().flatten().try_for_each(|claim| check_principal("claim", claim))?;
        if let Some(url) = &self.jwks_url {
            check_url("jwks_url", url)?;
        }
        if self.jwks.as_ref().is_some_and(|jwks| jwks.len() > JWKS_BYTES_MAX) {
            return Err(Problem::invalid(format!("`jwks` is longer than {JWKS_BYTES_MAX} bytes"))
                .field("jwks"));
        }
        if self.jwks.is_some() && self.jwks_url.is_some() {
            return Err(Problem::invalid("`jwks` and `jwks_url` are both written")
                .field("jwks")
                .help("keep one: `jwks` for a closed network, `jwks_url` to have keys fetched"));
        }
        if self.clock_skew_s > CLOCK_SKEW_S_MAX {
            return Err(Problem::invalid(format!("`clock_skew_s` is {}", self.clock_skew_s))
                .field("clock_skew_s")
                .help(format!("write at most {CLOCK_SKEW_S_MAX}")));
        }
        Ok(())
    }

    fn check_tenant(&self) -> Result<(), Problem> {
        match (&self.tenant, &self.claims.tenant) {
            (Some(tenant), None) => check_tenant(tenant),
            (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err(Problem::invalid("`tenant` and `claims.tenant` are both written")
                .field("tenant")
                .help("keep one: `tenant` when the provider serves one tenant, `claims.tenant` when a claim says it")),
            (None, None) => Err(Problem::invalid("nothing says which tenant a caller is of")
                .field("claims.tenant")
                .help("write `claims = { tenant = \"org\" }`, or `tenant = \"acme\"` for a provider of one tenant")),
        }
    }
}
