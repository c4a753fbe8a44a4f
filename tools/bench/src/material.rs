//! What all targets share: one certificate, one token, one folder on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tests_fixtures::oidc::{Algorithm, Issuer};
use tests_fixtures::stack::Place;

use crate::client;

/// `aud` of the token.
pub(crate) const AUDIENCE: &str = "https://localhost/bench";
/// `iss` of the token; nothing is fetched from there.
pub(crate) const ISSUER: &str = "https://idp.bench.invalid/agents";
/// Whose the callers are, where nothing else is said.
pub(crate) const TENANT: &str = "acme-eu";
/// An ordinary access token's length; group names fill it up.
const TOKEN_BYTES: usize = 1_028;
/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";
/// Longer than any run.
const TOKEN_TTL_S: u64 = 86_400;

/// Made anew for each run.
pub(crate) struct Material {
    pub place: Place,
    /// The control plane's: it copies records as fast as it may, and its disk is not the gateway's where
    /// it is another machine.
    pub elsewhere: Place,
    /// PEM files: the chain, the key, and both in one as HAProxy reads them.
    pub chain: PathBuf,
    pub key: PathBuf,
    pub both: PathBuf,
    pub tls: Arc<ClientConfig>,
    pub token: String,
    /// The JWKS that verifies the token.
    pub jwks: String,
    issuer: Issuer,
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
            elsewhere: elsewhere(&place)?,
            chain: place.write("chain.pem", &chain_pem)?,
            key: place.write("key.pem", &key_pem)?,
            both: place.write("both.pem", &format!("{chain_pem}{key_pem}"))?,
            tls: client::trusting(&certificate)?,
            token: token(&issuer, TENANT, "claude-desktop")?,
            jwks: issuer.jwks().to_string(),
            issuer,
            place,
        })
    }

    /// Leaves what the run has written.
    pub(crate) fn keep(&mut self) {
        self.place.keep();
        self.elsewhere.keep();
        let folders = [&self.place, &self.elsewhere].map(|one| one.path("").display().to_string());
        eprintln!("kept in {} and {}", folders[0], folders[1]);
    }

    /// A token as [`Material::token`], of another agent.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn token_of(&self, tenant: &str, agent: &str) -> anyhow::Result<String> {
        token(&self.issuer, tenant, agent)
    }

    /// A shorter one: a request with it is one packet.
    ///
    /// # Errors
    /// As [`Material::token_of`].
    pub(crate) fn short_token_of(&self, tenant: &str, agent: &str) -> anyhow::Result<String> {
        self.issuer.token(&claims(tenant, agent, &[]), TOKEN_TTL_S)
    }
}

fn elsewhere(place: &Place) -> anyhow::Result<Place> {
    let folder = place.path("control");
    let name = place.path("").file_name().context("a folder without a name")?.to_owned();
    let memory = Path::new(MEMORY).join(name);
    Place::at(&memory, false).or_else(|_| Place::at(&folder, false))
}

fn token(issuer: &Issuer, tenant: &str, agent: &str) -> anyhow::Result<String> {
    let mut groups = vec!["eu-support".to_owned(), "tier2".to_owned()];
    loop {
        let token = issuer.token(&claims(tenant, agent, &groups), TOKEN_TTL_S)?;
        if token.len() >= TOKEN_BYTES {
            return Ok(token);
        }
        let last = groups.last_mut().context("a group")?;
        if last.len() > 24 { groups.push("g".to_owned()) } else { last.push('x') }
    }
}

fn claims(tenant: &str, agent: &str, groups: &[String]) -> Value {
    json!({
        "aud": AUDIENCE, "sub": "jane.doe@example.test", "org": tenant,
        "azp": agent, "scope": "orders:read orders:list customers:read",
        "roles": ["support", "orders-reader"], "groups": groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_has_the_size_that_is_quoted() {
        let issuer = Issuer::new(ISSUER, Algorithm::Es256).unwrap();
        let token = token(&issuer, TENANT, "claude-desktop").unwrap();
        assert!((TOKEN_BYTES..TOKEN_BYTES + 8).contains(&token.len()), "{}", token.len());
    }
}
