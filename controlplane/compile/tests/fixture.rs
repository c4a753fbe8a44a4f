//! The table that `dataplane/policy` tests its verifier and its evaluator on.
//!
//! It is compiled here and kept there, because a dataplane crate cannot depend on the compiler. That
//! its bytes stay the same is also the test that the format did not change by accident: a change of
//! layout raises `VERSION`, and then `BLESS=1 cargo test -p controlplane-compile` writes it anew.

use std::collections::BTreeSet;

use controlplane_compile::{Directory, Input, Member, PolicyFile, Server, Tool, compile};
use dataplane_policy::CallerKind;
use serde_json::json;

const POLICIES: &str = r#"
@id("read") permit(principal in Role::"support", action, resource == Tool::"crm/get");
@id("refund") @quota("refunds") permit(principal in Role::"support", action, resource == Tool::"crm/refund")
  when { context.arguments.amount < 500 };
@id("refund-own") @approval("finance") permit(principal, action, resource == Tool::"crm/refund")
  when { principal == User::"acme/ann" && context.arguments.amount * 2 < 100000 };
@id("currency") forbid(principal, action, resource == Tool::"crm/refund")
  when { context.arguments has currency && !(["EUR", "USD"].contains(context.arguments.currency)) };
@id("notes") forbid(principal, action, resource == Tool::"crm/refund")
  when { context.arguments has note && context.arguments.note like "*secret*key*" };
@id("region") forbid(principal, action, resource == Tool::"crm/refund")
  when { context.arguments has customer.region && context.arguments.customer.region == "XX" };
@id("tags") forbid(principal, action, resource == Tool::"crm/refund")
  when { context.arguments has tags && context.arguments.tags.containsAny(["fraud", "test"]) };
@id("tenants") permit(principal, action, resource in Server::"git")
  when { principal.tenant == Tenant::"acme" && !(context has agent && context.agent == Agent::"acme/rogue") };
@id("branches") forbid(principal, action, resource == Tool::"git/push")
  when { context.arguments.from.isInRange(ip("10.0.0.0/8")) || context.now.toTime() < duration("6h") };
@id("machines") permit(principal is Agent, action, resource == Tool::"git/push")
  when { context.arguments.rate.lessThan(decimal("0.5")) && context.now < datetime("2027-01-01") };
@id("oncall") permit(principal in Group::"oncall", action, resource is Tool);
"#;

fn input() -> Input {
    let tool = |name: &str, input_schema| Tool {
        name: name.into(),
        input_schema,
        destructive: name != "get",
        read_only: name == "get",
    };
    let refund = json!({
        "type": "object",
        "properties": {
            "amount": { "type": "integer" },
            "currency": { "type": "string" },
            "note": { "type": ["string", "null"] },
            "tags": { "type": "array", "items": { "type": "string" } },
            "customer": {
                "type": "object",
                "properties": { "region": { "type": "string" }, "tier": { "type": "integer" } }
            },
            "other": { "type": "object" }
        },
        "required": ["amount"],
        "additionalProperties": false
    });
    let push = json!({
        "type": "object",
        "properties": {
            "from": { "type": "string", "format": "ipv4" },
            "rate": { "type": "number" }
        },
        "required": ["from", "rate"]
    });
    let names =
        |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let none = json!({ "type": "object" });
    Input {
        servers: vec![
            Server { name: "crm".into(), tools: vec![tool("get", none), tool("refund", refund)] },
            Server { name: "git".into(), tools: vec![tool("push", push)] },
        ],
        directory: Directory {
            tenants: names(&["acme"]),
            roles: names(&["support"]),
            groups: [("oncall".to_owned(), names(&["support"]))].into(),
            members: vec![Member {
                kind: CallerKind::Agent,
                tenant: "acme".into(),
                name: "bot".into(),
                roles: vec!["support".into()],
                groups: Vec::new(),
            }],
        },
        policies: vec![PolicyFile { path: "all.cedar".into(), text: POLICIES.into() }],
        quotas: None,
        obligations: names(&["approval", "quota"]),
    }
}

#[test]
fn the_fixture_is_what_the_compiler_makes() {
    let table = compile(&input()).map_err(|all| format!("{all:#?}")).unwrap().table;
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../dataplane/policy/tests/fixtures/shop.table");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let kept = std::fs::read(path).unwrap();
    assert!(
        kept == table,
        "the layout changed: raise VERSION, then BLESS=1 writes the fixture anew"
    );
}

#[test]
fn equal_input_gives_equal_bytes() {
    let mut other = input();
    other.servers.reverse();
    other.servers.iter_mut().for_each(|server| server.tools.reverse());
    assert_eq!(compile(&input()).unwrap().table, compile(&other).unwrap().table);
}
