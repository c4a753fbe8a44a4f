//! Fetching the keys of identity providers.
//!
//! From `jwks_url`, or from where the provider's own configuration document says. What is kept is
//! what `dataplane-auth` itself would use: a set that it refuses is refused here, with the reason.

use std::time::Duration;

use controlplane_api::Time;
use controlplane_api::bounds::JWKS_BYTES_MAX;
use controlplane_api::names::shown;
use controlplane_api::objects::{Identity, Jwks};
use serde_json::Value;

/// Providers answer within milliseconds; an apply waits for this.
const FETCH: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// Fetches a provider's keys.
///
/// # Errors
/// A sentence for people: which address, and what was wrong.
pub(crate) async fn fetch(identity: &Identity, now: Time) -> Result<Jwks, String> {
    let http = crate::outbound::builder(CONNECT).timeout(FETCH).build();
    let http = http.map_err(|error| crate::outbound::plain(&error))?;
    let url = match &identity.jwks_url {
        Some(url) => url.clone(),
        None => find(&http, &identity.issuer).await?,
    };
    let bytes = get(&http, &url).await?;
    let document = check(&bytes).map_err(|why| format!("{url}: {why}"))?;
    Ok(Jwks { document, url, since: now })
}

/// Reads a key set as the dataplane does; answers it as text.
///
/// # Errors
/// Why the dataplane would refuse it, or that no key in it can be used.
pub(crate) fn check(bytes: &[u8]) -> Result<String, String> {
    let read = dataplane_auth::Jwks::parse(bytes).map_err(|fault| fault.to_string())?;
    if read.keys.is_empty() {
        let why: Vec<String> =
            read.skipped.iter().map(|key| format!("`{}`: {}", key.key_id, key.why)).collect();
        return Err(format!("no key of the set can be used ({})", why.join("; ")));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| "the set is not UTF-8".to_owned())
}

/// OpenID Connect Discovery 1.0 §4.
async fn find(http: &reqwest::Client, issuer: &str) -> Result<String, String> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document: Value = serde_json::from_slice(&get(http, &url).await?)
        .map_err(|error| format!("{url} is no JSON: {error}"))?;
    let says = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    if says("issuer") != issuer {
        return Err(format!(
            "{url} says that its issuer is `{}`, not `{issuer}`",
            shown(says("issuer"))
        ));
    }
    let found = says("jwks_uri");
    // An https provider may not send us to an address that anybody on the way could answer for.
    let fitting = found.starts_with("https://")
        || (issuer.starts_with("http://") && found.starts_with("http://"));
    if !fitting {
        return Err(format!("{url} has no usable jwks_uri: write `jwks_url` yourself"));
    }
    Ok(found.to_owned())
}

async fn get(http: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| format!("{url}: {}", crate::outbound::plain(&error));
    let mut response = http.get(url).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("{url} answered {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > JWKS_BYTES_MAX {
            return Err(format!("{url} answered more than {JWKS_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
