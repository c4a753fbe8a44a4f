//! Identity providers: whose tokens are believed, and which claims say who the caller is.

use std::fmt::{Display, Formatter};

use crate::Key;

/// Providers of one appliance.
pub const PROVIDERS_MAX: usize = 64;

/// More would let a token live on long after its end.
pub const CLOCK_SKEW_S_MAX: u32 = 300;

/// An issuer of tokens, as pushed with the bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provider {
    pub name: String,
    /// Equal to `iss`, byte for byte.
    pub issuer: String,
    /// Accepted at every endpoint. A token whose `aud` names the endpoint itself needs none of them.
    pub audiences: Vec<String>,
    pub keys: Vec<Key>,
    pub claims: ClaimMap,
    /// How far its clock may be from ours, in seconds; at most [`CLOCK_SKEW_S_MAX`].
    pub clock_skew_s: u32,
}

/// Which claim says what. A claim that is mapped and absent is refused for the tenant only; there
/// is no caller without one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMap {
    pub tenant: TenantFrom,
    /// `sub` if not mapped.
    pub user: Option<ClaimPath>,
    pub agent: Option<ClaimPath>,
    /// A list of texts, or one text with spaces between.
    pub roles: Option<ClaimPath>,
    /// As `roles`.
    pub groups: Option<ClaimPath>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TenantFrom {
    Claim(ClaimPath),
    /// Everyone of this provider is of one tenant.
    Fixed(String),
}

/// Where in the claims a value stands.
///
/// `realm_access.roles` walks into objects; `/realm_access/roles` (RFC 6901) does the same and can
/// name keys with dots; a name with `://` in it, as some providers prefix theirs, is taken whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimPath {
    pub(crate) steps: Vec<String>,
}

impl ClaimPath {
    /// # Errors
    /// `Path` where a step is empty or a pointer has a bad escape.
    pub fn parse(text: &str) -> Result<Self, ProviderFault> {
        let steps: Option<Vec<String>> = if let Some(pointer) = text.strip_prefix('/') {
            pointer.split('/').map(unescape).collect()
        } else if text.contains("://") {
            Some(vec![text.to_owned()])
        } else {
            Some(text.split('.').map(str::to_owned).collect())
        };
        let steps = steps.filter(|steps| steps.iter().all(|step| !step.is_empty()));
        steps.map(|steps| Self { steps }).ok_or_else(|| ProviderFault::Path(text.to_owned()))
    }
}

/// RFC 6901 §4.
fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (kind, rest) = part.split_at_checked(1)?;
        out.push(match kind {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(out)
}

/// What is wrong with the configured providers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProviderFault {
    TooMany {
        providers: usize,
    },
    Issuer {
        provider: String,
    },
    /// Two providers with one issuer: whose claims count could be read two ways.
    IssuerTwice {
        issuer: String,
    },
    KeyTwice {
        provider: String,
        key_id: String,
    },
    Skew {
        provider: String,
        seconds: u32,
    },
    Tenant {
        provider: String,
    },
    Path(String),
}

/// Refuses what could be read two ways.
pub(crate) fn check(providers: &[Provider]) -> Result<(), ProviderFault> {
    if providers.len() > PROVIDERS_MAX {
        return Err(ProviderFault::TooMany { providers: providers.len() });
    }
    for (place, provider) in providers.iter().enumerate() {
        let name = || provider.name.clone();
        let earlier = providers.iter().take(place);
        if provider.issuer.is_empty() {
            return Err(ProviderFault::Issuer { provider: name() });
        }
        if earlier.clone().any(|other| other.issuer == provider.issuer) {
            return Err(ProviderFault::IssuerTwice { issuer: provider.issuer.clone() });
        }
        if provider.clock_skew_s > CLOCK_SKEW_S_MAX {
            let seconds = provider.clock_skew_s;
            return Err(ProviderFault::Skew { provider: name(), seconds });
        }
        if let TenantFrom::Fixed(tenant) = &provider.claims.tenant
            && (tenant.is_empty() || tenant.contains('/'))
        {
            return Err(ProviderFault::Tenant { provider: name() });
        }
        for (place, key) in provider.keys.iter().enumerate() {
            if provider.keys.iter().take(place).any(|other| other.key_id == key.key_id) {
                let key_id = key.key_id.to_string();
                return Err(ProviderFault::KeyTwice { provider: name(), key_id });
            }
        }
    }
    Ok(())
}

impl Display for ProviderFault {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { providers } => {
                write!(out, "{providers} identity providers; the limit is {PROVIDERS_MAX}")
            }
            Self::Issuer { provider } => {
                write!(out, "identity provider {provider:?} has no issuer")
            }
            Self::IssuerTwice { issuer } => {
                write!(out, "two identity providers have the issuer {issuer:?}; keep one")
            }
            Self::KeyTwice { provider, key_id } => {
                write!(out, "identity provider {provider:?} has two keys named {key_id:?}")
            }
            Self::Skew { provider, seconds } => write!(
                out,
                "identity provider {provider:?} allows {seconds} s of clock skew; the limit is \
                 {CLOCK_SKEW_S_MAX}"
            ),
            Self::Tenant { provider } => write!(
                out,
                "identity provider {provider:?} has a fixed tenant that is empty or holds a slash"
            ),
            Self::Path(path) => write!(
                out,
                "{path:?} is no path to a claim: write a name, a.b, or /a/b as in RFC 6901"
            ),
        }
    }
}

impl std::error::Error for ProviderFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_reading() {
        let steps = |text: &str| ClaimPath::parse(text).map(|path| path.steps).ok();
        let some = |steps: &[&str]| Some(steps.iter().map(ToString::to_string).collect());
        assert_eq!(steps("org"), some(&["org"]));
        assert_eq!(steps("realm_access.roles"), some(&["realm_access", "roles"]));
        assert_eq!(steps("/realm_access/roles"), some(&["realm_access", "roles"]));
        assert_eq!(steps("/a.b/c~1d~0e"), some(&["a.b", "c/d~e"]));
        assert_eq!(steps("https://example.com/roles"), some(&["https://example.com/roles"]));
        for bad in ["", ".", "a.", ".a", "a..b", "/", "/a/", "//a", "/a~2", "/a~"] {
            assert_eq!(steps(bad), None, "{bad:?}");
        }
    }
}
