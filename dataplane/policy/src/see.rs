//! What a caller sees in a list: the tools that some call of its could be allowed.
//!
//! A plain deny is invisible. A program is walked once with everything known about the caller (its
//! facts, who it is) and nothing about the call: if no path leads to an allow, the tool is hidden
//! too. So a tool that only another tenant may call is not seen, though its cell is a program.

use crate::eval;
use crate::layout::Program;
use crate::program::{CALLER, CONSTANT, INDEX_MASK, Node, Op, Shape};
use crate::subject::Subject;
use crate::table::{Cell, Table, ToolIndex};
use crate::value::Value;

/// A bit for each node of the longest program.
const REACH_WORDS: usize = (u16::MAX as usize + 1) / 64;

impl Table {
    /// False if no call of this caller to this tool can be allowed. No allocation; at most one step
    /// for each node of the tool's program.
    #[must_use]
    pub fn may_see(&self, subject: &Subject, tool: ToolIndex) -> bool {
        match self.cell(subject, tool) {
            None | Some((Cell::Deny(_), _)) => false,
            Some((Cell::Allow(_), _)) => true,
            Some((Cell::Program(index), _)) => {
                self.layout.programs.get(index as usize).is_some_and(|p| self.may_allow(subject, p))
            }
        }
    }

    /// Jumps lead downwards, so one pass from the entry to zero visits all that can be reached.
    fn may_allow(&self, subject: &Subject, program: &Program) -> bool {
        let start = program.start as usize;
        let nodes = self.layout.nodes.get(start..start + usize::from(program.len));
        let nodes = nodes.unwrap_or_default();
        let mut reached = [0u64; REACH_WORDS];
        let set = |at: u16, reached: &mut [u64; REACH_WORDS]| {
            if let Some(word) = reached.get_mut(usize::from(at) / 64) {
                *word |= 1 << (at % 64);
            }
        };
        set(program.entry, &mut reached);
        for at in (0..=program.entry).rev() {
            let word = reached.get(usize::from(at) / 64).copied().unwrap_or_default();
            let Some(node) = nodes.get(usize::from(at)).filter(|_| word >> (at % 64) & 1 == 1)
            else {
                continue;
            };
            match node.op {
                // A marked permit allows unless a later policy errs, which depends on the call.
                Op::Allow | Op::Mark => return true,
                Op::Deny | Op::Fail => {}
                _ => match self.known(subject, node) {
                    Some(Some(truth)) => {
                        set(if truth { node.t } else { node.f }, &mut reached);
                    }
                    Some(None) => {}
                    None => {
                        set(node.t, &mut reached);
                        set(node.f, &mut reached);
                    }
                },
            }
        }
        false
    }

    /// What a test answers for every call of this caller, if that is known. `Some(None)` is an error.
    fn known(&self, subject: &Subject, node: &Node) -> Option<Option<bool>> {
        let fixed = |operand: u32| matches!(operand & !INDEX_MASK, CALLER | CONSTANT);
        let load = |operand: u32| match operand & !INDEX_MASK {
            CALLER => subject.value(operand & INDEX_MASK),
            CONSTANT => self.constant(operand & INDEX_MASK),
            _ => Value::Absent,
        };
        match node.op.shape() {
            Shape::Fact => Some(Some(subject.has(node.a))),
            Shape::Test1 if fixed(node.a) => Some(eval::test(self, &[], node, load)),
            Shape::Test2 if fixed(node.a) && fixed(node.b) => {
                Some(eval::test(self, &[], node, load))
            }
            _ => None,
        }
    }
}
