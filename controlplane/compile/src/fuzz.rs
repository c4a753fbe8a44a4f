//! Properties that the fuzz targets check.
//!
//! Any text as a policy and any JSON as a tool's schema: a table or complaints, never a panic, and a
//! table that is made is one that an appliance loads.

use dataplane_policy::Table;
use serde_json::{Value, json};

use crate::input::{Input, PolicyFile, Server, Tool};
use crate::{Directory, compile};

/// Any text as a policy file.
pub fn any_policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let schema = json!({
        "type": "object",
        "properties": { "amount": { "type": "integer" }, "note": { "type": "string" } },
        "required": ["amount"]
    });
    check(text, schema);
}

/// Any JSON as the schema of a tool, under policies that look at some of its arguments.
pub fn any_schema(bytes: &[u8]) {
    let Ok(schema) = serde_json::from_slice::<Value>(bytes) else { return };
    check(
        "permit(principal, action, resource) when { context.arguments has amount };\n\
         forbid(principal in Role::\"support\", action, resource);",
        schema,
    );
}

fn check(text: &str, input_schema: Value) {
    let tool = Tool { name: "refund".to_owned(), input_schema, ..Tool::default() };
    let input = Input {
        servers: vec![Server { name: "crm".to_owned(), tools: vec![tool] }],
        directory: Directory {
            tenants: ["acme".to_owned()].into(),
            roles: ["support".to_owned()].into(),
            ..Directory::default()
        },
        policies: vec![PolicyFile { path: "x.cedar".to_owned(), text: text.to_owned() }],
        ..Input::default()
    };
    match compile(&input) {
        Ok(compiled) => assert!(Table::load(&compiled.table).is_ok(), "{text}"),
        Err(complaints) => assert!(!complaints.is_empty(), "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_policies_and_schemas_are_answered() {
        for text in [
            "",
            ";",
            "permit",
            "permit(",
            "\u{0}",
            "\"",
            "// only a comment",
            "@id(\"é\")permit(principal,action,resource);",
        ] {
            any_policy(text.as_bytes());
        }
        for schema in [
            "null",
            "[]",
            "{}",
            "{\"type\":\"object\"}",
            "{\"$ref\":\"#\"}",
            "{\"type\":[]}",
            "{\"type\":\"object\",\"properties\":{\"amount\":{\"$ref\":\"#/properties/amount\"}}}",
            "{\"type\":\"object\",\"properties\":{\"amount\":true,\"\":{},\"a\\\\\"b\":{\"type\":\"string\"}}}",
            "{\"type\":\"object\",\"properties\":{\"amount\":{\"type\":\"integer\"},\"__cedar::x\":{\"type\":\"string\"},\"é\\u0000\":{\"type\":\"string\"}}}",
        ] {
            any_schema(schema.as_bytes());
        }
    }
}
