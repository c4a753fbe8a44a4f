//! Planted errors: code generation made wrong on purpose, to prove that the oracle sees.

use dataplane_policy::program::{Node, Op};

/// One way to be wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Planted {
    /// `<` compiled as `<=`.
    LessAsLessEqual,
    /// `containsAll` compiled as `containsAny`.
    AllAsAny,
    /// Membership always true.
    MemberAlways,
    /// `has` always true.
    HasAlways,
    /// A decimal's `<` compiled as `<=`.
    DecimalLess,
    /// Unary minus left out.
    NegateMoves,
    /// Both ways of an equality swapped.
    EqualSwapped,
    /// `+` compiled as `-`.
    AddAsSubtract,
    /// `toDate` left out.
    ToDateMoves,
    /// A fallible permit allows at once.
    MarkAllows,
    /// A forbid's end allows.
    DenyFallsThrough,
}

impl Planted {
    pub(crate) const ALL: [Self; 11] = [
        Self::LessAsLessEqual,
        Self::AllAsAny,
        Self::MemberAlways,
        Self::HasAlways,
        Self::DecimalLess,
        Self::NegateMoves,
        Self::EqualSwapped,
        Self::AddAsSubtract,
        Self::ToDateMoves,
        Self::MarkAllows,
        Self::DenyFallsThrough,
    ];

    /// The node that a wrong compiler would emit.
    pub(crate) fn node(self, node: Node) -> Node {
        let op = |op| Node { op, ..node };
        match (self, node.op) {
            (Self::LessAsLessEqual, Op::Less) => op(Op::LessEqual),
            (Self::AllAsAny, Op::ContainsAll) => op(Op::ContainsAny),
            (Self::MemberAlways, Op::Member) | (Self::HasAlways, Op::Has) => {
                Node { f: node.t, ..node }
            }
            (Self::DecimalLess, Op::DecimalLess) => op(Op::DecimalLessEqual),
            (Self::NegateMoves, Op::Negate) => op(Op::Move),
            (Self::EqualSwapped, Op::Equal) => Node { t: node.f, f: node.t, ..node },
            (Self::AddAsSubtract, Op::Add) => op(Op::Subtract),
            (Self::ToDateMoves, Op::ToDate) => op(Op::Move),
            (Self::MarkAllows, Op::Mark) => op(Op::Allow),
            (Self::DenyFallsThrough, Op::Deny) if node.a != u32::MAX => op(Op::Allow),
            _ => node,
        }
    }
}
