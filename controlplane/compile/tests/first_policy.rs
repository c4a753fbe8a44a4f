//! The first policy that an operator writes, from files to decisions.

use std::collections::BTreeSet;

use controlplane_compile::{
    Caller, Case, Compiler, Directory, Expect, Input, Member, PolicyFile, Question, Server, Tool,
    compile, diff, explain, run_tests,
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

/// What the handbook says of a schema's `number`.
#[test]
fn a_number_is_a_decimal_of_four_places() {
    let with = |rule: &str| {
        let mut input = input(&SUPPORT.replace("context.arguments.amount > 500", rule));
        let schema = &mut input.servers[0].tools[0].input_schema;
        schema["properties"]["amount"] = json!({ "type": "number" });
        compile(&input)
    };
    let compiled = with("context.arguments.amount.greaterThan(decimal(\"500.00\"))").unwrap();
    let ask = |amount: &str| {
        let amount: Value = serde_json::from_str(amount).unwrap();
        let arguments = json!({ "order": "A-1", "amount": amount });
        explain(&compiled, &question(&["support"], "crm/refund", arguments)).unwrap()
    };
    for amount in ["500", "499.9999", "5e2", "-3", "-922337203685477"] {
        assert!(ask(amount).allow, "{amount}: {}", ask(amount).reason);
    }
    for amount in ["500.5", "500.0001", "501", "922337203685477", "99999999999.5"] {
        assert_eq!(ask(amount).reason, "denied by `refunds` (support.cedar:3)", "{amount}");
    }
    let odd = ["400.00001", "922337203685478", "100000000000.5", "1e11", "-1e300", "\"400.00\""];
    for amount in odd {
        let reason = "denied: the argument `amount` is not as pinned";
        assert_eq!(ask(amount).reason, reason, "{amount}");
    }
    let refused = with("context.arguments.amount > 500").unwrap_err();
    let help = "write `context.arguments.amount.greaterThan(decimal(\"500.0\"))`";
    assert!(format!("{refused:?}").replace("\\\"", "\"").contains(help), "{refused:?}");
}

#[test]
fn a_kept_compiler_makes_what_a_new_one_makes() {
    let mut kept = Compiler::default();
    let misspelt = SUPPORT.replace("amount > 500", "amuont > 500");
    for policies in [SUPPORT, &misspelt, &SUPPORT.replace("500", "501"), &misspelt, SUPPORT, TWO] {
        let (input, mut as_text) = (input(policies), input(policies));
        let schema = &mut as_text.servers[0].tools[0].input_schema;
        schema["properties"]["amount"] = json!({ "type": "string" });
        // The same policies over another schema: what was said of one says nothing of the other.
        for input in [&input, &as_text] {
            let (old, new) = (kept.compile(input), compile(input));
            kept.slim();
            match (old, new) {
                (Ok(old), Ok(new)) => assert_eq!(old.table, new.table),
                (old, new) => assert_eq!(old.err().unwrap(), new.err().unwrap()),
            }
        }
    }
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

const TWO: &str = r#"
@id("read") permit(principal in Role::"support", action, resource == Tool::"crm/get_orders");
@id("everyone") permit(principal, action, resource == Tool::"crm/get_orders") when { context.era == "modern" };
@id("small") @audit("before_forward") permit(principal in Role::"finance", action, resource == Tool::"crm/refund")
  when { context.arguments.amount <= 500 && context.arguments.order like "A-*" };
@id("vip") permit(principal, action, resource == Tool::"crm/refund")
  when { principal == User::"acme/ann" && context.arguments.amount * 100 < 100000 };
@id("night") forbid(principal, action, resource == Tool::"crm/refund")
  when { context.now.toTime() < duration("6h") };
@id("stop") forbid(principal is Agent, action, resource);
"#;

#[test]
fn explanations_read_well() {
    let compiled = compile(&input(TWO)).unwrap();
    let ask = |roles: &[&str], tool, arguments, hour: u64| {
        let now = WallNanos::from_secs(1_777_593_600 + hour * 3_600);
        let asked = Question { now, ..question(roles, tool, arguments) };
        explain(&compiled, &asked).unwrap().to_string()
    };
    let refund = |amount: i64| json!({ "order": "A-1", "amount": amount });
    assert_eq!(
        ask(&["support"], "crm/get_orders", json!({}), 12),
        "allowed by `read` (support.cedar:2)\n  permits: `read` (support.cedar:2)\n  \
         permits: `everyone` (support.cedar:3)"
    );
    assert_eq!(
        ask(&["finance"], "crm/refund", refund(90), 12),
        "allowed by `small` (support.cedar:4)\n  permits: `small` (support.cedar:4)\n  \
         permits: `vip` (support.cedar:6)\n  obliges: @audit(\"before_forward\") of `small`"
    );
    assert_eq!(
        ask(&["finance"], "crm/refund", refund(90), 3),
        "denied by `night` (support.cedar:8)\n  forbids: `night` (support.cedar:8)"
    );
    assert_eq!(
        ask(&[], "crm/refund", refund(5_000), 12),
        "denied: no rule allows this\n  would permit: `small` (support.cedar:4) when \
         (principal in Role::\"finance\") && ((context.arguments.amount <= 500) && \
         (context.arguments.order like \"A-*\"))\n  would permit: `vip` (support.cedar:6) when \
         (principal == User::\"acme/ann\") && ((context.arguments.amount * 100) < 100000)"
    );
    assert_eq!(
        ask(&[], "crm/refund", refund(i64::MAX), 12),
        "denied: `vip` (support.cedar:6) could not be decided\n  errs: `vip` (support.cedar:6)"
    );
}

#[test]
fn differences_of_members_groups_tools_and_obligations() {
    let text = r#"
permit(principal in Role::"support", action, resource == Tool::"crm/refund");
permit(principal in Group::"oncall", action, resource == Tool::"crm/get_orders");
"#;
    let with = |change: &dyn Fn(&mut Input)| {
        let mut input = input(text);
        input.directory.groups.insert("oncall".into(), BTreeSet::new());
        change(&mut input);
        compile(&input).unwrap()
    };
    let told = |old: &_, new: &_| {
        let line = |c: controlplane_compile::Change| {
            format!("{} for {}: {} -> {}", c.tool, c.callers.join(", "), c.before, c.after)
        };
        diff(old, new).into_iter().map(line).collect::<Vec<_>>()
    };
    let plain = with(&|_| {});
    let denied = "denied: no rule allows it";
    let carried = with(&|input| {
        input.directory.groups.insert("oncall".into(), BTreeSet::from(["support".to_owned()]));
    });
    assert_eq!(
        told(&plain, &carried),
        [format!("crm/refund for group oncall: {denied} -> allowed")]
    );
    let bob = with(&|input| {
        input.directory.members.push(Member {
            kind: CallerKind::User,
            tenant: "acme".into(),
            name: "bob".into(),
            roles: vec!["support".into()],
            groups: Vec::new(),
        });
    });
    assert_eq!(told(&plain, &bob), [format!("crm/refund for user acme/bob: {denied} -> allowed")]);
    let many = with(&|input| {
        let member = |name: &str| Member {
            kind: CallerKind::User,
            tenant: "acme".into(),
            name: name.into(),
            roles: vec!["support".into(), "finance".into()],
            groups: Vec::new(),
        };
        input.directory.members.extend(["cat", "dan", "eve"].map(member));
    });
    let whom = "user acme/cat and 2 more";
    assert_eq!(told(&plain, &many), [format!("crm/refund for {whom}: {denied} -> allowed")]);
    let obliged = with(&|input| {
        input.policies[0].text = text.replacen("permit", "@approval(\"finance\") permit", 1);
    });
    assert_eq!(
        told(&plain, &obliged),
        ["crm/refund for role support: allowed -> allowed always with @approval(\"finance\")"]
    );
    let removed = with(&|input| {
        input.policies[0].text = text.lines().nth(1).unwrap().to_owned();
        input.servers[0].tools.truncate(1);
    });
    assert_eq!(
        told(&plain, &removed),
        ["crm/get_orders for group oncall: allowed -> there is no such tool"]
    );
    // Another name and another line are no difference.
    let renamed = with(&|input| input.policies[0].text = format!("\n\n@id(\"x\"){text}"));
    assert_eq!(told(&plain, &renamed), [""; 0]);
}
