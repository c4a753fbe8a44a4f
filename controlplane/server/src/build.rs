//! From a revision's objects to what appliances are sent: table, catalog, self-tests.
//!
//! Everything that is wrong is found here, before anything is stored: what the compiler refuses,
//! what a bundle refuses, and policy tests that come out otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use controlplane_api::objects::Pins;
use controlplane_api::wire::{CallerKind, TestReport};
use controlplane_api::{ObjectSet, Problem, Time};
use controlplane_compile::{
    Compiled, Diagnostic, Directory, Input, Member, PolicyFile, Server, Severity, Tool,
};
use dataplane_bundle::{ApplianceId, Bundle, Draft, KeyId, Revision};
use dataplane_pipeline::Configuration;
use dataplane_telemetry::WallNanos;
use serde_json::Value;

use crate::app::Made;
use crate::kept::Kept;
use crate::policy_tests::Placed;
use crate::{catalog, policy_tests};

/// Obligations that appliances carry out; a policy that asks for another is refused.
const OBLIGATIONS: [&str; 1] = ["audit"];

/// A revision that can be pushed.
pub(crate) struct Built {
    pub made: Made,
    pub warnings: Vec<Problem>,
    pub tests: TestReport,
}

/// Compiles and tests. Takes seconds for large sets: call it on a blocking thread.
///
/// # Errors
/// Everything that is wrong, with file, line and column where there are any.
pub(crate) fn build(
    kept: &Kept,
    revision: u64,
    at: Time,
    set: &ObjectSet,
) -> Result<Built, Problem> {
    let cases = policy_tests::cases(set, at)?;
    let compiled = compile(kept, set, &cases)?;
    let tests = policy_tests::run(&compiled, &cases);
    if tests.failed > 0 {
        return Err(policy_tests::failed(&tests));
    }
    let catalog = catalog::catalog(set)?;
    let self_tests = policy_tests::self_tests(set, &cases);
    let wall = WallNanos(at.nanos());
    let table = compiled.table.clone();
    let draft = Draft::new(Revision(revision), wall, table, &catalog, &self_tests)
        .map_err(|refused| Problem::invalid(refused.to_string()))?;
    try_out(Bundle {
        appliance: ApplianceId::new("trial")
            .map_err(|refused| Problem::invalid(refused.to_string()))?,
        revision: Revision(revision),
        created_at: wall,
        signed_by: KeyId([0; 8]),
        content: [0; 32],
        table: compiled.table.clone(),
        catalog,
        self_tests,
    })?;
    let warnings = compiled.warnings.iter().map(problem).collect();
    let made = Made { compiled: Arc::new(compiled), draft: Arc::new(draft) };
    Ok(Built { made, warnings, tests })
}

/// Makes the bundle ready as an appliance would: what an appliance would refuse is refused here,
/// before it is stored.
fn try_out(bundle: Bundle) -> Result<(), Problem> {
    Configuration::new(bundle).map(drop).map_err(|unfit| {
        Problem::invalid(format!("appliances would refuse this: {unfit}"))
            .help("change what the sentence names; nothing was stored")
    })
}

/// The table alone. Roles that only a test's caller claims are ones that an identity provider is
/// expected to claim.
///
/// # Errors
/// Everything that the compiler refuses.
pub(crate) fn compile(kept: &Kept, set: &ObjectSet, cases: &[Placed]) -> Result<Compiled, Problem> {
    let mut input = input(set);
    input.directory.note_cases(&policy_tests::all(cases));
    kept.with(|compiler| compiler.compile(&input)).map_err(refused)
}

fn refused(diagnostics: Vec<Diagnostic>) -> Problem {
    let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let problem = Problem::gather(errors.map(problem).collect());
    problem.unwrap_or_else(|| Problem::invalid("the policies cannot be compiled"))
}

fn problem(found: &Diagnostic) -> Problem {
    let (status, title) = match found.severity {
        Severity::Error => (422, "Policy not valid"),
        Severity::Warning => (0, "Policy worth a look"),
    };
    let mut problem = Problem::new(status, title, found.message.clone());
    if !found.file.is_empty() {
        problem.file = Some(found.file.clone());
    }
    if found.line > 0 {
        problem.line = Some(found.line);
        problem.column = Some(found.column);
    }
    problem.help.clone_from(&found.help);
    problem
}

fn input(set: &ObjectSet) -> Input {
    let policies = set
        .policies
        .iter()
        .map(|(path, policy)| PolicyFile { path: path.clone(), text: policy.text.clone() });
    Input {
        servers: set.servers.keys().map(|name| server(name, set)).collect(),
        directory: directory(set),
        policies: policies.chain(switched_off(set)).collect(),
        quotas: Some(set.quotas.keys().cloned().collect()),
        obligations: OBLIGATIONS.map(str::to_owned).into(),
    }
}

/// A disabled tenant is a rule like any other, so that its callers are told which.
fn switched_off(set: &ObjectSet) -> Option<PolicyFile> {
    let rules: Vec<String> = set
        .tenants
        .iter()
        .filter(|(_, tenant)| tenant.disabled)
        .map(|(name, _)| {
            let name = cedar_text(name);
            format!("forbid(principal in Tenant::{name}, action == Action::\"call\", resource);\n")
        })
        .collect();
    (!rules.is_empty())
        .then(|| PolicyFile { path: "tenants-disabled".to_owned(), text: rules.concat() })
}

/// A Cedar string literal.
fn cedar_text(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        plain if plain.is_control() => format!("\\u{{{:x}}}", u32::from(plain)),
        plain => plain.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn server(name: &str, set: &ObjectSet) -> Server {
    let flags = catalog::flags(name, set);
    let tools = set.pins.get(name).map(|pins: &Pins| {
        pins.tools.iter().map(|tool| {
            let definition: Value = serde_json::from_str(&tool.definition).unwrap_or_default();
            let flags = flags(tool);
            Tool {
                name: tool.name.clone(),
                input_schema: definition.get("inputSchema").cloned().unwrap_or_default(),
                destructive: flags.destructive,
                read_only: flags.read_only,
            }
        })
    });
    Server { name: name.to_owned(), tools: tools.into_iter().flatten().collect() }
}

/// Who exists: what people wrote, and what issued keys say of their holders.
fn directory(set: &ObjectSet) -> Directory {
    let mut directory = Directory {
        tenants: set.tenants.keys().cloned().collect(),
        roles: set.roles.keys().cloned().collect(),
        groups: set.groups.keys().map(|group| (group.clone(), BTreeSet::new())).collect(),
        members: Vec::new(),
    };
    let mut members: BTreeMap<Who<'_>, RolesAndGroups> = BTreeMap::new();
    for (role, object) in &set.roles {
        for group in &object.groups {
            directory.groups.entry(group.clone()).or_default().insert(role.clone());
        }
        for (is_agent, who) in both(&object.users, &object.agents) {
            members.entry((is_agent, who)).or_default().0.push(role.clone());
        }
    }
    for (group, object) in &set.groups {
        for (is_agent, who) in both(&object.users, &object.agents) {
            members.entry((is_agent, who)).or_default().1.push(group.clone());
        }
    }
    for key in set.api_keys.values() {
        directory.tenants.insert(key.tenant.clone());
        directory.roles.extend(key.roles.iter().cloned());
        for group in &key.groups {
            directory.groups.entry(group.clone()).or_default();
        }
    }
    let tenants = set.identity.values().filter_map(|identity| identity.tenant.clone());
    directory.tenants.extend(tenants);
    directory.members = members.into_iter().filter_map(member).collect();
    directory
}

fn both<'s>(users: &'s [String], agents: &'s [String]) -> impl Iterator<Item = Who<'s>> {
    let users = users.iter().map(|user| (false, user.as_str()));
    users.chain(agents.iter().map(|agent| (true, agent.as_str())))
}

/// Whether it is an agent, and `tenant/name`.
type Who<'s> = (bool, &'s str);
type RolesAndGroups = (Vec<String>, Vec<String>);

fn member(((is_agent, who), (roles, groups)): (Who<'_>, RolesAndGroups)) -> Option<Member> {
    // Checked before: `tenant/name`.
    let (tenant, name) = who.split_once('/')?;
    let kind = if is_agent { CallerKind::Agent } else { CallerKind::User };
    Some(Member {
        kind: policy_tests::kind(kind),
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        roles,
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_name_cannot_end_its_literal() {
        assert_eq!(cedar_text("acme"), "\"acme\"");
        assert_eq!(cedar_text("a\"), x"), "\"a\\\"), x\"");
        assert_eq!(cedar_text("a\\"), "\"a\\\\\"");
    }
}
