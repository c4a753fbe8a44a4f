//! Figures: what a table costs to make and to ask, at a thousand policies over five hundred tools.
//!
//! `cargo test --release -p controlplane-compile --test figures -- --ignored --nocapture`. Times are
//! the best of many batches, on one core of a shared machine: orders of magnitude. The budgets that
//! they are held to are DESIGN's, and only mean something in release.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Instant;

use controlplane_compile::{Compiler, Directory, Input, Member, PolicyFile, Server, Tool};
use dataplane_policy::{
    Call, CallerFacts, CallerKind, Context, Era, ServerIndex, Subject, Table, ToolIndex, Why,
};
use dataplane_telemetry::WallNanos;
use serde_json::json;

const SERVERS: usize = 25;
const TOOLS: usize = 500;
const POLICIES: usize = 1_000;
const MEMBERS: usize = 5_000;

const BODY: &str = r#"{"amount":90,"note":"nothing to see here, a note of forty characters","path":"src17/lib/main.rs","a":1,"b":"two","c":[1,2,3],"d":{"e":null}}"#;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn policies(dice: &mut Dice) -> String {
    let mut text = String::new();
    for n in 0..POLICIES {
        let (role, group) = (dice.below(30), dice.below(100));
        let (server, tool) = (dice.below(SERVERS), dice.below(TOOLS));
        let who = format!("principal in Role::\"r{role}\", action == Action::\"call\"");
        let one = format!("resource == Tool::\"s{}/t{tool}\"", tool % SERVERS);
        let all = format!("resource in Server::\"s{server}\"");
        text += &match n % 20 {
            0..=5 => format!("permit({who}, {all});"),
            6..=9 => {
                format!("permit({who}, {one}) when {{ context.arguments.amount < {} }};", 100 + n)
            }
            10..=12 => format!(
                "permit(principal in Group::\"g{group}\", action, {all}) when {{ principal.tenant == Tenant::\"n{}\" }};",
                n % 7
            ),
            13..=14 => format!(
                "forbid(principal, action, {one}) when {{ context.arguments has note && context.arguments.note like \"*secret{n}*\" }};"
            ),
            15..=16 => format!(
                "forbid(principal, action, {all}) when {{ context.now < datetime(\"2020-01-01\") }} unless {{ context.era == \"modern\" }};"
            ),
            17..=18 => format!(
                "permit({who}, {all}) when {{ context.arguments.path like \"src{n}/*\" }} unless {{ context has agent }};"
            ),
            _ => format!("permit(principal == User::\"n0/u{n}\", action, {one});"),
        };
        text.push('\n');
    }
    text
}

fn input() -> Input {
    let mut dice = Dice(1);
    let schema = json!({
        "type": "object",
        "properties": {
            "amount": { "type": "integer" },
            "note": { "type": "string" },
            "path": { "type": "string" }
        },
        "required": ["amount", "path"]
    });
    let tool = |n: usize| Tool {
        name: format!("t{n}"),
        input_schema: schema.clone(),
        destructive: n.is_multiple_of(3),
        read_only: false,
    };
    let server = |s: usize| Server {
        name: format!("s{s}"),
        tools: (0..TOOLS).filter(|n| n % SERVERS == s).map(tool).collect(),
    };
    let text = policies(&mut dice);
    let names =
        |letter: &'static str, count: usize| (0..count).map(move |n| format!("{letter}{n}"));
    let member = |n: usize, dice: &mut Dice| Member {
        kind: CallerKind::User,
        tenant: format!("n{}", n % 100),
        name: format!("u{n}"),
        roles: vec![format!("r{}", dice.below(30))],
        groups: (0..dice.below(3)).map(|_| format!("g{}", dice.below(100))).collect(),
    };
    Input {
        servers: (0..SERVERS).map(server).collect(),
        directory: Directory {
            tenants: names("n", 100).collect(),
            roles: names("r", 30).collect(),
            groups: names("g", 100).map(|name| (name, BTreeSet::new())).collect(),
            members: (0..MEMBERS).map(|n| member(n, &mut dice)).collect(),
        },
        policies: vec![PolicyFile { path: "all.cedar".into(), text }],
        ..Input::default()
    }
}

/// Nanoseconds a call, the best of many batches over these cells.
fn best(table: &Table, cells: &[(usize, ToolIndex)], subjects: &[Subject], call: &Call<'_>) -> f64 {
    // Short batches: on a shared machine some of them are left alone.
    let cells = &cells[..cells.len().min(8_192)];
    let mut best = f64::MAX;
    for _ in 0..1_000 {
        let start = Instant::now();
        for (subject, tool) in cells {
            black_box(table.decide(black_box(&subjects[*subject]), *tool, black_box(call)));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / cells.len() as f64);
    }
    best
}

#[test]
#[ignore = "times, which mean something in release only"]
fn a_thousand_policies_over_five_hundred_tools() {
    let input = input();
    let mut compiler = Compiler::default();
    let start = Instant::now();
    let compiled = compiler.compile(&input).map_err(|all| format!("{:?}", all.first())).unwrap();
    println!("compiled, cold: {:?}", start.elapsed());
    let start = Instant::now();
    compiler.compile(&input).unwrap();
    println!("compiled again: {:?}; {} bytes", start.elapsed(), compiled.table.len());
    let start = Instant::now();
    let table = Table::load(&compiled.table).unwrap();
    println!("loaded and verified: {:?}", start.elapsed());

    let member = |m: &Member, roles: &[&str]| {
        let mut facts = CallerFacts {
            tenant: &m.tenant,
            kind: m.kind,
            user: Some(&m.name),
            agent: None,
            roles,
            groups: &[],
        };
        if !roles.is_empty() {
            facts.user = Some("stranger");
        }
        table.subject(&facts)
    };
    let known: Vec<Subject> =
        input.directory.members.iter().take(500).map(|m| member(m, &[])).collect();
    let start = Instant::now();
    let strangers: Vec<Subject> = input
        .directory
        .members
        .iter()
        .take(500)
        .enumerate()
        .map(|(n, m)| {
            member(m, &[&format!("r{}", n % 30), &format!("r{}", n % 29), &format!("r{}", n % 7)])
        })
        .collect();
    println!("a caller resolved: {:?}", start.elapsed() / 500);

    let mut body = BODY.as_bytes().to_vec();
    let tape = simd_json::to_tape(&mut body).unwrap();
    let context = Context { now: WallNanos::from_secs(1_777_593_600), era: Era::Modern };
    let call = Call { tape: &tape.0, arguments: Some(0), context };
    let bad = Call { tape: &tape.0, arguments: None, context };

    // A plain allow on a guarded tool is told from a program by a call whose arguments are missing.
    let (mut deny, mut guarded, mut program) = (Vec::new(), Vec::new(), Vec::new());
    for (subject, who) in known.iter().enumerate() {
        for tool in (0..TOOLS as u32).map(ToolIndex) {
            let decision = table.decide(who, tool, &call);
            let unread = table.decide(who, tool, &bad);
            let looks = matches!(unread.why, Why::BadArgument(_));
            let list = match (looks, decision.allow) {
                (false, _) => &mut deny,
                (true, true) => &mut guarded,
                (true, false) => &mut program,
            };
            list.push((subject, tool));
        }
    }
    let mut fallback: Vec<_> = (0..strangers.len())
        .flat_map(|s| (0..TOOLS as u32).map(move |tool| (s, ToolIndex(tool))))
        .filter(|(s, tool)| {
            let (server, _) = table.tool(*tool).unwrap();
            strangers[*s].is_fallback(ServerIndex(server.0))
        })
        .collect();
    let mut dice = Dice(5);
    for list in [&mut deny, &mut guarded, &mut program, &mut fallback] {
        for at in (1..list.len()).rev() {
            list.swap(at, dice.below(at + 1));
        }
    }
    println!(
        "cells: {} plain deny, {} allowed after looking, {} denied after looking",
        deny.len(),
        guarded.len(),
        program.len()
    );
    let plain = best(&table, &deny, &known, &call);
    let allowed = best(&table, &guarded, &known, &call);
    let denied = best(&table, &program, &known, &call);
    println!(
        "plain {plain:.1} ns; allowed after looking {allowed:.1} ns; denied after looking {denied:.1} ns"
    );

    let slow = best(&table, &fallback, &strangers, &call);
    println!("fallback cells: {}, {slow:.1} ns", fallback.len());
    let start = Instant::now();
    let seen = fallback.iter().filter(|(s, tool)| table.may_see(&strangers[*s], *tool)).count();
    let each = start.elapsed().as_nanos() as f64 / fallback.len() as f64;
    println!("may_see on fallback cells: {each:.1} ns, {seen} seen");
    if !cfg!(debug_assertions) {
        assert!(plain < 20.0 && allowed < 200.0 && denied < 200.0, "DESIGN's budget");
    }
}

/// What a kept compiler saves: each tool with a schema of its own, and one policy that changes.
#[test]
#[ignore = "times, which mean something in release only"]
fn one_policy_of_a_thousand_changes() {
    let mut input = input();
    for tool in input.servers.iter_mut().flat_map(|server| &mut server.tools) {
        tool.input_schema["properties"][format!("own_{}", tool.name)] = json!({ "type": "string" });
    }
    let mut compiler = Compiler::default();
    let timed = |compiler: &mut Compiler, input: &Input| {
        let start = Instant::now();
        compiler.compile(input).map_err(|all| format!("{:?}", all.first())).unwrap();
        compiler.slim();
        start.elapsed()
    };
    println!("compiled, cold: {:?}", timed(&mut compiler, &input));
    let text = &mut input.policies[0].text;
    *text = text.replacen("amount < 106", "amount < 107", 1);
    println!("one policy changed, kept: {:?}", timed(&mut compiler, &input));
    println!("one policy changed, cold: {:?}", timed(&mut Compiler::default(), &input));
}
