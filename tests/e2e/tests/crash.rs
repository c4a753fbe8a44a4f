//! The gateway is killed again and again under load: what was answered is on record, once, in order.
//!
//! Clients keep their own lists of answered calls; the log is read afterwards from its files alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dataplane_audit::{Phase, Record};
use serde_json::json;
use tests_e2e::{Agent, Door, Era, acknowledged, code_of, play, records, told};
use tests_fixtures::stack::{Peer, System, SystemSpec, wait_until};

/// RELIABILITY §3, F1: 200 in CI.
const KILLS: u64 = 200;
const CLIENTS: usize = 6;
/// Answers between a start and the next kill: this, and up to as many more.
const ANSWERS: u64 = 12;
/// How often the log is verified on the way.
const VERIFY_EVERY: u64 = 50;
const LIMIT: Duration = Duration::from_secs(60);

/// A server that needs no credential: after a start calls are answered from disk alone.
fn spec() -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.peers = vec![Peer { name: "open", era: "modern", require: None }];
    spec.secrets.clear();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        let (head, _) = text.split_once("[servers.crm]").unwrap_or((text, ""));
        *text = format!("{head}\n[servers.open]\nurl = \"{{url:open}}\"\n");
    });
    let rules = "permit(principal in Role::\"support\", action == Action::\"call\", resource in Server::\"open\");\n";
    spec.folder.insert("support.cedar".into(), rules.into());
    spec
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicU64,
    /// Ids of calls that were answered, allowed and denied.
    ids: Mutex<Vec<String>>,
    wrong: Mutex<Option<String>>,
}

/// Calls until told to stop; a broken connection is made again.
fn client(number: usize, door: &Door, token: &str, load: &Load) {
    let mut call = 0_u64;
    while !load.stop.load(Ordering::Relaxed) {
        let Ok(mut agent) = Agent::connect(door, Era::Modern, "/mcp", token) else {
            std::thread::yield_now();
            continue;
        };
        loop {
            call += 1;
            let id = format!("{number}-{call}");
            // Every fourth is refused: those are on record, too.
            let is_refused = call.is_multiple_of(4);
            let tool = if is_refused { "open__no_such_tool" } else { "open__get_orders" };
            let request = agent.tool_request(&json!(id), tool, &json!({"customer": id}));
            let Ok(answer) = agent.wire.ask(&request).and_then(|reply| reply.answer()) else {
                break;
            };
            let code = code_of(&answer);
            let expected = is_refused.then_some(-32_602);
            // The log may be still opening, or the bundle loading: those answers are refusals.
            if code != expected
                && answer["id"] == json!(id)
                && code.is_none_or(|code| code > -31_500)
            {
                load.wrong.lock().unwrap().get_or_insert(answer.to_string());
            }
            load.ids.lock().unwrap().push(id);
            load.answered.fetch_add(1, Ordering::Relaxed);
            if load.stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[test]
fn nothing_answered_is_missing_after_200_kills() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        acknowledged(system)?;
        // Who is killed twice while a bundle is new believes that the bundle did it.
        let trial = system.place.path("gateway/bundle.trying");
        wait_until(LIMIT, "the end of the bundle's trial", || (!trial.exists()).then_some(()))?;
        let load = Load::default();
        let begun = Instant::now();
        let killed = std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let (door, token, load) = (&door, &token, &load);
                scope.spawn(move || client(number, door, token, load));
            }
            let killed = kill_again_and_again(system, &load);
            load.stop.store(true, Ordering::Relaxed);
            killed
        });
        let mut slowest = killed?;
        let took = begun.elapsed();
        ensure!(load.wrong.lock().unwrap().is_none(), "{:?}", load.wrong);
        system.gateway.terminate().context("it ran")?;
        let answered = load.ids.into_inner()?;
        let boots = check(system, &answered)?;
        ensure!(boots > KILLS, "only {boots} starts are on record");
        slowest.sort();
        let median = slowest.get(slowest.len() / 2).context("kills")?;
        let most = slowest.last().context("kills")?;
        told(&format!(
            "{KILLS} kills in {took:.0?}: {} answered calls, all on record; kill to next answer: median {median:.0?}, most {most:.0?}",
            answered.len()
        ));
        Ok(())
    });
}

/// How long each outage was: from the kill to the next answer.
fn kill_again_and_again(system: &mut System, load: &Load) -> anyhow::Result<Vec<Duration>> {
    let mut outages = Vec::new();
    for round in 0..KILLS {
        let before = load.answered.load(Ordering::Relaxed);
        let wanted = before + ANSWERS + round * 7 % ANSWERS;
        wait_until(LIMIT, &format!("load in round {round}"), || {
            (load.answered.load(Ordering::Relaxed) >= wanted).then_some(())
        })?;
        let killed_at = Instant::now();
        system.gateway.restart()?;
        let dead = load.answered.load(Ordering::Relaxed);
        wait_until(LIMIT, &format!("an answer after kill {round}"), || {
            (load.answered.load(Ordering::Relaxed) > dead).then_some(())
        })?;
        outages.push(killed_at.elapsed());
        if round % VERIFY_EVERY == VERIFY_EVERY - 1 {
            system.gateway.kill();
            records::sound(&records::folder(system))?;
            system.gateway.restart()?;
        }
    }
    Ok(outages)
}

/// The log is sound, every index is there once, and each answered call has its last record.
fn check(system: &System, answered: &[String]) -> anyhow::Result<u64> {
    let folder = records::folder(system);
    let report = records::sound(&folder)?;
    let (mut ended, mut boots, mut intents) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let mut twice = Vec::new();
    let records = records::each(&folder, |_, record: &Record<'_>| {
        boots.insert(record.stamp.boot);
        let Some(call) = record.call() else { return };
        let id = call.request_id.trim_matches('"').to_owned();
        let key = (record.stamp.boot, call.call);
        match call.phase {
            Phase::Intent => drop(intents.insert(key, id)),
            Phase::Outcome | Phase::Refused => {
                if call.phase == Phase::Outcome && intents.get(&key) != Some(&id) {
                    twice.push(format!("an outcome without its intent: {id}"));
                }
                if !ended.insert(id.clone()) {
                    twice.push(format!("two ends of {id}"));
                }
            }
        }
    })?;
    ensure!(records == report.records && records == report.size, "{records} of {}", report.size);
    ensure!(twice.is_empty(), "{twice:?}");
    let missing: Vec<&String> = answered.iter().filter(|id| !ended.contains(*id)).collect();
    ensure!(missing.is_empty(), "{} answered calls are not on record: {missing:?}", missing.len());
    Ok(boots.len() as u64)
}
