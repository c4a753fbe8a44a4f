//! A verified table and its names: servers, tools, policies, obligations.
//!
//! [`Table::load`] is the only way to one, so every index in it has been checked. Look-ups by name
//! are binary searches over sorted parts; none allocates.

use crate::eval::Decision;
use crate::layout::{self, FactKind, Layout, Malformed, NONE, Text};
use crate::value::{Ip, Value};
use crate::verify;

/// A server of the table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerIndex(pub u16);

/// A tool of the table; one number over all servers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ToolIndex(pub u32);

/// A policy of the table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyIndex(pub u32);

/// An argument that policies look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArgumentIndex(pub u32);

/// Where a policy stands, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyName<'t> {
    /// Its `@id`, or `file:line`.
    pub id: &'t str,
    pub file: &'t str,
    /// From one.
    pub line: u32,
    /// From one.
    pub column: u32,
}

/// What a permit asks to be done with the calls that it allows: an annotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Obligation<'t> {
    pub policy: PolicyIndex,
    /// `approval`, `audit`, `dry_run` or `quota`.
    pub key: &'t str,
    pub value: &'t str,
}

/// A verified policy table.
#[derive(Debug)]
pub struct Table {
    pub(crate) layout: Layout,
    /// Tells tables apart: a subject is good for the table that made it, and no other.
    pub(crate) stamp: u64,
}

impl Table {
    /// Reads and verifies a table, in one pass over it.
    ///
    /// # Errors
    /// Names the part and the rule that it breaks. Nothing of a refused table is used.
    pub fn load(bytes: &[u8]) -> Result<Self, Malformed> {
        let layout = Layout::decode(bytes)?;
        verify::verify(&layout)?;
        Ok(Self { layout, stamp: stamp(bytes) })
    }

    /// The server of this name.
    #[must_use]
    pub fn find_server(&self, name: &str) -> Option<ServerIndex> {
        let servers = &self.layout.servers;
        let at = servers.binary_search_by(|server| self.text(server.name).cmp(name)).ok()?;
        u16::try_from(at).ok().map(ServerIndex)
    }

    /// The tool of this name at this server.
    #[must_use]
    pub fn find_tool(&self, server: ServerIndex, name: &[u8]) -> Option<ToolIndex> {
        let server = self.layout.servers.get(usize::from(server.0))?;
        let first = server.tool_first as usize;
        let tools = self.layout.tools.get(first..first + server.tool_count as usize)?;
        let at = tools.binary_search_by(|tool| self.text(tool.name).as_bytes().cmp(name)).ok()?;
        Some(ToolIndex(server.tool_first + at as u32))
    }

    /// All servers, by name.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = (ServerIndex, &str)> {
        let servers = self.layout.servers.iter().enumerate();
        servers.map(|(at, server)| (ServerIndex(at as u16), self.text(server.name)))
    }

    /// The tools of a server, by name; none for a server that is not there.
    pub fn tools(&self, server: ServerIndex) -> impl Iterator<Item = (ToolIndex, &str)> {
        let server = self.layout.servers.get(usize::from(server.0));
        let range = server.map_or(0..0, |s| s.tool_first..s.tool_first + s.tool_count);
        range.filter_map(|at| self.tool(ToolIndex(at)).map(|(_, name)| (ToolIndex(at), name)))
    }

    /// A tool's server and name.
    #[must_use]
    pub fn tool(&self, tool: ToolIndex) -> Option<(ServerIndex, &str)> {
        let tool = self.layout.tools.get(tool.0 as usize)?;
        Some((ServerIndex(tool.server as u16), self.text(tool.name)))
    }

    /// A server's name.
    #[must_use]
    pub fn server(&self, server: ServerIndex) -> Option<&str> {
        self.layout.servers.get(usize::from(server.0)).map(|server| self.text(server.name))
    }

    /// A policy's name and place.
    #[must_use]
    pub fn policy(&self, policy: PolicyIndex) -> Option<PolicyName<'_>> {
        let policy = self.layout.policies.get(policy.0 as usize)?;
        Some(PolicyName {
            id: self.text(policy.id),
            file: self.text(policy.file),
            line: policy.line,
            column: policy.column,
        })
    }

    /// How many policies there are.
    #[must_use]
    pub fn policy_count(&self) -> usize {
        self.layout.policies.len()
    }

    /// The obligations that one policy carries.
    pub fn obligations(&self, policy: PolicyIndex) -> impl Iterator<Item = Obligation<'_>> {
        let found = self.layout.policies.get(policy.0 as usize);
        let first = found.map_or(0, |p| p.duty_first as usize);
        let count = found.map_or(0, |p| p.duty_count as usize);
        let duties = self.layout.duties.get(first..first + count).unwrap_or_default();
        duties.iter().map(move |duty| Obligation {
            policy,
            key: self.text(duty.key),
            value: self.text(duty.value),
        })
    }

    /// The obligations of *all* permits that are behind this decision; none for a denial.
    pub fn obligations_of(&self, decision: &Decision) -> impl Iterator<Item = Obligation<'_>> {
        self.obliged(decision).flat_map(|policy| self.obligations(policy))
    }

    /// The path of an argument, `customer.region`; an empty text for one that is not named.
    #[must_use]
    pub fn argument(&self, argument: ArgumentIndex) -> &str {
        self.layout.fields.get(argument.0 as usize).map_or("", |field| self.text(field.path))
    }

    #[inline]
    pub(crate) fn text(&self, text: Text) -> &str {
        let (at, len) = (text.at as usize, text.len as usize);
        self.layout.arena.get(at..at + len).unwrap_or_default()
    }

    /// A constant as a value. `verify` has checked that all of it exists.
    #[inline]
    pub(crate) fn constant(&self, index: u32) -> Value<'_> {
        use layout::ConstantKind as Kind;
        let Some(constant) = self.layout.constants.get(index as usize) else {
            return Value::Absent;
        };
        let integer = constant.p as i64;
        match constant.kind {
            Kind::Bool => Value::Bool(constant.p != 0),
            Kind::Long => Value::Long(integer),
            Kind::Text => Value::Text(self.text(Text { at: constant.p as u32, len: constant.len })),
            Kind::Entity => Value::Entity(constant.p as u32),
            Kind::Decimal => Value::Decimal(integer),
            Kind::Datetime => Value::Datetime(integer),
            Kind::Duration => Value::Duration(integer),
            Kind::Ip => Ip::from_bits(constant.p, constant.q, constant.v6 != 0, constant.prefix)
                .map_or(Value::Absent, Value::Ip),
            Kind::Set => Value::Set(constant.p as u32, constant.len),
            Kind::Pattern => Value::Pattern(constant.p as u32, constant.len),
        }
    }

    /// The number of an entity that constants name.
    pub(crate) fn entity(&self, kind: FactKind, name: &str) -> Option<u32> {
        let entities = &self.layout.entities;
        let at = entities.binary_search_by(|e| (e.kind, self.text(e.name)).cmp(&(kind, name)));
        at.ok().map(|at| at as u32)
    }
}

/// A cell: two bits of kind, then thirty of policy or program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cell {
    /// By a forbid, or because no permit reaches here.
    Deny(Option<PolicyIndex>),
    Allow(PolicyIndex),
    Program(u32),
}

const LOW_NONE: u32 = (1 << 30) - 1;

impl Cell {
    /// From its word; `None` for a kind that does not exist.
    #[must_use]
    #[inline]
    pub fn from_word(word: u32) -> Option<Self> {
        let low = word & LOW_NONE;
        match word >> 30 {
            0 => Some(Self::Deny((low != LOW_NONE).then_some(PolicyIndex(low)))),
            1 => Some(Self::Allow(PolicyIndex(low))),
            2 => Some(Self::Program(low)),
            _ => None,
        }
    }

    /// As a word. Indices have thirty bits.
    #[must_use]
    pub fn word(self) -> u32 {
        match self {
            Self::Deny(None) => LOW_NONE,
            Self::Deny(Some(policy)) => policy.0 & LOW_NONE,
            Self::Allow(policy) => 1 << 30 | (policy.0 & LOW_NONE),
            Self::Program(program) => 2 << 30 | (program & LOW_NONE),
        }
    }
}

/// Tells tables apart; nobody trusts it with more. The bundle's signature is what authenticates.
fn stamp(bytes: &[u8]) -> u64 {
    let mut stamp = bytes.len() as u64 ^ u64::from(NONE);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        stamp =
            (stamp.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    stamp
}
