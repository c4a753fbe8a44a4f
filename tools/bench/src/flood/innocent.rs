//! An innocent tenant beside a flood: alone, without the card, with it.
//!
//! The innocent offers a steady number of calls a second. First the flood is made larger until, without
//! the card, the innocent loses more than half of them; then rounds of the three follow each other.
//! A flood is measured once its tenant is penalised: everything of it is refused by then, so what the
//! card saves is the refusing. Ratios are taken within a round; the one of p99 also over the calls of all
//! rounds, because a disk that stalls now and then decides the p99 of a few seconds.

use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use tests_fixtures::stack::Net;

use super::agent::Came;
use super::rig::{self, Innocent, Manner, Rig};
use crate::load::{Pace, Tally};
use crate::portcullis::Gateway;
use crate::report::Spread;

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

/// What became of the innocent.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub offered_per_second: u64,
    pub connections: usize,
    pub flooding_connections: usize,
    /// Alone, flooded without the card, flooded with it.
    pub rows: [Row; 3],
    /// Of the calls a second without a flood.
    pub kept_without: Spread,
    pub kept_with: Spread,
    /// Of the p99 without a flood.
    pub p99_times_without: Times,
    pub p99_times_with: Times,
}

/// A ratio of p99.
#[derive(Debug, Serialize)]
pub(super) struct Times {
    /// Of the calls of all rounds together.
    pub of_all: f64,
    pub by_round: Spread,
}

/// One of the three.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub what: &'static str,
    pub per_second: Spread,
    /// Of the calls of all rounds together.
    pub p50_us: f64,
    pub p99_us: f64,
    /// How busy the gateway's processor was, receiving included.
    pub busy: Spread,
    pub failed: u64,
    pub reconnects: u64,
    /// Of the offender, a second: attempts to connect, handshakes, refusals that reached it.
    pub attempts_per_second: f64,
    pub handshakes_per_second: f64,
    pub refusals_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

impl Times {
    /// For people.
    pub(super) fn shown(&self) -> String {
        let Spread { min, max, .. } = self.by_round;
        format!("{:.2} [{min:.2}..{max:.2}]", self.of_all)
    }
}

struct Shot {
    tally: Tally,
    came: Came,
    busy: f64,
}

impl Shot {
    fn per_second(&self) -> f64 {
        self.tally.done as f64 * 1e9 / self.tally.elapsed_ns as f64
    }

    fn p99_us(&self) -> f64 {
        self.tally.latency.value_at_quantile(0.99) as f64 / 1e3
    }
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
    outcome(extent, connections, &series)
}

const WHATS: [&str; 3] = ["no flood", "flood, no card", "flood, card"];

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
    rig.rest()?;
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
    if flood.is_some() {
        // What was under way when the flood ended would climb again.
        rig.rest()?;
        rig.forgive()?;
    }
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

fn outcome(
    extent: Extent,
    flooding_connections: usize,
    series: &[Vec<Shot>; 3],
) -> anyhow::Result<Outcome> {
    let [alone, without, with] = series;
    let ratio = |shots: &[Shot], of: fn(&Shot) -> f64| {
        Spread::of(shots.iter().zip(alone).map(|(shot, alone)| of(shot) / of(alone)))
            .context("no round was asked for")
    };
    let rows = [row(WHATS[0], alone)?, row(WHATS[1], without)?, row(WHATS[2], with)?];
    let times = |shots: &[Shot], at: usize| -> anyhow::Result<Times> {
        let of_all = rows[at].p99_us / rows[0].p99_us;
        Ok(Times { of_all, by_round: ratio(shots, Shot::p99_us)? })
    };
    Ok(Outcome {
        offered_per_second: extent.innocent.rate,
        connections: extent.innocent.connections,
        flooding_connections,
        kept_without: ratio(without, Shot::per_second)?,
        kept_with: ratio(with, Shot::per_second)?,
        p99_times_without: times(without, 1)?,
        p99_times_with: times(with, 2)?,
        rows,
    })
}

fn row(what: &'static str, shots: &[Shot]) -> anyhow::Result<Row> {
    let spread = |of: fn(&Shot) -> f64| Spread::of(shots.iter().map(of)).context("no shot");
    let sum = |of: fn(&Shot) -> u64| shots.iter().map(of).sum::<u64>();
    let mut latency = Histogram::<u64>::new(3)?;
    for shot in shots {
        latency.add(&shot.tally.latency)?;
    }
    let seconds = sum(|shot| shot.tally.elapsed_ns) as f64 / 1e9;
    Ok(Row {
        what,
        per_second: spread(Shot::per_second)?,
        p50_us: latency.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: latency.value_at_quantile(0.99) as f64 / 1e3,
        busy: spread(|shot| shot.busy)?,
        failed: sum(|shot| shot.tally.failed + shot.tally.unsent),
        reconnects: sum(|shot| shot.tally.reconnects),
        attempts_per_second: sum(|shot| shot.came.attempts) as f64 / seconds,
        handshakes_per_second: sum(|shot| shot.came.handshakes) as f64 / seconds,
        refusals_per_second: sum(|shot| shot.came.refused) as f64 / seconds,
        first_failure: shots.iter().find_map(|shot| shot.tally.first_failure.clone()),
    })
}
