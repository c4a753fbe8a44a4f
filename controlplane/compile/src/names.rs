//! Names that policies use and nobody has.
//!
//! Cedar's validator knows entity types and no entities, so `Role::"suport"` would pass and never
//! match. Servers and tools are exactly those of the catalog. Roles, groups and tenants come from
//! identity providers too, so they exist if they are declared, somebody in the directory has them,
//! or a policy test claims them. Users and agents of a known tenant are taken at their word.

use std::collections::BTreeSet;

use cedar_policy::pst::{Clause, EntityUID, Expr, Literal};
use dataplane_policy::FactKind;

use crate::diagnostic::{Diagnostic, Severity};
use crate::input::Directory;
use crate::ir::Uid;
use crate::load::{Policy, children};
use crate::schema::quoted;
use crate::specialise::{ToolView, action, scope_entities, uid};

/// What exists.
pub(crate) struct Names<'n> {
    roles: BTreeSet<&'n str>,
    groups: BTreeSet<&'n str>,
    tenants: BTreeSet<&'n str>,
    members: BTreeSet<(FactKind, String)>,
    servers: BTreeSet<&'n str>,
    tools: BTreeSet<&'n str>,
}

impl<'n> Names<'n> {
    pub(crate) fn new(
        directory: &'n Directory,
        servers: impl Iterator<Item = &'n str>,
        tools: &'n [ToolView],
    ) -> Self {
        let member = |m: &'n crate::input::Member| {
            (crate::table::principal_kind(m.kind), format!("{}/{}", m.tenant, m.name))
        };
        Self {
            roles: directory.known_roles(),
            groups: directory.known_groups(),
            tenants: directory.known_tenants(),
            members: directory.members.iter().map(member).collect(),
            servers: servers.collect(),
            tools: tools.iter().map(|tool| &*tool.uid.name).collect(),
        }
    }

    /// Complaints about every name in a policy that does not exist.
    pub(crate) fn check(&self, policy: &Policy) -> Vec<Diagnostic> {
        let mut named = scope_entities(policy);
        for clause in policy.body.clauses() {
            let (Clause::When(body) | Clause::Unless(body)) = clause;
            collect(body, &mut named);
        }
        let mut seen = BTreeSet::new();
        let complaints = named.into_iter().filter_map(|entity| {
            // A type that we do not have is the validator's to complain about.
            let uid = uid(entity)?;
            if seen.insert(uid.clone()) { self.complaint(policy, entity, &uid) } else { None }
        });
        complaints.collect()
    }

    fn complaint(&self, policy: &Policy, entity: &EntityUID, uid: &Uid) -> Option<Diagnostic> {
        let name = &*uid.name;
        let claimed = |section: &str| {
            format!(
                "declare it, `[{section}.{name}]` in portcullis.toml, if the identity provider claims it"
            )
        };
        let (known, otherwise) = match uid.kind {
            FactKind::Role => (&self.roles, claimed("roles")),
            FactKind::Group => (&self.groups, claimed("groups")),
            FactKind::Tenant => (&self.tenants, claimed("tenants")),
            FactKind::Server => (&self.servers, "add the server first".to_owned()),
            FactKind::Tool => {
                (&self.tools, "write `Tool::\"server/tool\"` of a pinned tool".to_owned())
            }
            FactKind::User | FactKind::Agent | FactKind::Service => {
                return self.person(policy, entity, uid);
            }
            FactKind::Action if *uid == action() => return None,
            FactKind::Action | FactKind::Kind => {
                return Some(wrong(
                    policy,
                    entity,
                    "write `Action::\"call\"`, the only one".into(),
                ));
            }
        };
        if known.contains(name) {
            return None;
        }
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => {
                format!("did you mean `{}::{}`? Else {otherwise}", entity.ty, quoted(near))
            }
            None => otherwise,
        };
        Some(wrong(policy, entity, help))
    }

    fn person(&self, policy: &Policy, entity: &EntityUID, uid: &Uid) -> Option<Diagnostic> {
        let Some((tenant, _)) = uid.name.split_once('/') else {
            let help = format!("write `{}::\"TENANT/{}\"`", entity.ty, uid.name);
            return Some(wrong(policy, entity, help));
        };
        if !self.tenants.contains(tenant) {
            let help = format!(
                "declare its tenant, `[tenants.{tenant}]` in portcullis.toml, or correct it"
            );
            return Some(wrong(policy, entity, help));
        }
        if self.members.contains(&(uid.kind, uid.name.to_string())) {
            return None;
        }
        let alike = self.members.iter().filter(|(kind, _)| *kind == uid.kind);
        let near = nearest(&uid.name, alike.map(|(_, name)| name.as_str()))?;
        Some(Diagnostic {
            severity: Severity::Warning,
            message: format!("{} is not in the directory", shown(entity)),
            help: Some(format!("did you mean `{}::{}`?", entity.ty, quoted(near))),
            ..wrong(policy, entity, String::new())
        })
    }
}

fn shown(entity: &EntityUID) -> String {
    format!("`{}::{}`", entity.ty, quoted(&entity.eid))
}

fn wrong(policy: &Policy, entity: &EntityUID, help: String) -> Diagnostic {
    let message = format!("{} does not exist", shown(entity));
    let words = format!("{}::{}", entity.ty, quoted(&entity.eid));
    Diagnostic { help: Some(help), ..policy.complaint(Some(&words), message) }
}

fn collect<'e>(expression: &'e Expr, out: &mut Vec<&'e EntityUID>) {
    if let Expr::Literal(Literal::EntityUID(entity)) = expression {
        out.push(entity);
    }
    children(expression, &mut |child| collect(child, out));
}

/// The known name that a slip of the pen leads away from.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let close = known.map(|other| (distance(name, other), other));
    let (steps, other) = close.min()?;
    (steps > 0 && steps <= 2 && steps < name.chars().count()).then_some(other)
}

/// Single-character edits between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((j, y), above) in b.iter().enumerate().zip(&row) {
            let left = next.last().copied().unwrap_or_default();
            let upper = row.get(j + 1).copied().unwrap_or_default();
            next.push((above + usize::from(x != *y)).min(left + 1).min(upper + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = ["support", "finance"];
        assert_eq!(nearest("suport", known.into_iter()), Some("support"));
        assert_eq!(nearest("fincance", known.into_iter()), Some("finance"));
        assert_eq!(nearest("admin", known.into_iter()), None);
    }
}
