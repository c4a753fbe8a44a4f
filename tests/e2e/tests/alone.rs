//! The control plane is gone: the gateway keeps deciding, also after a restart, from its own disk.
//! What only the control plane can give is missed by name, and is there again when it is back.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, acknowledged, code_of, play, text_of};
use tests_fixtures::stack::{System, SystemSpec, get, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const CREDENTIAL_MISSING: i64 = -31_511;

/// What each of some questions is decided to, servers apart.
fn decisions(door: &Door, tokens: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for token in tokens {
        let mut agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
        all.push(json!(agent.list()?));
        for (tool, arguments) in [
            ("open__get_orders", json!({"customer": "c"})),
            ("open__refund", json!({"order": "A", "amount": 1})),
            ("crm__refund", json!({"order": "A", "amount": 900})),
            ("crm__delete_account", json!({"id": "1"})),
            ("crm__no_such_tool", json!({})),
        ] {
            let mut answer = agent.call(tool, arguments)?;
            // The number of the call, which is ours.
            answer["id"] = Value::Null;
            all.push(answer);
        }
        let refused =
            door.ask(&tests_e2e::modern("/mcp", "nonsense", &json!(1), "tools/list", &json!({})))?;
        all.push(json!(refused.status));
    }
    Ok(all)
}

fn is_ready(system: &System) -> bool {
    get(&system.admin, "/readyz").is_ok_and(|answer| answer.status == 200)
}

/// The usual servers, and one that needs no credential.
fn spec() -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.peers.push(tests_fixtures::stack::Peer { name: "open", era: "modern", require: None });
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        text.push_str("\n[servers.open]\nurl = \"{url:open}\"\n");
    });
    spec.folder.entry("support.cedar".into()).and_modify(|rules| {
        rules.push_str("\npermit(principal, action == Action::\"call\", resource == Tool::\"open/get_orders\");\n");
    });
    spec
}

#[test]
fn without_a_control_plane_every_decision_stays() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let tokens = [system.token_of("ann", &["support"])?, system.token_of("bob", &["other"])?];
        let mut kept = Agent::connect(&door, Era::Modern, "/mcp", &tokens[0])?;
        let with = |system: &System| decisions(&Door::of(system)?, &tokens);
        ensure!(kept.list()?.contains(&"open__get_orders".to_owned()));
        let before = with(system)?;
        let body = json!({"target": {"tool": "open/refund"}, "reason": "before the fall"});
        let (status, kill) = system.api("POST", "/v1/kills", Some(&body))?;
        ensure!(status == 201, "{kill}");
        wait_until(LIMIT, "the kill", || {
            (system.metric("portcullis_kills").ok()? == 1).then_some(())
        })?;
        let killed = with(system)?;

        system.control.kill().context("it ran")?;
        wait_until(LIMIT, "the loss", || {
            (system.metric("portcullis_control_connected").ok()? == 0).then_some(())
        })?;
        ensure!(with(system)? == killed, "decisions changed when the control plane went");
        let answer = kept.call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer).is_none(), "a lease died with its lender: {answer}");

        system.gateway.restart()?;
        wait_until(LIMIT, "readiness from disk", || is_ready(system).then_some(()))?;
        ensure!(with(system)? == killed, "decisions from disk differ");
        let mut ann = Agent::connect(&Door::of(system)?, Era::Modern, "/mcp", &tokens[0])?;
        let answer = ann.call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer) == Some(CREDENTIAL_MISSING), "{answer}");
        let message = answer["error"]["message"].as_str().context("a message")?;
        ensure!(message.contains("crm") && message.contains("credential"), "{message}");

        system.control.restart()?;
        wait_until(LIMIT, "the control plane", || {
            (system.metric("portcullis_control_connected").ok()? == 1).then_some(())
        })?;
        wait_until(LIMIT, "the credential", || {
            let answer = ann.call("crm__get_orders", json!({"customer": "c"})).ok()?;
            text_of(&answer).contains("orders").then_some(())
        })?;
        let (status, _) = system.api("DELETE", &format!("/v1/kills/{}", kill["id"]), None)?;
        ensure!(status == 200);
        wait_until(LIMIT, "life after the kill", || {
            (system.metric("portcullis_kills").ok()? == 0).then_some(())
        })?;
        ensure!(with(system)? == before, "decisions differ when all is as before");
        Ok(())
    });
}

#[test]
fn damaged_or_foreign_files_are_not_served_from() {
    play(&SystemSpec::usual(), |system| {
        let token = system.token_of("ann", &["support"])?;
        acknowledged(system)?;
        system.control.kill().context("it ran")?;
        system.gateway.kill().context("it ran")?;
        let path = system.place.path("gateway/bundle.current");
        let good = std::fs::read(&path)?;
        for at in [good.len() / 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 1;
            }
            std::fs::write(&path, &bad)?;
            system.gateway.restart()?;
            wait_until(LIMIT, "the management listener", || get(&system.admin, "/healthz").ok())?;
            ensure!(!is_ready(system), "a damaged bundle is served from (byte {at})");
            let request = tests_e2e::modern("/mcp", &token, &json!(1), "tools/list", &json!({}));
            let door = Door::of(system)?;
            // The kernel takes a moment to close the listeners of a process that was killed, and
            // resets who connected to them.
            let reply = wait_until(LIMIT, "an answer", || door.ask(&request).ok())?;
            ensure!(
                reply.status == 503 || reply.status == 403,
                "{}: {}",
                reply.status,
                reply.text()
            );
        }
        // The control plane brings a good one.
        system.control.restart()?;
        wait_until(LIMIT, "a good bundle", || is_ready(system).then_some(()))?;
        let mut ann = Agent::connect(&Door::of(system)?, Era::Modern, "/mcp", &token)?;
        ensure!(ann.list()?.contains(&"crm__get_orders".to_owned()));
        Ok(())
    });
}
