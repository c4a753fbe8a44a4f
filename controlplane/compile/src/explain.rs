//! Why a call is, was or would be decided as it is.
//!
//! The decision itself is the table's, made by the evaluator that appliances run. A decision names
//! the first rule only; so each policy that reaches the tool is also compiled alone, into a small
//! table of its own, and asked by the same evaluator: that gives *all* rules that determine the
//! answer, and the ones that err.

use std::sync::Arc;

use dataplane_policy::{
    Call, CallerFacts, CallerKind, Context, Decision, Era, FactKind, Malformed, Subject, Table,
    ToolIndex, Why,
};
use dataplane_telemetry::WallNanos;
use serde_json::Value;
use simd_json::Buffers;

use crate::codegen::{Assembler, TooMuch};
use crate::compile::{Compiled, Sidecar};
use crate::input::{Caller, Directory, Member};
use crate::ir::Uid;
use crate::load::Policy;
use crate::render;
use crate::specialise::ToolView;
use crate::table::{self, Stuck, World};

/// A call to explain.
#[derive(Clone, Debug)]
pub struct Question {
    pub caller: Caller,
    /// `server/tool`.
    pub tool: String,
    /// An object, or null for none.
    pub arguments: Value,
    pub now: WallNanos,
    pub era: Era,
}

/// Where a policy stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub policy: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// An obligation of a permit that was true.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObligationText {
    pub policy: String,
    pub key: String,
    pub value: String,
}

/// What one policy says about the call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// A permit or a forbid whose condition is true.
    Applies { forbid: bool },
    /// It could not be decided, so the call is denied.
    Errs { forbid: bool },
}

/// The answer, whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    pub allow: bool,
    /// One sentence, for people: the rule and the reason.
    pub reason: String,
    /// The policy that the appliance's record names, if any.
    pub rule: Option<Place>,
    /// The argument that is not as pinned, when that is the reason.
    pub bad_argument: Option<String>,
    /// All policies that decide: those that err, else the forbids that are true, else the permits.
    pub determining: Vec<(Place, Verdict)>,
    /// For a denial that no rule asks for: the permits of this tool, and when they would be true.
    pub would_allow: Vec<(Place, String)>,
    pub obligations: Vec<ObligationText>,
    /// Whether the caller sees the tool in lists.
    pub visible: bool,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        for (place, verdict) in &self.determining {
            let says = match verdict {
                Verdict::Applies { forbid: true } => "forbids",
                Verdict::Applies { forbid: false } => "permits",
                Verdict::Errs { .. } => "errs",
            };
            write!(f, "\n  {says}: {place}")?;
        }
        for (place, when) in &self.would_allow {
            write!(f, "\n  would permit: {place} when {when}")?;
        }
        for ObligationText { policy, key, value } in &self.obligations {
            write!(f, "\n  obliges: @{key}(\"{value}\") of `{policy}`")?;
        }
        if self.visible { Ok(()) } else { write!(f, "\n  not in the caller's lists") }
    }
}

/// A question about what is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unanswerable(pub String);

impl std::fmt::Display for Unanswerable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unanswerable {}

impl From<Malformed> for Unanswerable {
    fn from(malformed: Malformed) -> Self {
        Self(malformed.to_string())
    }
}

impl From<TooMuch> for Unanswerable {
    fn from(too_much: TooMuch) -> Self {
        Self(too_much.to_string())
    }
}

impl Place {
    pub(crate) fn of(policy: &Policy) -> Self {
        let place = &policy.place;
        Self {
            policy: policy.id.clone(),
            file: place.file.clone(),
            line: place.line,
            column: place.column,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = format!("{}:{}", self.file, self.line);
        if self.policy == at { write!(f, "{at}") } else { write!(f, "`{}` ({at})", self.policy) }
    }
}

/// Explains a call against one compiled revision.
///
/// # Errors
/// When the server or the tool does not exist, or the arguments are not an object.
pub fn explain(compiled: &Compiled, question: &Question) -> Result<Explanation, Unanswerable> {
    let table = Table::load(&compiled.table)?;
    explain_with(&table, &compiled.sidecar, question)
}

/// The same with the table already loaded.
pub(crate) fn explain_with(
    table: &Table,
    sidecar: &Sidecar,
    question: &Question,
) -> Result<Explanation, Unanswerable> {
    let (at, tool) = find(table, sidecar, &question.tool)?;
    let arguments = match &question.arguments {
        Value::Null => None,
        Value::Object(_) => Some(question.arguments.to_string()),
        _ => return Err(Unanswerable("the arguments are not an object".to_owned())),
    };
    let mut json = arguments.clone().unwrap_or_else(|| "{}".to_owned()).into_bytes();
    let mut buffers = Buffers::new(json.len());
    let tape = simd_json::to_tape_with_buffers(&mut json, &mut buffers)
        .map_err(|error| Unanswerable(format!("the arguments: {error}")))?;
    let call = Call {
        tape: &tape.0,
        arguments: arguments.is_some().then_some(0),
        context: Context { now: question.now, era: question.era },
    };
    let subject = subject(table, &question.caller);
    let decision = table.decide(&subject, tool, &call);
    let verdicts = ask_each(sidecar, at, &question.caller, &call)?;
    let determining = determining(verdicts);
    let obligations = table.obligations_of(&decision).filter_map(|duty| {
        let policy = sidecar.policies.get(duty.policy.0 as usize)?;
        let (key, value) = (duty.key.to_owned(), duty.value.to_owned());
        Some(ObligationText { policy: policy.id.clone(), key, value })
    });
    let bad_argument = match decision.why {
        Why::BadArgument(argument) => Some(table.argument(argument).to_owned()),
        _ => None,
    };
    Ok(Explanation {
        allow: decision.allow,
        reason: reason(sidecar, &decision, bad_argument.as_deref(), &determining),
        rule: rule(sidecar, &decision),
        would_allow: match decision.why {
            Why::NoPermit => permits(sidecar, at),
            _ => Vec::new(),
        },
        determining: if bad_argument.is_some() { Vec::new() } else { determining },
        bad_argument,
        obligations: obligations.collect(),
        visible: table.may_see(&subject, tool),
    })
}

/// The tool's number in the sidecar and in the table.
fn find(table: &Table, sidecar: &Sidecar, name: &str) -> Result<(usize, ToolIndex), Unanswerable> {
    let known = sidecar.tools.iter().position(|tool| *tool.uid.name == *name);
    let (server, tool) = name.split_once('/').unwrap_or((name, ""));
    let found = table.find_server(server).and_then(|s| table.find_tool(s, tool.as_bytes()));
    match (known, found) {
        (Some(at), Some(tool)) => Ok((at, tool)),
        _ if table.find_server(server).is_none() => {
            Err(Unanswerable(format!("there is no server `{server}`; write `server/tool`")))
        }
        _ => Err(Unanswerable(format!("the server `{server}` has no tool `{tool}`"))),
    }
}

/// A caller as the table sees it.
pub(crate) fn subject(table: &Table, caller: &Caller) -> Subject {
    let roles: Vec<&str> = caller.roles.iter().map(String::as_str).collect();
    let groups: Vec<&str> = caller.groups.iter().map(String::as_str).collect();
    table.subject(&CallerFacts {
        tenant: &caller.tenant,
        kind: caller.kind,
        user: caller.user.as_deref(),
        agent: caller.agent.as_deref(),
        roles: &roles,
        groups: &groups,
    })
}

/// The permits that reach a tool, and their conditions as specialised for it.
fn permits(sidecar: &Sidecar, at: usize) -> Vec<(Place, String)> {
    let rules = sidecar.rules.get(at).map(Vec::as_slice).unwrap_or_default();
    let permits = rules.iter().filter_map(|(number, condition)| {
        let policy = sidecar.policies.get(*number as usize).filter(|policy| !policy.forbid)?;
        Some((Place::of(policy), render::condition(condition)))
    });
    permits.collect()
}

fn rule(sidecar: &Sidecar, decision: &Decision) -> Option<Place> {
    match decision.why {
        Why::Policy(policy) => sidecar.policies.get(policy.0 as usize).map(Place::of),
        _ => None,
    }
}

fn reason(
    sidecar: &Sidecar,
    decision: &Decision,
    bad_argument: Option<&str>,
    determining: &[(Place, Verdict)],
) -> String {
    let first = determining.first().map(|(place, _)| place.to_string());
    match (decision.why, bad_argument) {
        (Why::BadArgument(_), Some("")) => {
            "denied: an argument that the pinned schema does not have".to_owned()
        }
        (Why::BadArgument(_), path) => {
            format!("denied: the argument `{}` is not as pinned", path.unwrap_or_default())
        }
        (Why::NoPermit, _) => "denied: no rule allows this".to_owned(),
        (Why::Error, _) => match first {
            Some(place) => format!("denied: {place} could not be decided"),
            None => "denied: a rule could not be decided".to_owned(),
        },
        (Why::Policy(_), _) => {
            let place = rule(sidecar, decision).map_or_else(String::new, |p| p.to_string());
            if decision.allow {
                format!("allowed by {place}")
            } else {
                format!("denied by {place}")
            }
        }
    }
}

/// Errors decide over all, then forbids, then permits.
fn determining(mut verdicts: Vec<(Place, Verdict)>) -> Vec<(Place, Verdict)> {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Errs { .. } => 0,
        Verdict::Applies { forbid: true } => 1,
        Verdict::Applies { forbid: false } => 2,
    };
    let best = verdicts.iter().map(|(_, verdict)| rank(verdict)).min();
    verdicts.retain(|(_, verdict)| Some(rank(verdict)) == best);
    verdicts
        .sort_by(|(a, _), (b, _)| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    verdicts
}

/// What each policy that reaches the tool says by itself, as far as it applies or errs.
fn ask_each(
    sidecar: &Sidecar,
    at: usize,
    caller: &Caller,
    call: &Call<'_>,
) -> Result<Vec<(Place, Verdict)>, Unanswerable> {
    let rules = sidecar.rules.get(at).map(Vec::as_slice).unwrap_or_default();
    let table = Table::load(&alone(sidecar, at, caller).map_err(|stuck| stuck.why)?)?;
    let subject = subject(&table, caller);
    let mut verdicts = Vec::new();
    for ((policy, _), tool) in rules.iter().zip(0..) {
        let Some(policy) = sidecar.policies.get(*policy as usize) else { continue };
        let forbid = policy.forbid;
        let decision = table.decide(&subject, ToolIndex(tool), call);
        let verdict = match (decision.allow, decision.why) {
            (true, _) => Verdict::Applies { forbid },
            (false, Why::Error) => Verdict::Errs { forbid },
            (false, _) => continue,
        };
        verdicts.push((Place::of(policy), verdict));
    }
    Ok(verdicts)
}

/// A table with a tool for each policy that reaches this one, every policy as a permit alone.
fn alone(sidecar: &Sidecar, at: usize, caller: &Caller) -> Result<Vec<u8>, Stuck> {
    let rules = sidecar.rules.get(at).map(Vec::as_slice).unwrap_or_default();
    let (mut policies, mut tools, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (policy, condition)) in (0..).zip(rules) {
        let (Some(policy), Some(tool)) =
            (sidecar.policies.get(*policy as usize), sidecar.tools.get(at))
        else {
            continue;
        };
        policies.push(Policy { forbid: false, obligations: Vec::new(), ..policy.clone() });
        let uid = Uid::new(FactKind::Tool, &format!("alone/{number:08}"));
        tools.push(ToolView { uid, ..tool.clone() });
        conditions.push(vec![(number, Arc::clone(condition))]);
    }
    let is_caller = |member: &&Member| {
        let name = if member.kind == CallerKind::Agent { &caller.agent } else { &caller.user };
        member.kind == caller.kind
            && member.tenant == caller.tenant
            && Some(&member.name) == name.as_ref()
    };
    let directory = Directory {
        groups: sidecar.directory.groups.clone(),
        members: sidecar.directory.members.iter().filter(is_caller).cloned().collect(),
        ..Directory::default()
    };
    let looked = vec![sidecar.looked.get(at).cloned().unwrap_or_default(); tools.len()];
    let world = World {
        policies: &policies,
        looked: &looked,
        tools: &tools,
        rules: &conditions,
        servers: &[("alone".to_owned(), 0..tools.len())],
        directory: &directory,
    };
    table::assemble(&world, Assembler::default())
}
