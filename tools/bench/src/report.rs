//! What is printed: a table for people, JSON for programs.
//!
//! Ratios come first in both, because microseconds of two runs are not comparable and ratios are.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::compare::{Chapter, REFERENCE, Series, Shot};
use crate::mix::Mix;
use crate::rig::Kind;

/// Below it a processor was not the bottleneck, and its calls shared less than they could.
const BUSY_MIN: f64 = 0.75;

/// Everything of a comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What it was measured on and with.
    pub conditions: Vec<String>,
    pub rows: Vec<Row>,
}

/// One target in one chapter.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub mix: Mix,
    /// Of the open loop; absent at saturation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_per_second: Option<u64>,
    pub target: Kind,
    /// What it did, where that is not the mix itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<Mix>,
    pub cpu_us: Spread,
    pub system_share: f64,
    /// Of HAProxy over TLS in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spread>,
    pub per_second: Spread,
    pub busy: Spread,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// How late the generator itself was, open loop only.
    pub lag_p99_us: f64,
    pub resident_mib: f64,
    pub done: u64,
    pub failed: u64,
    pub unsent: u64,
    pub reconnects: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

/// Of the rounds' values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: (low + high) / 2.0, min, max })
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        format!("{:.2} [{:.2}..{:.2}]", self.median, self.min, self.max)
    }
}

impl Report {
    pub(crate) fn new(conditions: Vec<String>, chapters: &[Chapter]) -> Self {
        Self { conditions, rows: chapters.iter().flat_map(rows).collect() }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for condition in &self.conditions {
            let _ = writeln!(text, "{condition}");
        }
        let mut last = None;
        for row in &self.rows {
            if last != Some((row.mix, row.offered_per_second)) {
                last = Some((row.mix, row.offered_per_second));
                text += &heading(row);
            }
            text += &line(row);
        }
        text
    }
}

fn heading(row: &Row) -> String {
    let pace = match row.offered_per_second {
        Some(rate) => format!("open loop, {rate}/s"),
        None => "saturation".to_owned(),
    };
    format!(
        "\n{}, {pace}\n{:<20} {:>22} {:>19} {:>9} {:>6} {:>9} {:>9} {:>9} {:>7}\n",
        row.mix.name(),
        "target",
        "CPU µs [min..max]",
        "x haproxy-tls",
        "a second",
        "busy",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "RSS MiB"
    )
}

fn line(row: &Row) -> String {
    let did = row.did.map_or(String::new(), |_| " (relays)".to_owned());
    let mut text = format!(
        "{:<20} {:>22} {:>19} {:>9.0} {:>5.0}% {:>9.0} {:>9.0} {:>9.0} {:>7.1}\n",
        row.target.name().to_owned() + &did,
        row.cpu_us.shown(),
        row.ratio.as_ref().map_or("-".to_owned(), Spread::shown),
        row.per_second.median,
        row.busy.median * 100.0,
        row.p50_us,
        row.p99_us,
        row.p999_us,
        row.resident_mib
    );
    if row.offered_per_second.is_none() && row.busy.median < BUSY_MIN {
        text += "  ! not saturated: it waited, and idling costs: more --connections, or a faster load core\n";
    }
    if row.failed + row.unsent + row.reconnects > 0 {
        let why = row.first_failure.as_deref().unwrap_or("no failure");
        let _ = writeln!(
            text,
            "  ! {} failed, {} could not be sent in time, {} reconnects; {why}",
            row.failed, row.unsent, row.reconnects
        );
    }
    text
}

/// Of times in nanoseconds.
pub(crate) fn quantile_us(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

fn rows(chapter: &Chapter) -> Vec<Row> {
    let reference = chapter.series.iter().find(|series| series.kind == REFERENCE);
    chapter.series.iter().filter_map(|series| row(chapter, series, reference)).collect()
}

fn row(chapter: &Chapter, series: &Series, reference: Option<&Series>) -> Option<Row> {
    let shots = &series.shots;
    let sum = |field: fn(&Shot) -> u64| shots.iter().map(field).sum::<u64>();
    let all = |field: fn(&Shot) -> f64| Spread::of(shots.iter().map(field));
    let ratio = reference.and_then(|reference| {
        let pairs = shots.iter().zip(&reference.shots);
        Spread::of(pairs.map(|(ours, theirs)| ours.cpu_us() / theirs.cpu_us()))
    });
    let cpu_us = sum(|shot| shot.cpu.total_us()).max(1);
    Some(Row {
        mix: chapter.mix,
        offered_per_second: chapter.per_second,
        target: series.kind,
        did: (series.mix != chapter.mix).then_some(series.mix),
        cpu_us: all(Shot::cpu_us)?,
        system_share: sum(|shot| shot.cpu.system_us) as f64 / cpu_us as f64,
        ratio,
        per_second: all(Shot::per_second)?,
        busy: all(Shot::busy)?,
        p50_us: quantile_us(&series.latency, 0.5),
        p99_us: quantile_us(&series.latency, 0.99),
        p999_us: quantile_us(&series.latency, 0.999),
        lag_p99_us: quantile_us(&series.lag, 0.99),
        resident_mib: shots.last()?.resident_kib as f64 / 1024.0,
        done: sum(|shot| shot.done),
        failed: sum(|shot| shot.failed),
        unsent: sum(|shot| shot.unsent),
        reconnects: sum(|shot| shot.reconnects),
        first_failure: shots.iter().find_map(|shot| shot.first_failure.clone()),
    })
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::usage::Cpu;

    fn shot(done: u64, user_us: u64) -> Shot {
        Shot {
            done,
            failed: 0,
            unsent: 0,
            reconnects: 0,
            first_failure: None,
            elapsed_ns: 1_000_000_000,
            cpu: Cpu { user_us, system_us: 0 },
            resident_kib: 2_048,
            p50_ns: 0,
        }
    }

    fn series(kind: Kind, mix: Mix, shots: Vec<Shot>) -> Series {
        let histogram = || Histogram::new(3).unwrap();
        Series { kind, mix, shots, latency: histogram(), lag: histogram() }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The second round is twice as dear for both: the ratio does not move.
        let reference = series(REFERENCE, Mix::Call, vec![shot(100, 1_000), shot(100, 2_000)]);
        let ours = series(Kind::Portcullis, Mix::Denial, vec![shot(100, 500), shot(100, 1_000)]);
        let chapter = Chapter { mix: Mix::Denial, per_second: None, series: vec![reference, ours] };
        let report = Report::new(vec!["On a rig.".into()], &[chapter]);
        let ratio = report.rows[1].ratio.unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 0.5));
        assert_eq!(report.rows[1].cpu_us, Spread { median: 7.5, min: 5.0, max: 10.0 });
        let table = report.table();
        assert!(table.starts_with("On a rig.\n\ndenial, saturation\n"), "{table}");
        assert!(table.contains("haproxy-tls (relays)"), "{table}");
        assert!(table.contains("  ! not saturated"), "1.5 ms of work in a second: {table}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"][0]["did"], "call");
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([]), None);
    }
}
