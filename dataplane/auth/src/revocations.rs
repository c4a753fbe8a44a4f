//! Revocations: credentials that are over before their time.
//!
//! They beat the cache: each cached caller is compared once with each new list, and after that
//! costs one comparison of two numbers a call.

use std::fmt::{Display, Formatter};

use dataplane_telemetry::WallNanos;

use crate::Caller;

/// Revocations in force at once: 10,000 people leaving at once is a new key set, not a list.
pub const REVOCATIONS_MAX: usize = 10_000;

/// One revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    pub by: RevokedBy,
    /// The subject, token id (or API key id), client id, or session.
    pub value: String,
    /// Where the value counts: a provider's name, empty for API keys. `None`: everywhere. Sessions
    /// are ours and have none.
    pub provider: Option<String>,
    /// Only what was issued before this is revoked, so that a person may log in again. A credential
    /// that does not say when it was issued is revoked. `None`: whatever the time.
    pub issued_before: Option<WallNanos>,
}

/// What a revocation goes by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RevokedBy {
    Subject,
    TokenId,
    Client,
    Session,
}

/// The list in force. `serial` changes with each new list.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    /// Sorted by kind and value.
    list: Vec<Revocation>,
    serial: u64,
}

impl Revocations {
    /// `None` where the list is longer than [`REVOCATIONS_MAX`]: the one in force stays.
    #[must_use]
    pub fn new(mut list: Vec<Revocation>, serial: u64) -> Option<Self> {
        list.sort_unstable_by(|a, b| (a.by, &a.value).cmp(&(b.by, &b.value)));
        (list.len() <= REVOCATIONS_MAX).then_some(Self { list, serial })
    }

    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// # Errors
    /// What the caller's credential was revoked by.
    pub fn check(&self, caller: &Caller) -> Result<(), RevokedBy> {
        let traits = [
            (RevokedBy::Subject, &caller.subject),
            (RevokedBy::TokenId, &caller.token_id),
            (RevokedBy::Client, &caller.client_id),
        ];
        for (by, value) in traits {
            let Some(value) = value else { continue };
            if self.of(by, value).any(|revocation| revocation.hits(caller)) {
                return Err(by);
            }
        }
        Ok(())
    }

    /// Whether a legacy session was ended from outside.
    #[must_use]
    pub fn has_session(&self, session: &str) -> bool {
        self.of(RevokedBy::Session, session).next().is_some()
    }

    fn of(&self, by: RevokedBy, value: &str) -> impl Iterator<Item = &Revocation> {
        let before =
            |revocation: &Revocation| (revocation.by, revocation.value.as_str()) < (by, value);
        let first = self.list.partition_point(before);
        let rest = self.list.get(first..).unwrap_or_default();
        rest.iter().take_while(move |revocation| revocation.by == by && revocation.value == value)
    }
}

impl Revocation {
    fn hits(&self, caller: &Caller) -> bool {
        let here = self.provider.as_ref().is_none_or(|provider| *provider == caller.provider);
        let early = match (self.issued_before, caller.issued_at) {
            (Some(before), Some(issued_at)) => issued_at < before,
            _ => true,
        };
        here && early
    }
}

impl Display for RevokedBy {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Subject => "subject",
            Self::TokenId => "token id",
            Self::Client => "client",
            Self::Session => "session",
        })
    }
}
