//! A caller: what a verified credential says about who is calling.

use dataplane_telemetry::WallNanos;

/// Built once when a credential is verified, then kept in the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Never empty, never holds a `/`.
    pub tenant: String,
    pub kind: CallerKind,
    /// The person's name, or the service's where `kind` is `Service`.
    pub user: Option<String>,
    /// The agent: on its own account, or on behalf of `user`.
    pub agent: Option<String>,
    /// Sorted, each once.
    pub roles: Vec<String>,
    /// Sorted, each once.
    pub groups: Vec<String>,
    /// OAuth client (`client_id`, else `azp`).
    pub client_id: Option<String>,
    /// `jti`, or the API key's id.
    pub token_id: Option<String>,
    /// `sub`; unique within its provider only.
    pub subject: Option<String>,
    pub credential: CredentialKind,
    /// The provider's name; empty for API keys.
    pub provider: String,
    /// `iat`, where the token says it.
    pub issued_at: Option<WallNanos>,
    /// From here on the credential is refused; the provider's clock skew is already in it.
    pub expires_at: WallNanos,
}

/// What kind of principal calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CallerKind {
    /// A person, with or without an agent.
    User,
    /// An agent on its own account.
    Agent,
    /// A program that is neither: an OAuth client with a token of its own.
    Service,
}

/// How the caller proved it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CredentialKind {
    Token,
    ApiKey,
}

impl AsRef<Self> for Caller {
    fn as_ref(&self) -> &Self {
        self
    }
}
