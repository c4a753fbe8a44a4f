//! A caller as the table sees it: a class at each server, the facts, and who it is.
//!
//! A subject is made once when a caller is verified, and kept with it. At a server where the caller's
//! facts are those of a compiled class it has that class's row; anywhere else it uses the server's
//! fallback cells, which test the facts one by one: slower, never different.

use crate::layout::{FactKind, NONE, Server};
use crate::program::CALLER_VALUES;
use crate::table::{ServerIndex, Table};
use crate::value::Value;

/// What kind of entity the principal is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CallerKind {
    /// A person; the agent that acts for them is in `context.agent`.
    User,
    /// An agent on its own account.
    Agent,
    /// A program that is neither.
    Service,
}

impl CallerKind {
    fn fact(self) -> (FactKind, &'static str) {
        match self {
            Self::User => (FactKind::User, "User"),
            Self::Agent => (FactKind::Agent, "Agent"),
            Self::Service => (FactKind::Service, "Service"),
        }
    }
}

/// What is known about a caller once its credential has been verified.
#[derive(Clone, Copy, Debug)]
pub struct CallerFacts<'a> {
    pub tenant: &'a str,
    pub kind: CallerKind,
    /// The person's name, or the service's.
    pub user: Option<&'a str>,
    pub agent: Option<&'a str>,
    /// As claimed by the identity provider; what the directory adds is in the table.
    pub roles: &'a [&'a str],
    pub groups: &'a [&'a str],
}

/// A caller, resolved against one table.
#[derive(Clone, Debug)]
pub struct Subject {
    pub(crate) stamp: u64,
    /// For each server the index of its row's first cell, or `NONE`: use the fallback cells.
    pub(crate) rows: Box<[u32]>,
    /// A bit a fact.
    pub(crate) facts: Box<[u64]>,
    /// Entity numbers by `program::CALLER_*`; `NONE` is absent.
    pub(crate) values: [u32; CALLER_VALUES],
}

impl Subject {
    /// Whether this caller's facts have no row at a server, so that membership is tested there on
    /// every call: the same answers, only slower. Worth counting.
    #[must_use]
    pub fn is_fallback(&self, server: ServerIndex) -> bool {
        self.rows.get(usize::from(server.0)).is_none_or(|row| *row == NONE)
    }

    /// The same caller without rows: every answer comes from fallback cells and must be the same.
    /// For tests that compare the two.
    #[must_use]
    pub fn without_rows(&self) -> Self {
        Self { rows: vec![NONE; self.rows.len()].into(), ..self.clone() }
    }

    #[inline]
    pub(crate) fn has(&self, fact: u32) -> bool {
        let word = self.facts.get(fact as usize / 64).copied().unwrap_or_default();
        word >> (fact % 64) & 1 == 1
    }

    #[inline]
    pub(crate) fn value(&self, index: u32) -> Value<'static> {
        match self.values.get(index as usize) {
            Some(&NONE) | None => Value::Absent,
            Some(&entity) => Value::Entity(entity),
        }
    }
}

impl Table {
    /// Resolves a caller: binary searches by name, a few small allocations. Keep it with the caller.
    ///
    /// A tenant with a `/` in its name is denied everything: principals are named `tenant/name`, and
    /// its people could pass for another tenant's.
    #[must_use]
    pub fn subject(&self, caller: &CallerFacts<'_>) -> Subject {
        let mut facts = vec![0u64; self.layout.facts.len().div_ceil(64)];
        let name = match caller.kind {
            CallerKind::User | CallerKind::Service => caller.user,
            CallerKind::Agent => caller.agent,
        };
        let (kind, kind_name) = caller.kind.fact();
        let principal = name.map(|name| format!("{}/{name}", caller.tenant));
        self.join(&mut facts, FactKind::Kind, kind_name);
        if let Some(principal) = &principal {
            self.join(&mut facts, kind, principal);
        }
        caller.roles.iter().for_each(|role| self.join(&mut facts, FactKind::Role, role));
        caller.groups.iter().for_each(|group| self.join(&mut facts, FactKind::Group, group));
        let rows = self.layout.servers.iter().map(|server| self.row(server, &facts));
        Subject {
            stamp: if caller.tenant.contains('/') { !self.stamp } else { self.stamp },
            rows: rows.collect(),
            values: self.values(caller, kind, principal.as_deref()),
            facts: facts.into(),
        }
    }

    /// Sets the facts that a name brings along.
    fn join(&self, facts: &mut [u64], kind: FactKind, name: &str) {
        let members = &self.layout.members;
        let found = members.binary_search_by(|m| (m.kind, self.text(m.name)).cmp(&(kind, name)));
        let Some(member) = found.ok().and_then(|at| members.get(at)) else { return };
        let range = member.first as usize..(member.first + member.count) as usize;
        for fact in self.layout.member_facts.get(range).unwrap_or_default() {
            if let Some(word) = facts.get_mut(*fact as usize / 64) {
                *word |= 1 << (fact % 64);
            }
        }
    }

    /// The first cell of the class with these facts, or `NONE` if it was not compiled.
    fn row(&self, server: &Server, facts: &[u64]) -> u32 {
        let range = server.fact_first as usize..(server.fact_first + server.fact_count) as usize;
        let asked = self.layout.server_facts.get(range).unwrap_or_default();
        let words = asked.len().div_ceil(64);
        let mut signature = vec![0u64; words];
        for (at, fact) in asked.iter().enumerate() {
            let has = facts.get(*fact as usize / 64).is_some_and(|w| w >> (fact % 64) & 1 == 1);
            if let Some(word) = signature.get_mut(at / 64) {
                *word |= u64::from(has) << (at % 64);
            }
        }
        let of = |class: usize| {
            let first = server.signature_first as usize + class * words;
            self.layout.signatures.get(first..first + words).unwrap_or_default()
        };
        let (mut low, mut high) = (0, server.class_count as usize);
        while low < high {
            let middle = low.midpoint(high);
            match of(middle).cmp(&signature) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let row = self.layout.classes.get(server.class_first as usize + middle);
                    return row.map_or(NONE, |row| server.cell_first + row * server.column_count);
                }
            }
        }
        NONE
    }

    /// Names that no constant mentions get numbers above all constants', so they are equal to
    /// themselves and to nothing else. They are never compared across callers.
    fn values(
        &self,
        caller: &CallerFacts<'_>,
        kind: FactKind,
        principal: Option<&str>,
    ) -> [u32; CALLER_VALUES] {
        let foreign = self.layout.entities.len() as u32;
        let agent = caller.agent.map(|name| format!("{}/{name}", caller.tenant));
        let tenant = self.entity(FactKind::Tenant, caller.tenant).unwrap_or(foreign);
        let named = |kind, name: &str, otherwise| self.entity(kind, name).unwrap_or(otherwise);
        let who = principal.map_or(foreign + 1, |name| named(kind, name, foreign + 1));
        let agent_is_principal = caller.kind == CallerKind::Agent;
        let agent = agent.map_or(NONE, |name| {
            if agent_is_principal { who } else { named(FactKind::Agent, &name, foreign + 2) }
        });
        [who, tenant, agent, if agent == NONE { NONE } else { tenant }]
    }
}
