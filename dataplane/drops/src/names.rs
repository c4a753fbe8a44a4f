//! Whom a ladder is for, and who is seen: keyed hashes of names, and the names for people.
//!
//! Callers choose parts of what is hashed, so every hash is SipHash-2-4 under a key that the process
//! drew: nobody can aim at another's place in a table. Made once for a caller, when it is admitted.

use std::hash::Hasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::rule::Rule;

/// Who shares one bucket of a quota, and so one ladder. A quota per caller and tool is a caller's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Tenant,
    User,
    Agent,
    /// Tenant, user and agent together.
    Caller,
}

impl Per {
    pub(crate) const ALL: [Self; 4] = [Self::Tenant, Self::User, Self::Agent, Self::Caller];
}

/// By what a ladder is climbed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The quota of this name.
    Quota(Arc<str>),
    /// The kill of this id: straight to dropping, where its rule drops.
    Kill(Arc<str>),
}

/// A caller's names, as its credential says them.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    pub tenant: &'a str,
    pub user: Option<&'a str>,
    pub agent: Option<&'a str>,
}

/// The process' key for all hashes here: drawn at start, never written anywhere.
#[derive(Clone, Copy)]
pub struct Keys([u8; 16]);

impl Keys {
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// Who a caller is, at each grain.
    #[must_use]
    pub fn owner(&self, names: Names<'_>) -> Owner {
        Owner(Per::ALL.map(|per| self.tag(per, names)))
    }

    /// Whoever shares `names`' bucket under this cause. `None` where the grain asks for a user or
    /// an agent and there is none.
    #[must_use]
    pub fn subject(&self, cause: Cause, per: Per, names: Names<'_>, rule: Rule) -> Option<Subject> {
        let tag = self.tag(per, names);
        if tag == Tag::NOBODY {
            return None;
        }
        let (kind, name) = match &cause {
            Cause::Quota(name) => (0, name),
            Cause::Kill(name) => (1, name),
        };
        let key = self.hash(&[&[kind, per as u8], name.as_bytes(), &tag.0.to_le_bytes()]);
        let (user, agent) = match per {
            Per::Tenant => (None, None),
            Per::User => (names.user, None),
            Per::Agent => (None, names.agent),
            Per::Caller => (names.user, names.agent),
        };
        let (user, agent) = (user.map(Arc::from), agent.map(Arc::from));
        Some(Subject { key, tag, rule, cause, per, tenant: names.tenant.into(), user, agent })
    }

    fn tag(&self, per: Per, names: Names<'_>) -> Tag {
        let tenant = names.tenant.as_bytes();
        let part = |text: Option<&str>| -> Vec<u8> {
            // Nobody and an empty name are two things.
            text.map_or(Vec::new(), |text| [b"=", text.as_bytes()].concat())
        };
        let (user, agent) = (part(names.user), part(names.agent));
        let grain = [per as u8];
        let hash = match per {
            Per::Tenant => self.hash(&[&grain, tenant]),
            Per::User if names.user.is_none() => return Tag::NOBODY,
            Per::User => self.hash(&[&grain, tenant, &user]),
            Per::Agent if names.agent.is_none() => return Tag::NOBODY,
            Per::Agent => self.hash(&[&grain, tenant, &agent]),
            Per::Caller => self.hash(&[&grain, tenant, &user, &agent]),
        };
        Tag(hash as u64 | 1)
    }

    /// Each part with its length, so that no two lists of parts read alike.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}

/// Shows nothing: whoever knows the key can aim.
impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Keys(..)")
    }
}

/// One tenant, user, agent or caller. Two of them are alike with a chance of 2^-63.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    /// No user, no agent, or several: never a subject's.
    pub(crate) const NOBODY: Self = Self(0);
}

/// Who uses a connection, at each grain; where several do, nobody. A connection keeps one and merges
/// into it the caller of each request: see [`Owner::and`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner([Tag; 4]);

impl Owner {
    /// What both have in common.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut common = self;
        for (mine, its) in common.0.iter_mut().zip(other.0) {
            if *mine != its {
                *mine = Tag::NOBODY;
            }
        }
        common
    }

    pub(crate) fn tag(&self, per: Per) -> Tag {
        self.0.get(per as usize).copied().unwrap_or(Tag::NOBODY)
    }

    pub(crate) const fn tags(&self) -> &[Tag; 4] {
        &self.0
    }

    /// Whether everything here is this subject's.
    pub(crate) fn is_of(&self, subject: &Subject) -> bool {
        self.tag(subject.per) == subject.tag
    }
}

/// Whose ladder it is: who shares one bucket of one quota, or whom one kill names. Made when a caller
/// is admitted, then shared; the newest rule that comes with it is the one that counts.
#[derive(Clone, Debug)]
pub struct Subject {
    pub(crate) key: u128,
    pub(crate) tag: Tag,
    pub(crate) rule: Rule,
    pub cause: Cause,
    pub per: Per,
    pub tenant: Arc<str>,
    pub user: Option<Arc<str>>,
    pub agent: Option<Arc<str>>,
}

impl Subject {
    /// The quota's name, or the kill's id.
    #[must_use]
    pub fn cause_name(&self) -> &str {
        match &self.cause {
            Cause::Quota(name) | Cause::Kill(name) => name,
        }
    }

    #[must_use]
    pub const fn is_killed(&self) -> bool {
        matches!(self.cause, Cause::Kill(_))
    }

    pub(crate) fn names(&self) -> Names<'_> {
        Names { tenant: &self.tenant, user: self.user.as_deref(), agent: self.agent.as_deref() }
    }
}

/// `tenant acme`, `user ann of tenant acme`.
impl std::fmt::Display for Subject {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (user, agent) = (self.user.as_deref(), self.agent.as_deref());
        Whose { per: self.per, tenant: &self.tenant, user, agent }.fmt(out)
    }
}

/// A subject's names, said.
pub(crate) struct Whose<'a> {
    pub(crate) per: Per,
    pub(crate) tenant: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
}

impl std::fmt::Display for Whose<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.user, self.agent) {
            (Some(user), Some(agent)) => write!(out, "agent {agent} for user {user} of ")?,
            (Some(user), None) => write!(out, "user {user} of ")?,
            (None, Some(agent)) => write!(out, "agent {agent} of ")?,
            (None, None) if self.per == Per::Caller => {
                out.write_str("the caller without a name of ")?
            }
            (None, None) => {}
        }
        write!(out, "tenant {}", self.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::LadderRule;

    const fn names<'a>(
        tenant: &'a str,
        user: Option<&'a str>,
        agent: Option<&'a str>,
    ) -> Names<'a> {
        Names { tenant, user, agent }
    }

    #[test]
    fn names_do_not_run_together() {
        let keys = Keys::new([7; 16]);
        let people = [
            names("a", None, None),
            names("a", Some(""), None),
            names("a", Some("b"), None),
            names("a", None, Some("b")),
            names("a", Some("b"), Some("c")),
            names("a", Some("bc"), None),
            names("ab", Some("c"), None),
        ];
        for (place, one) in people.iter().enumerate() {
            for other in &people[..place] {
                let pair = (keys.owner(*one), keys.owner(*other));
                assert_ne!(pair.0.tag(Per::Caller), pair.1.tag(Per::Caller), "{one:?} {other:?}");
            }
        }
        let other = Keys::new([8; 16]).owner(people[0]);
        assert_ne!(keys.owner(people[0]), other);
    }

    #[test]
    fn what_two_callers_have_in_common() {
        let keys = Keys::new([7; 16]);
        let ann = keys.owner(names("acme", Some("ann"), Some("bot")));
        let bob = keys.owner(names("acme", Some("bob"), Some("bot")));
        let eve = keys.owner(names("evil", Some("ann"), Some("bot")));
        assert_eq!(ann.and(ann), ann);
        let both = ann.and(bob);
        assert_eq!(both.tag(Per::Tenant), ann.tag(Per::Tenant));
        assert_eq!(both.tag(Per::Agent), ann.tag(Per::Agent));
        assert_eq!(both.tag(Per::User), Tag::NOBODY);
        assert_eq!(both.tag(Per::Caller), Tag::NOBODY);
        assert_eq!(both.and(eve).0, [Tag::NOBODY; 4]);
        assert_eq!(both.and(eve).and(ann).0, [Tag::NOBODY; 4], "several stay several");
    }

    #[test]
    fn nobody_has_no_ladder() {
        let keys = Keys::new([7; 16]);
        let rule = LadderRule::default().check(true).unwrap();
        let quota = || Cause::Quota("agents".into());
        let subject = |per| keys.subject(quota(), per, names("acme", Some("ann"), None), rule);
        assert!(subject(Per::Agent).is_none());
        assert_eq!(subject(Per::User).unwrap().to_string(), "user ann of tenant acme");
        assert_eq!(subject(Per::Tenant).unwrap().to_string(), "tenant acme");
        let kill = Cause::Kill("agents".into());
        let killed = keys.subject(kill, Per::Tenant, names("acme", None, None), rule).unwrap();
        assert_ne!(killed.key, subject(Per::Tenant).unwrap().key);
    }
}
