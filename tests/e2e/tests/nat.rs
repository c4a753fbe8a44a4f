//! Two tenants behind one address, through a real NAT and a real card: the offender's connections die,
//! the neighbour's calls are all answered, and an operator is told why the address is spared.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tests_e2e::{Agent, Door, Era, acknowledged, code_of, play, skip, told};
use tests_fixtures::stack::{Net, System, SystemSpec, binary, wait_until};

/// The neighbour's, all of which must be answered.
const CALLS: usize = 2_000;
/// What one user may call; each of the neighbour's users stays below it, the offender does not.
const LIMIT: &str = "120";
const CALLS_OF_A_NEIGHBOUR: usize = 100;
/// Connections of the offender after the one that it was dropped on.
const COMES_BACK: u64 = 5;
/// No answer for so long: it was dropped.
const SILENCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// Ten ignored refusals slow, ten more drop; what is dropped outlasts the test.
fn spec(net: &Net) -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.address = Net::GATEWAY;
    let pins = net.pins().display().to_string();
    spec.gateway =
        ["--card-interface", Net::CARD, "--card-pins", &pins].map(str::to_owned).to_vec();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        *text = text.replace("60000/min", "1/hour").replace("10000", LIMIT);
        text.push_str(
            "\n[quotas.callers.ladder]\nignored_refusals = 10\ngrace_ms = 0\n\
             drop = { ignored_refusals = 10, drop_ms_first = 300000 }\n\
             [gateway.attribution]\ncertain_after_ms = 1000\n",
        );
    });
    spec
}

/// Calls until its connection falls silent; how many calls that took.
fn offend(door: &Door, token: &str) -> anyhow::Result<usize> {
    let mut agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
    let begun = Instant::now();
    for number in 0.. {
        ensure!(begun.elapsed() < PATIENCE, "never dropped, {number} calls");
        let arguments = json!({"customer": "c"});
        let request = agent.tool_request(&json!(number), "crm__get_orders", &arguments);
        agent.wire.send(&request)?;
        let Some(reply) = agent.wire.reply_within(SILENCE)? else { return Ok(number) };
        if reply.header("connection") == Some("close") {
            agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
        }
    }
    unreachable!("the numbers do not end")
}

/// Calls of many users of another tenant, each on a connection of its own; how many were not answered
/// rightly. All but the first user's come once the offender is dropped.
fn call_beside(door: &Door, tokens: &[String], is_dropped: &AtomicBool) -> anyhow::Result<usize> {
    let mut lost = 0;
    for (user, token) in tokens.iter().enumerate() {
        let mut agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
        for call in 0..CALLS_OF_A_NEIGHBOUR {
            let answer = agent.call("crm__get_orders", json!({"customer": "c"}));
            lost += usize::from(!answer.is_ok_and(|answer| code_of(&answer).is_none()));
            if user == 0 && call == 0 {
                wait_until(PATIENCE, "drop", || is_dropped.load(Ordering::Relaxed).then_some(()))?;
            }
        }
    }
    Ok(lost)
}

fn explained(system: &System) -> anyhow::Result<String> {
    let output = Command::new(binary("portcullis")?)
        .args(["drops", "explain", &Net::CLIENTS[0].to_string()])
        .env("PORTCULLIS_URL", format!("http://{}", system.rest))
        .env("PORTCULLIS_TOKEN", &system.token)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn behind_one_address_the_offender_is_dropped_and_the_neighbour_loses_no_call() {
    let test = "behind_one_address_the_offender_is_dropped_and_the_neighbour_loses_no_call";
    let net = match Net::new() {
        Ok(net) => net,
        Err(why) => return skip(test, &format!("{why:#}")),
    };
    net.at_gateway(|| {
        play(&spec(&net), |system| {
            acknowledged(system)?;
            scene(&net, system)
        });
    });
}

fn scene(net: &Net, system: &System) -> anyhow::Result<()> {
    let mut door = Door::of(system)?;
    door.address.set_ip(Net::GATEWAY);
    let offender = system.token_for(json!({"sub": "zoe", "org": "zeta", "groups": ["support"]}))?;
    let users = 0..CALLS / CALLS_OF_A_NEIGHBOUR;
    let neighbours = users.map(|user| system.token_of(&format!("user-{user}"), &["support"]));
    let neighbours = neighbours.collect::<anyhow::Result<Vec<_>>>()?;
    let is_dropped = AtomicBool::new(false);
    let (offended, lost) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| net.at_inside(|| call_beside(&door, &neighbours, &is_dropped)));
        let offended = net.at_inside(|| {
            let calls = offend(&door, &offender)?;
            is_dropped.store(true, Ordering::Relaxed);
            // It comes back, and comes back: each connection dies, the address is never dropped.
            (0..COMES_BACK).try_for_each(|_| offend(&door, &offender).map(drop))?;
            anyhow::Ok(calls)
        });
        let lost = beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (offended, lost)
    });
    let (calls, lost) = (offended?, lost?);
    ensure!(lost == 0, "the neighbour has lost {lost} calls of {CALLS}");
    let dropped = wait_until(PATIENCE, "dropped packets", || {
        system.metric("portcullis_card_dropped_packets_total").ok().filter(|count| *count > 0)
    })?;
    ensure!(system.metric("portcullis_drop_entries")? > COMES_BACK);
    ensure!(system.metric("portcullis_drop_sources_spared_total")? > 0);
    let explained = explained(system)?;
    ensure!(explained.contains("it is shared by several tenants"), "{explained}");
    ensure!(explained.contains("zeta") && !explained.contains("acme"), "{explained}");
    told(&format!(
        "dropped after {calls} calls, {dropped} packets; the neighbour lost none of {CALLS} calls"
    ));
    Ok(())
}
