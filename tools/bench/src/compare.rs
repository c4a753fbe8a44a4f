//! The comparison: chapters of shots, interleaved so that a noisy neighbour hits all alike.
//!
//! A chapter is one mix at one pace. Its rounds take the targets forward, then backward, after a
//! warm-up round that does not count. Ratios are taken within a round, against HAProxy over TLS in
//! that same round; a denial is compared with HAProxy relaying an allowed call.

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::load::{Pace, Tally};
use crate::mix::{Mix, Script};
use crate::rig::{Kind, Target};
use crate::usage::{self, Cpu};

/// The yardstick.
pub(crate) const REFERENCE: Kind = Kind::HaproxyTls;
/// Length of a shot of the warm-up round.
const WARM_UP_MS: u64 = 1_000;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub mixes: Vec<Mix>,
    pub rounds: usize,
    pub shot_ms: u64,
    pub connections: usize,
    /// Calls a second of the open loop; none, and only saturation is measured.
    pub rates: Vec<u64>,
}

/// One mix at one pace, and what came of it for each target.
pub(crate) struct Chapter {
    pub mix: Mix,
    /// Jobs a second of the open loop; `None`: as fast as it goes.
    pub per_second: Option<u64>,
    pub series: Vec<Series>,
}

/// One target in one chapter.
pub(crate) struct Series {
    pub kind: Kind,
    /// What it did: another mix than the chapter's where it cannot do that.
    pub mix: Mix,
    /// One a round, in order.
    pub shots: Vec<Shot>,
    /// Of all rounds together.
    pub latency: Histogram<u64>,
    pub lag: Histogram<u64>,
}

/// One target in one round.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub done: u64,
    pub failed: u64,
    pub unsent: u64,
    pub reconnects: u64,
    pub first_failure: Option<String>,
    pub elapsed_ns: u64,
    pub cpu: Cpu,
    pub resident_kib: u64,
    pub p50_ns: u64,
}

impl Shot {
    /// Processor time of the target for one job, in µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.total_us() as f64 / self.done.max(1) as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 * 1e9 / self.elapsed_ns as f64
    }

    /// How busy its processor was.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu.total_us() as f64 * 1e3 / self.elapsed_ns as f64
    }
}

/// Runs all chapters.
///
/// # Errors
/// When a target cannot do a mix at all.
pub(crate) fn run(
    targets: &[Target],
    extent: &Extent,
    mut progress: impl FnMut(&str),
) -> anyhow::Result<Vec<Chapter>> {
    let mut chapters = Vec::new();
    for mix in &extent.mixes {
        let paces = std::iter::once(None).chain(extent.rates.iter().copied().map(Some));
        for per_second in paces {
            let chapter = Chapter { mix: *mix, per_second, series: Vec::new() };
            chapters.push(run_chapter(chapter, targets, extent, &mut progress)?);
        }
    }
    Ok(chapters)
}

fn run_chapter(
    mut chapter: Chapter,
    targets: &[Target],
    extent: &Extent,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Chapter> {
    let members = members(chapter.mix, targets);
    for (target, mix) in &members {
        chapter.series.push(Series {
            kind: target.kind,
            mix: *mix,
            shots: Vec::new(),
            latency: Histogram::new(3)?,
            lag: Histogram::new(3)?,
        });
    }
    for round in 0..=extent.rounds {
        let pace = match chapter.per_second {
            Some(per_second) => Pace::Open { per_second },
            None => Pace::Closed,
        };
        for at in order(round, members.len()) {
            let (target, mix) = members.get(at).context("a member")?;
            let shot_ms = if round == 0 { WARM_UP_MS } else { extent.shot_ms };
            let script = Script::new(*mix, &target.paths);
            let (shot, tally) = shoot(target, &script, pace, shot_ms, extent.connections)
                .with_context(|| format!("{}: {}", target.kind.name(), mix.name()))?;
            progress(&format!(
                "{}, round {round}: {}",
                chapter.mix.name(),
                shown(target.kind, &shot)
            ));
            if round > 0 {
                let series = chapter.series.get_mut(at).context("a series")?;
                series.latency.add(tally.latency()?)?;
                series.lag.add(&tally.lag)?;
                series.shots.push(shot);
            }
        }
    }
    Ok(chapter)
}

/// Who takes part, and with which mix: what cannot deny relays a call instead, to compare with.
fn members(mix: Mix, targets: &[Target]) -> Vec<(&Target, Mix)> {
    let all = targets.iter().filter_map(|target| match target.kind.can(mix) {
        true => Some((target, mix)),
        false => (target.kind == REFERENCE).then_some((target, Mix::Call)),
    });
    all.collect()
}

/// Odd rounds forward, even ones backward.
fn order(round: usize, count: usize) -> Vec<usize> {
    match round % 2 {
        1 => (0..count).collect(),
        _ => (0..count).rev().collect(),
    }
}

fn shoot(
    target: &Target,
    script: &Script,
    pace: Pace,
    shot_ms: u64,
    connections: usize,
) -> anyhow::Result<(Shot, Tally)> {
    let mut load = target.load(connections)?;
    load.warm_up(script).with_context(|| target.log_tail())?;
    let pid = target.pid()?;
    let before = usage::cpu(pid)?;
    let tally = load.run(script, pace, shot_ms)?;
    let cpu = usage::cpu(pid).with_context(|| target.log_tail())?.since(before);
    let shot = Shot {
        done: tally.done,
        failed: tally.failed,
        unsent: tally.unsent,
        reconnects: tally.reconnects,
        first_failure: tally.first_failure.clone(),
        elapsed_ns: tally.elapsed_ns,
        cpu,
        resident_kib: usage::resident_kib(pid)?,
        p50_ns: tally.latency()?.value_at_quantile(0.5),
    };
    Ok((shot, tally))
}

fn shown(kind: Kind, shot: &Shot) -> String {
    let mut text = format!(
        "{:<14} {:>7.2} CPU µs, {:>7.0}/s, p50 {} µs",
        kind.name(),
        shot.cpu_us(),
        shot.per_second(),
        shot.p50_ns / 1_000
    );
    if let Some(failure) = &shot.first_failure {
        text += &format!("; {} failed, the first: {failure}", shot.failed);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_forward_and_backward() {
        assert_eq!(order(1, 3), [0, 1, 2]);
        assert_eq!(order(2, 3), [2, 1, 0]);
    }

    #[test]
    fn only_what_decides_can_deny() {
        assert!(Kind::Portcullis.can(Mix::Denial));
        assert!(!REFERENCE.can(Mix::Denial) && REFERENCE.can(Mix::Churn));
    }
}
