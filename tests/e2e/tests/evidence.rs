//! What happened can be asked and proven: the control plane's copy names each call, and the command
//! line verifies the gateway's own files with no server running.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, play, records};
use tests_fixtures::stack::{SystemSpec, binary, wait_until};

fn verify(folder: &std::path::Path) -> anyhow::Result<Output> {
    let mut command = Command::new(binary("portcullis")?);
    Ok(command.args(["audit", "verify"]).arg(folder).output()?)
}

#[test]
fn every_call_can_be_asked_for_and_the_log_proves_it() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let mut ann = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        ann.call("crm__get_orders", json!({"customer": "c"}))?;
        ann.call("crm__refund", json!({"order": "A", "amount": 900}))?;
        ann.call("crm__no_such_tool", json!({}))?;
        let mut legacy = Agent::connect(&door, Era::Legacy, "/servers/erp/mcp", &token)?;
        legacy.call("get_orders", json!({"customer": "c"}))?;
        let of = |query: &str| -> anyhow::Result<Vec<Value>> {
            let (status, page) = system.api("GET", &format!("/v1/calls?{query}"), None)?;
            ensure!(status == 200, "{page}");
            Ok(page["items"].as_array().context("items")?.clone())
        };
        let limit = Duration::from_secs(30);
        let ended = |call: &Value| call["phase"] == "outcome" || call["phase"] == "refused";
        let calls = wait_until(limit, "the copy of four calls", || {
            let calls: Vec<Value> =
                of("user=ann&limit=100").ok()?.into_iter().filter(ended).collect();
            (calls.len() == 4).then_some(calls)
        })?;
        let told: Vec<(&str, &str, &str)> = calls
            .iter()
            .map(|call| {
                let text = |name: &str| call[name].as_str().unwrap_or_default();
                (text("server"), text("tool"), text("decision"))
            })
            .collect();
        ensure!(told.contains(&("crm", "get_orders", "allow")), "{told:?}");
        ensure!(told.contains(&("crm", "refund", "deny")), "{told:?}");
        ensure!(told.contains(&("erp", "get_orders", "allow")), "{told:?}");
        let denied = of("decision=deny&tool=refund")?;
        ensure!(denied.iter().any(|call| call["rule"] == "no-large-refunds"), "{denied:?}");
        ensure!(of("tenant=globex")?.is_empty());

        system.gateway.terminate();
        let folder = records::folder(system);
        let report = records::sound(&folder)?;
        let out = verify(&folder)?;
        ensure!(out.status.success(), "{out:?}");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(said.contains(&report.size.to_string()), "{said}");
        // One bit, anywhere in what was written.
        let mut segments: Vec<_> = std::fs::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                dataplane_audit::segment_number(name).is_some()
            })
            .collect();
        segments.sort();
        let first = segments.first().context("a segment")?;
        let good = std::fs::read(first)?;
        let used = dataplane_audit::used_bytes(&good);
        for at in [100, used / 2, used - 10] {
            let mut bad = good.clone();
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 4;
            }
            std::fs::write(first, &bad)?;
            let out = verify(&folder)?;
            ensure!(!out.status.success(), "a flipped bit at {at} of {used} is not found: {out:?}");
        }
        std::fs::write(first, &good)?;
        ensure!(verify(&folder)?.status.success());
        Ok(())
    });
}
