//! The whole way from an [`Input`] to a table.
//!
//! Order: parse, names, reach, validation, specialisation, assembly. Each stage collects all its
//! complaints; the next starts only when there is no error among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataplane_policy::{FactKind, SERVERS_MAX};

use crate::check::Checker;
use crate::codegen::Assembler;
use crate::diagnostic::{Diagnostic, Severity};
use crate::input::{Directory, Input};
use crate::ir::{Ir, NO, Uid};
use crate::literal::Literals;
use crate::load::{self, Policy, whole};
use crate::names::Names;
use crate::schema::Object;
use crate::specialise::{Reach, Refused, Specialiser, ToolView};
use crate::table::{self, Looked, Stuck, ToolRules, World};

/// Stack for a compilation. Cedar takes up to 30 KiB a level unoptimised, and `load` lets through a
/// thousand levels. Only what is used is backed by memory.
const STACK_BYTES: usize = 128 << 20;

/// What compiling yields: the table, and what explaining and comparing need.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The table's bytes, for bundles.
    pub table: Vec<u8>,
    pub warnings: Vec<Diagnostic>,
    pub(crate) sidecar: Arc<Sidecar>,
}

/// What the table was made of, with names.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) policies: Vec<Policy>,
    pub(crate) tools: Vec<ToolView>,
    /// For each tool, the policies that reach it and their conditions.
    pub(crate) rules: Vec<ToolRules>,
    /// For each tool, the arguments that policies look at.
    pub(crate) looked: Vec<Looked>,
    pub(crate) servers: Vec<(String, std::ops::Range<usize>)>,
    pub(crate) directory: Directory,
}

impl Sidecar {
    pub(crate) fn world(&self) -> World<'_> {
        World {
            policies: &self.policies,
            tools: &self.tools,
            rules: &self.rules,
            looked: &self.looked,
            servers: &self.servers,
            directory: &self.directory,
        }
    }
}

/// Compiles, and remembers what stays the same from one revision to the next.
#[derive(Default)]
pub struct Compiler {
    checker: Checker,
    literals: Literals,
    #[cfg(test)]
    pub(crate) planted: Option<crate::planted::Planted>,
}

/// Compiles everything, or says everything that is wrong.
///
/// # Errors
/// At least one complaint of severity error; nothing of the input takes effect.
pub fn compile(input: &Input) -> Result<Compiled, Vec<Diagnostic>> {
    Compiler::default().compile(input)
}

impl Compiler {
    /// As [`compile`], with what earlier calls have learnt: schemas, verdicts, literals.
    ///
    /// # Errors
    /// At least one complaint of severity error; nothing of the input takes effect.
    pub fn compile(&mut self, input: &Input) -> Result<Compiled, Vec<Diagnostic>> {
        stacker::grow(STACK_BYTES, || self.compile_here(input))
    }

    /// For a compiler that is kept for the next revision: gives back what is large and quickly made
    /// again for the few policies that changed.
    pub fn slim(&mut self) {
        self.checker.forget_schemas();
    }

    fn compile_here(&mut self, input: &Input) -> Result<Compiled, Vec<Diagnostic>> {
        tenants(input)?;
        let (tools, servers) = catalog(input)?;
        let policies = load::load(&input.policies)?;
        let mut complaints = Complaints::default();
        let names = Names::new(&input.directory, servers.iter().map(|(n, _)| n.as_str()), &tools);
        for policy in &policies {
            complaints.all.extend(names.check(policy));
            complaints.all.extend(unkept(policy, input));
        }
        complaints.stop()?;

        let reached = self.check(&policies, &tools, &mut complaints);
        complaints.stop()?;

        let (rules, looked) = self.specialise(&policies, &tools, &reached, &mut complaints);
        complaints.stop()?;

        let directory = input.directory.clone();
        let sidecar = Sidecar { policies, tools, rules, looked, servers, directory };
        #[cfg_attr(not(test), expect(unused_mut, reason = "only tests plant errors"))]
        let mut assembler = Assembler::default();
        #[cfg(test)]
        {
            assembler.planted = self.planted;
        }
        let table = table::assemble(&sidecar.world(), assembler)
            .map_err(|stuck| vec![too_much(&sidecar, &stuck)])?;
        let warnings = complaints.sorted();
        Ok(Compiled { table, warnings, sidecar: sidecar.into() })
    }

    /// For each policy the tools that it reaches; complaints of Cedar's validator on the way.
    fn check(
        &mut self,
        policies: &[Policy],
        tools: &[ToolView],
        complaints: &mut Complaints,
    ) -> Vec<Vec<usize>> {
        let mut reached = Vec::with_capacity(policies.len());
        for policy in policies {
            let reach = Reach::of(policy).unwrap_or_else(|refused| {
                complaints.all.push(not_compiled(policy, &refused));
                Reach::Nothing
            });
            let hit = tools.iter().enumerate().filter(|(_, tool)| reach.hits(tool));
            let mine: Vec<usize> = hit.map(|(at, _)| at).collect();
            if mine.is_empty() {
                complaints.all.push(unreached(policy));
            }
            let views = mine.iter().filter_map(|at| tools.get(*at));
            complaints.all.extend(self.checker.check(policy, views));
            reached.push(mine);
        }
        reached
    }

    fn specialise(
        &mut self,
        policies: &[Policy],
        tools: &[ToolView],
        reached: &[Vec<usize>],
        complaints: &mut Complaints,
    ) -> (Vec<ToolRules>, Vec<Looked>) {
        let mut rules = vec![ToolRules::new(); tools.len()];
        let mut looked = vec![Looked::new(); tools.len()];
        for ((number, policy), mine) in (0..).zip(policies).zip(reached) {
            let (mut found, mut missing) = (BTreeSet::new(), BTreeMap::new());
            let (mut ever, mut fallible) = (false, false);
            for at in mine {
                let (Some(tool), Some(list), Some(looked)) =
                    (tools.get(*at), rules.get_mut(*at), looked.get_mut(*at))
                else {
                    continue;
                };
                let mut specialiser = Specialiser {
                    tool,
                    literals: &mut self.literals,
                    found: looked,
                    missing: &mut missing,
                };
                let condition = specialiser.condition(policy);
                found.extend(looked.iter().cloned());
                match condition {
                    Ok(condition) if condition == NO => {}
                    Ok(condition) => {
                        ever = true;
                        fallible |= condition.fallible();
                        list.push((number, Arc::new(condition)));
                    }
                    Err(refused) => {
                        complaints.all.push(not_compiled(policy, &refused));
                        ever = true;
                        break;
                    }
                }
            }
            complaints.all.extend(never_there(policy, &found, &missing));
            if !ever && !mine.is_empty() {
                complaints.all.push(never(policy));
            }
            if fallible {
                complaints.all.push(overflows(policy));
            }
        }
        (rules, looked)
    }
}

#[derive(Default)]
struct Complaints {
    all: Vec<Diagnostic>,
}

impl Complaints {
    fn sorted(mut self) -> Vec<Diagnostic> {
        self.all.sort();
        self.all.dedup();
        self.all
    }

    /// Hands everything over if there is an error among it.
    fn stop(&mut self) -> Result<(), Vec<Diagnostic>> {
        if self.all.iter().any(|complaint| complaint.severity == Severity::Error) {
            return Err(std::mem::take(self).sorted());
        }
        Ok(())
    }
}

/// Principals are named `tenant/name`, so a tenant's own name has no slash.
fn tenants(input: &Input) -> Result<(), Vec<Diagnostic>> {
    let known = input.directory.known_tenants();
    let wrong = known.into_iter().filter(|name| name.is_empty() || name.contains('/'));
    let complain = |name| whole(format!("`{name}` is no tenant name: it is empty or has a `/`"));
    let complaints: Vec<_> = wrong.map(complain).collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

type Catalog = (Vec<ToolView>, Vec<(String, std::ops::Range<usize>)>);

/// Servers and tools by name. Names are one path together, so a server's has no slash.
fn catalog(input: &Input) -> Result<Catalog, Vec<Diagnostic>> {
    let mut servers: Vec<_> = input.servers.iter().collect();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut views, mut ranges, mut complaints) = (Vec::<ToolView>::new(), Vec::new(), Vec::new());
    if servers.len() > SERVERS_MAX {
        complaints.push(whole(format!("{} servers: at most {SERVERS_MAX}", servers.len())));
    }
    for pair in servers.windows(2) {
        if let [a, b] = pair
            && a.name == b.name
        {
            complaints.push(whole(format!("the server `{}` is there twice", a.name)));
        }
    }
    for server in servers {
        if server.name.is_empty() || server.name.contains('/') {
            complaints.push(whole(format!(
                "`{}` is no server name: it is empty or has a `/`",
                server.name
            )));
        }
        let first = views.len();
        let mut tools: Vec<_> = server.tools.iter().collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        for tool in tools {
            let name = format!("{}/{}", server.name, tool.name);
            if views.last().is_some_and(|last| *last.uid.name == *name) {
                complaints.push(whole(format!("the tool `{name}` is there twice")));
            }
            let arguments = Object::of_tool(&tool.input_schema);
            views.push(ToolView {
                uid: Uid::new(FactKind::Tool, &name),
                server: Uid::new(FactKind::Server, &server.name),
                cedar_type: arguments.cedar().into(),
                arguments,
                destructive: tool.destructive,
                read_only: tool.read_only,
            });
        }
        ranges.push((server.name.clone(), first..views.len()));
    }
    if complaints.is_empty() { Ok((views, ranges)) } else { Err(complaints) }
}

/// Obligations that no appliance keeps, and quotas that are not there.
fn unkept(policy: &Policy, input: &Input) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for (key, value) in &policy.obligations {
        let words = format!("@{key}");
        let complain = |message, help| Diagnostic {
            help: Some(help),
            ..policy.complaint(Some(&words), message)
        };
        if !input.obligations.contains(key) {
            out.push(complain(
                format!("`@{key}` is not carried out by these appliances"),
                "write a forbid, or wait for a version that keeps it".to_owned(),
            ));
        }
        let known = input.quotas.as_ref().is_none_or(|quotas| quotas.contains(value));
        if key == "quota" && !known {
            out.push(complain(
                format!("the quota `{value}` does not exist"),
                format!("write `[quotas.{value}]` in portcullis.toml"),
            ));
        }
    }
    out
}

fn not_compiled(policy: &Policy, refused: &Refused) -> Diagnostic {
    let message = format!("{} cannot be compiled", refused.what);
    Diagnostic { help: Some(refused.help.to_owned()), ..policy.complaint(None, message) }
}

/// A server may have no tools yet, so this is no error: nothing is allowed that should not be.
fn unreached(policy: &Policy) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        help: Some("it takes effect when a tool is pinned that it reaches".to_owned()),
        ..policy.complaint(None, "reaches no tool".to_owned())
    }
}

fn never(policy: &Policy) -> Diagnostic {
    let message = "can never match: its condition is false for every tool that it reaches";
    let help = Some("correct the condition, or delete the policy".to_owned());
    Diagnostic { help, ..policy.complaint(None, message.to_owned()) }
}

fn overflows(policy: &Policy) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        help: Some(
            "a sum that overflows, or a value that is not there, denies the call".to_owned(),
        ),
        ..policy.complaint(None, "may err at run time, and then denies".to_owned())
    }
}

/// Arguments that a policy asks `has` of, and no tool that it reaches has: a misspelling would make
/// a forbid that never fires.
fn never_there(
    policy: &Policy,
    found: &BTreeSet<Vec<String>>,
    missing: &BTreeMap<Vec<String>, &'static str>,
) -> Vec<Diagnostic> {
    let nowhere = missing.iter().filter(|(path, _)| !found.contains(*path));
    let complaints = nowhere.map(|(path, why)| {
        let shown = path.join(".");
        let message = format!("no tool that it reaches has an argument `{shown}` for policies");
        let help = Some(format!("it is {why}; correct the name, or leave it out"));
        Diagnostic { help, ..policy.complaint(path.last().map(String::as_str), message) }
    });
    complaints.collect()
}

fn too_much(sidecar: &Sidecar, stuck: &Stuck) -> Diagnostic {
    let tool = stuck.tool.and_then(|at| sidecar.tools.get(at));
    let rules = stuck.tool.and_then(|at| sidecar.rules.get(at));
    let Some(tool) = tool else { return whole(format!("the table cannot be made: {}", stuck.why)) };
    let message = format!(
        "the {} policies of tool `{}` cannot be compiled together: {}",
        rules.map_or(0, Vec::len),
        tool.uid.name,
        stuck.why
    );
    let last = rules.and_then(|rules| rules.last());
    let policy =
        last.and_then(|(number, _): &(u32, Arc<Ir>)| sidecar.policies.get(*number as usize));
    let help = Some("write fewer or simpler policies for this tool".to_owned());
    match policy {
        Some(policy) => Diagnostic { help, ..policy.complaint(None, message) },
        None => whole(message),
    }
}
