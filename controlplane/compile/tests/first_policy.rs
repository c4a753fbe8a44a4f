//! The first policy that an operator writes, from files to decisions.

use std::collections::BTreeSet;

use controlplane_compile::{
    Caller, Case, Directory, Expect, Input, PolicyFile, Question, Server, Tool, compile, diff,
    explain, run_tests,
};
use dataplane_policy::{CallerKind, Era};
use dataplane_telemetry::WallNanos;
use serde_json::{Value, json};

const SUPPORT: &str = r#"
permit(principal in Role::"support", action == Action::"call", resource in Server::"crm");
@id("refunds")
forbid(principal, action == Action::"call", resource == Tool::"crm/refund")
  when { context.arguments.amount > 500 };
"#;

fn input(policies: &str) -> Input {
    let refund = json!({
        "type": "object",
        "properties": { "order": { "type": "string" }, "amount": { "type": "integer" } },
        "required": ["order", "amount"],
        "additionalProperties": false
    });
    let tool = |name: &str, input_schema: Value| Tool {
        name: name.into(),
        input_schema,
        destructive: name == "refund",
        read_only: name != "refund",
    };
    let read = json!({ "type": "object", "properties": { "id": { "type": "string" } } });
    Input {
        servers: vec![Server {
            name: "crm".into(),
            tools: vec![tool("refund", refund), tool("get_orders", read)],
        }],
        directory: Directory {
            tenants: BTreeSet::from(["acme".to_owned()]),
            roles: BTreeSet::from(["support".to_owned(), "finance".to_owned()]),
            ..Directory::default()
        },
        policies: vec![PolicyFile { path: "support.cedar".into(), text: policies.into() }],
        quotas: None,
        obligations: BTreeSet::from(["audit".to_owned(), "approval".to_owned()]),
    }
}

fn ann(roles: &[&str]) -> Caller {
    Caller {
        tenant: "acme".into(),
        kind: CallerKind::User,
        user: Some("ann".into()),
        agent: None,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        groups: Vec::new(),
    }
}

fn question(roles: &[&str], tool: &str, arguments: Value) -> Question {
    Question {
        caller: ann(roles),
        tool: tool.into(),
        arguments,
        now: WallNanos::from_secs(1_777_593_600),
        era: Era::Modern,
    }
}

#[test]
fn the_example_of_the_handbook_works() {
    let compiled = compile(&input(SUPPORT)).unwrap();
    let ask = |roles: &[&str], tool, arguments| {
        explain(&compiled, &question(roles, tool, arguments)).unwrap()
    };
    let small = ask(&["support"], "crm/refund", json!({ "order": "A-1", "amount": 90 }));
    assert!(small.allow && small.visible, "{small:?}");
    assert_eq!(small.reason, "allowed by support.cedar:2");

    let large = ask(&["support"], "crm/refund", json!({ "order": "A-1", "amount": 900 }));
    assert_eq!(large.reason, "denied by `refunds` (support.cedar:3)");
    assert_eq!(large.determining.len(), 1);

    let text = ask(&["support"], "crm/refund", json!({ "order": "A-1", "amount": "90" }));
    assert_eq!(text.reason, "denied: the argument `amount` is not as pinned");
    let extra = ask(&["support"], "crm/refund", json!({ "order": "A", "amount": 9, "x": 1 }));
    assert_eq!(extra.reason, "denied: an argument that the pinned schema does not have");

    let stranger = ask(&[], "crm/get_orders", json!({}));
    assert!(!stranger.allow && !stranger.visible);
    assert_eq!(stranger.reason, "denied: no rule allows this");
    // A role that nobody foresaw beside one that was: the fallback answers the same.
    assert!(ask(&["support", "juggler"], "crm/get_orders", json!({})).allow);
}

#[test]
fn policy_tests_say_what_came() {
    let compiled = compile(&input(SUPPORT)).unwrap();
    let case = |amount: i64, expect, rule: Option<&str>| Case {
        name: format!("support.toml, amount {amount}"),
        caller: ann(&["support"]),
        tool: "crm/refund".into(),
        arguments: json!({ "order": "A-1", "amount": amount }),
        now: WallNanos::from_secs(1_777_593_600),
        era: Era::Modern,
        expect,
        rule: rule.map(str::to_owned),
    };
    let outcomes = run_tests(
        &compiled,
        &[
            case(900, Expect::Deny, Some("refunds")),
            case(90, Expect::Deny, None),
            case(901, Expect::Deny, Some("else")),
            Case { tool: "crm/none".into(), ..case(1, Expect::Deny, None) },
        ],
    );
    let failures: Vec<_> = outcomes.iter().map(|outcome| outcome.failure.as_deref()).collect();
    assert_eq!(
        failures,
        [
            None,
            Some("expected deny, but allowed by support.cedar:2"),
            Some("expected the rule `else`, but denied by `refunds` (support.cedar:3)"),
            Some("the server `crm` has no tool `none`"),
        ]
    );
}

#[test]
fn a_change_is_told_by_tool_and_caller() {
    let old = compile(&input(SUPPORT)).unwrap();
    let new = compile(&input(&SUPPORT.replace("500", "900"))).unwrap();
    assert_eq!(diff(&old, &old), []);
    let changes = diff(&old, &new);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].tool, "crm/refund");
    assert_eq!(changes[0].callers, ["role support"]);
    assert_eq!(changes[0].before, "allowed; denied when context.arguments.amount > 500");
    assert_eq!(changes[0].after, "allowed; denied when context.arguments.amount > 900");
}
