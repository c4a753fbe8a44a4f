//! Canaries: a server's credential, callers' tokens, a key, and arguments, through everything that can
//! go right or wrong. None of them is in any log, metric, file or answer afterwards.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};
use tests_e2e::{
    Agent, Canary, Door, Era, Request, code_of, everything_below, legacy, modern, play, text_of,
    told,
};
use tests_fixtures::stack::{System, SystemSpec, get, wait_until};

const SECRET: &str = "crm-secret-canary";
const NEXT_SECRET: &str = "crm-second-secret-canary";
const WRONG_TOKEN: &str = "wrong-token-canary-0123456789";
const ARGUMENT: &str = "argument-canary-c-4711";

fn pid(system: &System) -> anyhow::Result<rustix::process::Pid> {
    let id = system.gateway.id().and_then(|id| i32::try_from(id).ok());
    id.and_then(rustix::process::Pid::from_raw).context("the gateway runs")
}

/// Calls of every ending, each with the canaries; what came back to the caller.
fn busy(system: &System, token: &str, key: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let door = Door::of(system)?;
    let mut heard = Vec::new();
    let mut hear = |request: &Request| -> anyhow::Result<Value> {
        let reply = door.ask(request)?;
        heard.push(format!("{:?}", reply.headers).into_bytes());
        heard.push(reply.body.clone());
        Ok(reply.answer().unwrap_or(Value::Null))
    };
    let call = |token: &str, tool: &str, arguments: Value| {
        modern(
            "/mcp",
            token,
            &json!(1),
            "tools/call",
            &json!({"name": tool, "arguments": arguments}),
        )
    };
    for token in [token, key] {
        let answer = hear(&call(token, "crm__refund", json!({"order": ARGUMENT, "amount": 900})))?;
        ensure!(code_of(&answer) == Some(-31_403), "{answer}");
        hear(&call(token, "crm__delete_account", json!({"id": ARGUMENT})))?;
        hear(&call(token, "crm__slow", json!({"ms": ARGUMENT})))?;
        hear(&call(token, "crm__refund", json!({"order": "A", "amount": ARGUMENT})))?;
        hear(&call(token, "crm__slow", json!({"ms": 0, "extra": ARGUMENT})))?;
    }
    for path in ["/mcp", "/servers/crm/mcp", "/nowhere"] {
        hear(&modern(path, WRONG_TOKEN, &json!(1), "tools/list", &json!({})))?;
        hear(&legacy(path, WRONG_TOKEN, Some("nonsense"), &json!(1), "tools/list", &json!({})))?;
        let mut broken = modern(path, token, &json!(1), "tools/list", &json!({}));
        broken.body = format!("{{\"jsonrpc\": \"2.0\", \"{ARGUMENT}\": {ARGUMENT}").into_bytes();
        hear(&broken)?;
    }
    // What an allowed call says, the server said: its echo of the argument is the caller's own.
    let mut agent = Agent::connect(&door, Era::Modern, "/mcp", token)?;
    let answer = agent.call("crm__get_orders", json!({"customer": ARGUMENT}))?;
    ensure!(text_of(&answer).contains(ARGUMENT), "{answer}");
    let seen = agent.call("crm__echo_headers", json!({}))?;
    let seen = text_of(&seen);
    ensure!(!seen.contains(token) && !seen.contains(key), "a token reached a server: {seen}");
    Ok(heard)
}

/// Every readable page of the REST API.
fn pages(system: &System) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let (_, document) = system.api("GET", "/v1/openapi.json", None)?;
    let paths = document["paths"].as_object().context("paths")?;
    let mut read = Vec::new();
    for (path, operations) in paths {
        if operations.get("get").is_none() {
            continue;
        }
        let path = path
            .replace("{revision}", "1")
            .replace("{path}", "support.cedar")
            .replace("{id}", "1")
            .replace("{name}", if path.contains("secrets") { "crm-key" } else { "crm" });
        let (_, body) = system.api("GET", &path, None)?;
        read.push((path, body.to_string().into_bytes()));
    }
    ensure!(read.len() > 15, "only {} pages", read.len());
    Ok(read)
}

#[test]
fn no_canary_is_anywhere() {
    play(&SystemSpec::usual(), |system| {
        let token = system.token_of("ann", &["support"])?;
        let request = json!({"tenant": "acme", "agent": "robot", "roles": ["support"]});
        let (status, issued) = system.api("POST", "/v1/keys", Some(&request))?;
        ensure!(status == 201, "{issued}");
        let key = issued["key"].as_str().context("a key")?.to_owned();
        system.wait_for_revision(issued["revision"].as_u64().context("a revision")?)?;
        let mut heard = busy(system, &token, &key)?;
        // A second value, refused by the server: its words must not carry it either.
        let body = json!({"value": NEXT_SECRET});
        let (status, answer) = system.api("PUT", "/v1/secrets/crm-key", Some(&body))?;
        ensure!(status < 300, "{answer}");
        heard.push(answer.to_string().into_bytes());
        let door = Door::of(system)?;
        let mut agent = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        let failed = wait_until(std::time::Duration::from_secs(30), "the new secret", || {
            let answer = agent.call("crm__get_orders", json!({"customer": "c"})).ok()?;
            code_of(&answer).map(|_| answer)
        })?;
        heard.push(failed.to_string().into_bytes());
        // The control plane's copy of the log is there before it is searched.
        wait_until(std::time::Duration::from_secs(30), "records at the control plane", || {
            let (_, page) = system.api("GET", "/v1/calls?limit=1000", None).ok()?;
            (page["items"].as_array()?.len() > 10).then_some(())
        })?;
        let pages = pages(system)?;
        let metrics = get(&system.admin, "/metrics")?.body.into_bytes();
        system.gateway.terminate();
        system.control.terminate();

        let signature = token.rsplit('.').next().context("a token")?;
        let key_secret = key.splitn(3, '_').nth(2).context("a key")?;
        let canaries = [
            ("secret", SECRET),
            ("second secret", NEXT_SECRET),
            ("token", signature),
            ("wrong token", WRONG_TOKEN),
            ("key", key_secret),
            ("argument", ARGUMENT),
        ]
        .map(|(name, text)| (name, Canary::new(text)));
        let mut searched = 0;
        let mut found = Vec::new();
        let mut search = |place: &str, bytes: &[u8]| {
            searched += bytes.len();
            let hits = canaries.iter().filter(|(_, canary)| canary.is_in(bytes));
            found.extend(hits.map(|(name, _)| format!("{name} in {place}")));
        };
        for (number, bytes) in heard.iter().enumerate() {
            search(&format!("answer {number}: {}", String::from_utf8_lossy(bytes)), bytes);
        }
        for (path, bytes) in &pages {
            search(path, bytes);
        }
        search("/metrics", &metrics);
        let files = everything_below(&system.place.path(""))?;
        ensure!(files.iter().any(|file| file.ends_with("gateway/audit/checkpoint")), "{files:?}");
        for file in &files {
            let bytes = std::fs::read(file)?;
            // A prepared segment is zeros to its end.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            search(&file.display().to_string(), bytes.get(..end).unwrap_or_default());
        }
        ensure!(found.is_empty(), "{found:#?}");
        told(&format!("{} files, {} pages, {searched} bytes: no canary", files.len(), pages.len()));
        Ok(())
    });
}

#[test]
fn memory_for_secrets_is_locked_and_nothing_is_dumped() {
    play(&SystemSpec::usual(), |system| {
        let id = system.gateway.id().context("the gateway runs")?;
        let smaps = std::fs::read_to_string(format!("/proc/{id}/smaps"))?;
        let mut locked_kib = 0;
        let mut size_kib = 0;
        for line in smaps.lines() {
            if let Some(size) = line.strip_prefix("Size:") {
                size_kib = size.trim().trim_end_matches(" kB").trim().parse()?;
            }
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                let flags: Vec<&str> = flags.split_whitespace().collect();
                if flags.contains(&"lo") && flags.contains(&"dd") {
                    locked_kib += size_kib;
                }
            }
        }
        // 1 MiB a core.
        ensure!(locked_kib >= 1_024, "only {locked_kib} KiB are locked and not dumped");
        let unlimited = Rlimit { current: None, maximum: None };
        prlimit(Some(pid(system)?), Resource::Core, unlimited)?;
        system.gateway.signal(Signal::ABORT);
        let gateway = &mut system.gateway;
        let limit = std::time::Duration::from_secs(30);
        let status = wait_until(limit, "the end", || gateway.ended())?;
        ensure!(status.signal() == Some(6), "{status}");
        ensure!(!status.core_dumped(), "a core was dumped");
        Ok(())
    });
}
