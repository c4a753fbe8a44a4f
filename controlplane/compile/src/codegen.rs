//! Conditions into programs.
//!
//! A program is built backwards, from what follows: every node is emitted after the nodes that it
//! jumps to, so jumps lead downwards by construction, and equal nodes are shared. Order within a
//! cell: forbids; permits that may err or that carry obligations, which are only marked; then, if
//! none was marked, the permits that cannot err. So stopping at the first allow answers the same as
//! asking everyone.

use std::collections::{BTreeMap, HashMap};

use dataplane_policy::build::Builder;
use dataplane_policy::layout::{
    Constant as Stored, ConstantKind, Malformed, NO_REGISTER, NONE, Program, Text,
};
use dataplane_policy::program::{CALLER, CONSTANT, CONTEXT, NO_BIT, Node, Op, REGISTER, REGISTERS};
use dataplane_policy::{Cell, FIELDS_MAX, OBLIGED_MAX, PolicyIndex, SET_CONSTANTS_MAX};

use crate::ir::{Constant, Ir, NO, Slot, Uid, YES};

/// Why a cell has no program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TooMuch {
    /// More values at once than registers.
    Registers,
    /// More nodes than a jump can name.
    Nodes,
    /// More permits with obligations than bits.
    Obligations,
    /// A set with more members than a decision may compare.
    SetMembers,
    /// An object with more fields than a guard checks.
    Fields,
    /// A part of the table is full.
    Table(Malformed),
}

impl From<Malformed> for TooMuch {
    fn from(malformed: Malformed) -> Self {
        Self::Table(malformed)
    }
}

impl std::fmt::Display for TooMuch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registers => write!(f, "they use more than {REGISTERS} values at once"),
            Self::Nodes => write!(f, "together they take more than {} steps", u16::MAX),
            Self::Obligations => write!(f, "more than {OBLIGED_MAX} permits carry obligations"),
            Self::SetMembers => write!(f, "a set has more than {SET_CONSTANTS_MAX} members"),
            Self::Fields => {
                write!(f, "an object of its arguments has more than {FIELDS_MAX} fields")
            }
            Self::Table(malformed) => write!(f, "{}: {}", malformed.part, malformed.rule),
        }
    }
}

/// One policy's part in a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'r> {
    pub(crate) policy: u32,
    pub(crate) forbid: bool,
    pub(crate) obliged: bool,
    pub(crate) condition: &'r Ir,
}

/// Constants, entities and programs of the table in the making.
#[derive(Default)]
pub(crate) struct Assembler {
    pub(crate) builder: Builder,
    constants: HashMap<Constant, u32>,
    /// Numbers of entities; fixed before the first program.
    pub(crate) entities: BTreeMap<Uid, u32>,
    /// Numbers of facts; fixed before the first program.
    pub(crate) facts: BTreeMap<Uid, u32>,
    #[cfg(test)]
    pub(crate) planted: Option<crate::planted::Planted>,
}

impl Assembler {
    fn store(&mut self, constant: &Constant) -> Result<Stored, TooMuch> {
        let plain = |kind, p: u64| Stored { kind, prefix: 0, v6: 0, pad: 0, len: 0, p, q: 0 };
        let text = |kind, text: Text| Stored { len: text.len, ..plain(kind, text.at.into()) };
        Ok(match constant {
            Constant::Bool(truth) => plain(ConstantKind::Bool, u64::from(*truth)),
            Constant::Long(number) => plain(ConstantKind::Long, *number as u64),
            Constant::Text(value) => text(ConstantKind::Text, self.builder.text(value)?),
            Constant::Entity(uid) => {
                let number = self.entities.get(uid).copied().unwrap_or(NONE);
                plain(ConstantKind::Entity, number.into())
            }
            Constant::Decimal(scaled) => plain(ConstantKind::Decimal, *scaled as u64),
            Constant::Datetime(ms) => plain(ConstantKind::Datetime, *ms as u64),
            Constant::Duration(ms) => plain(ConstantKind::Duration, *ms as u64),
            Constant::Ip { bits, v6, prefix } => Stored {
                prefix: *prefix,
                v6: (*v6).into(),
                q: *bits as u64,
                ..plain(ConstantKind::Ip, (*bits >> 64) as u64)
            },
            Constant::Set(members) => self.store_all(ConstantKind::Set, members.iter().cloned())?,
            Constant::Pattern(pieces) => {
                let pieces = pieces.iter().map(|piece| Constant::Text(piece.clone()));
                self.store_all(ConstantKind::Pattern, pieces)?
            }
        })
    }

    fn store_all(
        &mut self,
        kind: ConstantKind,
        members: impl Iterator<Item = Constant>,
    ) -> Result<Stored, TooMuch> {
        let members = members.map(|member| self.store(&member)).collect::<Result<Vec<_>, _>>()?;
        let len = u32::try_from(members.len()).unwrap_or(u32::MAX);
        if len > SET_CONSTANTS_MAX {
            return Err(TooMuch::SetMembers);
        }
        let first = self.builder.layout.constants.len() as u64;
        self.builder.layout.constants.extend(members);
        Ok(Stored { kind, prefix: 0, v6: 0, pad: 0, len, p: first, q: 0 })
    }

    fn constant(&mut self, constant: &Constant) -> Result<u32, TooMuch> {
        if let Some(index) = self.constants.get(constant) {
            return Ok(*index);
        }
        let stored = self.store(constant)?;
        let index = self.builder.layout.constants.len() as u32;
        self.builder.layout.constants.push(stored);
        self.constants.insert(constant.clone(), index);
        Ok(index)
    }

    /// The cell for these rules, whose conditions are not `NO`. `registers` says where the guard
    /// puts the arguments.
    pub(crate) fn cell(
        &mut self,
        rules: &[Rule<'_>],
        registers: &HashMap<Vec<String>, u8>,
    ) -> Result<Cell, TooMuch> {
        let certain = |rule: &&Rule<'_>| rule.forbid && *rule.condition == YES;
        if let Some(rule) = rules.iter().find(certain) {
            return Ok(Cell::Deny(Some(PolicyIndex(rule.policy))));
        }
        let (forbids, permits): (Vec<_>, Vec<_>) = rules.iter().copied().partition(|r| r.forbid);
        if permits.is_empty() {
            return Ok(Cell::Deny(None));
        }
        let marked = |rule: &Rule<'_>| rule.obliged || rule.condition.fallible();
        let (mut marks, mut sure): (Vec<_>, Vec<_>) = permits.into_iter().partition(marked);
        sure.sort_by_key(|rule| *rule.condition != YES);
        let sole = match (marks.as_slice(), sure.as_slice()) {
            ([], [first, ..]) => Some(first),
            ([only], []) => Some(only),
            _ => None,
        };
        if let Some(rule) = sole.filter(|rule| *rule.condition == YES && forbids.is_empty()) {
            return Ok(Cell::Allow(PolicyIndex(rule.policy)));
        }
        // Obligations first, so that the n-th bit is the n-th of the list.
        marks.sort_by_key(|rule| !rule.obliged);
        self.program(&forbids, &marks, &sure, registers)
    }

    fn program(
        &mut self,
        forbids: &[Rule<'_>],
        marks: &[Rule<'_>],
        sure: &[Rule<'_>],
        registers: &HashMap<Vec<String>, u8>,
    ) -> Result<Cell, TooMuch> {
        let obliged: Vec<u32> = marks.iter().filter(|r| r.obliged).map(|r| r.policy).collect();
        if obliged.len() > OBLIGED_MAX as usize {
            return Err(TooMuch::Obligations);
        }
        let mut code = Code { assembler: self, registers, nodes: Vec::new(), seen: HashMap::new() };
        let mut then = code.end(Op::Deny, NONE)?;
        for rule in sure.iter().rev() {
            let allow = code.end(Op::Allow, rule.policy)?;
            then = code.rule(rule, allow, then)?;
        }
        if !marks.is_empty() {
            then = code.emit(Op::EndMark, 0, [0, 0], [then, then])?;
            for (n, rule) in marks.iter().enumerate().rev() {
                let bit = if rule.obliged { n as u8 } else { NO_BIT };
                let mark = code.emit(Op::Mark, bit, [rule.policy, 0], [then, then])?;
                then = code.rule(rule, mark, then)?;
            }
        }
        for rule in forbids.iter().rev() {
            let deny = code.end(Op::Deny, rule.policy)?;
            then = code.rule(rule, deny, then)?;
        }
        let nodes = code.nodes;
        let layout = &mut self.builder.layout;
        let len = u16::try_from(nodes.len()).map_err(|_| TooMuch::Nodes)?;
        let index = layout.programs.len() as u32;
        layout.programs.push(Program {
            start: layout.nodes.len() as u32,
            len,
            entry: then,
            obliged_first: layout.obliged.len() as u32,
            obliged_count: obliged.len() as u32,
        });
        layout.obliged.extend(obliged);
        layout.nodes.extend(nodes);
        Ok(Cell::Program(index))
    }
}

/// The nodes of one program so far.
struct Code<'a> {
    assembler: &'a mut Assembler,
    registers: &'a HashMap<Vec<String>, u8>,
    nodes: Vec<Node>,
    seen: HashMap<Node, u16>,
}

type At = Result<u16, TooMuch>;

impl Code<'_> {
    fn emit(&mut self, op: Op, c: u8, [a, b]: [u32; 2], [t, f]: [u16; 2]) -> At {
        let node = Node { op, c, t, f, pad: 0, a, b };
        #[cfg(test)]
        let node = match self.assembler.planted {
            Some(planted) => planted.node(node),
            None => node,
        };
        if let Some(index) = self.seen.get(&node) {
            return Ok(*index);
        }
        let index = u16::try_from(self.nodes.len()).map_err(|_| TooMuch::Nodes)?;
        if index == u16::MAX {
            return Err(TooMuch::Nodes);
        }
        self.nodes.push(node);
        self.seen.insert(node, index);
        Ok(index)
    }

    fn end(&mut self, op: Op, policy: u32) -> At {
        self.emit(op, 0, [policy, 0], [0, 0])
    }

    fn fail(&mut self) -> At {
        self.emit(Op::Fail, 0, [0, 0], [0, 0])
    }

    fn rule(&mut self, rule: &Rule<'_>, yes: u16, no: u16) -> At {
        let free = self.registers.len();
        self.test(rule.condition, free, yes, no)
    }

    /// Where a value will be: a register from `free` on if it must be computed first.
    fn place(&mut self, ir: &Ir, free: usize) -> Result<u32, TooMuch> {
        Ok(match ir {
            Ir::Constant(constant) => CONSTANT | self.assembler.constant(constant)?,
            Ir::Slot(Slot::Argument(path)) => {
                let register = self.registers.get(path).copied().unwrap_or(NO_REGISTER);
                if usize::from(register) >= REGISTERS {
                    return Err(TooMuch::Registers);
                }
                REGISTER | u32::from(register)
            }
            Ir::Slot(Slot::Caller(index)) => CALLER | index,
            Ir::Slot(Slot::Context(index)) => CONTEXT | index,
            _ if free >= REGISTERS => return Err(TooMuch::Registers),
            _ => REGISTER | free as u32,
        })
    }

    fn is_computed(ir: &Ir) -> bool {
        !matches!(
            ir,
            Ir::Constant(_) | Ir::Slot(Slot::Argument(_) | Slot::Caller(_) | Slot::Context(_))
        )
    }

    /// Computes two operands, left before right, and goes on to `emit`'s node. What is computed for
    /// the left waits in its register while the right is.
    fn operands(
        &mut self,
        [left, right]: [&Ir; 2],
        free: usize,
        emit: impl FnOnce(&mut Self, [u32; 2]) -> At,
    ) -> At {
        let after = free + usize::from(Self::is_computed(left));
        let (a, b) = (self.place(left, free)?, self.place(right, after)?);
        let node = emit(self, [a, b])?;
        let node = self.value(right, after, node)?;
        self.value(left, free, node)
    }

    /// Code that leaves a value in register `free` and goes on to `then`; none for what has a place.
    fn value(&mut self, ir: &Ir, free: usize, then: u16) -> At {
        if !Self::is_computed(ir) {
            return Ok(then);
        }
        if free >= REGISTERS {
            return Err(TooMuch::Registers);
        }
        let to = free as u8;
        match ir {
            Ir::Fail | Ir::Slot(Slot::WholeContext) => self.fail(),
            Ir::If(test, yes, no) => {
                let yes = self.moved(yes, free, then)?;
                let no = self.moved(no, free, then)?;
                self.test(test, free, yes, no)
            }
            Ir::Binary(
                op @ (Op::Add | Op::Subtract | Op::Multiply | Op::Offset | Op::Since | Op::Divide),
                left,
                right,
            ) => self.operands([left, right], free, |code, places| {
                code.emit(*op, to, places, [then, then])
            }),
            Ir::Unary(op @ (Op::Negate | Op::ToDate | Op::ToTime), operand) => {
                let place = self.place(operand, free)?;
                let node = self.emit(*op, to, [place, 0], [then, then])?;
                self.value(operand, free, node)
            }
            test => {
                let yes = self.moved(&YES, free, then)?;
                let no = self.moved(&NO, free, then)?;
                self.test(test, free, yes, no)
            }
        }
    }

    /// A value, computed in `free` or copied there.
    fn moved(&mut self, ir: &Ir, free: usize, then: u16) -> At {
        if Self::is_computed(ir) {
            return self.value(ir, free, then);
        }
        let place = self.place(ir, free)?;
        self.emit(Op::Move, free as u8, [place, 0], [then, then])
    }

    /// Code that goes on to `yes` or to `no`.
    fn test(&mut self, ir: &Ir, free: usize, yes: u16, no: u16) -> At {
        match ir {
            Ir::Constant(Constant::Bool(truth)) => Ok(if *truth { yes } else { no }),
            Ir::Fail => self.fail(),
            Ir::Member(fact) => match self.assembler.facts.get(fact).copied() {
                Some(fact) => self.emit(Op::Member, 0, [fact, 0], [yes, no]),
                None => self.fail(),
            },
            Ir::Not(inner) => self.test(inner, free, no, yes),
            Ir::And(left, right) => {
                let right = self.test(right, free, yes, no)?;
                self.test(left, free, right, no)
            }
            Ir::Or(left, right) => {
                let right = self.test(right, free, yes, no)?;
                self.test(left, free, yes, right)
            }
            Ir::If(test, then, otherwise) => {
                let then = self.test(then, free, yes, no)?;
                let otherwise = self.test(otherwise, free, yes, no)?;
                self.test(test, free, then, otherwise)
            }
            Ir::Need(value, then) => {
                let then = self.test(then, free, yes, no)?;
                let place = self.place(value, free)?;
                let node = self.emit(Op::Need, 0, [place, 0], [then, then])?;
                self.value(value, free, node)
            }
            Ir::Binary(op, left, right) => self
                .operands([left, right], free, |code, places| code.emit(*op, 0, places, [yes, no])),
            Ir::Unary(op, operand) => {
                let place = self.place(operand, free)?;
                let node = self.emit(*op, 0, [place, 0], [yes, no])?;
                self.value(operand, free, node)
            }
            Ir::Slot(_) | Ir::Constant(_) => {
                let place = self.place(ir, free)?;
                let node = self.emit(Op::Test, 0, [place, 0], [yes, no])?;
                self.value(ir, free, node)
            }
        }
    }
}
