//! What all targets share: one certificate, one token, one folder on disk.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tests_fixtures::oidc::{Algorithm, Issuer};
use tests_fixtures::stack::Place;

use crate::client;

/// `aud` of the token.
pub(crate) const AUDIENCE: &str = "https://localhost/bench";
/// `iss` of the token; nothing is fetched from there.
pub(crate) const ISSUER: &str = "https://idp.bench.invalid/agents";
/// An ordinary access token's length; group names fill it up.
const TOKEN_BYTES: usize = 1_028;
/// Longer than any run.
const TOKEN_TTL_S: u64 = 86_400;

/// Made anew for each run.
pub(crate) struct Material {
    pub place: Place,
    /// PEM files: the chain, the key, and both in one as HAProxy reads them.
    pub chain: PathBuf,
    pub key: PathBuf,
    pub both: PathBuf,
    pub tls: Arc<ClientConfig>,
    pub token: String,
    /// The JWKS that verifies the token.
    pub jwks: String,
}

impl Material {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let place = Place::new("portcullis-bench")?;
        // ECDSA on P-256, as HAProxy's and our own handshakes are fastest with.
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (chain_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = CertificateDer::from(made.cert.der().to_vec());
        let issuer = Issuer::new(ISSUER, Algorithm::Es256)?;
        Ok(Self {
            chain: place.write("chain.pem", &chain_pem)?,
            key: place.write("key.pem", &key_pem)?,
            both: place.write("both.pem", &format!("{chain_pem}{key_pem}"))?,
            tls: client::trusting(&certificate)?,
            token: token(&issuer)?,
            jwks: issuer.jwks().to_string(),
            place,
        })
    }
}

fn token(issuer: &Issuer) -> anyhow::Result<String> {
    let mut groups = vec!["eu-support".to_owned(), "tier2".to_owned()];
    loop {
        let claims = json!({
            "aud": AUDIENCE, "sub": "jane.doe@example.test", "org": "acme-eu",
            "azp": "claude-desktop", "scope": "orders:read orders:list customers:read",
            "roles": ["support", "orders-reader"], "groups": groups,
        });
        let token = issuer.token(&claims, TOKEN_TTL_S)?;
        if token.len() >= TOKEN_BYTES {
            return Ok(token);
        }
        let last = groups.last_mut().context("a group")?;
        if last.len() > 24 { groups.push("g".to_owned()) } else { last.push('x') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_has_the_size_that_is_quoted() {
        let token = token(&Issuer::new(ISSUER, Algorithm::Es256).unwrap()).unwrap();
        assert!((TOKEN_BYTES..TOKEN_BYTES + 8).contains(&token.len()), "{}", token.len());
    }
}
