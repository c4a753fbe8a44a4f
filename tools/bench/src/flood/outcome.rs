//! What the innocent's shots come to.
//!
//! Calls a second are compared within a round; those without the card, which come before the rounds, with
//! the usual ones. Of p99 the bound is on the usual second: the median over all seconds of the p99 of each.
//! One stall of 30 ms decides the p99 of three seconds, and on a shared machine a stall is as likely with
//! a flood as without; what a flood does to the others it does in each second. The p99 of all calls
//! together stands beside it.

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::agent::Came;
use super::rig::Innocent;
use crate::load::Tally;
use crate::report::{Spread, quantile_us};

/// What is compared: alone, flooded without the card, flooded with it.
pub(super) const WHATS: [&str; 3] = ["no flood", "flood, no card", "flood, card"];

/// What became of the innocent.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub offered_per_second: u64,
    pub connections: usize,
    pub flooding_connections: usize,
    /// One for each of [`WHATS`].
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
    /// Of the usual second's p99 each.
    pub of_seconds: f64,
    /// Of the calls of all rounds together.
    pub of_all: f64,
    /// Of the usual second's p99 in each round.
    pub by_round: Spread,
}

/// One of [`WHATS`].
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub what: &'static str,
    pub per_second: Spread,
    /// Of the calls of all rounds together.
    pub p50_us: f64,
    pub p99_us: f64,
    /// Of the calls that were due in each second and were answered.
    pub p99_us_by_second: Spread,
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
        format!("{:.2} [{min:.2}..{max:.2}]", self.of_seconds)
    }
}

/// Some seconds of the innocent, and of the offender meanwhile.
pub(super) struct Shot {
    pub tally: Tally,
    pub came: Came,
    pub busy: f64,
}

impl Shot {
    pub(super) fn per_second(&self) -> f64 {
        self.tally.done as f64 * 1e9 / self.tally.elapsed_ns as f64
    }

    fn p99_us_by_second(&self) -> impl Iterator<Item = f64> {
        self.tally
            .latency_by_second
            .iter()
            .filter(|second| !second.is_empty())
            .map(|second| quantile_us(second, 0.99))
    }

    /// Of the usual second.
    pub(super) fn p99_us(&self) -> f64 {
        Spread::of(self.p99_us_by_second()).map_or(f64::NAN, |spread| spread.median)
    }
}

/// Sums up the shots of each of [`WHATS`].
///
/// # Errors
/// When there are none.
pub(super) fn outcome(
    innocent: Innocent,
    flooding_connections: usize,
    series: &[Vec<Shot>; 3],
) -> anyhow::Result<Outcome> {
    let [alone, without, with] = series;
    let to_usual = |of: fn(&Shot) -> f64| {
        let usual = Spread::of(alone.iter().map(of)).context("no round was asked for")?.median;
        Spread::of(without.iter().map(|shot| of(shot) / usual)).context("no shot")
    };
    let within_rounds = |of: fn(&Shot) -> f64| {
        let ratios = with.iter().zip(alone).map(|(shot, alone)| of(shot) / of(alone));
        Spread::of(ratios).context("no round was asked for")
    };
    let rows = [row(WHATS[0], alone)?, row(WHATS[1], without)?, row(WHATS[2], with)?];
    let times = |at: usize, by_round: Spread| {
        let of = |of: fn(&Row) -> f64| of(&rows[at]) / of(&rows[0]);
        let of_seconds = of(|row| row.p99_us_by_second.median);
        Times { of_seconds, of_all: of(|row| row.p99_us), by_round }
    };
    Ok(Outcome {
        offered_per_second: innocent.rate,
        connections: innocent.connections,
        flooding_connections,
        kept_without: to_usual(Shot::per_second)?,
        kept_with: within_rounds(Shot::per_second)?,
        p99_times_without: times(1, to_usual(Shot::p99_us)?),
        p99_times_with: times(2, within_rounds(Shot::p99_us)?),
        rows,
    })
}

fn row(what: &'static str, shots: &[Shot]) -> anyhow::Result<Row> {
    let spread = |of: fn(&Shot) -> f64| Spread::of(shots.iter().map(of)).context("no shot");
    let sum = |of: fn(&Shot) -> u64| shots.iter().map(of).sum::<u64>();
    let mut latency = Histogram::<u64>::new(3)?;
    for shot in shots {
        latency.add(shot.tally.latency()?)?;
    }
    let seconds = sum(|shot| shot.tally.elapsed_ns) as f64 / 1e9;
    Ok(Row {
        what,
        per_second: spread(Shot::per_second)?,
        p50_us: quantile_us(&latency, 0.5),
        p99_us: quantile_us(&latency, 0.99),
        p99_us_by_second: Spread::of(shots.iter().flat_map(Shot::p99_us_by_second))
            .context("no second")?,
        busy: spread(|shot| shot.busy)?,
        failed: sum(|shot| shot.tally.failed + shot.tally.unsent),
        reconnects: sum(|shot| shot.tally.reconnects),
        attempts_per_second: sum(|shot| shot.came.attempts) as f64 / seconds,
        handshakes_per_second: sum(|shot| shot.came.handshakes) as f64 / seconds,
        refusals_per_second: sum(|shot| shot.came.refused) as f64 / seconds,
        first_failure: shots.iter().find_map(|shot| shot.tally.first_failure.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// Of two seconds: 100 calls in each that took so long.
    fn shot(first_ms: u64, second_ms: u64) -> Shot {
        let mut tally = Tally::new(0, 2 * SECOND_NS).unwrap();
        tally.elapsed_ns = 2 * SECOND_NS;
        for (since_ns, took_ms) in [(0, first_ms), (SECOND_NS, second_ms)] {
            for _ in 0..100 {
                tally.finish(since_ns, since_ns + took_ms * 1_000_000);
            }
        }
        Shot { tally, came: Came::default(), busy: 0.5 }
    }

    fn times(with: [Shot; 2]) -> Times {
        let innocent = Innocent { rate: 100, connections: 1 };
        let series = [vec![shot(4, 4), shot(4, 4)], vec![shot(900, 900)], Vec::from(with)];
        outcome(innocent, 1, &series).unwrap().p99_times_with
    }

    #[test]
    fn one_stall_is_not_a_flood_but_what_is_in_most_seconds_is() {
        let stalled = times([shot(4, 80), shot(4, 4)]);
        assert!((stalled.of_seconds - 1.0).abs() < 0.01 && stalled.of_all > 19.0, "{stalled:?}");
        let flooded = times([shot(8, 80), shot(8, 4)]);
        assert!((flooded.of_seconds - 2.0).abs() < 0.01, "{flooded:?}");
    }

    #[test]
    fn a_second_without_an_answer_has_no_p99() {
        let mut shot = shot(4, 4);
        shot.tally.latency_by_second.resize(5, Histogram::new(3).unwrap());
        assert!((shot.p99_us() - 4_000.0).abs() < 10.0, "{}", shot.p99_us());
    }
}
