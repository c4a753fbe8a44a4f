//! The decision.
//!
//! A plain cell answers at once. Otherwise the guard checks the arguments, and then a program runs:
//! forbids first, then the permits that may still err, then those that cannot, so that stopping at
//! the first permit is the same as having asked every policy.

use dataplane_telemetry::WallNanos;
use simd_json::Node as Json;

use crate::guard::{self, BadArgument};
use crate::layout::{NONE, Program};
use crate::program::{
    CALLER, CONSTANT, CONTEXT, CONTEXT_ERA, CONTEXT_NOW, INDEX_MASK, NO_BIT, Node, Op, REGISTER,
    REGISTERS,
};
use crate::subject::Subject;
use crate::table::{ArgumentIndex, Cell, PolicyIndex, Table, ToolIndex};
use crate::value::{self, Value};

/// Which revision of MCP the caller speaks: `context.era`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Era {
    Modern,
    Legacy,
}

impl Era {
    /// As policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }
}

/// What policies may know about a call besides its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub now: WallNanos,
    pub era: Era,
}

/// A call, as parsed.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub tape: &'a [Json<'a>],
    /// The index of the `arguments` object on the tape; `None` reads as an empty object.
    pub arguments: Option<usize>,
    pub context: Context,
}

/// Why a decision is what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// By this policy: the forbid, or the first permit.
    Policy(PolicyIndex),
    /// No permit is true.
    NoPermit,
    /// A policy could not be decided: an overflow, a value that is not there.
    Error,
    /// An argument is missing, of another type than pinned, twice there, or not in the schema.
    BadArgument(ArgumentIndex),
}

/// The answer for one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    pub allow: bool,
    pub why: Why,
    /// Which of the program's obliged permits are true.
    obliged: u64,
    program: u32,
}

impl Decision {
    fn plain(allow: bool, why: Why) -> Self {
        Self { allow, why, obliged: 0, program: NONE }
    }

    fn deny(why: Why) -> Self {
        Self::plain(false, why)
    }
}

impl Table {
    /// Decides a call. A cell without a program, on a tool without a guard, never looks at it.
    ///
    /// A tool that is not there, or a subject of another table, is denied as [`Why::Error`].
    #[must_use]
    pub fn decide(&self, subject: &Subject, tool: ToolIndex, call: &Call<'_>) -> Decision {
        let Some((cell, guard)) = self.cell(subject, tool) else {
            return Decision::deny(Why::Error);
        };
        let plain = match cell {
            Cell::Deny(policy) => return Decision::deny(policy.map_or(Why::NoPermit, Why::Policy)),
            Cell::Allow(policy) => Some(Decision::plain(true, Why::Policy(policy))),
            Cell::Program(_) => None,
        };
        match plain {
            Some(allow) if guard == NONE => allow,
            _ => self.decide_by_arguments(subject, cell, guard, call),
        }
    }

    /// Which permits with obligations are behind a decision.
    pub(crate) fn obliged(&self, decision: &Decision) -> impl Iterator<Item = PolicyIndex> {
        let program = self.layout.programs.get(decision.program as usize);
        let first = program.map_or(0, |p| p.obliged_first as usize);
        let count = program.map_or(0, |p| p.obliged_count as usize);
        let listed = self.layout.obliged.get(first..first + count).unwrap_or_default();
        let bits = decision.obliged;
        let marked = listed.iter().enumerate().filter(move |(n, _)| bits >> n & 1 == 1);
        let sole = match decision.why {
            Why::Policy(policy) if decision.allow && bits == 0 => Some(policy),
            _ => None,
        };
        sole.into_iter().chain(marked.map(|(_, policy)| PolicyIndex(*policy)))
    }

    #[inline]
    pub(crate) fn cell(&self, subject: &Subject, tool: ToolIndex) -> Option<(Cell, u32)> {
        let tool = self.layout.tools.get(tool.0 as usize)?;
        let row = *subject.rows.get(tool.server as usize)?;
        if subject.stamp != self.stamp {
            return None;
        }
        let word = if row == NONE {
            tool.fallback
        } else {
            *self.layout.cells.get((row + tool.column) as usize)?
        };
        Some((Cell::from_word(word)?, tool.guard))
    }

    fn decide_by_arguments(
        &self,
        subject: &Subject,
        cell: Cell,
        guard: u32,
        call: &Call<'_>,
    ) -> Decision {
        let mut registers = [Value::Absent; REGISTERS];
        if guard != NONE {
            let checked = self.check(guard, call.tape, call.arguments, &mut registers);
            if let Err(BadArgument(argument)) = checked {
                return Decision::deny(Why::BadArgument(argument));
            }
        }
        match cell {
            Cell::Deny(policy) => Decision::deny(policy.map_or(Why::NoPermit, Why::Policy)),
            Cell::Allow(policy) => Decision::plain(true, Why::Policy(policy)),
            Cell::Program(index) => match self.layout.programs.get(index as usize) {
                Some(program) => Run { table: self, subject, call, registers }.run(program, index),
                None => Decision::deny(Why::Error),
            },
        }
    }
}

/// One run of a program.
struct Run<'a> {
    table: &'a Table,
    subject: &'a Subject,
    call: &'a Call<'a>,
    registers: [Value<'a>; REGISTERS],
}

/// Where a node leads.
enum Next {
    Jump(bool),
    End(Decision),
}

impl<'a> Run<'a> {
    fn run(mut self, program: &Program, index: u32) -> Decision {
        let table = self.table;
        let start = program.start as usize;
        let nodes = table.layout.nodes.get(start..start + usize::from(program.len));
        let nodes = nodes.unwrap_or_default();
        let (mut at, mut marked, mut obliged) = (usize::from(program.entry), None, 0u64);
        while let Some(node) = nodes.get(at) {
            let truth = match node.op {
                Op::Mark => {
                    marked = marked.or(Some(PolicyIndex(node.a)));
                    obliged |= if node.c == NO_BIT { 0 } else { 1u64.wrapping_shl(node.c.into()) };
                    true
                }
                Op::EndMark => match marked {
                    Some(policy) => {
                        let why = Why::Policy(policy);
                        return Decision { allow: true, why, obliged, program: index };
                    }
                    None => true,
                },
                _ => match self.step(node) {
                    Some(Next::Jump(truth)) => truth,
                    Some(Next::End(decision)) => return decision,
                    None => return Decision::deny(Why::Error),
                },
            };
            at = usize::from(if truth { node.t } else { node.f });
        }
        Decision::deny(Why::Error)
    }

    /// `None` is an error of the policy.
    #[inline]
    fn step(&mut self, node: &Node) -> Option<Next> {
        Some(match node.op {
            Op::Allow => Next::End(Decision::plain(true, Why::Policy(PolicyIndex(node.a)))),
            Op::Deny if node.a == NONE => Next::End(Decision::deny(Why::NoPermit)),
            Op::Deny => Next::End(Decision::deny(Why::Policy(PolicyIndex(node.a)))),
            Op::Member => Next::Jump(self.subject.has(node.a)),
            Op::Add
            | Op::Subtract
            | Op::Multiply
            | Op::Negate
            | Op::Move
            | Op::Offset
            | Op::Since
            | Op::ToDate
            | Op::ToTime
            | Op::Divide => {
                let value = self.compute(node)?;
                *self.registers.get_mut(usize::from(node.c))? = value;
                Next::Jump(true)
            }
            _ => Next::Jump(self.test(node)?),
        })
    }

    #[inline]
    fn load(&self, operand: u32) -> Value<'a> {
        let index = operand & INDEX_MASK;
        match operand & !INDEX_MASK {
            REGISTER => self.registers.get(index as usize).copied().unwrap_or(Value::Absent),
            CONSTANT => self.table.constant(index),
            CALLER => self.subject.value(index),
            CONTEXT => match index {
                CONTEXT_NOW => Value::Datetime((self.call.context.now.0 / 1_000_000) as i64),
                CONTEXT_ERA => Value::Text(self.call.context.era.name()),
                _ => Value::Absent,
            },
            _ => Value::Absent,
        }
    }

    fn compute(&self, node: &Node) -> Option<Value<'a>> {
        let a = self.load(node.a);
        Some(match (node.op, a) {
            (Op::Move, Value::Absent) => return None,
            (Op::Move, value) => value,
            (Op::Negate, Value::Long(x)) => Value::Long(x.checked_neg()?),
            (Op::ToDate, Value::Datetime(x)) => Value::Datetime(value::to_date(x)?),
            (Op::ToTime, Value::Datetime(x)) => Value::Duration(value::to_time(x)),
            (op, a) => match (op, a, self.load(node.b)) {
                (Op::Add, Value::Long(x), Value::Long(y)) => Value::Long(x.checked_add(y)?),
                (Op::Subtract, Value::Long(x), Value::Long(y)) => Value::Long(x.checked_sub(y)?),
                (Op::Multiply, Value::Long(x), Value::Long(y)) => Value::Long(x.checked_mul(y)?),
                (Op::Divide, Value::Duration(x), Value::Long(y)) => Value::Long(x.checked_div(y)?),
                (Op::Offset, Value::Datetime(x), Value::Duration(y)) => {
                    Value::Datetime(x.checked_add(y)?)
                }
                (Op::Since, Value::Datetime(x), Value::Datetime(y)) => {
                    Value::Duration(x.checked_sub(y)?)
                }
                _ => return None,
            },
        })
    }

    fn test(&self, node: &Node) -> Option<bool> {
        test(self.table, self.call.tape, node, |operand| self.load(operand))
    }
}

/// The answer of a test node, or `None` for an error.
#[inline]
pub(crate) fn test<'a>(
    table: &'a Table,
    tape: &'a [Json<'a>],
    node: &Node,
    load: impl Fn(u32) -> Value<'a>,
) -> Option<bool> {
    let sets = Sets { table, tape };
    let a = load(node.a);
    Some(match (node.op, a) {
        (Op::Has, a) => a != Value::Absent,
        (Op::Test, Value::Bool(truth)) => truth,
        (_, Value::Absent) => return None,
        (Op::Need, _) => true,
        (Op::IsEmpty, a) => sets.len(a)? == 0,
        (Op::IsV4, Value::Ip(ip)) => !ip.is_v6(),
        (Op::IsLoopback, Value::Ip(ip)) => ip.is_loopback(),
        (Op::IsMulticast, Value::Ip(ip)) => ip.is_multicast(),
        (op, a) => match (op, a, load(node.b)) {
            (_, _, Value::Absent) => return None,
            (Op::Equal, a, b) => sets.equal(a, b)?,
            (Op::Less, a, b) => value::compare(a, b)?.is_lt(),
            (Op::LessEqual, a, b) => value::compare(a, b)?.is_le(),
            (Op::DecimalLess, a, b) => value::compare_decimal(a, b)?.is_lt(),
            (Op::DecimalLessEqual, a, b) => value::compare_decimal(a, b)?.is_le(),
            (Op::Like, Value::Text(text), Value::Pattern(first, count)) => {
                let piece = |at| match table.constant(at) {
                    Value::Text(piece) => piece,
                    _ => "",
                };
                let last = first as usize + count as usize;
                value::like(text, (first as usize..last).map(|at| piece(at as u32)))
            }
            (Op::Contains, a, b) => sets.contains(a, b)?,
            (Op::ContainsAll, a, b) => sets.covers(a, b)?,
            (Op::ContainsAny, a, b) => sets.meets(a, b)?,
            (Op::InRange, Value::Ip(x), Value::Ip(y)) => x.in_range(&y),
            _ => return None,
        },
    })
}

/// Sets: arrays of the call and constants of the table, alike. Quadratic, over bounded lengths.
struct Sets<'a> {
    table: &'a Table,
    tape: &'a [Json<'a>],
}

impl<'a> Sets<'a> {
    fn len(&self, set: Value<'_>) -> Option<u32> {
        match set {
            Value::Array(at) => match self.tape.get(at as usize) {
                Some(Json::Array { len, .. }) => u32::try_from(*len).ok(),
                _ => None,
            },
            Value::Set(_, len) => Some(len),
            _ => None,
        }
    }

    fn item(&self, set: Value<'_>, n: u32) -> Value<'a> {
        match set {
            Value::Array(at) => match self.tape.get(at as usize + 1 + n as usize) {
                Some(Json::String(text)) => Value::Text(text),
                Some(Json::Static(simd_json::StaticNode::Bool(truth))) => Value::Bool(*truth),
                Some(json) => guard::long(json).map_or(Value::Absent, Value::Long),
                None => Value::Absent,
            },
            Value::Set(first, _) => self.table.constant(first + n),
            _ => Value::Absent,
        }
    }

    fn contains(&self, set: Value<'_>, item: Value<'_>) -> Option<bool> {
        Some((0..self.len(set)?).any(|n| self.item(set, n) == item))
    }

    /// Every item of `inner` is in `outer`.
    fn covers(&self, outer: Value<'_>, inner: Value<'_>) -> Option<bool> {
        self.len(outer)?;
        Some((0..self.len(inner)?).all(|n| self.contains(outer, self.item(inner, n)) == Some(true)))
    }

    fn meets(&self, a: Value<'_>, b: Value<'_>) -> Option<bool> {
        self.len(b)?;
        Some((0..self.len(a)?).any(|n| self.contains(b, self.item(a, n)) == Some(true)))
    }

    /// Values of different types are unequal; a record is never compared as a whole.
    fn equal(&self, a: Value<'_>, b: Value<'_>) -> Option<bool> {
        match (a, b) {
            (Value::Record | Value::Pattern(..), _) | (_, Value::Record | Value::Pattern(..)) => {
                None
            }
            (Value::Array(_) | Value::Set(..), Value::Array(_) | Value::Set(..)) => {
                Some(self.covers(a, b)? && self.covers(b, a)?)
            }
            _ => Some(a == b),
        }
    }
}
