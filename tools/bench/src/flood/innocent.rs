//! An innocent tenant beside a flood: alone, without the card, with it.
//!
//! The innocent offers a steady number of calls a second. First the flood is made larger until, without
//! the card, the innocent loses more than half of them; then rounds of the three follow each other.
//! A flood is measured once its tenant is penalised: everything of it is refused by then, so what the
//! card saves is the refusing.

use std::time::Duration;

use anyhow::{Context, ensure};
use tests_fixtures::stack::Net;

use super::agent::Came;
use super::outcome::{Outcome, Shot, WHATS, outcome};
use super::rig::{self, Innocent, Manner, Rig};
use crate::load::Pace;
use crate::portcullis::Gateway;

/// The flood is grown until the innocent keeps at most this part without the card: half, and some room
/// for the rounds that count.
const KEPT_MAX: f64 = 0.4;
/// Connections of the first and of the largest flood.
const CONNECTIONS: (usize, usize) = (256, 4_096);
/// Between the drop's beginning and the measurement: what was under way is over by then, and the disk has
/// done with the records of what was refused before the drop.
const SETTLE: Duration = Duration::from_millis(5_000);
/// And for the handshake of each connection that floods.
const HANDSHAKE: Duration = Duration::from_millis(1);
const SHOT_MS_TO_CALIBRATE: u64 = 1_500;
/// Rounds with a flood and no card: its calls take seconds each, and what it takes is the same each time.
const ROUNDS_WITHOUT_CARD: usize = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub rounds: usize,
    pub shot_ms: u64,
    pub innocent: Innocent,
}

/// Measures all three.
///
/// # Errors
/// When no flood takes half of the calls, or something stops.
pub(super) fn measure(
    rig: &Rig<'_>,
    extent: Extent,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Outcome> {
    let connections = calibrate(rig, extent, progress)?;
    let manner = manner(connections);
    let mut series: [Vec<Shot>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..=extent.rounds {
        let shot_ms = if round == 0 { SHOT_MS_TO_CALIBRATE } else { extent.shot_ms };
        // Forward, then backward: what one leaves to the disk hits all alike.
        let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for at in order {
            if at == 1 && round > ROUNDS_WITHOUT_CARD {
                continue;
            }
            let (what, gateway, flood) = match at {
                0 => (WHATS[0], &rig.with_card, None),
                1 => (WHATS[1], &rig.without, Some(manner)),
                _ => (WHATS[2], &rig.with_card, Some(manner)),
            };
            let shot = shoot(rig, gateway, flood, extent, shot_ms).context(what)?;
            progress(&format!("innocent, round {round}, {what}: {}", shown(&shot)));
            if round > 0
                && let Some(shots) = series.get_mut(at)
            {
                shots.push(shot);
            }
        }
    }
    outcome(extent.innocent, connections, &series)
}

/// It ignores what it is told on many connections, and makes new ones all the time.
fn manner(connections: usize) -> Manner {
    Manner { connections, calls_each: 64, at_once: 4, patience_ms: 2_000 }
}

fn calibrate(
    rig: &Rig<'_>,
    extent: Extent,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<usize> {
    let alone = shoot(rig, &rig.without, None, extent, SHOT_MS_TO_CALIBRATE)?;
    let mut connections = CONNECTIONS.0;
    loop {
        let flood = Some(manner(connections));
        let flooded = shoot(rig, &rig.without, flood, extent, SHOT_MS_TO_CALIBRATE)?;
        let kept = flooded.per_second() / alone.per_second();
        progress(&format!(
            "{connections} flooding connections: {kept:.2} of the calls are left; {}",
            shown(&flooded)
        ));
        if kept <= KEPT_MAX {
            return Ok(connections);
        }
        connections *= 2;
        ensure!(
            connections <= CONNECTIONS.1,
            "no flood takes half of the calls: ask for more of them with --rate"
        );
    }
}

fn shoot(
    rig: &Rig<'_>,
    gateway: &Gateway,
    flood: Option<Manner>,
    extent: Extent,
    shot_ms: u64,
) -> anyhow::Result<Shot> {
    rig.afresh()?;
    let before = rig::drops(gateway)?;
    let (mut load, script) = rig.net.at_clients(|| rig.agents(gateway))?;
    let mut offender = match flood {
        Some(manner) => Some(rig.net.at_clients(|| rig.offend(gateway, Net::CLIENTS[1], manner))?),
        None => None,
    };
    if let Some(manner) = flood {
        rig.until_dropping(gateway, before)?;
        std::thread::sleep(SETTLE + HANDSHAKE * u32::try_from(manner.connections)?);
    }
    let mut came = || offender.as_mut().map_or(Ok(Came::default()), rig::Offender::came);
    let (before, spent) = (came()?, rig.spent_ns(gateway)?);
    let pace = Pace::Open { per_second: extent.innocent.rate };
    let tally = rig.net.at_clients(|| load.run(&script, pace, shot_ms))?;
    let spent = rig.spent_ns(gateway)?.saturating_sub(spent);
    let came = came()?.since(before);
    drop((offender, load));
    let busy = spent as f64 / tally.elapsed_ns as f64;
    Ok(Shot { tally, came, busy })
}

fn shown(shot: &Shot) -> String {
    let mut text = format!(
        "{:.0}/s, p99 {:.0} µs, gateway {:.0} % busy, {} refusals and {} attempts of the flood",
        shot.per_second(),
        shot.p99_us(),
        shot.busy * 100.0,
        shot.came.refused,
        shot.came.attempts
    );
    if let Some(failure) = &shot.tally.first_failure {
        text += &format!("; {} failed, the first: {failure}", shot.tally.failed);
    }
    text
}
