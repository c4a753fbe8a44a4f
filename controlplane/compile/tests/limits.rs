//! One past each limit, and what is said about it.

use std::collections::BTreeSet;

use controlplane_compile::{
    Caller, Directory, Input, Member, PolicyFile, Question, Server, Tool, compile, explain,
};
use dataplane_policy::{CallerFacts, CallerKind, Era, Table};
use dataplane_telemetry::WallNanos;
use serde_json::{Map, Value, json};

fn world(arguments: &[(String, Value)], policies: String) -> Input {
    let properties: Map<String, Value> = arguments.iter().cloned().collect();
    let names: Vec<&String> = arguments.iter().map(|(name, _)| name).collect();
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": false
    });
    let tool = Tool { name: "x".into(), input_schema: schema, ..Tool::default() };
    Input {
        servers: vec![Server { name: "s".into(), tools: vec![tool] }],
        directory: Directory {
            tenants: BTreeSet::from(["acme".to_owned()]),
            ..Directory::default()
        },
        policies: vec![PolicyFile { path: "x.cedar".into(), text: policies }],
        obligations: BTreeSet::from(["quota".to_owned()]),
        quotas: None,
    }
}

fn integers(count: usize) -> Vec<(String, Value)> {
    (0..count).map(|n| (format!("a{n}"), json!({ "type": "integer" }))).collect()
}

fn refused(input: &Input) -> String {
    compile(input).unwrap_err()[0].message.clone()
}

/// Policies that look at arguments `0..count`.
fn looking(count: usize) -> String {
    let one =
        |n| format!("permit(principal, action, resource) when {{ context.arguments.a{n} > 0 }};\n");
    (0..count).map(one).collect()
}

#[test]
fn arguments_and_sums_share_32_registers() {
    assert!(compile(&world(&integers(40), looking(32))).is_ok());
    let message = refused(&world(&integers(40), looking(33)));
    assert!(message.contains("they use more than 32 values at once"), "{message}");
    // A sum needs a register of its own.
    let sum = "permit(principal, action, resource) when { context.arguments.a0 + 1 > 5 };\n";
    assert!(compile(&world(&integers(40), looking(31) + sum)).is_ok());
    assert!(compile(&world(&integers(40), looking(32) + sum)).is_err());
}

#[test]
fn objects_have_512_fields_when_closed() {
    assert!(compile(&world(&integers(512), looking(1))).is_ok());
    let message = refused(&world(&integers(513), looking(1)));
    assert!(message.contains("more than 512 fields"), "{message}");
    // Nobody looks: nothing to check.
    let blind = "permit(principal, action, resource);".to_owned();
    assert!(compile(&world(&integers(513), blind)).is_ok());
}

#[test]
fn sets_have_1024_members() {
    let set = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        let list = members.join(", ");
        format!(
            "permit(principal, action, resource) when {{ [{list}].contains(context.arguments.a0) }};"
        )
    };
    assert!(compile(&world(&integers(1), set(1_024))).is_ok());
    let message = refused(&world(&integers(1), set(1_025)));
    assert!(message.contains("a set has more than 1024 members"), "{message}");
}

#[test]
fn permits_with_obligations_are_64_a_tool() {
    let permits = |count: usize| {
        let one = |n| {
            format!(
                "@quota(\"q{n}\") permit(principal, action, resource) when {{ context.arguments.a0 > {n} }};\n"
            )
        };
        (0..count).map(one).collect::<String>()
    };
    assert!(compile(&world(&integers(1), permits(64))).is_ok());
    let message = refused(&world(&integers(1), permits(65)));
    assert!(message.contains("more than 64 permits carry obligations"), "{message}");
}

#[test]
fn a_file_has_a_mebibyte() {
    let text =
        |length: usize| format!("//{}\npermit(principal, action, resource);", "x".repeat(length));
    let overhead = text(0).len();
    assert!(compile(&world(&[], text((1 << 20) - overhead))).is_ok());
    let message = refused(&world(&[], text((1 << 20) - overhead + 1)));
    assert_eq!(message, "a policy file has at most 1 MiB");
}

/// More signatures than rows, and more facts than bits of a word.
#[test]
fn callers_beyond_the_rows_use_the_fallback_and_get_the_same_answers() {
    let roles = 70;
    let permit = |n| {
        format!(
            "permit(principal in Role::\"r{n}\", action, resource) when {{ context.arguments.a0 == {n} }};\n"
        )
    };
    let mut input = world(&integers(1), (0..roles).map(permit).collect());
    input.directory.roles = (0..roles).map(|n| format!("r{n}")).collect();
    // Pairs of roles: 1,225 signatures, of which 1,024 have rows.
    for a in 0..35 {
        for b in 35..70 {
            input.directory.members.push(Member {
                kind: CallerKind::User,
                tenant: "acme".into(),
                name: format!("u{a}-{b}"),
                roles: vec![format!("r{a}"), format!("r{b}")],
                groups: Vec::new(),
            });
        }
    }
    let compiled = compile(&input).unwrap();
    let table = Table::load(&compiled.table).unwrap();
    let server = table.find_server("s").unwrap();
    let mut fallbacks = 0;
    for member in &input.directory.members {
        let facts = CallerFacts {
            tenant: "acme",
            kind: CallerKind::User,
            user: Some(&member.name),
            agent: None,
            roles: &[],
            groups: &[],
        };
        fallbacks += usize::from(table.subject(&facts).is_fallback(server));
    }
    assert!((100..300).contains(&fallbacks), "{fallbacks}");
    for at in [0, 600, 1_224] {
        let member = &input.directory.members[at];
        // Its own roles, and others.
        for n in [at / 35, 35 + at % 35, 34, 36] {
            let question = Question {
                caller: Caller {
                    tenant: "acme".into(),
                    kind: CallerKind::User,
                    user: Some(member.name.clone()),
                    agent: None,
                    roles: Vec::new(),
                    groups: Vec::new(),
                },
                tool: "s/x".into(),
                arguments: json!({ "a0": n }),
                now: WallNanos(0),
                era: Era::Modern,
            };
            let explained = explain(&compiled, &question).unwrap();
            let expected = member.roles.contains(&format!("r{n}"));
            assert_eq!((explained.allow, explained.visible), (expected, true), "{member:?} {n}");
        }
    }
}
