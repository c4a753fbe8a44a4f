//! Programs: the decision graph of one cell.
//!
//! A program is an array of nodes; a test goes on at `t` or `f`, a value writes register `c` and goes
//! on at `t`, and both are always *lower* indices, so a program of n nodes ends within n steps. Any
//! error (an absent value, an overflow) ends in a denial.

use crate::layout::record;

/// Registers of one decision: the guard fills the first, computed values take the rest.
pub const REGISTERS: usize = 32;

/// Operands: the two high bits say where, the low thirty which.
pub const REGISTER: u32 = 0;
/// A constant of the table.
pub const CONSTANT: u32 = 1 << 30;
/// A value of the caller's: see [`CALLER_PRINCIPAL`] and its neighbours.
pub const CALLER: u32 = 2 << 30;
/// A value of the call's: see [`CONTEXT_NOW`] and [`CONTEXT_ERA`].
pub const CONTEXT: u32 = 3 << 30;
/// The low thirty bits.
pub const INDEX_MASK: u32 = (1 << 30) - 1;

/// `principal`: the user, or else the agent or the service.
pub const CALLER_PRINCIPAL: u32 = 0;
/// `principal.tenant`.
pub const CALLER_TENANT: u32 = 1;
/// `context.agent`; absent when the token names none.
pub const CALLER_AGENT: u32 = 2;
/// `context.agent.tenant`; absent with the agent.
pub const CALLER_AGENT_TENANT: u32 = 3;
/// How many values a caller has.
pub const CALLER_VALUES: usize = 4;

/// `context.now`, in milliseconds.
pub const CONTEXT_NOW: u32 = 0;
/// `context.era`.
pub const CONTEXT_ERA: u32 = 1;
/// How many values a call has besides its arguments.
pub const CONTEXT_VALUES: usize = 2;

/// "No bit", in a `Mark` without obligations.
pub const NO_BIT: u8 = u8::MAX;

/// What a node does.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Op {
    // Tests: `t` when true, `f` when false.
    /// A Boolean `a`.
    Test,
    Equal,
    Less,
    LessEqual,
    DecimalLess,
    DecimalLessEqual,
    /// Text `a` against pattern `b`.
    Like,
    Contains,
    ContainsAll,
    ContainsAny,
    IsEmpty,
    InRange,
    /// `a` is there.
    Has,
    /// `a` is there, or else an error.
    Need,
    IsV4,
    IsLoopback,
    IsMulticast,
    /// The caller has fact `a`, an index and not an operand.
    Member,
    // Values: register `c`, then `t`.
    Add,
    Subtract,
    Multiply,
    Negate,
    Move,
    Offset,
    Since,
    ToDate,
    ToTime,
    /// A duration `a` in whole units of `b` milliseconds.
    Divide,
    // Ends, and the two that remember a permit. `a` is a policy.
    Allow,
    /// By forbid `a`, or by `NONE`: no permit was true.
    Deny,
    /// Permit `a` is true; go on, another policy may still err. `c` is its bit or `NO_BIT`.
    Mark,
    /// Allow if a permit was marked, else go on.
    EndMark,
    /// An error, known when it was compiled.
    Fail,
}

/// How a node uses its fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// A test of one operand.
    Test1,
    /// A test of two operands.
    Test2,
    /// A test of a fact.
    Fact,
    /// A value of one operand.
    Value1,
    /// A value of two operands.
    Value2,
    /// A policy, and on to `t`.
    Remember,
    /// On to `t`, or an end.
    Resume,
    /// The end, naming a policy.
    End,
    /// The end, naming none.
    Fail,
}

impl Op {
    const ALL: [Self; 33] = [
        Self::Test,
        Self::Equal,
        Self::Less,
        Self::LessEqual,
        Self::DecimalLess,
        Self::DecimalLessEqual,
        Self::Like,
        Self::Contains,
        Self::ContainsAll,
        Self::ContainsAny,
        Self::IsEmpty,
        Self::InRange,
        Self::Has,
        Self::Need,
        Self::IsV4,
        Self::IsLoopback,
        Self::IsMulticast,
        Self::Member,
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Negate,
        Self::Move,
        Self::Offset,
        Self::Since,
        Self::ToDate,
        Self::ToTime,
        Self::Divide,
        Self::Allow,
        Self::Deny,
        Self::Mark,
        Self::EndMark,
        Self::Fail,
    ];

    /// The operation with this byte, if there is one.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// How its node is read.
    #[must_use]
    pub fn shape(self) -> Shape {
        match self {
            Self::Test
            | Self::IsEmpty
            | Self::Has
            | Self::Need
            | Self::IsV4
            | Self::IsLoopback
            | Self::IsMulticast => Shape::Test1,
            Self::Equal
            | Self::Less
            | Self::LessEqual
            | Self::DecimalLess
            | Self::DecimalLessEqual
            | Self::Like
            | Self::Contains
            | Self::ContainsAll
            | Self::ContainsAny
            | Self::InRange => Shape::Test2,
            Self::Member => Shape::Fact,
            Self::Negate | Self::Move | Self::ToDate | Self::ToTime => Shape::Value1,
            Self::Add
            | Self::Subtract
            | Self::Multiply
            | Self::Offset
            | Self::Since
            | Self::Divide => Shape::Value2,
            Self::Mark => Shape::Remember,
            Self::EndMark => Shape::Resume,
            Self::Allow | Self::Deny => Shape::End,
            Self::Fail => Shape::Fail,
        }
    }
}

record! {
    /// One node, 16 bytes.
    Node { op: Op, c: u8, t: u16, f: u16, pad: u16, a: u32, b: u32 }
}
