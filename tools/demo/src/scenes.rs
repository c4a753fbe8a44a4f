//! Seven of the eight scenes. Each fails the demo when what it shows is not so.

use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_fixtures::mcp::Era;
use tests_fixtures::mcp::client::{Client, as_json, text_of};
use tests_fixtures::stack::wait_until;

use crate::agent::Agent;
use crate::dropped;
use crate::stage::Stage;

/// Calls that run when their tool is killed.
const RUNNING: usize = 16;
/// How long such a call would take if nobody ended it.
const SLOW_MS: u64 = 20_000;

pub(crate) async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let ann = stage.client("ann", &["support"], Era::Modern).await?;
    allowed(stage, &ann).await?;
    denied(stage, &ann).await?;
    over_quota(stage).await?;
    credential(stage, &ann).await?;
    killed(stage).await?;
    pushed(stage, &ann).await?;
    ann.close().await;
    dropped::play(stage)?;
    proven(stage)
}

async fn ask(client: &Client, tool: &str, arguments: Value) -> Value {
    as_json(
        client
            .call(tool, arguments)
            .await
            .map(|result| json!({"isError": result.is_error, "text": text_of(&result)})),
    )
}

async fn allowed(stage: &mut Stage, ann: &Client) -> anyhow::Result<()> {
    stage.scene("Ann, of role support, sees the tools that she may use, and calls one");
    let tools = ann.list().await?;
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    stage.tell(format!("tools/list: {}", names.join(", ")));
    ensure!(!names.contains(&"crm__delete_account"), "a forbidden tool is listed");
    let answer = ask(ann, "crm__get_orders", json!({"customer": "c-17"})).await;
    stage.tell(format!("crm__get_orders: {}", answer["ok"]["text"].as_str().unwrap_or_default()));
    ensure!(answer["ok"].is_object(), "an allowed call failed: {answer}");
    let legacy = stage.client("ann", &["support"], Era::Legacy).await?;
    let answer = ask(&legacy, "erp__get_orders", json!({"customer": "c-17"})).await;
    ensure!(answer["ok"].is_object(), "a legacy call failed: {answer}");
    stage.tell("erp__get_orders, by a client of 2025-11-25 and its session: answered as well");
    legacy.close().await;
    Ok(())
}

async fn denied(stage: &mut Stage, ann: &Client) -> anyhow::Result<()> {
    stage.scene("A refund above 500 is denied, by a rule with a name");
    let large = json!({"order": "A-1", "amount": 900, "currency": "EUR"});
    let answer = ask(ann, "crm__refund", large).await;
    stage.tell(format!("crm__refund 900: {}", answer["error"]));
    ensure!(answer["error"]["data"]["rule"] == "no-large-refunds", "not denied: {answer}");
    let answer = ask(ann, "crm__delete_account", json!({"id": "a-1"})).await;
    stage.tell(format!("crm__delete_account: {}", answer["error"]));
    ensure!(answer["error"]["code"] == -32602, "a hidden tool is not unknown: {answer}");
    Ok(())
}

async fn over_quota(stage: &mut Stage) -> anyhow::Result<()> {
    stage.scene("An agent that loops is told which quota, and when to retry");
    let token = stage.system.token_of("looping-bot", &["support"])?;
    let agent = Agent::new(&stage.system, token, None)?;
    let mut refused = None;
    for call in 1..=8 {
        let answer = agent.call("crm__get_orders").await?;
        if answer.status == 429 {
            refused.get_or_insert((call, answer));
        }
    }
    let (call, answer) = refused.context("nothing was refused")?;
    stage.tell(format!("call {call}: HTTP 429, Retry-After: {}", answer.retry_after));
    stage.tell(answer.body);
    Ok(())
}

async fn credential(stage: &mut Stage, ann: &Client) -> anyhow::Result<()> {
    stage.scene("The CRM wants a key that Ann never sees");
    let answer = ask(ann, "crm__get_orders", json!({"customer": "c-17"})).await;
    ensure!(answer["ok"].is_object(), "the credential was not injected: {answer}");
    ensure!(!answer.to_string().contains("canary"), "the credential came back: {answer}");
    stage.tell(
        "the CRM refuses every call without its key; through the gateway Ann's call is answered",
    );
    stage.tell("and what she got back does not hold it");
    stage.portcullis(&["secrets"])?;
    Ok(())
}

/// Calls run on connections of their own, as those of a fleet of agents do.
async fn killed(stage: &mut Stage) -> anyhow::Result<()> {
    stage.scene("At 3 a.m. one tool is killed for everyone, while calls run");
    let mut clients = Vec::new();
    for number in 0..RUNNING {
        let name = format!("agent-{number}");
        clients.push(Rc::new(stage.client(&name, &["support"], Era::Modern).await?));
    }
    let local = tokio::task::LocalSet::new();
    let calls = clients.iter().map(|client| {
        let client = Rc::clone(client);
        local.spawn_local(async move {
            let answer = ask(&client, "crm__slow", json!({"ms": SLOW_MS})).await;
            (answer, Instant::now())
        })
    });
    let calls: Vec<_> = calls.collect();
    local.run_until(tokio::time::sleep(Duration::from_millis(700))).await;
    let killed_at = Instant::now();
    let reason = "it drains the order database";
    ensure!(stage.portcullis(&["kill", "tool", "crm/slow", "--reason", reason])?, "no kill");
    let mut ended = 0;
    let mut last = Duration::ZERO;
    let mut told = Value::Null;
    for call in calls {
        let (answer, at) = local.run_until(call).await?;
        if answer["error"]["code"] == -31410 {
            ended += 1;
            last = last.max(at - killed_at);
            told = answer["error"].clone();
        }
    }
    stage.tell(format!(
        "{ended} of {RUNNING} running calls were ended within {last:.0?} of typing the command"
    ));
    stage.tell(format!("each was told: {told}"));
    ensure!(ended == RUNNING, "calls went on");
    ensure!(stage.portcullis(&["unkill", "tool", "crm/slow"])?, "no unkill");
    Ok(())
}

async fn pushed(stage: &mut Stage, ann: &Client) -> anyhow::Result<()> {
    stage.scene("The limit is raised in a file, and pushed; Ann's connection stays");
    let rules = stage.folder.get_mut("support.cedar").context("the usual folder")?;
    *rules = rules.replace("amount > 500", "amount > 1000");
    let folder = stage.write_folder()?;
    let begun = Instant::now();
    ensure!(stage.portcullis(&["apply", &folder])?, "the folder was refused");
    let large = json!({"order": "A-1", "amount": 900, "currency": "EUR"});
    loop {
        let answer = ask(ann, "crm__refund", large.clone()).await;
        if answer["ok"].is_object() {
            stage.tell(format!(
                "crm__refund 900: {}",
                answer["ok"]["text"].as_str().unwrap_or_default()
            ));
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(20), "the new rule did not come: {answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.tell(format!(
        "{:.0?} from typing the command to the first call that it allows",
        begun.elapsed()
    ));
    Ok(())
}

fn proven(stage: &mut Stage) -> anyhow::Result<()> {
    stage.scene("The audit log proves all of it, and shows when somebody edits it");
    wait_until(Duration::from_secs(20), "the copy of the last call", || {
        let (_, page) = stage.system.api("GET", "/v1/calls?limit=1", None).ok()?;
        (page["items"][0]["tool"] == "refund").then_some(())
    })?;
    stage.portcullis(&["calls", "--limit", "8"])?;
    stage.system.gateway.terminate();
    let log = stage.system.place.path("gateway/audit");
    ensure!(stage.portcullis(&["audit", "verify", &log.display().to_string()])?, "not verified");
    let forged = stage.system.place.path("edited-copy");
    copy(&log, &forged)?;
    flip_a_bit(&forged)?;
    let verified = stage.portcullis(&["audit", "verify", &forged.display().to_string()])?;
    ensure!(!verified, "an edited log verifies");
    stage.system.gateway.restart()
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// In the first segment, where Ann's name stands.
fn flip_a_bit(log: &std::path::Path) -> anyhow::Result<()> {
    let mut segments: Vec<_> =
        fs::read_dir(log)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    for segment in segments {
        let mut bytes = fs::read(&segment)?;
        if let Some(at) = bytes.windows(3).position(|window| window == b"ann") {
            bytes[at + 2] = b'e';
            fs::write(&segment, bytes)?;
            return Ok(());
        }
    }
    anyhow::bail!("nobody called ann is on record")
}
