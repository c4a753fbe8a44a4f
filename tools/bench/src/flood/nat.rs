//! Two tenants behind one address: the offender's connections die at the card, and the neighbour goes on.
//!
//! Both come through a namespace that masquerades them. The neighbour makes its calls at a steady pace
//! over connections that are open when the flood begins; every call must be answered, rightly.

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;
use tests_fixtures::stack::{Net, wait_until};

use super::rig::{self, Manner, PATIENCE, Rig};
use crate::load::Pace;
use crate::report::quantile_us;

const OFFENDS: Manner = Manner { connections: 64, calls_each: 32, at_once: 4, patience_ms: 500 };

/// So that the last of the calls are answered within the measurement.
const SPARE_MS: u64 = 100;

/// What became of both.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The neighbour's.
    pub calls: u64,
    pub lost: u64,
    pub reconnects: u64,
    pub p99_us: f64,
    /// The offender's packets that the card dropped meanwhile, and connections that it gave up.
    pub dropped_packets: u64,
    pub given_up: u64,
    /// What the gateway says of the address.
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

/// Makes so many calls of the neighbour beside the flood.
///
/// # Errors
/// When the offender is not dropped, or the address is not known to be shared.
pub(super) fn measure(
    rig: &Rig<'_>,
    calls: u64,
    rate: u64,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Outcome> {
    let gateway = &rig.with_card;
    rig.afresh()?;
    let (mut load, script) = rig.net.at_inside(|| rig.agents(gateway))?;
    let (before, drops) = (rig::dropped_packets(gateway)?, rig::drops(gateway)?);
    let mut offender = rig.net.at_inside(|| rig.offend(gateway, Net::INSIDE[1], OFFENDS))?;
    rig.until_dropping(gateway, drops)?;
    let came = offender.came()?;
    let pace = Pace::Open { per_second: rate };
    let tally =
        rig.net.at_inside(|| load.run(&script, pace, (calls * 1_000).div_ceil(rate) + SPARE_MS))?;
    let came = offender.came()?.since(came);
    let address = explained(rig)?;
    drop((offender, load));
    let dropped_packets = rig::dropped_packets(gateway)? - before;
    progress(&format!("behind a NAT: {} calls, {} failed; {came:?}", tally.done, tally.failed));
    ensure!(dropped_packets > 0, "nothing of the offender was dropped");
    Ok(Outcome {
        calls: tally.done,
        lost: tally.failed + tally.unsent,
        reconnects: tally.reconnects,
        p99_us: quantile_us(&tally.latency()?, 0.99),
        dropped_packets,
        given_up: came.given_up,
        address,
        first_failure: tally.first_failure,
    })
}

/// What `portcullis drops explain` says of the address that both come from.
fn explained(rig: &Rig<'_>) -> anyhow::Result<String> {
    let path = format!("/v1/drops/explain?address={}", Net::CLIENTS[0]);
    wait_until(PATIENCE, "shared address", || {
        let answer = rig.plane.rest.get(&path).ok()?;
        let all = answer.get("appliances")?.as_array()?;
        let of = |one: &&Value| {
            one.get("appliance").is_some_and(|name| *name == rig.with_card.name.as_str())
        };
        let seen = all.iter().find(of)?.get("seen")?.as_str()?.to_owned();
        (seen == "several_tenants").then_some(seen)
    })
    .with_context(|| rig.with_card.process.log_tail())
}
