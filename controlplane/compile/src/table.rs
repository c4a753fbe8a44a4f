//! From specialised rules to the table's parts.
//!
//! Callers fall into classes *per server*: only facts that the server's own policies ask about split
//! them. Signatures that the directory and single roles or groups give are compiled into rows; every
//! tool also gets a fallback cell in which membership is tested, so a signature that nobody foresaw
//! is answered the same, only slower. Equal columns and equal rows are stored once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dataplane_policy::layout::{
    Duty, Entity, Fact, Field, FieldType, Guard, Member, NO_REGISTER, NONE, Policy as StoredPolicy,
    Server, Tool,
};
use dataplane_policy::program::REGISTERS;
use dataplane_policy::{CallerKind, Cell, FIELDS_MAX, FactKind, SEEN_FIELDS_MAX};

use crate::codegen::{Assembler, Rule, TooMuch};
use crate::input::Directory;
use crate::ir::{Ir, NO, Uid};
use crate::load::Policy;
use crate::schema::{Object, Shape};
use crate::specialise::ToolView;

/// Rows of one server. Signatures beyond it use the fallback: correct, slower, and bounded.
pub(crate) const CLASSES_MAX: usize = 1_024;

/// A policy's condition for one tool, by the policy's number.
pub(crate) type ToolRules = Vec<(u32, Arc<Ir>)>;

/// Arguments that policies look at, by path. More than conditions still contain: `has` of a required
/// argument is folded to true only because the guard makes sure of it.
pub(crate) type Looked = BTreeSet<Vec<String>>;

/// Everything that a table is made of.
pub(crate) struct World<'w> {
    pub(crate) policies: &'w [Policy],
    /// By server, then by name.
    pub(crate) tools: &'w [ToolView],
    /// For each tool, the policies that reach it.
    pub(crate) rules: &'w [ToolRules],
    /// For each tool, what its guard checks.
    pub(crate) looked: &'w [Looked],
    /// Names, ascending, and where their tools lie.
    pub(crate) servers: &'w [(String, std::ops::Range<usize>)],
    pub(crate) directory: &'w Directory,
}

/// What a principal of a kind is called among facts and entities.
pub(crate) fn principal_kind(kind: CallerKind) -> FactKind {
    match kind {
        CallerKind::User => FactKind::User,
        CallerKind::Agent => FactKind::Agent,
        CallerKind::Service => FactKind::Service,
    }
}

/// The fact that a principal is of this kind.
pub(crate) fn kind_fact(kind: CallerKind) -> Uid {
    let name = match kind {
        CallerKind::User => "User",
        CallerKind::Agent => "Agent",
        CallerKind::Service => "Service",
    };
    Uid::new(FactKind::Kind, name)
}

/// The tool for which the table cannot be made, and why.
pub(crate) struct Stuck {
    pub(crate) tool: Option<usize>,
    pub(crate) why: TooMuch,
}

impl From<TooMuch> for Stuck {
    fn from(why: TooMuch) -> Self {
        Self { tool: None, why }
    }
}

impl From<dataplane_policy::Malformed> for Stuck {
    fn from(malformed: dataplane_policy::Malformed) -> Self {
        Self { tool: None, why: malformed.into() }
    }
}

/// The table's bytes.
pub(crate) fn assemble(world: &World<'_>, assembler: Assembler) -> Result<Vec<u8>, Stuck> {
    let mut making = Making::new(world, assembler)?;
    making.policies()?;
    making.members()?;
    let signatures = making.signatures();
    for (index, (name, range)) in world.servers.iter().enumerate() {
        making.server(index as u32, name, range.clone(), &signatures)?;
    }
    Ok(making.assembler.builder.finish()?)
}

/// Facts that a name brings along: its own, and those of the roles that a group carries.
pub(crate) fn brings(directory: &Directory, kind: FactKind, name: &str) -> Vec<Uid> {
    let mut out = vec![Uid::new(kind, name)];
    if kind == FactKind::Group {
        let roles = directory.groups.get(name).into_iter().flatten();
        out.extend(roles.map(|role| Uid::new(FactKind::Role, role)));
    }
    out
}

struct Making<'w> {
    world: &'w World<'w>,
    assembler: Assembler,
    /// Facts of each directory member, and the member.
    known: BTreeMap<Uid, BTreeSet<u32>>,
    /// Conditions, numbered, so that equal lists of rules are recognised.
    conditions: HashMap<(u32, Ir), usize>,
    listed: Vec<(u32, Arc<Ir>)>,
    /// Arguments in registers, by tool; equal ones have one number.
    shapes: HashMap<BTreeSet<Vec<String>>, usize>,
    cells: HashMap<(usize, Vec<usize>), Cell>,
}

impl<'w> Making<'w> {
    fn new(world: &'w World<'w>, mut assembler: Assembler) -> Result<Self, Stuck> {
        let (mut facts, mut entities) = (BTreeSet::new(), BTreeSet::new());
        for (_, condition) in world.rules.iter().flatten() {
            condition.facts(&mut facts);
            condition.entities(&mut entities);
        }
        for uid in &facts {
            let name = assembler.builder.text(&uid.name)?;
            assembler.builder.layout.facts.push(Fact { kind: uid.kind, name });
        }
        for uid in &entities {
            let name = assembler.builder.text(&uid.name)?;
            assembler.builder.layout.entities.push(Entity { kind: uid.kind, name });
        }
        assembler.facts = facts.into_iter().zip(0..).collect();
        assembler.entities = entities.into_iter().zip(0..).collect();
        let (known, conditions, listed, shapes, cells) = Default::default();
        Ok(Self { world, assembler, known, conditions, listed, shapes, cells })
    }

    fn policies(&mut self) -> Result<(), Stuck> {
        let builder = &mut self.assembler.builder;
        for policy in self.world.policies {
            let first = builder.layout.duties.len() as u32;
            for (key, value) in &policy.obligations {
                let duty = Duty { key: builder.text(key)?, value: builder.text(value)? };
                builder.layout.duties.push(duty);
            }
            let stored = StoredPolicy {
                id: builder.text(&policy.id)?,
                file: builder.text(&policy.place.file)?,
                line: policy.place.line,
                column: policy.place.column,
                duty_first: first,
                duty_count: policy.obligations.len() as u32,
            };
            builder.layout.policies.push(stored);
        }
        Ok(())
    }

    /// Who brings which facts: kinds, roles, groups, and the directory's members.
    fn members(&mut self) -> Result<(), Stuck> {
        let directory = self.world.directory;
        let facts = self.assembler.facts.clone();
        let numbers = |uids: Vec<Uid>| -> BTreeSet<u32> {
            uids.iter().filter_map(|uid| facts.get(uid).copied()).collect()
        };
        let mut known: BTreeMap<Uid, BTreeSet<u32>> = BTreeMap::new();
        for uid in facts.keys() {
            known.entry(uid.clone()).or_default().extend(numbers(vec![uid.clone()]));
        }
        for group in directory.groups.keys() {
            let brought = numbers(brings(directory, FactKind::Group, group));
            known.entry(Uid::new(FactKind::Group, group)).or_default().extend(brought);
        }
        for member in &directory.members {
            let name = format!("{}/{}", member.tenant, member.name);
            let entry = known.entry(Uid::new(principal_kind(member.kind), &name)).or_default();
            for role in &member.roles {
                entry.extend(numbers(brings(directory, FactKind::Role, role)));
            }
            for group in &member.groups {
                entry.extend(numbers(brings(directory, FactKind::Group, group)));
            }
        }
        known.retain(|_, facts| !facts.is_empty());
        for (uid, facts) in &known {
            let builder = &mut self.assembler.builder;
            let name = builder.text(&uid.name)?;
            let (first, count) = (builder.layout.member_facts.len() as u32, facts.len() as u32);
            builder.layout.members.push(Member { kind: uid.kind, name, first, count });
            builder.layout.member_facts.extend(facts);
        }
        self.known = known;
        Ok(())
    }

    /// Sets of facts worth a row: of each kind nobody in particular, every single role and group,
    /// and every member of the directory. In this order, because there may be too many.
    fn signatures(&self) -> Vec<BTreeSet<u32>> {
        let kinds = [CallerKind::User, CallerKind::Agent, CallerKind::Service];
        let kinds =
            kinds.map(|kind| (kind, self.known.get(&kind_fact(kind)).cloned().unwrap_or_default()));
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        let mut add = |facts: BTreeSet<u32>| {
            if seen.insert(facts.clone()) {
                out.push(facts);
            }
        };
        kinds.iter().for_each(|(_, facts)| add(facts.clone()));
        for (uid, facts) in &self.known {
            if matches!(uid.kind, FactKind::Role | FactKind::Group) {
                kinds.iter().for_each(|(_, kind)| add(kind | facts));
            }
        }
        for (uid, facts) in &self.known {
            for (_, own) in kinds.iter().filter(|(kind, _)| principal_kind(*kind) == uid.kind) {
                add(own | facts);
            }
        }
        out
    }

    fn server(
        &mut self,
        index: u32,
        name: &str,
        range: std::ops::Range<usize>,
        signatures: &[BTreeSet<u32>],
    ) -> Result<(), Stuck> {
        let rules = self.world.rules.get(range.clone()).unwrap_or_default();
        let mut asked = BTreeSet::new();
        rules.iter().flatten().for_each(|(_, condition)| condition.facts(&mut asked));
        let facts: Vec<u32> =
            asked.iter().filter_map(|uid| self.assembler.facts.get(uid).copied()).collect();
        let classes = classes(&facts, signatures);

        let mut columns: Vec<Vec<u32>> = Vec::new();
        let mut column_numbers: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut tools = Vec::new();
        for at in range.clone() {
            let made =
                self.tool(at, &classes).map_err(|stuck| Stuck { tool: Some(at), ..stuck })?;
            let (column, guard, fallback) = made;
            let next = columns.len() as u32;
            let number = *column_numbers.entry(column.clone()).or_insert(next);
            if number == next {
                columns.push(column);
            }
            let name = self.world.tools.get(at).and_then(|tool| tool.uid.name.split_once('/'));
            let name = self.assembler.builder.text(name.map_or("", |(_, name)| name))?;
            tools.push(Tool { name, server: index, column: number, guard, fallback });
        }
        self.store_server(name, range.start as u32, &facts, &classes, &columns, tools)
    }

    fn store_server(
        &mut self,
        name: &str,
        tool_first: u32,
        facts: &[u32],
        classes: &BTreeMap<Vec<u64>, Facts>,
        columns: &[Vec<u32>],
        tools: Vec<Tool>,
    ) -> Result<(), Stuck> {
        let name = self.assembler.builder.text(name)?;
        let layout = &mut self.assembler.builder.layout;
        let mut server = Server {
            name,
            tool_first,
            tool_count: tools.len() as u32,
            fact_first: layout.server_facts.len() as u32,
            fact_count: facts.len() as u32,
            class_first: layout.classes.len() as u32,
            class_count: classes.len() as u32,
            signature_first: layout.signatures.len() as u32,
            cell_first: layout.cells.len() as u32,
            row_count: 0,
            column_count: columns.len() as u32,
        };
        layout.tools.extend(tools);
        layout.server_facts.extend(facts);
        let mut rows: HashMap<Vec<u32>, u32> = HashMap::new();
        for (class, signature) in classes.keys().enumerate() {
            let row: Vec<u32> =
                columns.iter().filter_map(|column| column.get(class).copied()).collect();
            let number = *rows.entry(row.clone()).or_insert(server.row_count);
            if number == server.row_count {
                layout.cells.extend(row);
                server.row_count += 1;
            }
            layout.classes.push(number);
            layout.signatures.extend(signature);
        }
        layout.servers.push(server);
        Ok(())
    }

    /// A tool's cells, one a class; its guard; and its fallback cell.
    fn tool(
        &mut self,
        at: usize,
        classes: &BTreeMap<Vec<u64>, Facts>,
    ) -> Result<(Vec<u32>, u32, u32), Stuck> {
        let world = self.world;
        let rules = world.rules.get(at).map(Vec::as_slice).unwrap_or_default();
        let mut paths = BTreeSet::new();
        rules.iter().for_each(|(_, condition)| condition.arguments(&mut paths));
        let object = world.tools.get(at).map(|tool| &tool.arguments);
        let registers = registers(&paths)?;
        let guard = match (object, world.looked.get(at)) {
            (Some(object), Some(looked)) if !looked.is_empty() => {
                self.assembler.guard(object, &mut Vec::new(), looked, &registers)?
            }
            _ => NONE,
        };
        let symbolic: Vec<_> =
            rules.iter().filter_map(|(policy, c)| self.number(*policy, c)).collect();
        let next = self.shapes.len();
        let shape = *self.shapes.entry(paths).or_insert(next);
        let fallback = self.cell(symbolic, shape, &registers)?;
        let facts = &self.assembler.facts;
        let mut prepared: Vec<_> =
            rules.iter().map(|(policy, c)| Prepared::new(*policy, c, facts)).collect();
        let mut column = Vec::with_capacity(classes.len());
        for facts in classes.values() {
            let bound: Vec<_> =
                prepared.iter_mut().filter_map(|rule| rule.bind(self, facts)).collect();
            column.push(self.cell(bound, shape, &registers)?.word());
        }
        Ok((column, guard, fallback.word()))
    }

    /// The number of a policy's condition; none for one that is never true.
    fn number(&mut self, policy: u32, condition: &Ir) -> Option<usize> {
        if *condition == NO {
            return None;
        }
        let key = (policy, condition.clone());
        if let Some(number) = self.conditions.get(&key) {
            return Some(*number);
        }
        let number = self.listed.len();
        self.listed.push((policy, Arc::new(condition.clone())));
        self.conditions.insert(key, number);
        Some(number)
    }

    fn cell(
        &mut self,
        numbers: Vec<usize>,
        shape: usize,
        registers: &HashMap<Vec<String>, u8>,
    ) -> Result<Cell, Stuck> {
        let key = (shape, numbers);
        if let Some(cell) = self.cells.get(&key) {
            return Ok(*cell);
        }
        let listed = key.1.iter().filter_map(|number| self.listed.get(*number));
        let rules: Vec<_> = listed
            .filter_map(|(policy, condition)| {
                let known = self.world.policies.get(*policy as usize)?;
                let obliged = !known.obligations.is_empty();
                Some(Rule { policy: *policy, forbid: known.forbid, obliged, condition })
            })
            .collect();
        let cell = self.assembler.cell(&rules, registers)?;
        self.cells.insert(key, cell);
        Ok(cell)
    }
}

/// A set of facts, a bit each.
#[derive(Default)]
struct Facts(Vec<u64>);

impl Facts {
    fn insert(&mut self, fact: u32) {
        let word = fact as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (fact % 64);
        }
    }

    fn has(&self, fact: u32) -> bool {
        self.0.get(fact as usize / 64).is_some_and(|word| word >> (fact % 64) & 1 == 1)
    }
}

/// A rule of one tool, and what it came to for the facts that it asks about.
struct Prepared<'r> {
    policy: u32,
    condition: &'r Ir,
    asks: Vec<u32>,
    /// By the answers, a bit each in the order of `asks`.
    known: Vec<(u64, Option<usize>)>,
}

impl<'r> Prepared<'r> {
    fn new(policy: u32, condition: &'r Ir, numbers: &BTreeMap<Uid, u32>) -> Self {
        let mut asks = BTreeSet::new();
        condition.facts(&mut asks);
        let asks = asks.iter().filter_map(|uid| numbers.get(uid).copied()).collect();
        Self { policy, condition, asks, known: Vec::new() }
    }

    /// The number of the condition for a class, once for all classes alike.
    fn bind(&mut self, making: &mut Making<'_>, class: &Facts) -> Option<usize> {
        let answers = self.asks.iter().map(|fact| u64::from(class.has(*fact)));
        let key = answers.zip(0..64).fold(0, |key, (answer, bit)| key | answer << bit);
        // More questions than bits are rare; then nothing is remembered.
        let memorable = self.asks.len() <= 64;
        if let Some((_, number)) = self.known.iter().find(|(known, _)| memorable && *known == key) {
            return *number;
        }
        let numbers = &making.assembler.facts;
        let has = |uid: &Uid| numbers.get(uid).is_some_and(|fact| class.has(*fact));
        let bound = self.condition.bind(&has);
        let number = making.number(self.policy, &bound);
        if memorable {
            self.known.push((key, number));
        }
        number
    }
}

/// Which register holds which argument.
pub(crate) fn registers(
    paths: &BTreeSet<Vec<String>>,
) -> Result<HashMap<Vec<String>, u8>, TooMuch> {
    if paths.len() > REGISTERS {
        return Err(TooMuch::Registers);
    }
    Ok(paths.iter().cloned().zip(0..).collect())
}

/// Signatures as bits over a server's facts, each with the facts themselves, sorted.
fn classes(facts: &[u32], signatures: &[BTreeSet<u32>]) -> BTreeMap<Vec<u64>, Facts> {
    let mut out = BTreeMap::new();
    for signature in signatures {
        if out.len() >= CLASSES_MAX {
            break;
        }
        let mut words = vec![0u64; facts.len().div_ceil(64)];
        for (bit, _) in facts.iter().enumerate().filter(|(_, fact)| signature.contains(fact)) {
            if let Some(word) = words.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let mut mine = Facts::default();
        facts.iter().filter(|fact| signature.contains(fact)).for_each(|fact| mine.insert(*fact));
        out.insert(words, mine);
    }
    out
}

impl Assembler {
    /// The guard of an object: the fields that policies look at, and, where the schema is closed,
    /// the names of all others.
    pub(crate) fn guard(
        &mut self,
        object: &Object,
        under: &mut Vec<String>,
        paths: &BTreeSet<Vec<String>>,
        registers: &HashMap<Vec<String>, u8>,
    ) -> Result<u32, TooMuch> {
        let (mut looked_at, mut others) = (Vec::new(), Vec::new());
        for (name, property) in &object.fields {
            under.push(name.clone());
            let asked = paths.contains(under.as_slice());
            let (kind, kids) = match &property.shape {
                Shape::Plain(kind) if asked => (*kind, NONE),
                Shape::Record(inner) if asked => {
                    (FieldType::Record, self.guard(inner, under, paths, registers)?)
                }
                _ => (FieldType::Any, NONE),
            };
            let path = self.builder.text(&under.join("."))?;
            let field = Field {
                path,
                name_len: name.len() as u32,
                kids,
                kind,
                register: registers.get(under.as_slice()).copied().unwrap_or(NO_REGISTER),
                required: (asked && property.required).into(),
                nullable: property.nullable.into(),
            };
            if asked {
                looked_at.push(field);
            } else if object.closed {
                others.push(field);
            }
            under.pop();
        }
        if looked_at.len() > SEEN_FIELDS_MAX || looked_at.len() + others.len() > FIELDS_MAX as usize
        {
            return Err(TooMuch::Fields);
        }
        let layout = &mut self.builder.layout;
        let index = layout.guards.len() as u32;
        layout.guards.push(Guard {
            first: layout.fields.len() as u32,
            count: (looked_at.len() + others.len()) as u32,
            closed: object.closed.into(),
            pad: 0,
            pad2: 0,
        });
        layout.fields.extend(looked_at);
        layout.fields.extend(others);
        Ok(index)
    }
}
