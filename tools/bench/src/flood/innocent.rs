//! An innocent tenant beside a flood: alone, without the card, with it.
//!
//! The innocent offers a steady number of calls a second. First the flood is made larger until, without
//! the card, the innocent usually loses more than half of them; then rounds without a flood and with
//! that one, at the card, follow each other.
//! A flood is measured once its tenant is penalised: everything of it is refused by then, so what the
//! card saves is the refusing.

use std::time::Duration;

use anyhow::{Context, bail};
use tests_fixtures::stack::Net;

use super::agent::Came;
use super::outcome::{Outcome, Shot, WHATS, outcome};
use super::rig::{self, Innocent, Manner, Rig};
use crate::load::Pace;
use crate::portcullis::Gateway;
use crate::report::Spread;

/// The flood is grown until the innocent usually keeps at most this part without the card.
const KEPT_MAX: f64 = 0.5;
/// Connections of the first and of the largest flood.
const CONNECTIONS: (usize, usize) = (256, 4_096);
/// Between the drop's beginning and the measurement: what was under way is over by then, and the disk has
/// done with the records of what was refused before the drop.
const SETTLE: Duration = Duration::from_millis(5_000);
/// And for the handshake of each connection that floods.
const HANDSHAKE: Duration = Duration::from_millis(1);
const SHOT_MS_TO_CALIBRATE: u64 = 1_500;
/// Shots with a flood and no card: its calls take seconds each, and it takes most of them each time.
const SHOTS_WITHOUT_CARD: usize = 3;

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
    let (connections, without) = calibrate(rig, extent, progress)?;
    let flood = Some(manner(connections));
    let (mut alone, mut with) = (Vec::new(), Vec::new());
    for round in 0..=extent.rounds {
        let shot_ms = if round == 0 { SHOT_MS_TO_CALIBRATE } else { extent.shot_ms };
        let mut shot = |what: &'static str, flood, shots: &mut Vec<Shot>| -> anyhow::Result<()> {
            let shot = shoot(rig, &rig.with_card, flood, extent, shot_ms).context(what)?;
            progress(&format!("innocent, round {round}, {what}: {}", shown(&shot)));
            if round > 0 {
                shots.push(shot);
            }
            Ok(())
        };
        // Forward, then backward: what one leaves to the disk hits both alike.
        if round % 2 == 0 {
            shot(WHATS[0], None, &mut alone)?;
        }
        shot(WHATS[2], flood, &mut with)?;
        if round % 2 == 1 {
            shot(WHATS[0], None, &mut alone)?;
        }
    }
    outcome(extent.innocent, connections, &[alone, without, with])
}

/// It ignores what it is told on many connections, and makes new ones all the time.
fn manner(connections: usize) -> Manner {
    Manner { connections, calls_each: 64, at_once: 4, patience_ms: 2_000 }
}

/// The least flood that takes enough, and what it took.
fn calibrate(
    rig: &Rig<'_>,
    extent: Extent,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<(usize, Vec<Shot>)> {
    let alone = shoot(rig, &rig.without, None, extent, SHOT_MS_TO_CALIBRATE)?.per_second();
    let mut connections = CONNECTIONS.0;
    while connections <= CONNECTIONS.1 {
        let mut flooded = |shot_ms| -> anyhow::Result<Shot> {
            let flood = Some(manner(connections));
            let shot = shoot(rig, &rig.without, flood, extent, shot_ms).context(WHATS[1])?;
            let kept = shot.per_second() / alone;
            progress(&format!(
                "{connections} flooding connections, no card: {kept:.2} of the calls are left; {}",
                shown(&shot)
            ));
            Ok(shot)
        };
        // A short one tells which floods are not worth several long ones.
        if flooded(SHOT_MS_TO_CALIBRATE)?.per_second() <= KEPT_MAX * alone {
            let shots = (0..SHOTS_WITHOUT_CARD).map(|_| flooded(extent.shot_ms));
            let shots = shots.collect::<anyhow::Result<Vec<_>>>()?;
            let usual = Spread::of(shots.iter().map(Shot::per_second)).context("no shot")?.median;
            if usual <= KEPT_MAX * alone {
                return Ok((connections, shots));
            }
        }
        connections *= 2;
    }
    bail!("no flood takes half of the calls: ask for more of them with --rate")
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
