//! Conditions after specialisation: a tree over constants and what only a call knows.
//!
//! The constructors simplify as they build, by rules that keep Cedar's meaning including its errors:
//! what stands left of `&&` and `||` is evaluated first, so an error there stays an error.

use std::collections::BTreeSet;
use std::sync::Arc;

use dataplane_policy::FactKind;
use dataplane_policy::program::Op;

/// An entity: its type and its name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Uid {
    pub(crate) kind: FactKind,
    pub(crate) name: Arc<str>,
}

impl Uid {
    pub(crate) fn new(kind: FactKind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }
}

/// A value that is known when policies are compiled.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Constant {
    Bool(bool),
    Long(i64),
    Text(String),
    Entity(Uid),
    /// Ten-thousandths.
    Decimal(i64),
    /// Milliseconds since 1970.
    Datetime(i64),
    /// Milliseconds.
    Duration(i64),
    Ip {
        bits: u128,
        v6: bool,
        prefix: u8,
    },
    /// Sorted, each once.
    Set(Vec<Self>),
    /// Texts between wildcards.
    Pattern(Vec<String>),
}

/// A value that only the call or the caller brings.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Slot {
    /// A path into `context.arguments`; empty is the whole.
    Argument(Vec<String>),
    /// `program::CALLER_*`.
    Caller(u32),
    /// `program::CONTEXT_*`.
    Context(u32),
    /// `context` itself, which only attributes are taken of.
    WholeContext,
}

/// A condition, or a part of one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Ir {
    Constant(Constant),
    Slot(Slot),
    /// The caller has this fact.
    Member(Uid),
    /// An error, whatever the call.
    Fail,
    Not(Arc<Self>),
    And(Arc<Self>, Arc<Self>),
    Or(Arc<Self>, Arc<Self>),
    If(Arc<Self>, Arc<Self>, Arc<Self>),
    Unary(Op, Arc<Self>),
    Binary(Op, Arc<Self>, Arc<Self>),
    /// The second, if the first is there; else an error.
    Need(Arc<Self>, Arc<Self>),
}

pub(crate) const YES: Ir = Ir::Constant(Constant::Bool(true));
pub(crate) const NO: Ir = Ir::Constant(Constant::Bool(false));

impl Ir {
    pub(crate) fn bool(truth: bool) -> Self {
        Self::Constant(Constant::Bool(truth))
    }

    /// Certainly a Boolean or an error.
    fn is_test(&self) -> bool {
        match self {
            Self::Unary(op, _) => !matches!(op, Op::Negate | Op::ToDate | Op::ToTime),
            Self::Binary(op, ..) => !matches!(
                op,
                Op::Add | Op::Subtract | Op::Multiply | Op::Offset | Op::Since | Op::Divide
            ),
            Self::And(..) | Self::Or(..) | Self::Not(_) | Self::Member(_) => true,
            Self::Constant(Constant::Bool(_)) => true,
            _ => false,
        }
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::Constant(Constant::Bool(truth)) => Self::bool(!truth),
            Self::Fail => Self::Fail,
            Self::Not(inner) if inner.is_test() => Arc::unwrap_or_clone(inner),
            other => Self::Not(other.into()),
        }
    }

    pub(crate) fn and(self, right: Self) -> Self {
        match (&self, &right) {
            (Self::Constant(Constant::Bool(false)) | Self::Fail, _) => self,
            (Self::Constant(Constant::Bool(true)), _) => right,
            (_, Self::Constant(Constant::Bool(true))) if self.is_test() => self,
            _ => Self::And(self.into(), right.into()),
        }
    }

    pub(crate) fn or(self, right: Self) -> Self {
        match (&self, &right) {
            (Self::Constant(Constant::Bool(true)) | Self::Fail, _) => self,
            (Self::Constant(Constant::Bool(false)), _) => right,
            (_, Self::Constant(Constant::Bool(false))) if self.is_test() => self,
            _ => Self::Or(self.into(), right.into()),
        }
    }

    pub(crate) fn if_else(self, yes: Self, no: Self) -> Self {
        match self {
            Self::Constant(Constant::Bool(true)) => yes,
            Self::Constant(Constant::Bool(false)) => no,
            Self::Fail => Self::Fail,
            _ if yes == no && self.is_test() && !self.fallible() => yes,
            test => Self::If(test.into(), yes.into(), no.into()),
        }
    }

    pub(crate) fn unary(op: Op, operand: Self) -> Self {
        match (op, &operand) {
            (_, Self::Fail) => Self::Fail,
            (Op::Negate, Self::Constant(Constant::Long(n))) => match n.checked_neg() {
                Some(negated) => Self::Constant(Constant::Long(negated)),
                None => Self::Fail,
            },
            _ => Self::Unary(op, operand.into()),
        }
    }

    pub(crate) fn binary(op: Op, left: Self, right: Self) -> Self {
        use Constant::{Bool, Long, Set};
        if left == Self::Fail || right == Self::Fail {
            return Self::Fail;
        }
        let (Self::Constant(a), Self::Constant(b)) = (&left, &right) else {
            return Self::Binary(op, left.into(), right.into());
        };
        let folded = match (op, a, b) {
            (Op::Equal, a, b) => Some(Bool(a == b)),
            (Op::Less, Long(x), Long(y)) => Some(Bool(x < y)),
            (Op::LessEqual, Long(x), Long(y)) => Some(Bool(x <= y)),
            (Op::Add, Long(x), Long(y)) => x.checked_add(*y).map(Long),
            (Op::Subtract, Long(x), Long(y)) => x.checked_sub(*y).map(Long),
            (Op::Multiply, Long(x), Long(y)) => x.checked_mul(*y).map(Long),
            (Op::Contains, Set(members), item) => Some(Bool(members.contains(item))),
            _ => None,
        };
        match folded {
            Some(constant) => Self::Constant(constant),
            None => Self::Binary(op, left.into(), right.into()),
        }
    }

    pub(crate) fn need(value: Self, then: Self) -> Self {
        Self::Need(value.into(), then.into())
    }

    /// May evaluation err? After validation only overflow can, and what is not there.
    pub(crate) fn fallible(&self) -> bool {
        match self {
            Self::Fail | Self::Need(..) => true,
            Self::Constant(_) | Self::Slot(_) | Self::Member(_) => false,
            Self::Not(a) => a.fallible(),
            Self::And(a, b) | Self::Or(a, b) => a.fallible() || b.fallible(),
            Self::If(a, b, c) => a.fallible() || b.fallible() || c.fallible(),
            Self::Unary(op, a) => matches!(op, Op::Negate | Op::ToDate) || a.fallible(),
            Self::Binary(op, a, b) => {
                matches!(op, Op::Add | Op::Subtract | Op::Multiply | Op::Offset | Op::Since)
                    || a.fallible()
                    || b.fallible()
            }
        }
    }

    /// With membership known where `has` answers, simplified again.
    pub(crate) fn bind(&self, has: &impl Fn(&Uid) -> bool) -> Self {
        match self {
            Self::Constant(_) | Self::Slot(_) | Self::Fail => self.clone(),
            Self::Member(fact) => Self::bool(has(fact)),
            Self::Not(a) => a.bind(has).not(),
            Self::And(a, b) => a.bind(has).and(b.bind(has)),
            Self::Or(a, b) => a.bind(has).or(b.bind(has)),
            Self::If(a, b, c) => a.bind(has).if_else(b.bind(has), c.bind(has)),
            Self::Unary(op, a) => Self::unary(*op, a.bind(has)),
            Self::Binary(op, a, b) => Self::binary(*op, a.bind(has), b.bind(has)),
            Self::Need(a, b) => Self::need(a.bind(has), b.bind(has)),
        }
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        let (a, b, c) = match self {
            Self::Constant(_) | Self::Slot(_) | Self::Member(_) | Self::Fail => (None, None, None),
            Self::Not(a) | Self::Unary(_, a) => (Some(a), None, None),
            Self::And(a, b) | Self::Or(a, b) | Self::Binary(_, a, b) | Self::Need(a, b) => {
                (Some(a), Some(b), None)
            }
            Self::If(a, b, c) => (Some(a), Some(b), Some(c)),
        };
        [a, b, c].into_iter().flatten().map(|child| &**child)
    }

    /// Visits this and everything below it.
    fn walk(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        self.children().for_each(|child| child.walk(visit));
    }

    /// Facts that it asks about.
    pub(crate) fn facts(&self, out: &mut BTreeSet<Uid>) {
        self.walk(&mut |ir| {
            if let Self::Member(fact) = ir {
                out.insert(fact.clone());
            }
        });
    }

    /// Arguments that it looks at, with every record on the way.
    pub(crate) fn arguments(&self, out: &mut BTreeSet<Vec<String>>) {
        self.walk(&mut |ir| {
            if let Self::Slot(Slot::Argument(path)) = ir {
                out.extend((1..=path.len()).filter_map(|n| path.get(..n)).map(<[_]>::to_vec));
            }
        });
    }

    /// Entities that it compares with.
    pub(crate) fn entities(&self, out: &mut BTreeSet<Uid>) {
        fn add(constant: &Constant, out: &mut BTreeSet<Uid>) {
            match constant {
                Constant::Entity(uid) => {
                    out.insert(uid.clone());
                }
                Constant::Set(members) => members.iter().for_each(|member| add(member, out)),
                _ => {}
            }
        }
        self.walk(&mut |ir| {
            if let Self::Constant(constant) = ir {
                add(constant, out);
            }
        });
    }
}
