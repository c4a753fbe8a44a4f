//! The verifier: a credential's bytes in, a caller or a refusal out.
//!
//! One a core. Costs one signature check for a token that is otherwise right, and next to nothing
//! for any other; what it says is cached by [`Cache`](crate::Cache).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dataplane_telemetry::WallNanos;

use crate::header::Header;
use crate::json::{self, Object};
use crate::refused::shown;
use crate::{
    API_KEY_PREFIX, ApiKeys, Caller, Part, Provider, ProviderFault, Refused, TOKEN_BYTES_MAX,
    TOKEN_HEADER_BYTES_MAX, claims, provider,
};

/// Knows the providers and API keys of one bundle; a new bundle brings a new verifier.
#[derive(Debug)]
pub struct Verifier {
    providers: Vec<Provider>,
    api_keys: ApiKeys,
    /// Kept for its memory.
    decoded: Vec<u8>,
}

impl Verifier {
    /// # Errors
    /// What could be read two ways: see [`ProviderFault`].
    pub fn new(providers: Vec<Provider>, api_keys: ApiKeys) -> Result<Self, ProviderFault> {
        provider::check(&providers)?;
        Ok(Self { providers, api_keys, decoded: Vec::new() })
    }

    /// Who calls with this credential: the bytes after `Bearer `, an API key or a JWT.
    ///
    /// `audience` is the canonical URI of the endpoint (RFC 8707). What was withdrawn is in no later
    /// bundle, so not in its verifier; a token that must end before that is killed by its id.
    ///
    /// # Errors
    /// The first rule that does not hold. See [`Refused::cost_a_check`] for the budget.
    pub fn verify(
        &mut self,
        credential: &[u8],
        audience: &str,
        wall: WallNanos,
    ) -> Result<Caller, Refused> {
        if credential.starts_with(API_KEY_PREFIX) {
            return self.api_keys.verify(credential, wall);
        }
        self.verify_token(credential, audience, wall)
    }

    fn verify_token(
        &mut self,
        token: &[u8],
        audience: &str,
        wall: WallNanos,
    ) -> Result<Caller, Refused> {
        let parts = Parts::split(token)?;
        let header = self.object(parts.header, Part::Header)?;
        let header = Header::read(&header)?;
        let claims = self.object(parts.claims, Part::Claims)?;
        let issuer = claims::issuer(&claims)?;
        self.decode(parts.signature, Part::Signature)?;
        let provider = self
            .providers
            .iter()
            .find(|provider| provider.issuer == issuer)
            .ok_or_else(|| Refused::UnknownIssuer(shown(issuer)))?;
        let key =
            provider.keys.iter().find(|key| key.key_id() == header.key_id).ok_or_else(|| {
                Refused::UnknownKey {
                    provider: shown(&provider.name),
                    key_id: shown(header.key_id),
                }
            })?;
        if !key.algorithm().is_called(header.alg) {
            return Err(Refused::Algorithm { token: shown(header.alg), key: key.algorithm() });
        }
        let expires_at = claims::check(&claims, provider, audience, wall)?;
        let caller = claims::caller(&claims, provider, expires_at)?;
        if key.verifies(parts.signed, &self.decoded) { Ok(caller) } else { Err(Refused::Signature) }
    }

    fn object(&mut self, encoded: &[u8], part: Part) -> Result<Object, Refused> {
        self.decode(encoded, part)?;
        json::object(&self.decoded).map_err(|why| Refused::Json { part, why })
    }

    /// One spelling only: no padding, no other alphabet, no bits left over.
    fn decode(&mut self, encoded: &[u8], part: Part) -> Result<(), Refused> {
        self.decoded.clear();
        let decoded = URL_SAFE_NO_PAD.decode_vec(encoded, &mut self.decoded);
        decoded.map_err(|_| Refused::Base64(part))
    }
}

/// `header.claims.signature`, none of them empty.
struct Parts<'a> {
    header: &'a [u8],
    claims: &'a [u8],
    signature: &'a [u8],
    /// `header.claims`.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(token: &'a [u8]) -> Result<Self, Refused> {
        let too_long = |bytes, bytes_max| Err(Refused::TooLong { bytes, bytes_max });
        if token.len() > TOKEN_BYTES_MAX {
            return too_long(token.len(), TOKEN_BYTES_MAX);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Parts);
        };
        let more = parts.count();
        if more == 2 {
            return Err(Refused::Encrypted);
        }
        if more > 0 || header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(Refused::Parts);
        }
        if header.len() > TOKEN_HEADER_BYTES_MAX {
            return too_long(header.len(), TOKEN_HEADER_BYTES_MAX);
        }
        let signed = token.get(..header.len() + 1 + claims.len()).ok_or(Refused::Parts)?;
        Ok(Self { header, claims, signature, signed })
    }
}
