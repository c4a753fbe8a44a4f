//! Who may call what, and what may be answered: the oracle of the simulation.
//!
//! Two policies, written down a second time in plain Rust. Nothing here is of the pipeline, so where
//! the two differ one of them is wrong.

use serde_json::{Value, json};

use crate::{ToolSpec, WorldSpec};

/// Which of the two bundles is in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    A,
    B,
}

/// What policy says to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum May {
    /// As if it were not there.
    NotSee,
    NotCall,
    Call,
}

pub const CALLERS: [&str; 3] = ["ann", "bob", "bot"];

/// Server, tool and era of everything that there is in either bundle.
pub const TOOLS: [(&str, &str, bool); 6] = [
    ("aaa", "get_orders", true),
    ("crm", "delete_account", true),
    ("crm", "get_orders", true),
    ("crm", "refund", true),
    ("old", "echo", false),
    ("old", "wipe", false),
];

const POLICY_A: &str = r#"
    permit(principal in Role::"support", action == Action::"call", resource in Server::"crm");
    @id("no-large-refunds")
    forbid(principal, action == Action::"call", resource == Tool::"crm/refund")
        when { context.arguments.amount > 500 };
    @id("no-deletions")
    forbid(principal, action == Action::"call", resource == Tool::"crm/delete_account");
    permit(principal in Role::"support", action == Action::"call", resource in Server::"old");
"#;

const POLICY_B: &str = r#"
    permit(principal, action == Action::"call", resource in Server::"aaa");
    @audit("before_forward")
    permit(principal in Role::"support", action == Action::"call", resource == Tool::"crm/get_orders");
    permit(principal in Role::"support", action == Action::"call", resource == Tool::"old/echo");
"#;

/// Whether a server is in a bundle: the second bundle has one more, and it comes first.
#[must_use]
pub fn has_server(policy: Policy, server: &str) -> bool {
    policy == Policy::B || server != "aaa"
}

/// What `caller` may do with `tool` of `server`, with these arguments.
#[must_use]
pub fn may(policy: Policy, caller: &str, server: &str, tool: &str, arguments: &Value) -> May {
    let is_support = caller != "bob";
    match (policy, server, tool) {
        (Policy::A, "crm", "get_orders") | (Policy::A, "old", "echo" | "wipe") if is_support => {
            May::Call
        }
        (Policy::A, "crm", "refund") if is_support => match arguments["amount"].as_i64() {
            Some(amount) if amount <= 500 => May::Call,
            _ => May::NotCall,
        },
        (Policy::B, "aaa", "get_orders") => May::Call,
        (Policy::B, "crm", "get_orders") | (Policy::B, "old", "echo") if is_support => May::Call,
        _ => May::NotSee,
    }
}

/// Whether the intent must be durable before the call is forwarded.
#[must_use]
pub fn is_gated(policy: Policy, server: &str, tool: &str) -> bool {
    matches!(tool, "refund" | "delete_account" | "wipe")
        || (policy == Policy::B && (server, tool) == ("crm", "get_orders"))
}

/// The names that a list shows, at `/mcp` or at one server's endpoint.
#[must_use]
pub fn visible(policy: Policy, caller: &str, only: Option<&str>) -> Vec<String> {
    let shown = TOOLS.iter().filter(|(server, tool, _)| {
        let here = only.is_none_or(|only| only == *server);
        here && may(policy, caller, server, tool, &json!({})) != May::NotSee
    });
    let name = |(server, tool, _): &(&str, &str, bool)| match only {
        Some(_) => (*tool).to_owned(),
        None => format!("{server}__{tool}"),
    };
    shown.map(name).collect()
}

/// The secret that a server is told; nobody else is.
#[must_use]
pub fn secret(server: &str) -> String {
    format!("sekrit-of-{server}")
}

/// The bundle of a policy, for the real compiler.
#[must_use]
pub fn spec(policy: Policy) -> WorldSpec {
    let customer = json!({"type": "object", "properties": {"customer": {"type": "string"}}});
    let refund = json!({
        "type": "object",
        "properties": {"customer": {"type": "string"}, "amount": {"type": "integer"}},
        "required": ["amount"],
    });
    let tools = TOOLS.iter().filter(|(server, ..)| has_server(policy, server));
    let tool = |(server, name, _): &(&'static str, &'static str, bool)| ToolSpec {
        server,
        name,
        schema: if *name == "refund" { refund.clone() } else { customer.clone() },
        destructive: matches!(*name, "refund" | "delete_account" | "wipe"),
    };
    let limits = dataplane_bundle::Limits {
        request_bytes_max: 16 << 10,
        answer_bytes_max: 16 << 10,
        event_bytes_max: 8 << 10,
        ..dataplane_bundle::Limits::default()
    };
    WorldSpec {
        policy: if policy == Policy::A { POLICY_A } else { POLICY_B }.into(),
        tools: tools.map(tool).collect(),
        legacy: vec!["old"],
        inject: true,
        limits,
        revision: if policy == Policy::A { 1 } else { 2 },
        ..WorldSpec::default()
    }
}
