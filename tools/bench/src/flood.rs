//! `flood`: what a tenant that ignores its refusals costs the others, with the network card and without.
//!
//! Four questions, each asked in namespaces of its own making, of real processes: what an innocent tenant
//! keeps ([`innocent`]), what a refused connection costs ([`cost`]), what a neighbour behind the same
//! address loses ([`nat`]), how soon it all begins and ends ([`times`]).

mod agent;
mod cost;
mod innocent;
mod nat;
mod outcome;
mod rig;
mod times;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tests_fixtures::stack::Net;

pub(crate) use agent::{Flood as Offend, flood as offend};

use crate::material::Material;
use crate::place::{self, Cores};
use crate::report::Spread;
use rig::{Innocent, Rig};

/// What is asked, and what must be answered.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flood {
    /// Which questions.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "innocent,cost,nat,times")]
    parts: Vec<Part>,
    /// Rounds of the innocent that count, after one that does not.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Seconds of a shot.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Calls a second of the innocent, and of the neighbour behind the NAT.
    #[arg(long, default_value_t = 3_000)]
    rate: u64,
    /// Agents of the innocent, each on a connection of its own.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Calls of the neighbour behind the NAT.
    #[arg(long, default_value_t = 100_000)]
    calls: u64,
    /// How often the offence and the end of its drop are timed.
    #[arg(long, default_value_t = 20)]
    times: usize,
    /// Fail when the innocent keeps less of its calls a second, with the card, than this times those
    /// without a flood.
    #[arg(long)]
    kept_at_least: Option<f64>,
    /// Fail when its p99 of the usual second, with the card, is more than this times the one without a
    /// flood.
    #[arg(long)]
    p99_at_most: Option<f64>,
    /// Fail when refusing at the card is not so many times cheaper than accepting and refusing.
    #[arg(long)]
    cheaper_at_least: Option<f64>,
    /// Fail when the neighbour behind the NAT loses more calls.
    #[arg(long)]
    lost_at_most: Option<u64>,
    /// Fail when the slowest offence, or the slowest end, took more, in milliseconds.
    #[arg(long)]
    ms_at_most: Option<f64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    Innocent,
    Cost,
    Nat,
    Times,
}

/// Everything of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub conditions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    innocent: Option<outcome::Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<cost::Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nat: Option<nat::Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<times::Outcome>,
}

/// Asks what is asked.
///
/// # Errors
/// Where namespaces cannot be had, and whatever stops a part.
pub(crate) fn run(
    flood: &Flood,
    cores: Cores,
    tools: usize,
    keep: bool,
    mut conditions: Vec<String>,
) -> anyhow::Result<Report> {
    cores.check()?;
    let net = Net::new().context("NOT MEASURED: this machine gives no network namespaces")?;
    let mut material = Material::new()?;
    if keep {
        material.keep();
    }
    net.at_gateway(|| {
        let innocent = Innocent { rate: flood.rate.max(1), connections: flood.connections.max(1) };
        let rig = Rig::start(&net, &material, cores, tools, innocent)?;
        if !place::take(cores.load)? {
            conditions.push("Without priority (nice) for want of the privilege.".to_owned());
        }
        let completions = place::Completions::where_begun(&material.place.path(""));
        if let Err(why) = &completions {
            conditions
                .push(format!("Writes to the disk end where the kernel has them end: {why:#}."));
        }
        conditions.push(format!(
            "Gateway and the receiving of its packets on processor {}; clients, servers and the \
             offender (idle class) on {}; veth, program in the driver.",
            cores.proxy, cores.load
        ));
        ask(flood, &rig, innocent, conditions)
    })
}

fn ask(
    flood: &Flood,
    rig: &Rig<'_>,
    innocent: Innocent,
    conditions: Vec<String>,
) -> anyhow::Result<Report> {
    let mut tell = |line: &str| eprintln!("{line}");
    let mut report = Report { conditions, innocent: None, cost: None, nat: None, times: None };
    if flood.parts.contains(&Part::Innocent) {
        let extent = innocent::Extent {
            rounds: flood.rounds.max(1),
            shot_ms: flood.seconds.max(1) * 1_000,
            innocent,
        };
        report.innocent = Some(innocent::measure(rig, extent, &mut tell)?);
    }
    if flood.parts.contains(&Part::Nat) {
        report.nat = Some(nat::measure(rig, flood.calls, flood.rate.max(1), &mut tell)?);
    }
    // The last: these put other quotas and ladders in force.
    if flood.parts.contains(&Part::Cost) {
        let shot = Duration::from_secs(flood.seconds.max(1));
        report.cost = Some(cost::measure(rig, shot, &mut tell)?);
    }
    if flood.parts.contains(&Part::Times) {
        report.times = Some(times::measure(rig, flood.times.max(1), &mut tell)?);
    }
    Ok(report)
}

impl Report {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for condition in &self.conditions {
            let _ = writeln!(text, "{condition}");
        }
        if let Some(innocent) = &self.innocent {
            innocents(innocent, &mut text);
        }
        if let Some(cost) = &self.cost {
            let _ = writeln!(
                text,
                "\na refused connection, processor time of the gateway's side\n\
                 accepted, 429     {:>10.0} ns, {} of them\n\
                 dropped, card     {:>10.0} ns, {} of them\n\
                 times cheaper     {:>10.0}",
                cost.accepted_ns, cost.accepted, cost.dropped_ns, cost.dropped, cost.times_cheaper
            );
        }
        if let Some(nat) = &self.nat {
            let _ = writeln!(
                text,
                "\ntwo tenants behind one address: {} calls of the neighbour, {} lost, {} reconnects, \
                 p99 {:.0} µs;\n{} packets of the offender dropped, {} of its connections given up; \
                 the address: {}",
                nat.calls,
                nat.lost,
                nat.reconnects,
                nat.p99_us,
                nat.dropped_packets,
                nat.given_up,
                nat.address
            );
        }
        if let Some(times) = &self.times {
            let _ = writeln!(
                text,
                "\nof {} times                 median      min      max\n\
                 offence to drop, ms   {}\n\
                 end to passing, ms    {}",
                times.times,
                three(&times.to_drop_ms),
                three(&times.to_pass_ms)
            );
        }
        text
    }

    /// Fails past a bound that was asked for, and where there is nothing to hold against it.
    ///
    /// # Errors
    /// The bound, and what was found.
    pub(crate) fn check(&self, flood: &Flood) -> anyhow::Result<()> {
        let innocent = self.innocent.as_ref();
        let kept = innocent.map(|found| found.kept_with.median);
        at_least("calls a second kept with the card", kept, flood.kept_at_least)?;
        let p99 = innocent.map(|found| found.p99_times_with.of_seconds);
        crate::within("p99 with the card, times the one without a flood", p99, flood.p99_at_most)?;
        let cheaper = self.cost.as_ref().map(|found| found.times_cheaper);
        at_least("times cheaper at the card", cheaper, flood.cheaper_at_least)?;
        let lost = self.nat.as_ref().map(|found| found.lost as f64);
        let lost_at_most = flood.lost_at_most.map(|most| most as f64);
        crate::within("calls lost behind the NAT", lost, lost_at_most)?;
        let times = self.times.as_ref();
        let to_drop = times.map(|found| found.to_drop_ms.max);
        crate::within("milliseconds from the offence to the drop", to_drop, flood.ms_at_most)?;
        let to_pass = times.map(|found| found.to_pass_ms.max);
        crate::within("milliseconds from the end to passing", to_pass, flood.ms_at_most)
    }
}

fn at_least(what: &str, found: Option<f64>, at_least: Option<f64>) -> anyhow::Result<()> {
    let Some(at_least) = at_least else { return Ok(()) };
    let found = found.with_context(|| format!("{what}: not measured in this run"))?;
    anyhow::ensure!(found >= at_least, "{what}: {found:.2}, at least {at_least} was asked for");
    Ok(())
}

fn innocents(innocent: &outcome::Outcome, text: &mut String) {
    let _ = writeln!(
        text,
        "\nan innocent tenant, {}/s on {} connections, beside {} connections of the offender\n\
         {:<15} {:>9} {:>18} {:>9} {:>9} {:>11} {:>18} {:>5} {:>7} {:>11}",
        innocent.offered_per_second,
        innocent.connections,
        innocent.flooding_connections,
        "",
        "a second",
        "x no flood",
        "p50 µs",
        "p99 µs",
        "a second's",
        "x no flood",
        "busy",
        "failed",
        "refusals/s"
    );
    let ratios = [
        None,
        Some((&innocent.kept_without, &innocent.p99_times_without)),
        Some((&innocent.kept_with, &innocent.p99_times_with)),
    ];
    for (row, ratios) in innocent.rows.iter().zip(ratios) {
        let (kept, p99) = ratios.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |(kept, p99)| (kept.shown(), p99.shown()),
        );
        let _ = writeln!(
            text,
            "{:<15} {:>9.0} {kept:>18} {:>9.0} {:>9.0} {:>11.0} {p99:>18} {:>4.0}% {:>7} {:>11.0}",
            row.what,
            row.per_second.median,
            row.p50_us,
            row.p99_us,
            row.p99_us_by_second.median,
            row.busy.median * 100.0,
            row.failed,
            row.refusals_per_second
        );
        if let Some(failure) = &row.first_failure {
            let _ = writeln!(text, "  ! {failure}");
        }
    }
}

fn three(spread: &Spread) -> String {
    format!("{:>8.2} {:>8.2} {:>8.2}", spread.median, spread.min, spread.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median, max: median }
    }

    fn asking(edit: impl FnOnce(&mut Flood)) -> Flood {
        let mut flood = Flood {
            parts: Vec::new(),
            rounds: 1,
            seconds: 1,
            rate: 1,
            connections: 1,
            calls: 1,
            times: 1,
            kept_at_least: None,
            p99_at_most: None,
            cheaper_at_least: None,
            lost_at_most: None,
            ms_at_most: None,
        };
        edit(&mut flood);
        flood
    }

    fn report() -> Report {
        let times = times::Outcome { times: 1, to_drop_ms: spread(9.0), to_pass_ms: spread(40.0) };
        let cost = cost::Outcome {
            accepted: 1,
            accepted_ns: 340.0,
            dropped: 1,
            dropped_ns: 1.0,
            times_cheaper: 340.0,
        };
        Report {
            conditions: vec!["On a rig.".into()],
            innocent: None,
            cost: Some(cost),
            nat: None,
            times: Some(times),
        }
    }

    #[test]
    fn a_bound_that_is_passed_or_was_not_measured_fails() {
        let check = |edit: fn(&mut Flood)| report().check(&asking(edit)).is_ok();
        assert!(check(|_| ()));
        assert!(check(|asked| asked.ms_at_most = Some(40.0)));
        assert!(!check(|asked| asked.ms_at_most = Some(39.9)), "the slower of the two counts");
        assert!(check(|asked| asked.cheaper_at_least = Some(340.0)));
        assert!(!check(|asked| asked.cheaper_at_least = Some(340.1)));
        assert!(!check(|asked| asked.lost_at_most = Some(7)), "not measured");
        assert!(!check(|asked| asked.kept_at_least = Some(0.1)), "not measured");
    }

    #[test]
    fn what_was_not_asked_is_not_shown() {
        let text = report().table();
        assert!(text.starts_with("On a rig.\n\na refused connection"), "{text}");
        assert!(
            text.contains("end to passing, ms       40.00") && !text.contains("behind"),
            "{text}"
        );
        let json = serde_json::to_value(report()).unwrap();
        assert!(json.get("nat").is_none() && json["cost"]["times_cheaper"] == 340.0);
    }
}
