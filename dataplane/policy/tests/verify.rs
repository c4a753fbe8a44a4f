//! What the loader refuses: every rule once, and every damaged byte without a panic.

use dataplane_policy::layout::{ConstantKind, FieldType, Layout, NONE, Text};
use dataplane_policy::program::{CALLER, CONSTANT, CONTEXT, Op, REGISTERS};
use dataplane_policy::{Table, fuzz};

const SHOP: &[u8] = include_bytes!("fixtures/shop.table");

#[test]
fn a_sound_table_comes_back_byte_for_byte() {
    let layout = Layout::decode(SHOP).unwrap();
    assert_eq!(layout.encode().unwrap(), SHOP);
    assert!(Table::load(SHOP).is_ok());
    fuzz::any_table(SHOP);
}

#[test]
fn no_damaged_byte_panics_or_loops() {
    let mut survived = 0;
    for at in 0..SHOP.len() {
        for damage in [0x01, 0x80, 0xff] {
            let mut bytes = SHOP.to_vec();
            bytes[at] ^= damage;
            survived += usize::from(Table::load(&bytes).is_ok());
            fuzz::any_table(&bytes);
        }
    }
    // Letters and numbers may change and stay sound; that is what the bundle's signature is for.
    assert!(survived > 100, "the damage was not felt where it is read: {survived}");
}

#[test]
fn a_cut_or_longer_table_is_refused() {
    for length in 0..SHOP.len() {
        assert!(Table::load(&SHOP[..length]).is_err(), "{length}");
    }
    let longer = [SHOP, &[0]].concat();
    assert_eq!(Table::load(&longer).unwrap_err().rule, "nothing follows the last part");
}

#[test]
fn a_table_of_another_version_is_refused() {
    let mut bytes = SHOP.to_vec();
    bytes[8] = 2;
    assert_eq!(Table::load(&bytes).unwrap_err().rule, "the version is 1");
}

/// A change to a sound table, and the rule that it breaks.
struct Broken {
    rule: &'static str,
    change: fn(&mut Layout),
}

fn node(layout: &mut Layout, op: Op) -> usize {
    layout.nodes.iter().position(|node| node.op == op).unwrap()
}

fn constant(layout: &mut Layout, kind: ConstantKind) -> usize {
    layout.constants.iter().position(|constant| constant.kind == kind).unwrap()
}

/// The guard with a record in it, and the record's field.
fn record(layout: &mut Layout) -> (usize, usize) {
    let field = layout.fields.iter().position(|f| f.kind == FieldType::Record).unwrap();
    let holds = |g: &dataplane_policy::layout::Guard| {
        (g.first..g.first + g.count).contains(&(field as u32))
    };
    (layout.guards.iter().position(holds).unwrap(), field)
}

const BROKEN: &[Broken] = &[
    Broken { rule: "names ascend, each once", change: |l| l.servers[1].name = l.servers[0].name },
    Broken {
        rule: "names lie in the arena, on whole characters",
        change: |l| l.servers[0].name.at = NONE,
    },
    Broken {
        rule: "tools follow those of the server before",
        change: |l| l.servers[1].tool_first = 0,
    },
    Broken { rule: "every tool has a server", change: |l| l.servers[1].tool_count = 0 },
    Broken {
        rule: "ranges lie within the part that they name",
        change: |l| l.servers[1].tool_count = 9,
    },
    Broken {
        rule: "rows times columns lie within the cells",
        change: |l| l.servers[0].row_count = 1 << 31,
    },
    Broken { rule: "a server's facts ascend, each once", change: |l| l.server_facts.swap(0, 1) },
    Broken { rule: "a server's facts exist", change: |l| *l.server_facts.last_mut().unwrap() = 99 },
    Broken { rule: "a class has a row", change: |l| l.classes[0] = 99 },
    Broken {
        rule: "each class has a signature",
        change: |l| l.servers[1].signature_first = 1 << 20,
    },
    Broken { rule: "signatures ascend, each once", change: |l| l.signatures.swap(0, 1) },
    Broken {
        rule: "a signature has a bit a fact and no more",
        change: |l| {
            let last = (l.servers[0].signature_first + l.servers[0].class_count - 1) as usize;
            l.signatures[last] |= 1 << 63;
        },
    },
    Broken {
        rule: "names ascend within a server, each once",
        change: |l| {
            l.tools[1].name = l.tools[0].name;
        },
    },
    Broken { rule: "a tool names the server it is with", change: |l| l.tools[0].server = 1 },
    Broken { rule: "a tool has a column", change: |l| l.tools[0].column = 99 },
    Broken { rule: "guards exist", change: |l| l.tools[1].guard = 99 },
    Broken {
        rule: "a cell names a policy or a program that exists",
        change: |l| l.tools[0].fallback = 3 << 30,
    },
    Broken {
        rule: "a cell names a policy or a program that exists",
        change: |l| l.cells[0] = 2 << 30 | 999,
    },
    Broken {
        rule: "a cell names a policy or a program that exists",
        change: |l| l.cells[0] = 1 << 30 | 999,
    },
    Broken { rule: "kinds and names ascend, each once", change: |l| l.members.swap(0, 1) },
    Broken { rule: "facts exist", change: |l| l.member_facts[0] = 99 },
    Broken { rule: "kinds and names ascend, each once", change: |l| l.entities.swap(0, 1) },
    Broken { rule: "policies exist", change: |l| l.obliged[0] = 99 },
    Broken {
        rule: "ranges lie within the part that they name",
        change: |l| l.policies[0].duty_count = 99,
    },
    Broken {
        rule: "entities exist",
        change: |l| {
            let at = constant(l, ConstantKind::Entity);
            l.constants[at].p = 99;
        },
    },
    Broken {
        rule: "address and prefix fit the family",
        change: |l| {
            let at = constant(l, ConstantKind::Ip);
            l.constants[at].prefix = 33;
        },
    },
    Broken {
        rule: "a set holds scalars of one type",
        change: |l| {
            let at = constant(l, ConstantKind::Set);
            let first = l.constants[at].p as usize;
            l.constants[first].kind = ConstantKind::Long;
        },
    },
    Broken {
        rule: "members come before their set",
        change: |l| {
            let at = constant(l, ConstantKind::Set);
            l.constants[at].p = at as u64;
        },
    },
    Broken {
        rule: "a set has at most 1,024 members",
        change: |l| {
            let at = constant(l, ConstantKind::Set);
            l.constants[at].len = 1_025;
        },
    },
    Broken {
        rule: "a pattern holds texts, one at least",
        change: |l| {
            let at = constant(l, ConstantKind::Pattern);
            l.constants[at].len = 0;
        },
    },
    Broken {
        rule: "a record's guard comes before the guard that it is in",
        change: |l| {
            let (guard, field) = record(l);
            l.fields[field].kids = guard as u32;
        },
    },
    Broken { rule: "an object has at most 512 fields", change: |l| l.guards[0].count = 513 },
    Broken { rule: "a path ends with the field's name", change: |l| l.fields[0].name_len = 99 },
    Broken { rule: "registers are below 32", change: |l| l.fields[0].register = REGISTERS as u8 },
    Broken {
        rule: "only records have fields",
        change: |l| {
            let at = l.fields.iter().position(|f| f.kind != FieldType::Record).unwrap();
            l.fields[at].kids = 0;
        },
    },
    Broken { rule: "the entry is a node", change: |l| l.programs[0].entry = l.programs[0].len },
    Broken {
        rule: "at most 64 permits have obligations",
        change: |l| l.programs[0].obliged_count = 65,
    },
    Broken {
        rule: "jumps lead downwards",
        change: |l| {
            let at = node(l, Op::Less);
            l.nodes[at].t = l.programs[0].len;
        },
    },
    Broken {
        rule: "jumps lead downwards",
        change: |l| {
            let start = l.programs[0].start as usize;
            l.nodes[start].op = Op::EndMark;
        },
    },
    Broken {
        rule: "registers are below 32",
        change: |l| {
            let at = node(l, Op::Multiply);
            l.nodes[at].c = 32;
        },
    },
    Broken {
        rule: "operands exist",
        change: |l| {
            let at = node(l, Op::Less);
            l.nodes[at].a = REGISTERS as u32;
        },
    },
    Broken {
        rule: "operands exist",
        change: |l| {
            let at = node(l, Op::Equal);
            l.nodes[at].b = CONSTANT | 9_999;
        },
    },
    Broken {
        rule: "operands exist",
        change: |l| {
            let at = node(l, Op::Equal);
            l.nodes[at].b = CALLER | 4;
        },
    },
    Broken {
        rule: "operands exist",
        change: |l| {
            let at = node(l, Op::Equal);
            l.nodes[at].b = CONTEXT | 2;
        },
    },
    Broken {
        rule: "facts exist",
        change: |l| {
            let at = node(l, Op::Member);
            l.nodes[at].a = 99;
        },
    },
    Broken {
        rule: "policies exist",
        change: |l| {
            let at = node(l, Op::Allow);
            l.nodes[at].a = NONE;
        },
    },
    Broken {
        rule: "a mark's bit is one of the program's obligations",
        change: |l| {
            let at = node(l, Op::Mark);
            l.nodes[at].c = 9;
        },
    },
    Broken {
        rule: "names lie in the arena, on whole characters",
        change: |l| {
            l.arena.push('é');
            l.facts[0].name = Text { at: l.arena.len() as u32 - 1, len: 1 };
        },
    },
];

#[test]
fn each_rule_is_kept() {
    let mut others = Vec::new();
    for (n, broken) in BROKEN.iter().enumerate() {
        let mut layout = Layout::decode(SHOP).unwrap();
        (broken.change)(&mut layout);
        let refused = Table::load(&layout.encode().unwrap());
        let rule = refused.err().map(|malformed| malformed.rule);
        if rule != Some(broken.rule) {
            others.push((n, broken.rule, rule));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn records_may_not_nest_deeper_than_the_limit() {
    let mut layout = Layout::decode(SHOP).unwrap();
    let (_, field) = record(&mut layout);
    let inner = layout.fields[field];
    for _ in 0..8 {
        let first = layout.fields.len() as u32;
        let kids = layout.guards.len() as u32 - 1;
        layout.fields.push(dataplane_policy::layout::Field { kids, ..inner });
        let outer = layout.guards[0];
        layout.guards.push(dataplane_policy::layout::Guard { first, count: 1, ..outer });
    }
    let refused = Table::load(&layout.encode().unwrap()).unwrap_err();
    assert_eq!(refused.rule, "records nest at most 8 deep");
}
