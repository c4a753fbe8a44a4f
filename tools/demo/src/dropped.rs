//! The scene of the network card: who ignores refusals is dropped there, and nobody else is.
//!
//! It is played by a second system, whose gateway has an end of a virtual cable for a card. At the
//! other end, behind a NAT, are an agent that loops and its neighbour of another tenant: the gateway
//! sees one address.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dataplane_telemetry::metrics::CARD_DROPPED;
use serde_json::{Value, json};
use tests_fixtures::stack::{Net, System, SystemSpec, wait_until};

use crate::agent::Agent;
use crate::stage::{Stage, portcullis, tell};

const TOOL: &str = "crm__get_orders";
/// The neighbour's calls, while the other is dropped.
const NEIGHBOURS_CALLS: usize = 200;
/// What a caller may do at once, and a little more each second.
const BURST: usize = 300;
/// The first drop.
const DROP_MS: u64 = 2_500;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    stage.scene("An agent ignores every refusal: its packets die at the network card");
    match Net::new() {
        Ok(net) => net.at_gateway(|| played(&net)),
        Err(why) => {
            tell(format!("SKIPPED, it needs root: {why:#}"));
            Ok(())
        }
    }
}

fn spec(net: &Net) -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.address = Net::GATEWAY;
    let pins = net.pins().display().to_string();
    spec.gateway = ["--card-interface", Net::CARD, "--card-pins", &pins].map(str::to_owned).into();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        *text = text.replace("60000/min", "600/min").replace("10000", &BURST.to_string());
        *text += &format!(
            "\n[tenants.zeta]\n\n[quotas.callers.ladder]\nignored_refusals = 10\ngrace_ms = 0\n\
             drop = {{ ignored_refusals = 10, drop_ms_first = {DROP_MS} }}\n"
        );
    });
    spec
}

fn played(net: &Net) -> anyhow::Result<()> {
    let system = System::start(&spec(net))?;
    tell(format!("a second gateway, its card is {}; two tenants behind one address", Net::CARD));
    let claims =
        |user: &str, tenant: &str| json!({"sub": user, "org": tenant, "groups": ["support"]});
    let looping = system.token_for(claims("night-bot", "zeta"))?;
    let looping = Agent::new(&system, looping, Some(Net::GATEWAY))?;
    net.at_inside(|| run(ignore_refusals(&looping)))?;
    let dropped_at = Instant::now();
    let neighbour = system.token_for(claims("ann", "acme"))?;
    let neighbour = Agent::new(&system, neighbour, Some(Net::GATEWAY))?;
    let answered = net.at_inside(|| run(calls(&neighbour)))?;
    tell(format!(
        "ann of acme, from the same address meanwhile: {answered} of {NEIGHBOURS_CALLS} calls answered"
    ));
    ensure!(answered == NEIGHBOURS_CALLS, "the neighbour lost calls");
    shown(&system)?;
    net.at_inside(|| run(answered_again(&looping)))?;
    tell(format!(
        "it ended by itself: answered again after {:.1} s",
        dropped_at.elapsed().as_secs_f32()
    ));
    Ok(())
}

/// What it does in a thread of a namespace.
fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn ignore_refusals(agent: &Agent) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut allowed, mut refused) = (0, 0);
    while let Some(answer) = agent.try_call(TOOL).await? {
        match answer.status {
            200 => allowed += 1,
            429 => refused += 1,
            status => anyhow::bail!("HTTP {status}: {}", answer.body),
        }
        if refused == 1 && answer.status == 429 {
            tell(format!("night-bot of zeta, call {}: HTTP 429, and it goes on", allowed + 1));
        }
        ensure!(begun.elapsed() < PATIENCE, "never dropped: {refused} refusals");
    }
    tell(format!("{refused} refusals later nothing comes back to it any more"));
    Ok(())
}

async fn calls(agent: &Agent) -> anyhow::Result<usize> {
    let mut answered = 0;
    for _ in 0..NEIGHBOURS_CALLS {
        answered += usize::from(agent.try_call(TOOL).await?.is_some_and(|one| one.status == 200));
    }
    Ok(answered)
}

/// What an operator sees.
fn shown(system: &System) -> anyhow::Result<()> {
    wait_until(PATIENCE, "the list of drops", || {
        let (_, page): (_, Value) = system.api("GET", "/v1/drops", None).ok()?;
        page["items"].as_array().is_some_and(|rows| !rows.is_empty()).then_some(())
    })?;
    ensure!(portcullis(system, &["drops"])?, "no list of drops");
    let address = Net::CLIENTS[0].to_string();
    ensure!(portcullis(system, &["drops", "explain", &address])?, "nothing is explained");
    let packets = system.metric(CARD_DROPPED.name).context("the card")?;
    ensure!(packets > 0, "no packet was dropped");
    Ok(())
}

async fn answered_again(agent: &Agent) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        // A client behind a dropped connection makes a new one.
        if agent.try_call(TOOL).await?.is_some_and(|answer| answer.status == 200) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "still dropped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
