//! Policy files as syntax trees with places.
//!
//! Cedar parses; its public syntax tree (PST) is what we specialise. The tree has no positions, but
//! each policy's text is an exact slice of its file, so a complaint can point at the policy, or at
//! the words in it that it is about.

use std::collections::BTreeMap;

use cedar_policy::{PolicySet, pst};

use crate::diagnostic::{Diagnostic, Severity, position};
use crate::input::PolicyFile;

/// Policies of one revision. Above this compile times leave the seconds.
pub(crate) const POLICIES_MAX: usize = 20_000;

/// Bytes of one policy file.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// How deep conditions may nest: explaining and comparing recurse, on stacks that may be 2 MiB.
pub(crate) const DEPTH_MAX: usize = 300;

/// Operators and brackets of one policy. Each level of nesting takes one, so this bounds what Cedar's
/// own recursion meets, before it parses.
pub(crate) const OPERATORS_MAX: usize = 1_000;

/// Annotations that ask for something to be done.
pub(crate) const OBLIGATIONS: [&str; 4] = ["approval", "audit", "dry_run", "quota"];

/// Annotations for people.
const DESCRIPTIONS: [&str; 4] = ["id", "description", "doc", "owner"];

/// A policy and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Its `@id`, or `file:line`.
    pub(crate) id: String,
    pub(crate) place: Place,
    pub(crate) forbid: bool,
    pub(crate) body: pst::Template,
    /// As parsed, for the validator; its places are bytes of the whole file.
    pub(crate) cedar: cedar_policy::Policy,
    /// Obligations: annotation and value, in order of name.
    pub(crate) obligations: Vec<(String, String)>,
}

/// A slice of a file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// Where in the file.
    pub(crate) byte: usize,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) text: String,
}

impl Policy {
    /// A complaint about this policy, at `words` in it if they are there.
    pub(crate) fn complaint(&self, words: Option<&str>, message: String) -> Diagnostic {
        let found = words.and_then(|words| self.place.text.find(words));
        let (line, column) = self.place.position(found.unwrap_or_default());
        Diagnostic {
            file: self.place.file.clone(),
            line,
            column,
            severity: Severity::Error,
            policy: Some(self.id.clone()),
            message,
            help: None,
        }
    }
}

impl Place {
    /// Line and column in the file of a byte of this slice.
    fn position(&self, byte: usize) -> (u32, u32) {
        match position(&self.text, byte) {
            (1, column) => (self.line, self.column + column - 1),
            (line, column) => (self.line + line - 1, column),
        }
    }
}

/// All policies, or every complaint about how they are written.
pub(crate) fn load(files: &[PolicyFile]) -> Result<Vec<Policy>, Vec<Diagnostic>> {
    let (mut policies, mut complaints) = (Vec::new(), Vec::new());
    for file in files {
        match load_file(file) {
            Ok(loaded) => policies.extend(loaded),
            Err(found) => complaints.extend(found),
        }
    }
    complaints.extend(too_many(policies.len()));
    complaints.extend(doubles(&policies));
    if complaints.is_empty() { Ok(policies) } else { Err(complaints) }
}

fn too_many(count: usize) -> Option<Diagnostic> {
    (count > POLICIES_MAX).then(|| whole(format!("{count} policies: at most {POLICIES_MAX}")))
}

const NESTED_HELP: &str = "write a set, `[…].contains(x)`, or several policies";

/// Where a policy has one operator or bracket too many, outside of texts and comments.
fn too_nested(text: &str) -> Option<usize> {
    let (mut count, mut before) = (0, ' ');
    let (mut in_text, mut in_comment) = (false, false);
    for (byte, c) in text.char_indices() {
        let escaped = before == '\\';
        before = if escaped && c == '\\' { ' ' } else { c };
        match c {
            '\n' => in_comment = false,
            _ if in_comment => {}
            '"' if !(in_text && escaped) => in_text = !in_text,
            _ if in_text => {}
            '/' if text.get(byte..).is_some_and(|rest| rest.starts_with("//")) => in_comment = true,
            ';' => count = 0,
            '|' | '&' | '!' | '+' | '-' | '*' | '.' | '<' | '>' | '=' | '(' | '[' | '{' => {
                count += 1
            }
            // `a has b` and its like take a word.
            ' ' => count += usize::from(text.get(..byte).is_some_and(ends_with_word)),
            _ => {}
        }
        if count > OPERATORS_MAX {
            return Some(byte);
        }
    }
    None
}

fn ends_with_word(text: &str) -> bool {
    ["if", "then", "else", "has", "like", "is", "in"].iter().any(|word| text.ends_with(word))
}

/// A complaint about everything at once.
pub(crate) fn whole(message: String) -> Diagnostic {
    Diagnostic {
        file: String::new(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        policy: None,
        message,
        help: None,
    }
}

fn load_file(file: &PolicyFile) -> Result<Vec<Policy>, Vec<Diagnostic>> {
    let at = |byte: usize, message: String, help: Option<String>| {
        let (line, column) = position(&file.text, byte);
        let (file, severity) = (file.path.clone(), Severity::Error);
        Diagnostic { file, line, column, severity, policy: None, message, help }
    };
    if file.text.len() > FILE_BYTES_MAX {
        return Err(vec![at(0, "a policy file has at most 1 MiB".into(), None)]);
    }
    if let Some(byte) = too_nested(&file.text) {
        let message = format!("a policy has at most {OPERATORS_MAX} operators and brackets");
        return Err(vec![at(byte, message, Some(NESTED_HELP.to_owned()))]);
    }
    let set: PolicySet = file.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        errors.iter().map(|e| at(label(e), e.to_string(), help(e))).collect::<Vec<_>>()
    })?;
    let (mut policies, mut complaints) = (Vec::new(), Vec::new());
    for template in set.templates() {
        let byte = file.text.find(&template.to_cedar()).unwrap_or_default();
        let message = "a template's slots (`?principal`, `?resource`) have no values here".into();
        complaints.push(at(byte, message, Some("write one policy for each value".into())));
    }
    let mut from = 0;
    for cedar in in_order(&set) {
        let text = cedar.to_cedar().unwrap_or_default();
        let byte =
            file.text.get(from..).and_then(|rest| rest.find(&text)).unwrap_or_default() + from;
        from = byte + text.len();
        let (line, column) = position(&file.text, byte);
        let place = Place { file: file.path.clone(), byte, line, column, text };
        match read(cedar, place) {
            Ok(policy) => policies.push(policy),
            Err(complaint) => complaints.push(complaint),
        }
    }
    if complaints.is_empty() { Ok(policies) } else { Err(complaints) }
}

/// Where a complaint of Cedar's points to.
pub(crate) fn label(error: &dyn miette::Diagnostic) -> usize {
    error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
}

/// What Cedar advises, or else what its label says it expected.
pub(crate) fn help(error: &dyn miette::Diagnostic) -> Option<String> {
    let expected = || {
        let label = error.labels()?.next()?;
        label.label().map(str::to_owned)
    };
    error.help().map(|help| help.to_string()).or_else(expected)
}

/// Cedar numbers the policies of a file: `policy0`, `policy1`, …
fn in_order(set: &PolicySet) -> Vec<&cedar_policy::Policy> {
    let number = |policy: &&cedar_policy::Policy| {
        let id: &str = policy.id().as_ref();
        id.trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX)
    };
    let mut policies: Vec<_> = set.policies().collect();
    policies.sort_by_key(number);
    policies
}

fn read(cedar: &cedar_policy::Policy, place: Place) -> Result<Policy, Diagnostic> {
    let default_id = format!("{}:{}", place.file, place.line);
    let body = match cedar.to_pst() {
        Ok(pst::Policy::Static(policy)) => Ok(policy.body().clone()),
        Ok(_) => Err("a linked template cannot be compiled".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let id = cedar.annotation("id").filter(|id| !id.is_empty()).map_or(default_id, str::to_owned);
    let complain = |message| Diagnostic {
        file: place.file.clone(),
        line: place.line,
        column: place.column,
        severity: Severity::Error,
        policy: Some(id.clone()),
        message,
        help: None,
    };
    let body = body.map_err(complain)?;
    let policy = Policy {
        forbid: body.effect == pst::Effect::Forbid,
        obligations: obligations(&body),
        cedar: cedar.clone(),
        body,
        id,
        place,
    };
    check_annotations(&policy)?;
    check_depth(&policy)?;
    Ok(policy)
}

fn obligations(body: &pst::Template) -> Vec<(String, String)> {
    let asked = body.annotations.iter().filter(|(key, _)| OBLIGATIONS.contains(&key.as_str()));
    asked.map(|(key, value)| (key.clone(), value.to_string())).collect()
}

/// A misspelt annotation would be an obligation that nobody keeps.
fn check_annotations(policy: &Policy) -> Result<(), Diagnostic> {
    for (key, value) in &policy.body.annotations {
        let at = format!("@{key}");
        let complain = |message: String, help: &str| {
            let help = Some(help.to_owned());
            Err(Diagnostic { help, ..policy.complaint(Some(&at), message) })
        };
        let obligation = OBLIGATIONS.contains(&key.as_str());
        if !obligation && !DESCRIPTIONS.contains(&key.as_str()) {
            return complain(
                format!("`@{key}` is no annotation of ours"),
                "write `@id`, `@description`, `@doc`, `@owner`, or an obligation: `@approval`, \
                 `@audit`, `@dry_run`, `@quota`",
            );
        }
        if obligation && policy.forbid {
            return complain(
                format!("`@{key}` on a forbid: a call that is denied has no obligations"),
                "write it on the permits that allow the call",
            );
        }
        let fits = match key.as_str() {
            "approval" | "quota" => !value.is_empty(),
            "audit" => value == "before_forward",
            "dry_run" => value.is_empty(),
            _ => true,
        };
        if !fits {
            return complain(
                format!("`@{key}(\"{value}\")` has a value that means nothing"),
                "write `@approval(\"GROUP\")`, `@quota(\"NAME\")`, `@audit(\"before_forward\")` or `@dry_run`",
            );
        }
    }
    Ok(())
}

fn check_depth(policy: &Policy) -> Result<(), Diagnostic> {
    let mut open: Vec<(&pst::Expr, usize)> = Vec::new();
    for clause in policy.body.clauses() {
        let (pst::Clause::When(body) | pst::Clause::Unless(body)) = clause;
        open.push((body, 1));
    }
    while let Some((expression, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            let message = format!("a condition nests more than {DEPTH_MAX} deep");
            let help = Some(NESTED_HELP.to_owned());
            return Err(Diagnostic { help, ..policy.complaint(None, message) });
        }
        children(expression, &mut |child| open.push((child, depth + 1)));
    }
    Ok(())
}

/// The expressions directly below one. A kind that is not known has none, and is refused later.
pub(crate) fn children<'e>(expression: &'e pst::Expr, visit: &mut impl FnMut(&'e pst::Expr)) {
    use pst::Expr;
    match expression {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => visit(expr),
        Expr::BinaryOp { left, right, .. } => {
            visit(left);
            visit(right);
        }
        Expr::Is { expr, in_expr, .. } => {
            visit(expr);
            in_expr.iter().for_each(|inner| visit(inner));
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            visit(cond);
            visit(then_expr);
            visit(else_expr);
        }
        Expr::Set(members) => members.iter().for_each(|member| visit(member)),
        Expr::Record(fields) => fields.values().for_each(|field| visit(field)),
        _ => {}
    }
}

fn doubles(policies: &[Policy]) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<&str, &Policy> = BTreeMap::new();
    let mut complaints = Vec::new();
    for policy in policies {
        if let Some(first) = seen.insert(&policy.id, policy) {
            let message = format!(
                "the id `{}` is taken by {}:{}",
                policy.id, first.place.file, first.place.line
            );
            let help = Some("write another `@id`, or none".to_owned());
            complaints.push(Diagnostic { help, ..policy.complaint(Some("@id"), message) });
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_counted() {
        assert!(too_many(POLICIES_MAX).is_none());
        assert!(too_many(POLICIES_MAX + 1).is_some());
    }

    #[test]
    fn operators_are_counted_outside_of_texts_and_comments() {
        let within = |text: &str| too_nested(text).is_none();
        let dots = ".".repeat(OPERATORS_MAX);
        assert!(within(&dots) && !within(&format!("{dots}.")));
        assert!(within(&format!("{dots};{dots}")));
        assert!(within(&format!("\"{dots}.\" // {dots}.\n")));
        assert!(!within(&format!("\"a\\\"; b\"{dots}.")));
        assert!(!within(&"if ".repeat(OPERATORS_MAX + 1)));
    }

    #[test]
    fn a_policy_knows_its_place() {
        let text = "// first\npermit(principal, action, resource);\n  @id(\"two\")\nforbid(\nprincipal, action,\
                    resource); permit(principal, action, resource);";
        let file = PolicyFile { path: "a.cedar".into(), text: text.into() };
        let policies = load(&[file]).unwrap_or_default();
        let places: Vec<_> =
            policies.iter().map(|p| (p.id.as_str(), p.place.line, p.place.column)).collect();
        assert_eq!(places, [("a.cedar:2", 2, 1), ("two", 3, 3), ("a.cedar:5", 5, 30)]);
    }
}
