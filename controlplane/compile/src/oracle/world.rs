//! The world that generated policies are about: tools, callers, and arguments of all sorts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityId, EntityUid, RestrictedExpression as Expression};
use dataplane_policy::{CallerKind, Era};
use serde_json::{Value, json};

use super::Dice;
use crate::input::{Caller, Directory, Input, Member, Server, Tool};

/// Tools by name, in the order of the table.
const TOOLS: [&str; 3] = ["lab/all", "lab/part", "pay/send"];

pub(super) struct World {
    pub(super) input: Input,
    pub(super) tools: [&'static str; 3],
    pub(super) schemas: Vec<Value>,
}

/// A caller, and what Cedar knows about it.
pub(super) struct Someone {
    pub(super) caller: Caller,
    pub(super) uid: EntityUid,
    pub(super) entities: Entities,
}

pub(super) fn entity(ty: &str, name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(ty.parse().unwrap(), EntityId::new(name))
}

impl World {
    pub(super) fn new() -> Self {
        let schemas = vec![everything(), part(), json!({ "type": "object", "properties": {} })];
        let tool = |name: &str, at: usize| Tool {
            name: name.to_owned(),
            input_schema: schemas[at].clone(),
            destructive: at != 1,
            read_only: at == 1,
        };
        let servers = vec![
            Server { name: "lab".into(), tools: vec![tool("all", 0), tool("part", 1)] },
            Server { name: "pay".into(), tools: vec![tool("send", 2)] },
        ];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let member = |kind, name: &str, roles: &[&str], groups: &[&str]| Member {
            kind,
            tenant: "acme".into(),
            name: name.into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let directory = Directory {
            tenants: names(&["acme", "bolt"]),
            roles: names(&["support", "admin", "dev"]),
            groups: BTreeMap::from([
                ("helpdesk".to_owned(), names(&["support"])),
                ("oncall".to_owned(), BTreeSet::new()),
            ]),
            members: vec![
                member(CallerKind::User, "cat", &["dev"], &["helpdesk"]),
                member(CallerKind::Agent, "bot", &["support"], &[]),
            ],
        };
        let obligations = names(&["audit", "approval", "quota"]);
        let input = Input { servers, directory, obligations, ..Input::default() };
        Self { input, tools: TOOLS, schemas }
    }

    /// Somebody with claims at random, some of whom the directory knows.
    pub(super) fn someone(&self, dice: &mut Dice) -> Someone {
        let kind = *dice.pick(&[
            CallerKind::User,
            CallerKind::User,
            CallerKind::Agent,
            CallerKind::Service,
        ]);
        let tenant = *dice.pick(&["acme", "acme", "bolt", "zeta"]);
        let user = *dice.pick(&["ann", "bob", "cat", "svc"]);
        let agent = *dice.pick(&[Some("bot"), Some("rogue"), Some("helper"), None]);
        let agent = if kind == CallerKind::Agent { agent.or(Some("bot")) } else { agent };
        let mut some = |names: &[&str], per_mille| {
            let chosen = names.iter().filter(|_| dice.chance(per_mille));
            chosen.map(|name| (*name).to_owned()).collect::<Vec<_>>()
        };
        let roles = some(&["support", "admin", "dev", "juggler"], 250);
        let groups = some(&["helpdesk", "oncall", "chess"], 150);
        let is_agent = kind == CallerKind::Agent;
        let caller = Caller {
            tenant: tenant.to_owned(),
            kind,
            user: (!is_agent).then(|| user.to_owned()),
            agent: agent.map(str::to_owned),
            roles,
            groups,
        };
        self.in_cedar(caller)
    }

    fn in_cedar(&self, caller: Caller) -> Someone {
        let (ty, name) = match caller.kind {
            CallerKind::User => ("User", &caller.user),
            CallerKind::Agent => ("Agent", &caller.agent),
            CallerKind::Service => ("Service", &caller.user),
        };
        let name = name.clone().unwrap();
        let uid = entity(ty, &format!("{}/{name}", caller.tenant));
        let tenant = entity("Tenant", &caller.tenant);
        let (mut roles, mut groups) = (caller.roles.clone(), caller.groups.clone());
        let members = self.input.directory.members.iter();
        for m in
            members.filter(|m| m.kind == caller.kind && m.tenant == caller.tenant && m.name == name)
        {
            roles.extend(m.roles.iter().cloned());
            groups.extend(m.groups.iter().cloned());
        }
        let mut parents = HashSet::from([tenant.clone()]);
        parents.extend(roles.iter().map(|role| entity("Role", role)));
        parents.extend(groups.iter().map(|group| entity("Group", group)));
        let of_tenant =
            || HashMap::from([("tenant".to_owned(), Expression::new_entity_uid(tenant.clone()))]);
        let mut all = vec![Entity::new(uid.clone(), of_tenant(), parents).unwrap()];
        if let Some(agent) = &caller.agent
            && caller.kind != CallerKind::Agent
        {
            let agent = entity("Agent", &format!("{}/{agent}", caller.tenant));
            all.push(Entity::new(agent, of_tenant(), HashSet::from([tenant])).unwrap());
        }
        let support = HashSet::from([entity("Role", "support")]);
        all.push(Entity::new(entity("Group", "helpdesk"), HashMap::new(), support).unwrap());
        for (at, tool) in TOOLS.iter().enumerate() {
            let truth = |truth: bool| Expression::new_bool(truth);
            let attributes = HashMap::from([
                ("destructive".to_owned(), truth(at != 1)),
                ("read_only".to_owned(), truth(at == 1)),
            ]);
            let server = entity("Server", tool.split_once('/').unwrap().0);
            let tool = entity("Tool", tool);
            all.push(Entity::new(tool, attributes, HashSet::from([server])).unwrap());
        }
        Someone { caller, uid, entities: Entities::from_entities(all, None).unwrap() }
    }

    /// Arguments for a tool: mostly as pinned, and now and then wrong in one way or another.
    pub(super) fn arguments(&self, tool: usize, dice: &mut Dice) -> Value {
        record(&self.schemas[tool], dice)
    }
}

/// What the gateway fills in.
pub(super) fn context(someone: &Someone, now: &Now, era: &str) -> Vec<(String, Expression)> {
    let mut pairs = vec![
        ("now".to_owned(), Expression::new_datetime(&now.text)),
        ("era".to_owned(), Expression::new_string(era.to_owned())),
    ];
    if let Some(agent) = &someone.caller.agent {
        let agent = entity("Agent", &format!("{}/{agent}", someone.caller.tenant));
        pairs.push(("agent".to_owned(), Expression::new_entity_uid(agent)));
    }
    pairs
}

/// A time, for us and for Cedar.
#[derive(Clone)]
pub(super) struct Now {
    pub(super) ms: u64,
    text: String,
}

pub(super) fn now(dice: &mut Dice) -> Now {
    let (day, midnight_ms) = *dice.pick(&[
        ("2026-04-30", 1_777_507_200_000),
        ("2026-05-01", 1_777_593_600_000),
        ("2026-05-01", 1_777_593_600_000),
        ("1970-01-01", 0),
        ("2096-10-02", 4_000_060_800_000),
    ]);
    let ms = *dice.pick(&[0, 1, 86_399_999, dice.clone().next() % 86_400_000]);
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let text = format!("{day}T{hours:02}:{minutes:02}:{:02}.{:03}Z", ms / 1_000 % 60, ms % 1_000);
    Now { ms: midnight_ms + ms, text }
}

pub(super) fn era(dice: &mut Dice) -> Era {
    *dice.pick(&[Era::Modern, Era::Legacy])
}

fn everything() -> Value {
    json!({
        "type": "object",
        "properties": {
            "amount": { "type": "integer" },
            "note": { "type": "string" },
            "fields": { "type": "array", "items": { "type": "string" } },
            "deep": { "type": "object", "properties": { "x": { "type": "integer" } }, "required": ["x"] },
            "ids": { "type": "array", "items": { "type": "integer" } },
            "flags": { "type": "array", "items": { "type": "boolean" } },
            "flag": { "type": "boolean" },
            "customer": {
                "type": "object",
                "properties": { "region": { "type": "string" }, "tier": { "type": "integer" } },
                "required": ["tier"]
            },
            "rate": { "type": "string", "format": "decimal" },
            "price": { "type": "number" },
            "due": { "type": "string", "format": "date-time" },
            "day": { "type": "string", "format": "date" },
            "hold": { "type": "string", "format": "duration" },
            "from4": { "type": "string", "format": "ipv4" },
            "from6": { "type": "string", "format": "ipv6" },
            "limit": { "anyOf": [{ "type": "integer" }, { "type": "null" }] }
        },
        "required": ["amount", "note", "fields", "deep"]
    })
}

fn part() -> Value {
    json!({
        "type": "object",
        "properties": {
            "amount": { "type": "integer" },
            "note": { "type": "string" },
            "hidden": { "type": "array" },
            "deep": {
                "type": "object",
                "properties": {
                    "x": { "type": "integer" },
                    "y": { "type": "object", "properties": { "z": { "type": "string" } } }
                },
                "required": ["x"],
                "additionalProperties": false
            }
        },
        "required": ["note", "deep"],
        "additionalProperties": false
    })
}

fn record(schema: &Value, dice: &mut Dice) -> Value {
    let mut out = serde_json::Map::new();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().unwrap() {
        let often = if required.iter().any(|r| r == name) { 990 } else { 550 };
        if dice.chance(often) {
            out.insert(name.clone(), value(property, dice));
        }
    }
    if dice.chance(60) {
        out.insert("unknown".to_owned(), json!({ "a": [1, { "b": null }] }));
    }
    Value::Object(out)
}

fn value(schema: &Value, dice: &mut Dice) -> Value {
    if dice.chance(12) {
        let wrong = [
            json!(null),
            json!(1.5),
            json!("7"),
            json!(true),
            json!([1, "x"]),
            json!({}),
            json!(18_446_744_073_709_551_615_u64),
            json!(5.0),
        ];
        return dice.pick(&wrong).clone();
    }
    if schema.get("anyOf").is_some() {
        return if dice.chance(300) { Value::Null } else { integer(dice) };
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some(format)) => formatted(format, dice),
        (Some("string"), None) => text(dice),
        (Some("integer"), _) => integer(dice),
        (Some("number"), _) => dice
            .pick(&[
                json!(12.5),
                json!(12),
                json!(0.9),
                json!(1.25),
                json!(-3.25),
                json!(0.0001),
                json!(0.000_01),
                json!(1e14),
                json!(-0.0),
                json!(922_337_203_685_478_i64),
                json!(12.499_9),
            ])
            .clone(),
        (Some("boolean"), _) => json!(dice.chance(500)),
        (Some("array"), _) => array(schema["items"]["type"].as_str(), dice),
        _ => record(schema, dice),
    }
}

fn array(items: Option<&str>, dice: &mut Dice) -> Value {
    let length = dice.below(5);
    let element = |dice: &mut Dice| match items {
        Some("integer") => json!(*dice.pick(&[1, 2, 13, 40, 99])),
        Some("boolean") => json!(dice.chance(500)),
        _ => json!(*dice.pick(&["id", "name", "ssn", "email", "EU", "main", "a"])),
    };
    (0..length).map(|_| element(dice)).collect()
}

fn integer(dice: &mut Dice) -> Value {
    match dice.below(12) {
        0 => json!(i64::MAX),
        1 => json!(i64::MIN),
        2 => json!(i64::MAX / 7),
        3 => json!(12_857_143),
        4 => json!(500),
        5 => json!(13),
        _ => json!(dice.below(20_020) as i64 - 20),
    }
}

fn text(dice: &mut Dice) -> Value {
    json!(*dice.pick(&[
        "src/a.rs",
        "src/../etc",
        "src/",
        "main",
        "modern",
        "EU",
        "",
        "é*ü",
        "src/é..x",
        "a",
        "aa",
        "aba",
        "src/a",
        "srcrs",
        "src",
        "U\u{0}S",
        "ssn",
        "legacy",
    ]))
}

fn formatted(format: &str, dice: &mut Dice) -> Value {
    let choices: &[&str] = match format {
        "decimal" => &[
            "0.9",
            "0.8999",
            "0.9000",
            "1.25",
            "-3.25",
            "1",
            "0.12345",
            "922337203685477.5807",
            "922337203685477.5808",
            "-922337203685477.5808",
            ".5",
            "+1.0",
        ],
        "date-time" => &[
            "2026-05-01T00:00:00Z",
            "2026-05-01T02:00:00+02:00",
            "2026-04-30T23:59:59.999Z",
            "2026-05-01T00:00:00.000000Z",
            "2026-05-01T00:00:00.0001Z",
            "2026-05-01",
            "1969-12-31T23:00:00Z",
            "2026-05-01T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-05-01T00:00:00-0130",
            "0001-01-01T00:00:00Z",
        ],
        "date" => {
            &["2026-05-01", "2026-04-30", "2024-02-29", "2023-02-29", "2026-5-1", "1960-01-01"]
        }
        "duration" => &["PT1H", "P1D", "PT6H30M", "P2W", "PT0S", "1h", "P1Y", "P1DT1S", "P"],
        "ipv4" => &[
            "10.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "9.255.255.255",
            "10.0.0.1/8",
            "010.0.0.1",
            "::1",
        ],
        _ => &[
            "::1",
            "fe80::1",
            "ff02::1",
            "::",
            "::ffff:10.0.0.1",
            "::ffff:a00:1",
            "fe80::1/64",
            "1.2.3.4",
        ],
    };
    json!(*dice.pick(choices))
}
