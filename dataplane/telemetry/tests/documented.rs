//! Operators find every metric, and no other, in docs/operating/metrics.md.

use std::collections::BTreeSet;

use dataplane_telemetry::metrics::{ALL, Kind};

const PAGE: &str = include_str!("../../../docs/operating/metrics.md");

/// Name and kind of each row of the page's table.
fn documented() -> BTreeSet<(&'static str, &'static str)> {
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?;
        name.starts_with("portcullis_").then_some((name, cells.next()?))
    };
    PAGE.lines().filter_map(row).collect()
}

#[test]
fn every_metric_is_documented_and_nothing_else() {
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let ours = ALL.iter().map(|metric| (metric.name, kind(metric.kind)));
    assert_eq!(documented(), ours.collect());
}
