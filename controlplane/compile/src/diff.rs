//! What a change of policy changes: for which tool, for whom, from what to what.
//!
//! Both revisions are asked about the same callers: of each kind nobody in particular, every single
//! role and group that either names, and the members of either directory, those alike as one. For
//! each the rules that are left once membership is known are printed without numbers and compared;
//! equal print means equal behaviour. Callers who see the same change are put together. A tool whose
//! rules print alike is compared only for those whom the directory changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataplane_policy::{CallerKind, FactKind};

use crate::compile::{Compiled, Sidecar};
use crate::ir::{Ir, NO, Uid, YES};
use crate::render;
use crate::table::{brings, kind_fact};

/// One difference in behaviour.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// `server/tool`.
    pub tool: String,
    /// Whom it concerns, in words: `everyone`, `role support`, `user acme/ann and 3 more`.
    pub callers: Vec<String>,
    /// What was decided for them.
    pub before: String,
    /// What will be.
    pub after: String,
}

/// Somebody to compare for: words, and the facts in the old and in the new revision.
struct Somebody {
    words: String,
    facts: [BTreeSet<Uid>; 2],
}

/// The differences between two revisions, by tool; none if no caller can tell them apart.
#[must_use]
pub fn diff(old: &Compiled, new: &Compiled) -> Vec<Change> {
    let sides = [&*old.sidecar, &*new.sidecar];
    let people = people(sides);
    let places = sides.map(|side| {
        let names = side.tools.iter().map(|tool| Arc::clone(&tool.uid.name));
        names.zip(0usize..).collect::<BTreeMap<_, _>>()
    });
    let tools: BTreeSet<&Arc<str>> = places.iter().flat_map(BTreeMap::keys).collect();
    tools.into_iter().flat_map(|tool| of_tool(sides, &people, &places, tool)).collect()
}

fn of_tool(
    sides: [&Sidecar; 2],
    people: &[Somebody],
    places: &[BTreeMap<Arc<str>, usize>; 2],
    tool: &Arc<str>,
) -> Vec<Change> {
    let [old_place, new_place] = [&places[0], &places[1]].map(|places| places.get(tool).copied());
    let same_rules = match (old_place, new_place) {
        (Some(old), Some(new)) => shown(sides[0], old) == shown(sides[1], new),
        _ => false,
    };
    let mut groups: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for somebody in people {
        let [old_facts, new_facts] = &somebody.facts;
        if same_rules && old_facts == new_facts {
            continue;
        }
        let [old, new] = [(0, sides[0]), (1, sides[1])].map(|(side, sidecar)| {
            let place = places.get(side).and_then(|places| places.get(tool));
            let facts = somebody.facts.get(side);
            match (place, facts) {
                (Some(at), Some(facts)) => meaning(sidecar, *at, facts),
                _ => "there is no such tool".to_owned(),
            }
        });
        let nothing = |text: &str| text == DENIED || text == "there is no such tool";
        if old != new && !(nothing(&old) && nothing(&new)) {
            groups.entry((old, new)).or_default().push(somebody.words.clone());
        }
    }
    let everyone = people.len();
    let changes = groups.into_iter().map(|((before, after), callers)| Change {
        tool: tool.to_string(),
        callers: if callers.len() == everyone { vec!["everyone".to_owned()] } else { callers },
        before,
        after,
    });
    changes.collect()
}

/// Whether it forbids, its obligations, its condition.
type Printed<'s> = (bool, &'s [(String, String)], String);

/// All rules of a tool, membership still open.
fn shown(sidecar: &Sidecar, at: usize) -> BTreeSet<Printed<'_>> {
    let rules = sidecar.rules.get(at).map(Vec::as_slice).unwrap_or_default();
    let printed = rules.iter().filter_map(|(number, condition)| {
        let policy = sidecar.policies.get(*number as usize)?;
        Some((policy.forbid, policy.obligations.as_slice(), render::condition(condition)))
    });
    printed.collect()
}

const DENIED: &str = "denied: no rule allows it";

/// What a tool's rules come to for somebody, without numbers of policies.
fn meaning(sidecar: &Sidecar, at: usize, facts: &BTreeSet<Uid>) -> String {
    let rules = sidecar.rules.get(at).map(Vec::as_slice).unwrap_or_default();
    let (mut permits, mut forbids) = (BTreeSet::new(), BTreeSet::new());
    for (number, condition) in rules {
        let Some(policy) = sidecar.policies.get(*number as usize) else { continue };
        let bound = condition.bind(&|uid| facts.contains(uid));
        if bound == NO {
            continue;
        }
        let mut text = if bound == YES { "always".to_owned() } else { when(&bound) };
        for (key, value) in &policy.obligations {
            text.push_str(&format!(" with @{key}(\"{value}\")"));
        }
        if policy.forbid {
            forbids.insert(text)
        } else {
            permits.insert(text)
        };
    }
    if permits.is_empty() || forbids.contains("always") {
        return DENIED.to_owned();
    }
    let list = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>().join(", or ");
    let allowed = if permits.contains("always") {
        "allowed".to_owned()
    } else {
        format!("allowed {}", list(permits))
    };
    if forbids.is_empty() { allowed } else { format!("{allowed}; denied {}", list(forbids)) }
}

fn when(condition: &Ir) -> String {
    format!("when {}", render::condition(condition))
}

fn people(sides: [&Sidecar; 2]) -> Vec<Somebody> {
    let mut named = BTreeSet::new();
    for (_, condition) in sides.iter().flat_map(|side| side.rules.iter().flatten()) {
        condition.facts(&mut named);
    }
    let of = |kind: CallerKind, brought: &dyn Fn(&Sidecar) -> Vec<Uid>| {
        let asked = |uid: &Uid| named.contains(uid);
        sides.map(|side| brought(side).into_iter().chain([kind_fact(kind)]).filter(asked).collect())
    };
    let kinds = [
        (CallerKind::User, "user"),
        (CallerKind::Agent, "agent"),
        (CallerKind::Service, "service"),
    ];
    let by_kind = named.iter().any(|uid| uid.kind == FactKind::Kind);
    let kinds = if by_kind { &kinds[..] } else { &kinds[..1] };
    let mut out = Vec::new();
    for (kind, word) in kinds {
        let suffix = if by_kind { format!(" ({word})") } else { String::new() };
        let words = format!("callers without roles or groups{suffix}");
        out.push(Somebody { words, facts: of(*kind, &|_| Vec::new()) });
        for uid in named.iter().filter(|uid| matches!(uid.kind, FactKind::Role | FactKind::Group)) {
            let what = if uid.kind == FactKind::Role { "role" } else { "group" };
            let words = format!("{what} {}{suffix}", uid.name);
            let facts = of(*kind, &|side| brings(&side.directory, uid.kind, &uid.name));
            out.push(Somebody { words, facts });
        }
    }
    out.extend(members(sides, &named, &out));
    out
}

/// Members of either directory who differ from everybody so far; those alike are one, by the name
/// of the first.
fn members(sides: [&Sidecar; 2], named: &BTreeSet<Uid>, known: &[Somebody]) -> Vec<Somebody> {
    let mut all: BTreeMap<(&str, String), [BTreeSet<Uid>; 2]> = BTreeMap::new();
    for (side, sidecar) in sides.iter().enumerate() {
        for member in &sidecar.directory.members {
            let word = match member.kind {
                CallerKind::User => "user",
                CallerKind::Agent => "agent",
                CallerKind::Service => "service",
            };
            let key = (word, format!("{}/{}", member.tenant, member.name));
            let kind =
                || [kind_fact(member.kind)].into_iter().filter(|uid| named.contains(uid)).collect();
            let entry = all.entry(key).or_insert_with(|| [kind(), kind()]);
            let Some(facts) = entry.get_mut(side) else { continue };
            let directory = &sidecar.directory;
            let roles = member.roles.iter().flat_map(|r| brings(directory, FactKind::Role, r));
            let groups = member.groups.iter().flat_map(|g| brings(directory, FactKind::Group, g));
            facts.extend(roles.chain(groups).filter(|uid| named.contains(uid)));
        }
    }
    let mut alike: BTreeMap<[BTreeSet<Uid>; 2], (String, usize)> = BTreeMap::new();
    for ((word, name), facts) in all {
        if !known.iter().any(|somebody| somebody.facts == facts) {
            alike.entry(facts).or_insert_with(|| (format!("{word} {name}"), 0)).1 += 1;
        }
    }
    let somebody = |(facts, (first, count)): (_, (String, usize))| Somebody {
        words: if count == 1 { first } else { format!("{first} and {} more", count - 1) },
        facts,
    };
    alike.into_iter().map(somebody).collect()
}
