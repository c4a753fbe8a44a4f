//! The policy of the stages, compiled: 500 tools of one server, 1,000 policies.
//!
//! Two tools have plain cells, one has a condition over an argument, and the other policies are for
//! other tools and roles: they must cost the measured calls nothing, and would show if they did.

use std::fmt::Write;

use anyhow::{Context, bail};
use controlplane_compile::{Directory, Input, PolicyFile, Server, Tool, compile};

use crate::material::{ALLOWED, CONDITIONAL, DENIED, SERVER};
use crate::world::{input_schema, tool_names};

const POLICIES: usize = 1_000;
/// Roles of the policies that are not about the measured callers.
const OTHER_ROLES: usize = 40;

/// The table's bytes.
///
/// # Errors
/// When the compiler refuses the policies below.
pub fn table() -> anyhow::Result<Vec<u8>> {
    let tools = tool_names().map(|name| Tool {
        name,
        input_schema: input_schema(),
        destructive: false,
        read_only: true,
    });
    let server = Server { name: SERVER.to_owned(), tools: tools.collect() };
    let mut directory = Directory::default();
    directory.tenants.insert("acme-eu".to_owned());
    directory.roles.insert("support".to_owned());
    directory.roles.extend((0..OTHER_ROLES).map(other_role));
    let file = PolicyFile { path: "bench.cedar".to_owned(), text: policies()? };
    let input =
        Input { servers: vec![server], directory, policies: vec![file], ..Input::default() };
    match compile(&input) {
        Ok(compiled) => Ok(compiled.table),
        Err(complaints) => bail!("{:#?}", complaints.first().context("an error without a word")?),
    }
}

fn other_role(number: usize) -> String {
    format!("team-{number:02}")
}

fn policies() -> anyhow::Result<String> {
    const CALL: &str = r#"action == Action::"call""#;
    let mut text = format!(
        r#"permit(principal in Role::"support", {CALL}, resource in Server::"{SERVER}");
forbid(principal, {CALL}, resource == Tool::"{SERVER}/{DENIED}");
forbid(principal, {CALL}, resource == Tool::"{SERVER}/{CONDITIONAL}") when {{ context.arguments.limit > 500 }};
"#
    );
    let others = tool_names().filter(|name| ![ALLOWED, DENIED, CONDITIONAL].contains(&&**name));
    let others: Vec<String> = others.collect();
    for number in 3..POLICIES {
        let tool = others.get(number % others.len()).context("a tool")?;
        let role = other_role(number % OTHER_ROLES);
        writeln!(
            text,
            r#"permit(principal in Role::"{role}", {CALL}, resource == Tool::"{SERVER}/{tool}") when {{ context.arguments.limit < {number} }};"#
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_same_each_time() {
        assert!(table().unwrap() == table().unwrap());
    }
}
