//! Cedar's validator, one small schema a tool.
//!
//! Context types belong to an action, and there is one action; so each tool has a schema of its own,
//! and a policy is checked against those of the tools that it reaches. Schemas and verdicts are
//! remembered between compilations, because most of them stay the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::pst::{Clause, Expr, Var};
use cedar_policy::{PolicySet, Schema, ValidationMode, ValidationWarning, Validator};

use crate::diagnostic::{Diagnostic, Severity, position};
use crate::load::{self, Policy, children};
use crate::schema::{Shape, cedar_schema, cedar_type};
use crate::specialise::{TYPES_HELP, ToolView, argument_type};

/// Schemas and verdicts kept; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 100_000;

/// What Cedar said about a policy under one schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Byte in the policy's text, message, Cedar's own advice.
    complaints: Vec<(usize, String, Option<String>)>,
    impossible: bool,
}

/// Checks policies.
#[derive(Default)]
pub(crate) struct Checker {
    /// By the type of the arguments.
    schemas: HashMap<Arc<str>, Option<Validator>>,
    /// By the type of the arguments and the policy's text.
    verdicts: HashMap<(Arc<str>, String), Verdict>,
}

impl Checker {
    /// Keeps the verdicts, which are small, and forgets the schemas, which are not.
    pub(crate) fn forget_schemas(&mut self) {
        self.schemas = HashMap::new();
    }

    /// All complaints about a policy over the tools that it reaches.
    pub(crate) fn check<'t>(
        &mut self,
        policy: &Policy,
        reached: impl Iterator<Item = &'t ToolView>,
    ) -> Vec<Diagnostic> {
        self.make_room();
        let looks = looks_at_arguments(policy);
        let none: Arc<str> = "{}".into();
        let mut seen = BTreeSet::new();
        let (mut any_possible, mut count) = (false, 0);
        for tool in reached {
            let arguments = if looks { &tool.cedar_type } else { &none };
            if !seen.insert(Arc::clone(arguments)) {
                continue;
            }
            let verdict = self.verdict(policy, arguments);
            if !verdict.complaints.is_empty() {
                let complaints = verdict.complaints.iter();
                return complaints.map(|found| explain(policy, tool, found)).collect();
            }
            any_possible |= !verdict.impossible;
            count += 1;
            if !looks {
                break;
            }
        }
        if any_possible || count == 0 {
            return Vec::new();
        }
        let message = "this policy is impossible: its condition is false for every call".to_owned();
        let help = Some("correct the condition, or delete the policy".to_owned());
        vec![Diagnostic { help, ..policy.complaint(None, message) }]
    }

    fn make_room(&mut self) {
        if self.schemas.len() + self.verdicts.len() >= REMEMBERED_MAX {
            *self = Self::default();
        }
    }

    fn verdict(&mut self, policy: &Policy, arguments: &Arc<str>) -> Verdict {
        let key = (Arc::clone(arguments), policy.place.text.clone());
        if let Some(known) = self.verdicts.get(&key) {
            return known.clone();
        }
        let validator = self.schemas.entry(Arc::clone(arguments)).or_insert_with(|| {
            Schema::from_cedarschema_str(&cedar_schema(arguments))
                .ok()
                .map(|(schema, _)| Validator::new(schema))
        });
        let verdict = match validator {
            Some(validator) => validate(validator, policy),
            None => Verdict {
                complaints: vec![(0, "the tool's arguments have no schema in Cedar".into(), None)],
                impossible: false,
            },
        };
        self.verdicts.insert(key, verdict.clone());
        verdict
    }
}

fn validate(validator: &Validator, policy: &Policy) -> Verdict {
    let mut verdict = Verdict::default();
    let Ok(alone) = PolicySet::from_policies([policy.cedar.clone()]) else { return verdict };
    // Verdicts outlive the file that they were made in, so places count from the policy's start.
    let place = |complaint: &dyn miette::Diagnostic| {
        load::label(complaint).saturating_sub(policy.place.byte)
    };
    let plain = |text: &str| plain(text, policy.cedar.id().as_ref());
    let result = validator.validate(&alone, ValidationMode::Strict);
    for error in result.validation_errors() {
        let found =
            (place(error), plain(&error.to_string()), load::help(error).map(|help| plain(&help)));
        if !verdict.complaints.contains(&found) {
            verdict.complaints.push(found);
        }
    }
    for warning in result.validation_warnings() {
        match warning {
            ValidationWarning::ImpossiblePolicy(_)
            | ValidationWarning::InvalidActionApplication(_) => verdict.impossible = true,
            other => {
                let found = (
                    place(other),
                    plain(&other.to_string()),
                    load::help(other).map(|help| plain(&help)),
                );
                verdict.complaints.push(found);
            }
        }
    }
    verdict
}

/// Without Cedar's own name for the policy, which says nothing to people.
fn plain(message: &str, id: &str) -> String {
    message.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(message).to_owned()
}

fn explain(
    policy: &Policy,
    tool: &ToolView,
    (byte, message, advice): &(usize, String, Option<String>),
) -> Diagnostic {
    let (line, column) = match position(&policy.place.text, *byte) {
        (1, column) => (policy.place.line, policy.place.column + column - 1),
        (line, column) => (policy.place.line + line - 1, column),
    };
    Diagnostic {
        file: policy.place.file.clone(),
        line,
        column,
        severity: Severity::Error,
        policy: Some(policy.id.clone()),
        message: format!("{message} (tool `{}`)", tool.uid.name),
        help: advise(policy, tool, message, *byte).or_else(|| advice.clone()),
    }
}

/// What to write instead, where we know it better than Cedar.
fn advise(policy: &Policy, tool: &ToolView, message: &str, byte: usize) -> Option<String> {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let path: Option<Vec<String>> = quoted
        .strip_prefix("arguments.")
        .or_else(|| quoted.strip_prefix("context.arguments."))
        .map(|path| path.split('.').map(str::to_owned).collect());
    if message.starts_with("unable to guarantee safety of access to optional attribute") {
        return Some(match path {
            Some(path) => {
                let path = path.join(".");
                format!("write `context.arguments has {path} && context.arguments.{path} …`")
            }
            None => "write `context has agent && context.agent …`".to_owned(),
        });
    }
    if let (Some(path), true) = (&path, message.contains("not found")) {
        return Some(missing(tool, path));
    }
    if message.starts_with("the types") || message.starts_with("unexpected type") {
        return typed(policy, tool, message, byte);
    }
    // Cedar's own suggestion depends on the order of a hash table.
    if message.starts_with("unrecognized entity type") {
        return Some(TYPES_HELP.to_owned());
    }
    if message.contains("extension constructors may not be called with non-literal") {
        let help = "give the argument its `format` (`date-time`, `duration`, `ipv4`, `ipv6`) in the \
                    tool's schema, and write no constructor";
        return Some(help.to_owned());
    }
    message
        .contains("empty set literals")
        .then(|| "write `.isEmpty()` to ask whether a set is empty".to_owned())
}

/// Why an argument is not there for policies.
fn missing(tool: &ToolView, path: &[String]) -> String {
    let shown = path.join(".");
    if let Some((property, _)) = tool.arguments.find(path)
        && let Shape::Hidden(why) = property.shape
    {
        return format!("policies cannot look at `{shown}`: its schema is {why}");
    }
    let names: Vec<&str> = tool.arguments.fields.keys().map(String::as_str).collect();
    let last = path.last().map(String::as_str).unwrap_or_default();
    match crate::names::nearest(last, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => format!("`{}` has no arguments", tool.uid.name),
        None => format!(
            "`{}` has: {}; name the tool in the head, or test `context.arguments has {shown} && …`",
            tool.uid.name,
            names.join(", ")
        ),
    }
}

/// An argument near the complaint whose type calls for a method or a constructor.
fn typed(policy: &Policy, tool: &ToolView, message: &str, byte: usize) -> Option<String> {
    let text = &policy.place.text;
    let start = text.get(..byte)?.rfind(['{', ';', '&', '|']).map_or(0, |at| at + 1);
    let around = text.get(start..)?;
    let at = around.find("context.arguments.")? + "context.arguments.".len();
    let name: String =
        around.get(at..)?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let kind = argument_type(tool, std::slice::from_ref(&name))?;
    let written = format!("context.arguments.{name}");
    let ty = cedar_type(kind);
    if !message.contains(ty) {
        return None;
    }
    Some(match ty {
        "decimal" => format!(
            "`{name}` is a decimal: write `{written}.greaterThan(decimal(\"500.0\"))`, \
             or `lessThan`, `lessThanOrEqual`, `greaterThanOrEqual`"
        ),
        "datetime" => {
            format!("`{name}` is a datetime: write `{written} < datetime(\"2026-12-31\")`")
        }
        "duration" => format!("`{name}` is a duration: write `{written} < duration(\"1h\")`"),
        "ipaddr" => {
            format!("`{name}` is an address: write `{written}.isInRange(ip(\"10.0.0.0/8\"))`")
        }
        ty => format!("`{name}` is a {ty}"),
    })
}

/// Whether a policy's answer can depend on the type of `context.arguments`.
fn looks_at_arguments(policy: &Policy) -> bool {
    fn looks(expression: &Expr) -> bool {
        let context = |of: &Expr| matches!(of, Expr::Var(Var::Context));
        let known = |attr: &str| matches!(attr, "now" | "era" | "agent");
        match expression {
            Expr::GetAttr { expr, attr } if context(expr) => !known(attr),
            Expr::HasAttr { expr, attrs } if context(expr) => !known(attrs.first()),
            Expr::Var(Var::Context) => true,
            _ => {
                let mut found = false;
                children(expression, &mut |child| found = found || looks(child));
                found
            }
        }
    }
    policy.body.clauses().iter().any(|clause| {
        let (Clause::When(body) | Clause::Unless(body)) = clause;
        looks(body)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_verdict_too_many_forgets_the_others() {
        let filled = |count: usize| {
            let verdicts = (0..count).map(|n| (("{}".into(), n.to_string()), Verdict::default()));
            Checker { verdicts: verdicts.collect(), ..Checker::default() }
        };
        for (count, kept) in [(REMEMBERED_MAX - 1, REMEMBERED_MAX - 1), (REMEMBERED_MAX, 0)] {
            let mut checker = filled(count);
            checker.make_room();
            assert_eq!(checker.verdicts.len(), kept);
        }
    }
}
