//! Long answers to clients that are slow to read: the gateway keeps little of each, and nobody else
//! notices.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, code_of, play, text_of, told};
use tests_fixtures::stack::{System, SystemSpec};

/// Clients that do not read.
const CLIENTS: usize = 200;
/// What each is sent: just below the longest answer, with room for its envelope.
const BYTES: usize = (8 << 20) - 4_096;
/// Those of them that read on in the end.
const READ_ON: usize = 10;
/// For each: a piece of the answer on its way in, as text and as TLS, several times over.
const KIB_EACH: u64 = 256;
/// Until what the kernels' buffers take is taken, and nothing moves any more.
const QUIET: Duration = Duration::from_secs(2);

/// Answers one connection, as fast as bytes are copied: a server with a real SDK would be the test's
/// own bottleneck.
fn serve(connection: TcpStream, text: &str) -> anyhow::Result<()> {
    let mut out = connection.try_clone()?;
    let mut input = BufReader::new(connection);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while input.read_line(&mut line)? > 2 {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        let asked: Value = serde_json::from_slice(&body)?;
        let id = asked["id"].to_string();
        let tool = json!({"name": "read", "inputSchema": {"type": "object", "properties": {
            "long": {"type": "boolean"}}}});
        let content = match asked["method"].as_str() {
            Some("server/discover") => json!({"supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "files", "version": "1"}}}),
            Some("tools/list") => json!({"tools": [tool], "ttlMs": 0, "cacheScope": "private"}),
            _ => json!({"content": [{"type": "text", "text": "TEXT"}]}),
        };
        let is_long = asked["params"]["arguments"]["long"] == true;
        let mut result = content;
        result["resultType"] = json!("complete");
        let result = result.to_string();
        let (before, after) = result.split_once("TEXT").unwrap_or((&result, ""));
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{before}");
        let text = if is_long { text } else { "" };
        let length = head.len() + text.len() + after.len() + 1;
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {head}"
        )?;
        out.write_all(text.as_bytes())?;
        write!(out, "{after}}}")?;
    }
}

/// A server `files` whose tool `read` gives a long text where it is asked to.
fn files() -> anyhow::Result<SystemSpec> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let text: Arc<str> = "0123456789abcdef".repeat(BYTES / 16).into();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let text = Arc::clone(&text);
            std::thread::spawn(move || serve(connection, &text));
        }
    });
    let mut spec = SystemSpec::usual();
    let more = format!("\n[servers.files]\nurl = \"{url}\"\n");
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| text.push_str(&more));
    let rule = "\npermit(principal in Role::\"support\", action == Action::\"call\", \
                resource in Server::\"files\");\n";
    spec.folder.entry("support.cedar".into()).and_modify(|text| text.push_str(rule));
    Ok(spec)
}

fn resident_kib(system: &System) -> anyhow::Result<u64> {
    let pid = system.gateway.id().context("the gateway's id")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

#[test]
fn two_hundred_long_answers_to_slow_readers_cost_little() {
    let spec = files().expect("a listener");
    play(&spec, |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let mut slow = Vec::new();
        for _ in 0..CLIENTS {
            let mut agent = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
            ensure!(code_of(&agent.call("files__read", json!({}))?).is_none());
            slow.push(agent);
        }
        let mut other = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        let before = resident_kib(system)?;
        for agent in &mut slow {
            let request = agent.tool_request(&json!(1), "files__read", &json!({"long": true}));
            agent.wire.send(&request)?;
        }
        let (begun, mut most, mut moved) = (Instant::now(), before, Instant::now());
        while moved.elapsed() < QUIET && begun.elapsed() < Duration::from_secs(40) {
            let answer = other.call("files__read", json!({}))?;
            ensure!(code_of(&answer).is_none(), "another caller notices: {answer}");
            let now = resident_kib(system)?;
            if now > most + 64 {
                (most, moved) = (now, Instant::now());
            }
        }
        let each = most.saturating_sub(before) / CLIENTS as u64;
        told(&format!(
            "{CLIENTS} answers of {} MiB to clients that do not read: {} MiB resident before, {} at \
             most, {each} KiB each",
            BYTES.div_ceil(1 << 20),
            before >> 10,
            most >> 10,
        ));
        ensure!(each <= KIB_EACH, "{each} KiB each");
        // Whoever reads on gets all of it.
        for agent in slow.iter_mut().take(READ_ON) {
            let answer = agent.wire.reply()?.answer()?;
            ensure!(text_of(&answer).len() == BYTES, "{:.200}", answer.to_string());
        }
        Ok(())
    });
}
