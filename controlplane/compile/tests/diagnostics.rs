//! Every complaint that a policy can earn, as people read it.
//!
//! The expected text is `golden/diagnostics.txt`; `BLESS=1 cargo test -p controlplane-compile` writes
//! it anew, for review.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use controlplane_compile::{Directory, Input, PolicyFile, Server, Tool, compile};
use serde_json::json;

/// What is wrong, and the policy file that shows it.
const CASES: &[(&str, &str)] = &[
    (
        "integer too large",
        "permit(principal, action, resource == Tool::\"crm/refund\") when { context.arguments.amount < 9223372036854775808 };",
    ),
    ("a fraction", "permit(principal, action, resource)\n  when { 1.5 < 2 };"),
    (
        "misspelt argument",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.amuont < 5 };",
    ),
    (
        "an argument of another tool",
        "permit(principal, action, resource in Server::\"crm\")\n  when { context.arguments.amount < 5 };",
    ),
    (
        "optional without has",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.note == \"x\" };",
    ),
    (
        "agent without has",
        "permit(principal, action, resource) when { context.agent == Agent::\"acme/bot\" };",
    ),
    (
        "another type",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.amount < \"5\" };",
    ),
    (
        "a number as an integer",
        "forbid(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.price > 500 };",
    ),
    ("unknown action", "permit(principal, action == Action::\"cal\", resource);"),
    ("unknown entity type", "permit(principal in Team::\"x\", action, resource);"),
    (
        "constructor of an argument",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { ip(context.arguments.from).isLoopback() };",
    ),
    (
        "no such address",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { ip(\"10.0.0.0/33\").isLoopback() };",
    ),
    (
        "empty set",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.fields == [] };",
    ),
    ("always false", "permit(principal, action, resource) when { false };"),
    ("a principal that is none", "permit(principal is Server, action, resource);"),
    (
        "has what is not there",
        "permit(principal, action, resource)\n  when { resource has nope && resource.nope };",
    ),
    ("tags", "permit(principal, action, resource) when { resource.hasTag(\"x\") };"),
    ("role that does not exist", "permit(principal in Role::\"suport\", action, resource);"),
    (
        "role that nobody declared",
        "permit(principal, action, resource)\n  when { principal in Role::\"juggler\" };",
    ),
    ("group that does not exist", "permit(principal in Group::\"oncal\", action, resource);"),
    ("tenant that does not exist", "permit(principal in Tenant::\"acmee\", action, resource);"),
    ("tool that does not exist", "permit(principal, action, resource == Tool::\"crm/refnd\");"),
    ("server that does not exist", "permit(principal, action, resource in Server::\"crn\");"),
    ("user without tenant", "permit(principal == User::\"ann\", action, resource);"),
    ("user of another tenant", "permit(principal == User::\"zeta/ann\", action, resource);"),
    (
        "never true of its tool",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { resource.read_only };",
    ),
    (
        "record literal",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.customer == {tier: 1} };",
    ),
    (
        "whole record",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.customer == context.arguments.customer };",
    ),
    (
        "set with an argument",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { [context.arguments.amount].contains(5) };",
    ),
    (
        "agent in a role",
        "permit(principal, action, resource)\n  when { context has agent && context.agent in Role::\"support\" };",
    ),
    (
        "in with a computed right side",
        "permit(principal, action, resource) when { principal in principal.tenant };",
    ),
    (
        "attribute of a computed value",
        "permit(principal, action, resource)\n  when { (if principal is Agent && context has agent then context.agent else principal).tenant == Tenant::\"acme\" };",
    ),
    (
        "hidden argument",
        "forbid(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments has rows || context.arguments.amount > 5 };",
    ),
    (
        "hidden argument, read",
        "forbid(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.rows.isEmpty() };",
    ),
    ("a template", "permit(principal == ?principal, action, resource);"),
    ("unknown annotation", "@approvl(\"finance\")\npermit(principal, action, resource);"),
    ("annotation without meaning", "@audit(\"later\")\npermit(principal, action, resource);"),
    ("obligation on a forbid", "@audit(\"before_forward\")\nforbid(principal, action, resource);"),
    ("obligation that is not kept", "@dry_run\npermit(principal, action, resource);"),
    ("quota that does not exist", "@quota(\"refnds\")\npermit(principal, action, resource);"),
    (
        "an id twice",
        "@id(\"a\") permit(principal, action, resource);\n@id(\"a\")\nforbid(principal is Agent, action, resource);",
    ),
    (
        "two complaints at once",
        "permit(principal in Role::\"suport\", action, resource);\npermit(principal, action, resource in Server::\"crn\");",
    ),
    ("syntax", "permit(principal, action, resource) when { context.now < };"),
    (
        "warning: may overflow",
        "permit(principal, action, resource == Tool::\"crm/refund\")\n  when { context.arguments.amount * 100 < 5 };",
    ),
    ("warning: no tool yet", "permit(principal, action, resource in Server::\"new\");"),
    ("warning: not in the directory", "permit(principal == User::\"acme/amn\", action, resource);"),
];

fn input(text: &str) -> Input {
    let refund = json!({
        "type": "object",
        "properties": {
            "amount": { "type": "integer" },
            "price": { "type": "number" },
            "note": { "type": "string" },
            "from": { "type": "string" },
            "fields": { "type": "array", "items": { "type": "string" } },
            "customer": { "type": "object", "properties": { "tier": { "type": "integer" } }, "required": ["tier"] },
            "rows": { "type": "array", "items": { "type": "object" } }
        },
        "required": ["amount", "price", "from", "fields", "customer", "rows"]
    });
    let tool = |name: &str, input_schema| Tool {
        name: name.into(),
        input_schema,
        destructive: true,
        read_only: false,
    };
    let id = json!({ "type": "object", "properties": { "id": { "type": "string" } } });
    let names =
        |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    Input {
        servers: vec![
            Server { name: "crm".into(), tools: vec![tool("refund", refund), tool("close", id)] },
            Server { name: "new".into(), tools: Vec::new() },
        ],
        directory: Directory {
            tenants: names(&["acme"]),
            roles: names(&["support", "finance"]),
            groups: [("oncall".to_owned(), BTreeSet::new())].into(),
            members: vec![controlplane_compile::Member {
                kind: dataplane_policy::CallerKind::User,
                tenant: "acme".into(),
                name: "ann".into(),
                roles: vec!["support".into()],
                groups: Vec::new(),
            }],
        },
        policies: vec![PolicyFile { path: "x.cedar".into(), text: text.into() }],
        quotas: Some(names(&["refunds"])),
        obligations: names(&["audit", "approval", "quota"]),
    }
}

#[test]
fn complaints_say_where_what_and_what_to_write() {
    let mut out = String::new();
    for (what, policy) in CASES {
        let complaints = match compile(&input(policy)) {
            Ok(compiled) => compiled.warnings,
            Err(complaints) => complaints,
        };
        assert!(!complaints.is_empty(), "{what}: no complaint");
        let _ = writeln!(out, "# {what}\n{policy}");
        for complaint in complaints {
            assert!(complaint.line > 0, "{complaint:?}");
            let _ = writeln!(out, "--> {complaint}");
        }
        out.push('\n');
    }
    golden("diagnostics.txt", &out);
}

#[test]
fn names_of_servers_and_tools_are_unique() {
    let mut twice = input("permit(principal, action, resource);");
    let server = twice.servers[0].clone();
    twice.servers.push(server);
    twice.servers.push(Server { name: "a/b".into(), tools: Vec::new() });
    let said: Vec<String> = compile(&twice).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(said.contains(&"error: the server `crm` is there twice".to_owned()), "{said:?}");
    assert!(said.iter().any(|text| text.contains("`a/b` is no server name")), "{said:?}");
}

#[test]
fn tenants_have_no_slash() {
    let mut odd = input("permit(principal, action, resource);");
    odd.directory.tenants.insert("acme/eng".into());
    let said = compile(&odd).unwrap_err()[0].to_string();
    assert_eq!(said, "error: `acme/eng` is no tenant name: it is empty or has a `/`");
}

#[test]
fn deep_conditions_are_refused_and_do_not_overflow_the_stack() {
    let deep = |n: usize| {
        let either = vec!["context has agent"; n].join(" || ");
        format!("permit(principal, action, resource) when {{ {either} }};")
    };
    let fine = compile(&input(&deep(140)));
    assert!(fine.is_ok(), "{fine:?}");
    for (n, said) in [(320, "nests more than 300 deep"), (5_000, "at most 1000 operators")] {
        let refused = compile(&input(&deep(n))).unwrap_err();
        assert!(refused[0].message.contains(said), "{n}: {}", refused[0]);
    }
    let brackets = format!("permit(principal, action, resource) when {{ {} }};", "(".repeat(900));
    assert!(compile(&input(&brackets)).is_err());
    let attributes =
        format!("permit(principal, action, resource) when {{ context{} }};", ".a".repeat(900));
    assert!(compile(&input(&attributes)).is_err());
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, (old, new)) in expected.lines().zip(text.lines()).enumerate() {
        assert_eq!(old, new, "{name}:{}: differs; BLESS=1 writes it anew", n + 1);
    }
    assert_eq!(expected.len(), text.len(), "{name} differs in length; BLESS=1 writes it anew");
}
