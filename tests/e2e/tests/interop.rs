//! The official SDKs, through the gateway and directly: the same script must print the same.
//!
//! TypeScript v1 and v2, Python and rmcp, each in every era it speaks, against our fixture servers;
//! and the npm *everything* server, which is a stranger to all of our code.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_e2e::sdk::{self, Runtime, Visit};
use tests_e2e::{play, skip};
use tests_fixtures::stack::{Process, System, SystemSpec, binary, free_port, get, wait_until};

fn fixture_calls() -> Value {
    json!([
        {"name": "get_orders", "arguments": {"customer": "c-17"}},
        {"name": "refund", "arguments": {"order": "A-1", "amount": 120, "currency": "EUR"}},
        {"name": "refund", "arguments": {"order": "Ünï \"quoted\" \\ 漢字", "amount": 1}},
        {"name": "big", "arguments": {"bytes": 300_000}},
        {"name": "stream", "arguments": {"events": 5}, "progress": true},
        {"name": "slow", "arguments": {"ms": 20}},
        {"name": "no_such_tool", "arguments": {}},
        {"name": "slow", "arguments": {"ms": "not a number"}},
    ])
}

/// The same visit, to the server itself and to us.
struct Pair<'a> {
    system: &'a System,
    /// As the server itself knows it.
    server: &'a str,
    direct_url: String,
    direct_authorization: &'a str,
    calls: Value,
}

impl Pair<'_> {
    fn direct(&self, mode: &'static str) -> Visit {
        Visit {
            mode,
            url: self.direct_url.clone(),
            authorization: self.direct_authorization.to_owned(),
            prefix: String::new(),
            calls: self.calls.clone(),
            certificates: None,
        }
    }

    fn through(&self, mode: &'static str, federated: bool) -> anyhow::Result<Visit> {
        let server = self.server;
        let path = if federated { "/mcp".to_owned() } else { format!("/servers/{server}/mcp") };
        let token = self.system.token_for(json!({
            "sub": "ann", "org": "acme", "groups": ["support"],
            "aud": self.system.url("/mcp"),
        }))?;
        Ok(Visit {
            mode,
            url: self.system.url(&path),
            authorization: format!("Bearer {token}"),
            prefix: if federated { format!("{server}__") } else { String::new() },
            calls: self.calls.clone(),
            certificates: Some(self.system.certificate()),
        })
    }

    /// Runs it three times and compares: directly, at the server's path, at the federated one.
    fn compare(&self, runtime: &Runtime, script: &str, mode: &'static str) -> anyhow::Result<()> {
        let direct = runtime.visit(script, &self.direct(mode))?;
        let told = direct["answers"].as_array().into_iter().flatten();
        let progress = told.filter_map(|answer| Some(answer["progress"].as_array()?.len()));
        ensure!(progress.max() >= Some(4), "{script} {mode}: no progress, even directly");
        for federated in [false, true] {
            let through = runtime.visit(script, &self.through(mode, federated)?)?;
            same(&format!("{script} {mode} federated={federated}"), &direct, &through)?;
        }
        Ok(())
    }
}

/// Equal, or the first place where they are not.
fn same(what: &str, direct: &Value, through: &Value) -> anyhow::Result<()> {
    let names = |value: &Value| {
        let tools = value["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["name"].clone()).collect::<Vec<_>>()
    };
    ensure!(names(direct) == names(through), "{what}: {:?}\n{:?}", names(direct), names(through));
    ensure!(!names(direct).is_empty(), "{what}: no tools");
    for part in ["protocol", "tools", "answers", "ping"] {
        let (direct, through) = (&direct[part], &through[part]);
        if let (Some(direct), Some(through)) = (direct.as_array(), through.as_array()) {
            for (direct, through) in direct.iter().zip(through) {
                let (shown, shown_through) = (shown(direct), shown(through));
                ensure!(direct == through, "{what}, {part}:\n{shown}\n{shown_through}");
            }
        }
        ensure!(direct == through, "{what}, {part}:\n{}\n{}", shown(direct), shown(through));
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    format!("{value:#}").chars().take(2_000).collect()
}

/// The usual servers, and rules that hide nothing: hidden tools would differ from a direct run.
fn open_spec() -> SystemSpec {
    let mut spec = SystemSpec::usual();
    let rules = "permit(principal in Role::\"support\", action == Action::\"call\", resource);\n";
    spec.folder.insert("support.cedar".into(), rules.into());
    spec
}

fn direct_url(system: &System, server: &str) -> String {
    system.filled_in(&format!("{{url:{server}}}"))
}

fn fixture_pair<'a>(system: &'a System, server: &'a str) -> Pair<'a> {
    let direct_authorization = if server == "crm" { "Bearer crm-secret-canary" } else { "" };
    let direct_url = direct_url(system, server);
    Pair { system, server, direct_url, direct_authorization, calls: fixture_calls() }
}

#[test]
fn typescript_sees_no_difference() {
    let node = match sdk::node() {
        Ok(node) => node,
        Err(why) => return skip("typescript_sees_no_difference", &format!("{why:#}")),
    };
    play(&open_spec(), |system| {
        let (modern, legacy) = (fixture_pair(system, "crm"), fixture_pair(system, "erp"));
        legacy.compare(&node, "script.mjs", "v1")?;
        legacy.compare(&node, "script.mjs", "v2-legacy")?;
        modern.compare(&node, "script.mjs", "v2-modern")?;
        modern.compare(&node, "script.mjs", "v2-auto")
    });
}

#[test]
fn python_sees_no_difference() {
    let python = match sdk::python() {
        Ok(python) => python,
        Err(why) => return skip("python_sees_no_difference", &format!("{why:#}")),
    };
    play(&open_spec(), |system| {
        let (modern, legacy) = (fixture_pair(system, "crm"), fixture_pair(system, "erp"));
        legacy.compare(&python, "script.py", "legacy")?;
        modern.compare(&python, "script.py", "auto")?;
        modern.compare(&python, "script.py", "2026-07-28")
    });
}

#[test]
fn rmcp_sees_no_difference() {
    play(&open_spec(), |system| {
        for (server, eras) in [("crm", ["modern", "both"]), ("erp", ["legacy", "legacy"])] {
            let pair = fixture_pair(system, server);
            for era in eras {
                let direct = rmcp(era, &pair.direct(era))?;
                for federated in [false, true] {
                    let through = rmcp(era, &pair.through(era, federated)?)?;
                    same(&format!("rmcp {era} federated={federated}"), &direct, &through)?;
                }
            }
        }
        Ok(())
    });
}

/// What the scripts do, with the fixture client: one run a call.
fn rmcp(era: &str, visit: &Visit) -> anyhow::Result<Value> {
    let run = |verb: &[&str]| -> anyhow::Result<Value> {
        let mut command = Command::new(binary("fixture-client")?);
        command.args(["--url", &visit.url, "--era", era, "--timeout-ms", "60000"]);
        if let Some(token) = visit.authorization.strip_prefix("Bearer ") {
            command.args(["--token", token]);
        }
        if let Some(certificates) = &visit.certificates {
            command.arg("--certificates").arg(certificates);
        }
        let out = command.args(verb).stdin(Stdio::null()).output()?;
        serde_json::from_slice(&out.stdout).context("fixture-client prints JSON")
    };
    let listed = run(&["list"])?;
    let listed = listed["ok"].as_array().with_context(|| listed.to_string())?;
    let own = listed.iter().filter_map(|name| name.as_str()?.strip_prefix(visit.prefix.as_str()));
    let mut tools: Vec<&str> = own.collect();
    tools.sort_unstable();
    let tools: Vec<Value> = tools.into_iter().map(|name| json!({"name": name})).collect();
    let mut answers = Vec::new();
    for call in visit.calls.as_array().into_iter().flatten() {
        let name = format!("{}{}", visit.prefix, call["name"].as_str().unwrap_or_default());
        let answer = run(&["call", &name, &call["arguments"].to_string()])?;
        // Words of an error are each side's own; the code is the protocol's.
        let code = &answer["error"]["code"];
        answers.push(if code.is_null() { answer } else { code.clone() });
    }
    Ok(json!({"tools": tools, "answers": answers}))
}

#[test]
fn a_strangers_server_is_the_same_through_us() {
    let name = "a_strangers_server_is_the_same_through_us";
    let (node, python) = match (sdk::node(), sdk::python()) {
        (Ok(node), Ok(python)) => (node, python),
        (Err(why), _) | (_, Err(why)) => return skip(name, &format!("{why:#}")),
    };
    let port = free_port().expect("a port");
    let log = std::env::temp_dir().join(format!("everything-{}.log", std::process::id()));
    let main = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    let main = node.folder.join(main).display().to_string();
    let words = [main, "streamableHttp".to_owned()];
    let env = [("PORT".to_owned(), port.to_string())];
    let mut everything = Process::start("everything", &node.program, &words, &env, &log).unwrap();
    let address = format!("127.0.0.1:{port}");
    let limit = std::time::Duration::from_secs(60);
    everything.until(limit, "an answer", || get(&address, "/mcp").is_ok()).unwrap();
    let mut spec = open_spec();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        text.push_str(&format!("\n[servers.every]\nurl = \"http://{address}/mcp\"\n"));
    });
    play(&spec, |system| {
        let calls = json!([
            {"name": "echo", "arguments": {"message": "hello — 漢字"}},
            {"name": "get-sum", "arguments": {"a": 2, "b": 40}},
            {"name": "get-tiny-image", "arguments": {}},
            {"name": "get-structured-content", "arguments": {"location": "New York"}},
            {"name": "get-annotated-message", "arguments": {"messageType": "error"}},
            {"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 4}, "progress": true},
            {"name": "get-sum", "arguments": {"a": "no number", "b": 40}},
        ]);
        let direct_url = format!("http://{address}/mcp");
        let pair = Pair { system, server: "every", direct_url, direct_authorization: "", calls };
        pair.compare(&node, "script.mjs", "v1")?;
        pair.compare(&node, "script.mjs", "v2-legacy")?;
        pair.compare(&python, "script.py", "legacy")
    });
    drop(everything);
    let _ = wait_until(limit, "the log's end", || std::fs::remove_file(&log).ok());
}
