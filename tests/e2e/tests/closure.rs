//! What a caller may not call, it reaches by no path: every denied (caller, tool) pair through every
//! entry point of the router, in both eras, by every method and under every name.
//!
//! The oracle is the control plane's explanation; the judge is the servers' own count of calls.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use dataplane_pipeline::route::{ENTRY_POINTS, EntryPoint, Purpose};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, Reply, Request, code_of, legacy, modern, names_of, play};
use tests_fixtures::stack::{System, SystemSpec, get};

const RULES: &str = r#"permit(principal in Role::"support", action == Action::"call", resource in Server::"crm");
permit(principal in Role::"support", action == Action::"call", resource in Server::"erp");
permit(principal in Role::"billing", action == Action::"call", resource == Tool::"crm/get_orders");
permit(principal in Role::"billing", action == Action::"call", resource == Tool::"erp/refund");
@id("nobody-deletes")
forbid(principal, action == Action::"call", resource == Tool::"crm/delete_account");
@id("globex-may-nothing")
forbid(principal, action == Action::"call", resource) when { principal.tenant == Tenant::"globex" };
"#;

const TOOLS: [&str; 7] =
    ["get_orders", "refund", "delete_account", "slow", "stream", "echo_headers", "big"];
const SERVERS: [&str; 2] = ["crm", "erp"];
/// Everything that MCP names, whether we carry it or not.
const METHODS: [&str; 19] = [
    "tools/call",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "resources/templates/list",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
    "tasks/list",
    "tasks/update",
    "subscriptions/listen",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
];

struct Caller {
    user: &'static str,
    tenant: &'static str,
    roles: &'static [&'static str],
}

const CALLERS: [Caller; 4] = [
    Caller { user: "ann", tenant: "acme", roles: &["support"] },
    Caller { user: "bob", tenant: "acme", roles: &["billing"] },
    Caller { user: "eve", tenant: "acme", roles: &[] },
    Caller { user: "mallory", tenant: "globex", roles: &["support", "billing"] },
];

fn spec() -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.folder.insert("support.cedar".into(), RULES.into());
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        *text = text.replace("[tenants.acme]", "[tenants.acme]\n[tenants.globex]");
        *text = text.replace("[roles.support]", "[roles.support]\n[roles.billing]");
    });
    spec
}

/// Arguments that each tool takes.
fn arguments(tool: &str) -> Value {
    match tool {
        "get_orders" => json!({"customer": "c-1"}),
        "refund" => json!({"order": "A-1", "amount": 1}),
        "delete_account" => json!({"id": "a-1"}),
        "slow" => json!({"ms": 0}),
        "stream" => json!({"events": 0}),
        "big" => json!({"bytes": 1}),
        _ => json!({}),
    }
}

fn calls_at(system: &System) -> anyhow::Result<u64> {
    let mut sum = 0;
    for server in SERVERS {
        let url = system.filled_in(&format!("{{url:{server}}}"));
        let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
        sum += get(address, "/calls")?.body.trim().parse::<u64>()?;
    }
    Ok(sum)
}

/// One caller with its token, its denied tools, and its connection.
struct Attempt<'a> {
    door: &'a Door,
    caller: &'a Caller,
    token: String,
    requests: u64,
    agent: Agent,
    /// What is listed at each path, asked once.
    shown: BTreeMap<String, Vec<String>>,
}

impl Attempt<'_> {
    /// Sends, and refuses any answer that is a result.
    fn refused(&mut self, request: &Request, why: &str) -> anyhow::Result<Reply> {
        self.requests += 1;
        let reply = match self.agent.wire.ask(request) {
            Ok(reply) => reply,
            // Some refusals close; that is a refusal, too.
            Err(_) => {
                self.agent = Agent::connect(self.door, Era::Modern, "/mcp", &self.token)?;
                self.agent.wire.ask(request).with_context(|| why.to_owned())?
            }
        };
        if reply.header("connection") == Some("close") {
            self.agent = Agent::connect(self.door, Era::Modern, "/mcp", &self.token)?;
        }
        let has_result = reply
            .messages()
            .unwrap_or_default()
            .iter()
            .any(|message| message.get("result").is_some());
        ensure!(!has_result, "{} got a result: {why}\n{}", self.caller.user, reply.text());
        ensure!(reply.status != 202 || reply.body.is_empty(), "{why}: {}", reply.text());
        Ok(reply)
    }

    fn error(&mut self, request: &Request, why: &str) -> anyhow::Result<Value> {
        let answer = self.refused(request, why)?.answer().with_context(|| why.to_owned())?;
        Ok(answer["error"].clone())
    }

    /// One tool that this caller may not call, at one entry point, in one era.
    fn knock(
        &mut self,
        path: &str,
        session: Option<&str>,
        server: &str,
        tool: &str,
    ) -> anyhow::Result<()> {
        let (user, token) = (self.caller.user, self.token.clone());
        let era = if session.is_some() { "legacy" } else { "modern" };
        let request = |id: &Value, method: &str, params: &Value| match session {
            Some(session) => legacy(path, &token, Some(session), id, method, params),
            None => modern(path, &token, id, method, params),
        };
        let names = [
            tool.to_owned(),
            format!("{server}__{tool}"),
            format!("{server}/{tool}"),
            format!("{server}__{server}__{tool}"),
            format!("erp__{server}__{tool}"),
            format!("{server}__{tool} "),
            tool.to_uppercase(),
            format!("{server}__{}", tool.replace('_', "\u{ff3f}")),
        ];
        let unknown = request(
            &json!(1),
            "tools/call",
            &json!({"name": "no-such-tool", "arguments": arguments(tool)}),
        );
        let unknown = self.error(&unknown, "an unknown tool")?;
        for name in &names {
            // At another server's own path, a name may mean a tool that may be called.
            if self.may(path, name) {
                continue;
            }
            let why = format!("{user} {era} {path} tools/call {name}");
            let params = json!({"name": name, "arguments": arguments(tool)});
            let error = self.error(&request(&json!(1), "tools/call", &params), &why)?;
            if name.is_ascii() && !name.ends_with(' ') {
                ensure!(error == unknown, "{why} is told apart: {error}\n{unknown}");
            }
            let nothing = self.refused(&request(&Value::Null, "tools/call", &params), &why)?;
            ensure!(nothing.status != 200, "{why} as a notification: {}", nothing.status);
        }
        for method in METHODS {
            for name in
                names.iter().take(2).filter(|name| !self.may(path, name)).collect::<Vec<_>>()
            {
                let params = json!({"name": name, "uri": name, "taskId": name, "arguments": arguments(tool), "ref": {"type": "ref/prompt", "name": name}});
                self.refused(
                    &request(&json!(1), method, &params),
                    &format!("{path} {method} {name}"),
                )?;
            }
        }
        Ok(())
    }

    /// Whether this name at this path is one that the list shows to this caller.
    fn may(&self, path: &str, name: &str) -> bool {
        self.shown.get(path).is_some_and(|names| names.iter().any(|one| one == name))
    }

    fn listed(&mut self, path: &str) -> anyhow::Result<Vec<String>> {
        if let Some(names) = self.shown.get(path) {
            return Ok(names.clone());
        }
        let list = modern(path, &self.token, &json!(1), "tools/list", &json!({}));
        let names = names_of(&self.agent.wire.ask(&list)?.answer()?).unwrap_or_default();
        self.shown.insert(path.to_owned(), names.clone());
        Ok(names)
    }
}

/// What the control plane says this caller may see.
fn visible(system: &System, caller: &Caller, server: &str, tool: &str) -> anyhow::Result<bool> {
    let question = json!({
        "caller": {"tenant": caller.tenant, "user": caller.user, "roles": caller.roles},
        "tool": format!("{server}/{tool}"),
        "arguments": arguments(tool),
    });
    let (status, told) = system.api("POST", "/v1/explain", Some(&question))?;
    ensure!(status == 200, "explain: {told}");
    ensure!(told["visible"] == json!(told["decision"] == "allow"), "{told}");
    told["visible"].as_bool().context("visible")
}

#[test]
fn what_is_denied_is_denied_at_every_entry_point() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let (mut pairs, mut requests) = (0, 0);
        for caller in &CALLERS {
            let claims = json!({"sub": caller.user, "org": caller.tenant, "groups": caller.roles});
            let token = system.token_for(claims)?;
            let agent = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
            let mut attempt =
                Attempt { door: &door, caller, token, requests: 0, agent, shown: BTreeMap::new() };
            let before = calls_at(system)?;
            for server in SERVERS {
                for tool in TOOLS {
                    let expected = visible(system, caller, server, tool)?;
                    for point in ENTRY_POINTS {
                        for at in SERVERS {
                            check(&mut attempt, point, at, server, tool, expected)?;
                        }
                    }
                    pairs += u32::from(!expected);
                }
            }
            let after = calls_at(system)?;
            ensure!(before == after, "{} reached a server {} times", caller.user, after - before);
            requests += attempt.requests;
        }
        ensure!(pairs >= 30, "only {pairs} denied pairs");
        tests_e2e::told(&format!(
            "{pairs} denied pairs, {requests} requests, none reached a server"
        ));
        Ok(())
    });
}

/// One entry point, with `at` where it names a server.
fn check(
    attempt: &mut Attempt<'_>,
    point: &EntryPoint,
    at: &str,
    server: &str,
    tool: &str,
    is_allowed: bool,
) -> anyhow::Result<()> {
    let path = point.path(at);
    match point.purpose {
        Purpose::Metadata => {
            let reply = attempt.door.ask(&Request::new("GET", &path))?;
            ensure!(reply.status == 200, "{path}: {}", reply.status);
            ensure!(!reply.text().contains(tool), "{path} tells of {tool}");
            return Ok(());
        }
        Purpose::Mcp => {}
    }
    let shown = if point.is_federated { format!("{server}__{tool}") } else { tool.to_owned() };
    let is_here = point.is_federated || at == server;
    let names = attempt.listed(&path)?;
    if is_here {
        let is_listed = names.contains(&shown);
        ensure!(is_listed == is_allowed, "{} {path} {shown}: {is_listed}", attempt.caller.user);
    }
    if is_allowed || !is_here {
        return Ok(());
    }
    attempt.knock(&path, None, server, tool)?;
    let legacy_agent = Agent::connect(attempt.door, Era::Legacy, &path, &attempt.token);
    match (legacy_agent, names.is_empty() && !point.is_federated) {
        (Ok(agent), false) => {
            let session = agent.session().unwrap_or_default().to_owned();
            attempt.knock(&path, Some(&session), server, tool)
        }
        // Where nothing is to be seen, no session is opened.
        (Err(_), true) => Ok(()),
        (Ok(_), true) => anyhow::bail!("{path}: a session where nothing is to be seen"),
        (Err(fault), false) => Err(fault),
    }
}

#[test]
fn a_hidden_server_and_a_foreign_session_are_as_unknown() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let eve = system.token_of("eve", &[])?;
        let ann = system.token_of("ann", &["support"])?;
        for (method, params) in [
            ("tools/list", json!({})),
            ("server/discover", json!({})),
            ("tools/call", json!({"name": "get_orders", "arguments": {"customer": "c-1"}})),
        ] {
            let ask = |server: &str| -> anyhow::Result<(u16, Value)> {
                let path = format!("/servers/{server}/mcp");
                let reply = door.ask(&modern(&path, &eve, &json!(1), method, &params))?;
                Ok((reply.status, reply.answer()?))
            };
            let (hidden, unknown) = (ask("crm")?, ask("no-such-server")?);
            ensure!(hidden == unknown, "{method}: {hidden:?}\n{unknown:?}");
            ensure!(code_of(&hidden.1) == Some(-32602), "{hidden:?}");
        }
        // Ann's session in Bob's hands, and at another path, is as one that never was.
        let bob = system.token_of("bob", &["support"])?;
        let agent = Agent::connect(&door, Era::Legacy, "/servers/erp/mcp", &ann)?;
        let session = agent.session().context("a session")?.to_owned();
        let mut forged = session.clone().into_bytes();
        if let Some(last) = forged.get_mut(10) {
            *last = if *last == b'A' { b'B' } else { b'A' };
        }
        let forged = String::from_utf8(forged)?;
        let ask = |path: &str, token: &str, session: &str| -> anyhow::Result<(u16, Value)> {
            let list = legacy(path, token, Some(session), &json!(1), "tools/list", &json!({}));
            let reply = door.ask(&list)?;
            Ok((reply.status, reply.answer()?))
        };
        let never = ask("/servers/erp/mcp", &bob, &forged)?;
        ensure!(never.0 == 404, "{never:?}");
        ensure!(ask("/servers/erp/mcp", &bob, &session)? == never);
        ensure!(ask("/servers/crm/mcp", &ann, &session)? == never);
        ensure!(ask("/mcp", &ann, &session)? == never);
        ensure!(ask("/servers/erp/mcp", &ann, &forged)? == never);
        ensure!(ask("/servers/erp/mcp", &ann, &session)?.0 == 200);
        Ok(())
    });
}

#[test]
fn header_and_body_must_say_the_same() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let before = calls_at(system)?;
        let params = json!({"name": "crm__refund", "arguments": arguments("refund")});
        let honest = modern("/mcp", &token, &json!(1), "tools/call", &params);
        let with = |name: &str, value: Option<&str>| {
            let mut request = honest.clone();
            request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            if let Some(value) = value {
                request = request.header(name, value);
            }
            request
        };
        for (name, value) in [
            ("Mcp-Name", Some("crm__get_orders")),
            ("Mcp-Name", Some("crm__REFUND")),
            ("Mcp-Name", Some("crm__refund,crm__get_orders")),
            ("Mcp-Name", Some("crm%5F%5Frefund")),
            ("Mcp-Name", None),
            ("Mcp-Method", Some("tools/list")),
            ("Mcp-Method", Some("Tools/Call")),
            ("Mcp-Method", None),
            ("MCP-Protocol-Version", Some("2025-11-25")),
        ] {
            let reply = door.ask(&with(name, value))?;
            ensure!(reply.status == 400, "{name}: {value:?}: {} {}", reply.status, reply.text());
        }
        // None of these names a caller, a server or a decision.
        for name in
            ["X-Forwarded-User", "X-Original-URL", "X-Rewrite-URL", "mcp-init-host", "X-Mcp-Server"]
        {
            let request = modern(
                "/mcp",
                &token,
                &json!(1),
                "tools/call",
                &json!({"name": "crm__delete_account", "arguments": {"id": "1"}}),
            );
            let answer = door.ask(&request.header(name, "/servers/erp/mcp"))?.answer()?;
            ensure!(code_of(&answer) == Some(-32602), "{name}: {answer}");
        }
        ensure!(calls_at(system)? == before, "something was forwarded");
        ensure!(code_of(&door.ask(&honest)?.answer()?).is_none(), "the honest call fails");
        Ok(())
    });
}
