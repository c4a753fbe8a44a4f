//! The rules of a table, checked once when it is loaded.
//!
//! After this every index is in range, every jump leads downwards within its program, every name is
//! valid UTF-8 in the arena, guards do not contain themselves, sets hold one type of scalar, and
//! whatever is searched is sorted. So evaluation ends, and reads nothing that is not there. One pass
//! over each part; costs are linear in the table.

use crate::guard::{GUARD_DEPTH_MAX, SEEN_FIELDS_MAX};
use crate::layout::{
    Constant, ConstantKind, Field, FieldType, Layout, Malformed, NO_REGISTER, NONE, Program,
    Server, Text,
};
use crate::program::{
    CALLER, CALLER_VALUES, CONSTANT, CONTEXT, CONTEXT_VALUES, INDEX_MASK, NO_BIT, Node, Op,
    REGISTER, REGISTERS, Shape,
};
use crate::table::Cell;
use crate::value::Ip;

/// Members of a constant set. With 256 elements in an argument, a comparison takes at most 2^18
/// steps.
pub const SET_CONSTANTS_MAX: u32 = 1_024;

/// Fields of one object that is closed, or of those that policies look at.
pub const FIELDS_MAX: u32 = 512;

/// Permits with obligations in one program: a bit each.
pub const OBLIGED_MAX: u32 = 64;

/// Servers of a table: their index has sixteen bits.
pub const SERVERS_MAX: usize = u16::MAX as usize;

type Checked = Result<(), Malformed>;

fn rule(holds: bool, part: &'static str, rule: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(Malformed { part, rule }) }
}

/// Checks all parts.
pub(crate) fn verify(layout: &Layout) -> Checked {
    let check = Verifier { layout };
    check.servers()?;
    check.tools()?;
    check.callers()?;
    check.policies()?;
    check.constants()?;
    check.guards()?;
    layout.programs.iter().try_for_each(|program| check.program(program))?;
    layout.cells.iter().try_for_each(|cell| check.cell(*cell, "cells"))?;
    check.obliged()
}

struct Verifier<'l> {
    layout: &'l Layout,
}

impl<'l> Verifier<'l> {
    fn text(&self, text: Text, part: &'static str) -> Result<&'l str, Malformed> {
        let (at, len) = (text.at as usize, text.len as usize);
        self.layout
            .arena
            .get(at..at.saturating_add(len))
            .ok_or(Malformed { part, rule: "names lie in the arena, on whole characters" })
    }

    fn within(first: u32, count: u32, length: usize, part: &'static str) -> Checked {
        let end = u64::from(first) + u64::from(count);
        rule(end <= length as u64, part, "ranges lie within the part that they name")
    }

    /// Tools and cells of servers follow each other without a gap, and names ascend.
    fn servers(&self) -> Checked {
        const PART: &str = "servers";
        let l = self.layout;
        rule(l.servers.len() <= SERVERS_MAX, PART, "there are at most 65,535 servers")?;
        let (mut before, mut next_tool) = (None, 0);
        for server in &l.servers {
            let name = self.text(server.name, PART)?;
            rule(before < Some(name), PART, "names ascend, each once")?;
            before = Some(name);
            rule(server.tool_first == next_tool, PART, "tools follow those of the server before")?;
            Self::within(server.tool_first, server.tool_count, l.tools.len(), PART)?;
            next_tool = server.tool_first + server.tool_count;
            Self::within(server.fact_first, server.fact_count, l.server_facts.len(), PART)?;
            self.matrix(server)?;
        }
        rule(next_tool as usize == l.tools.len(), PART, "every tool has a server")
    }

    fn matrix(&self, server: &Server) -> Checked {
        const PART: &str = "classes";
        let l = self.layout;
        Self::within(server.class_first, server.class_count, l.classes.len(), PART)?;
        let cells = u64::from(server.row_count) * u64::from(server.column_count);
        let end = u64::from(server.cell_first) + cells;
        rule(end <= l.cells.len() as u64, PART, "rows times columns lie within the cells")?;
        let facts = server.fact_first as usize..(server.fact_first + server.fact_count) as usize;
        let facts = l.server_facts.get(facts).unwrap_or_default();
        let ascend = facts.windows(2).all(|pair| pair.first() < pair.last());
        rule(ascend, PART, "a server's facts ascend, each once")?;
        let known = facts.iter().all(|fact| (*fact as usize) < l.facts.len());
        rule(known, PART, "a server's facts exist")?;
        let classes = server.class_first as usize..;
        let rows = l.classes.get(classes).unwrap_or_default();
        let mut rows = rows.iter().take(server.class_count as usize);
        rule(rows.all(|row| *row < server.row_count), PART, "a class has a row")?;
        self.signatures(server, facts.len())
    }

    fn signatures(&self, server: &Server, facts: usize) -> Checked {
        const PART: &str = "signatures";
        let words = facts.div_ceil(64);
        let count = server.class_count as usize;
        if words == 0 {
            return rule(count <= 1, PART, "without facts there is one class at most");
        }
        let first = server.signature_first as usize;
        let end = words.checked_mul(count).and_then(|n| n.checked_add(first));
        let all = end.and_then(|end| self.layout.signatures.get(first..end));
        let all = all.ok_or(Malformed { part: PART, rule: "each class has a signature" })?;
        let signatures = || all.chunks_exact(words);
        let ascend = signatures().zip(signatures().skip(1)).all(|(a, b)| a < b);
        rule(ascend, PART, "signatures ascend, each once")?;
        let spare = if facts.is_multiple_of(64) { 0 } else { !0u64 << (facts % 64) };
        let clean = signatures().all(|s| s.last().is_some_and(|word| word & spare == 0));
        rule(clean, PART, "a signature has a bit a fact and no more")
    }

    fn tools(&self) -> Checked {
        const PART: &str = "tools";
        let l = self.layout;
        for (index, server) in l.servers.iter().enumerate() {
            let range =
                server.tool_first as usize..(server.tool_first + server.tool_count) as usize;
            let mut before = None;
            for tool in l.tools.get(range).unwrap_or_default() {
                let name = self.text(tool.name, PART)?;
                rule(before < Some(name), PART, "names ascend within a server, each once")?;
                before = Some(name);
                rule(tool.server as usize == index, PART, "a tool names the server it is with")?;
                rule(tool.column < server.column_count, PART, "a tool has a column")?;
                let guarded = tool.guard == NONE || (tool.guard as usize) < l.guards.len();
                rule(guarded, PART, "guards exist")?;
                self.cell(tool.fallback, PART)?;
            }
        }
        Ok(())
    }

    fn callers(&self) -> Checked {
        let l = self.layout;
        let mut before = None;
        for member in &l.members {
            let key = (member.kind, self.text(member.name, "members")?);
            rule(before < Some(key), "members", "kinds and names ascend, each once")?;
            before = Some(key);
            Self::within(member.first, member.count, l.member_facts.len(), "members")?;
        }
        let known = l.member_facts.iter().all(|fact| (*fact as usize) < l.facts.len());
        rule(known, "member_facts", "facts exist")?;
        let mut before = None;
        for entity in &l.entities {
            let key = (entity.kind, self.text(entity.name, "entities")?);
            rule(before < Some(key), "entities", "kinds and names ascend, each once")?;
            before = Some(key);
        }
        let room = l.entities.len() < (u32::MAX - CALLER_VALUES as u32 - 1) as usize;
        rule(room, "entities", "callers' own names have numbers too")?;
        l.facts.iter().try_for_each(|fact| self.text(fact.name, "facts").map(drop))
    }

    fn policies(&self) -> Checked {
        let l = self.layout;
        for policy in &l.policies {
            self.text(policy.id, "policies")?;
            self.text(policy.file, "policies")?;
            Self::within(policy.duty_first, policy.duty_count, l.duties.len(), "policies")?;
        }
        for duty in &l.duties {
            self.text(duty.key, "duties")?;
            self.text(duty.value, "duties")?;
        }
        Ok(())
    }

    fn obliged(&self) -> Checked {
        let policies = self.layout.policies.len();
        let known = self.layout.obliged.iter().all(|policy| (*policy as usize) < policies);
        rule(known, "obliged", "policies exist")
    }

    fn cell(&self, word: u32, part: &'static str) -> Checked {
        let known = match Cell::from_word(word) {
            None => false,
            Some(Cell::Deny(None)) => true,
            Some(Cell::Deny(Some(policy)) | Cell::Allow(policy)) => {
                (policy.0 as usize) < self.layout.policies.len()
            }
            Some(Cell::Program(program)) => (program as usize) < self.layout.programs.len(),
        };
        rule(known, part, "a cell names a policy or a program that exists")
    }

    fn constants(&self) -> Checked {
        self.layout.constants.iter().enumerate().try_for_each(|(at, c)| self.constant(at, c))
    }

    fn constant(&self, at: usize, constant: &Constant) -> Checked {
        const PART: &str = "constants";
        let text = |constant: &Constant| {
            let at = u32::try_from(constant.p).unwrap_or(NONE);
            self.text(Text { at, len: constant.len }, PART).map(drop)
        };
        match constant.kind {
            ConstantKind::Bool => rule(constant.p <= 1, PART, "a Boolean is 0 or 1"),
            ConstantKind::Long
            | ConstantKind::Decimal
            | ConstantKind::Datetime
            | ConstantKind::Duration => Ok(()),
            ConstantKind::Text => text(constant),
            ConstantKind::Entity => {
                let known = constant.p < self.layout.entities.len() as u64;
                rule(known, PART, "entities exist")
            }
            ConstantKind::Ip => {
                let v6 = constant.v6 == 1;
                rule(constant.v6 <= 1, PART, "an address is IPv4 or IPv6")?;
                let ip = Ip::from_bits(constant.p, constant.q, v6, constant.prefix);
                rule(ip.is_some(), PART, "address and prefix fit the family")
            }
            ConstantKind::Set | ConstantKind::Pattern => {
                let members = self.members(at, constant)?;
                let kind = members.first().map(|member| member.kind);
                let alike = members.iter().all(|member| Some(member.kind) == kind);
                let scalar = !matches!(kind, Some(ConstantKind::Set | ConstantKind::Pattern));
                rule(alike && scalar, PART, "a set holds scalars of one type")?;
                let texts = kind == Some(ConstantKind::Text);
                let pattern = constant.kind == ConstantKind::Pattern;
                rule(!pattern || texts, PART, "a pattern holds texts, one at least")
            }
        }
    }

    /// Members come before their set, so that nothing contains itself.
    fn members(&self, at: usize, constant: &Constant) -> Result<&'l [Constant], Malformed> {
        const PART: &str = "constants";
        rule(constant.len <= SET_CONSTANTS_MAX, PART, "a set has at most 1,024 members")?;
        let first = usize::try_from(constant.p).unwrap_or(usize::MAX);
        let end = first.saturating_add(constant.len as usize);
        rule(end <= at, PART, "members come before their set")?;
        Ok(self.layout.constants.get(first..end).unwrap_or_default())
    }

    fn guards(&self) -> Checked {
        const PART: &str = "guards";
        let mut depths: Vec<u32> = Vec::with_capacity(self.layout.guards.len());
        for guard in &self.layout.guards {
            rule(guard.closed <= 1, PART, "an object is open or closed")?;
            rule(guard.count <= FIELDS_MAX, PART, "an object has at most 512 fields")?;
            Self::within(guard.first, guard.count, self.layout.fields.len(), PART)?;
            let range = guard.first as usize..(guard.first + guard.count) as usize;
            let mut depth = 1;
            for (n, field) in self.layout.fields.get(range).unwrap_or_default().iter().enumerate() {
                self.field(n, field)?;
                if field.kind == FieldType::Record {
                    let inner = depths.get(field.kids as usize).copied();
                    let lower = "a record's guard comes before the guard that it is in";
                    depth = depth.max(1 + inner.ok_or(Malformed { part: PART, rule: lower })?);
                }
            }
            rule(depth <= GUARD_DEPTH_MAX, PART, "records nest at most 8 deep")?;
            depths.push(depth);
        }
        Ok(())
    }

    fn field(&self, n: usize, field: &Field) -> Checked {
        const PART: &str = "fields";
        let path = self.text(field.path, PART)?;
        let start = path.len().checked_sub(field.name_len as usize);
        let named = start.is_some_and(|start| path.is_char_boundary(start));
        rule(named, PART, "a path ends with the field's name")?;
        let register = field.register;
        let valid = register == NO_REGISTER || usize::from(register) < REGISTERS;
        rule(valid, PART, "registers are below 32")?;
        rule(field.required <= 1 && field.nullable <= 1, PART, "flags are 0 or 1")?;
        let looked_at = field.kind != FieldType::Any;
        rule(!looked_at || n < SEEN_FIELDS_MAX, PART, "fields that are looked at come first")?;
        let record = field.kind == FieldType::Record;
        rule(record || field.kids == NONE, PART, "only records have fields")
    }

    fn program(&self, program: &Program) -> Checked {
        const PART: &str = "programs";
        let l = self.layout;
        Self::within(program.start, program.len.into(), l.nodes.len(), PART)?;
        rule(program.entry < program.len, PART, "the entry is a node")?;
        rule(program.obliged_count <= OBLIGED_MAX, PART, "at most 64 permits have obligations")?;
        Self::within(program.obliged_first, program.obliged_count, l.obliged.len(), PART)?;
        let start = program.start as usize;
        let nodes = l.nodes.get(start..start + usize::from(program.len)).unwrap_or_default();
        nodes.iter().enumerate().try_for_each(|(at, node)| self.node(at, node, program))
    }

    fn node(&self, at: usize, node: &Node, program: &Program) -> Checked {
        const PART: &str = "nodes";
        let shape = node.op.shape();
        let ends = matches!(shape, Shape::End | Shape::Fail);
        let down = usize::from(node.t) < at && usize::from(node.f) < at;
        rule(ends || down, PART, "jumps lead downwards")?;
        let known = |policy: u32| (policy as usize) < self.layout.policies.len();
        match shape {
            Shape::Test1 => self.operand(node.a),
            Shape::Test2 => self.operand(node.a).and_then(|()| self.operand(node.b)),
            Shape::Value1 => self.writes(node).and_then(|()| self.operand(node.a)),
            Shape::Value2 => {
                self.writes(node)?;
                self.operand(node.a)?;
                self.operand(node.b)
            }
            Shape::Fact => rule((node.a as usize) < self.layout.facts.len(), PART, "facts exist"),
            Shape::Remember => {
                let bit = node.c == NO_BIT || u32::from(node.c) < program.obliged_count;
                rule(bit, PART, "a mark's bit is one of the program's obligations")?;
                rule(known(node.a), PART, "policies exist")
            }
            Shape::End => {
                let none = node.op == Op::Deny && node.a == NONE;
                rule(none || known(node.a), PART, "policies exist")
            }
            Shape::Resume | Shape::Fail => Ok(()),
        }
    }

    fn writes(&self, node: &Node) -> Checked {
        rule(usize::from(node.c) < REGISTERS, "nodes", "registers are below 32")
    }

    fn operand(&self, operand: u32) -> Checked {
        let index = (operand & INDEX_MASK) as usize;
        let length = match operand & !INDEX_MASK {
            REGISTER => REGISTERS,
            CONSTANT => self.layout.constants.len(),
            CALLER => CALLER_VALUES,
            CONTEXT => CONTEXT_VALUES,
            _ => 0,
        };
        rule(index < length, "nodes", "operands exist")
    }
}
