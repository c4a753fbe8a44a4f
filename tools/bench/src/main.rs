//! portcullis-bench: what a governed call costs, beside HAProxy and a direct server.
//!
//! One rig for all: each measured process alone on one processor, load and origin on another, the
//! same payload, interleaved rounds. It reports processor time per call, calls a second, latencies
//! without coordinated omission, and ratios to HAProxy over TLS of the same round.

mod answer;
mod client;
mod clock;
mod compare;
mod flood;
mod haproxy;
mod load;
mod material;
mod mix;
mod origin;
mod place;
mod poll;
mod portcullis;
mod report;
mod rest;
mod rig;
mod single;
mod usage;

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::compare::Extent;
use crate::material::Material;
use crate::mix::Mix;
use crate::place::Cores;
use crate::report::Report;
use crate::rig::{Kind, Origin, Target};
use crate::single::Ended;

/// Load generator and comparison. Figures of two runs are comparable as ratios only.
#[derive(Debug, Parser)]
#[command(name = "portcullis-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: Compare,
    #[command(flatten)]
    rig: Rig,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Targets side by side; this is also what happens without a command.
    Compare(Compare),
    /// How soon the gateway answers its first call after exec.
    Start {
        #[arg(long, default_value_t = 21)]
        starts: usize,
        /// How the gateway ended before each start.
        #[arg(long, value_enum, default_value_t = Ended::InOrder)]
        after: Ended,
        /// Calls are made for so long before, so that the log that is opened holds them.
        #[arg(long, default_value_t = 0)]
        seconds_before: u64,
        /// Fail when the median is more, in milliseconds.
        #[arg(long)]
        at_most: Option<f64>,
    },
    /// What open TLS connections weigh.
    Memory {
        #[arg(long, default_value_t = 1_000)]
        connections: usize,
        #[arg(long, value_delimiter = ',', default_value = "haproxy-tls,portcullis")]
        targets: Vec<Kind>,
        /// Fail when the gateway has more, in MiB.
        #[arg(long)]
        at_most: Option<f64>,
    },
    /// What a tenant that ignores its refusals costs the others, with the network card and without. Root.
    Flood(Box<flood::Flood>),
    /// Who floods.
    #[command(hide = true)]
    Offender(flood::Offend),
    /// The server that everything else stands before.
    #[command(hide = true)]
    Origin {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        tools: usize,
    },
}

#[derive(Clone, Debug, Args)]
struct Compare {
    #[arg(long, value_delimiter = ',', default_value = "direct,haproxy-tls,portcullis")]
    targets: Vec<Kind>,
    #[arg(long, value_delimiter = ',', default_value = "call,churn,denial")]
    mixes: Vec<Mix>,
    /// Rounds that count, after one that does not.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a shot; processor time is counted in steps of 10 ms.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// At saturation each has one call under way: with too few, what is measured waits for its disk.
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Jobs a second of the open loop, several with commas; 0 for saturation alone.
    #[arg(long, value_delimiter = ',', default_value = "1500")]
    rates: Vec<u64>,
    /// Fail when the gateway's call at saturation costs more than this times HAProxy's.
    #[arg(long)]
    at_most: Option<f64>,
}

#[derive(Debug, Args)]
struct Rig {
    /// The processor of what is measured.
    #[arg(long, global = true, default_value_t = 0)]
    proxy_core: usize,
    /// The processor of load, origin and control plane.
    #[arg(long, global = true, default_value_t = 1)]
    load_core: usize,
    /// Tools that the server offers, all of them in the bundle.
    #[arg(long, global = true, default_value_t = 500, value_parser = tool_count)]
    tools: usize,
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Keep the folder with configurations and logs.
    #[arg(long, global = true)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    raise_open_files();
    match cli.command {
        Some(Command::Origin { listen, tools }) => origin::serve(listen, tools),
        Some(Command::Start { starts, after, seconds_before, at_most }) => {
            start(&cli.rig, starts, after, seconds_before * 1_000, at_most)
        }
        Some(Command::Memory { connections, targets, at_most }) => {
            memory(&cli.rig, connections, &targets, at_most)
        }
        Some(Command::Flood(asked)) => flood(&cli.rig, &asked),
        Some(Command::Offender(offend)) => flood::offend(&offend),
        Some(Command::Compare(compare)) => run(&cli.rig, &compare),
        None => run(&cli.rig, &cli.compare),
    }
}

/// What one subcommand stands on; ends with it.
struct Setting {
    targets: Vec<Target>,
    _origin: Origin,
    _material: Material,
    conditions: Vec<String>,
}

impl Setting {
    fn new(rig: &Rig, kinds: &[Kind]) -> anyhow::Result<Self> {
        let cores = Cores { proxy: rig.proxy_core, load: rig.load_core };
        cores.check()?;
        let mut conditions = conditions(rig, kinds)?;
        let mut material = Material::new()?;
        if rig.keep {
            material.keep();
        }
        let origin = Origin::start(&material, cores, rig.tools)?;
        let mut targets = Vec::new();
        for kind in kinds {
            targets.push(Target::start(*kind, &material, cores, &origin)?);
        }
        // Only now: what was started has taken its own place.
        if !place::take(cores.load)? {
            conditions.push("Without priority (nice) for want of the privilege.".to_owned());
        }
        Ok(Self { targets, _origin: origin, _material: material, conditions })
    }
}

fn run(rig: &Rig, compare: &Compare) -> anyhow::Result<()> {
    let mut setting = Setting::new(rig, &compare.targets)?;
    let extent = Extent {
        mixes: compare.mixes.clone(),
        rounds: compare.rounds.max(1),
        shot_ms: compare.seconds.max(1) * 1_000,
        connections: compare.connections.max(1),
        rates: compare.rates.iter().copied().filter(|rate| *rate > 0).collect(),
    };
    setting.conditions.push(format!(
        "{} connections, {} rounds of {} s, tokens of {} bytes, {} tools.",
        extent.connections,
        extent.rounds,
        compare.seconds,
        setting._material.token.len(),
        rig.tools
    ));
    let chapters = compare::run(&setting.targets, &extent, |line| eprintln!("{line}"))?;
    let report = Report::new(setting.conditions, &chapters);
    print(rig.output, &report, &report.table())?;
    let gateway = report.rows.iter().find(|row| {
        row.target == Kind::Portcullis && row.mix == Mix::Call && row.offered_per_second.is_none()
    });
    let ratio = gateway.and_then(|row| row.ratio).map(|ratio| ratio.median);
    within("CPU per call, times HAProxy over TLS", ratio, compare.at_most)
}

fn start(
    rig: &Rig,
    count: usize,
    after: Ended,
    before_ms: u64,
    at_most: Option<f64>,
) -> anyhow::Result<()> {
    let mut setting = Setting::new(rig, &[Kind::Portcullis])?;
    let target = setting.targets.first_mut();
    let target = target.ok_or_else(|| anyhow::anyhow!("no target"))?;
    let starts = single::starts(target, count, after, before_ms, rig.tools)?;
    let spread = starts.first_answer_ms;
    let text = format!(
        "exec to first answered call, {}: median {:.2} ms, min {:.2}, max {:.2} of {} starts; {} tools \
         in the bundle, {} calls in the log before\n",
        after.in_words(),
        spread.median,
        spread.min,
        spread.max,
        starts.starts,
        starts.tools,
        starts.calls_before
    );
    print(rig.output, &starts, &text)?;
    within("milliseconds to the first answer", Some(spread.median), at_most)
}

fn memory(
    rig: &Rig,
    connections: usize,
    kinds: &[Kind],
    at_most: Option<f64>,
) -> anyhow::Result<()> {
    let setting = Setting::new(rig, kinds)?;
    let (mut all, mut text) = (Vec::new(), String::new());
    for target in &setting.targets {
        let memory = single::memory(target, connections)?;
        text += &format!(
            "{:<14} {:.1} MiB with {connections} connections ({:.1} before, {:.1} KiB each)\n",
            memory.target, memory.with_connections_mib, memory.before_mib, memory.kib_a_connection
        );
        all.push(memory);
    }
    print(rig.output, &all, &text)?;
    let gateway = all.iter().find(|memory| memory.target == Kind::Portcullis.name());
    within("MiB resident", gateway.map(|memory| memory.with_connections_mib), at_most)
}

fn flood(rig: &Rig, asked: &flood::Flood) -> anyhow::Result<()> {
    let cores = Cores { proxy: rig.proxy_core, load: rig.load_core };
    let report = flood::run(asked, cores, rig.tools, rig.keep, conditions(rig, &[])?)?;
    print(rig.output, &report, &report.table())?;
    report.check(asked)
}

/// Fails past a bound that was asked for, and where there is nothing to hold against it.
fn within(what: &str, found: Option<f64>, at_most: Option<f64>) -> anyhow::Result<()> {
    let Some(at_most) = at_most else { return Ok(()) };
    let found = found.with_context(|| format!("{what}: not measured in this run"))?;
    anyhow::ensure!(found <= at_most, "{what}: {found:.2}, at most {at_most} was asked for");
    Ok(())
}

fn print(output: Output, report: &impl serde::Serialize, table: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Table => out.write_all(table.as_bytes())?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// What a reader has to know to do it again.
fn conditions(rig: &Rig, kinds: &[Kind]) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    lines.push(format!(
        "{}, Linux {}; measured process on processor {}, load and origin on {}.",
        model.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        rig.proxy_core,
        rig.load_core
    ));
    if kinds.iter().any(|kind| matches!(kind, Kind::HaproxyPlain | Kind::HaproxyTls)) {
        lines.push(haproxy::version()?);
    }
    if cfg!(debug_assertions) {
        lines.push("BUILT WITHOUT OPTIMISATION: these figures mean nothing.".to_owned());
    }
    Ok(lines)
}

/// The rules name the first few; the control plane takes 2,000 of one server.
fn tool_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (8..=2_000).contains(count));
    count.ok_or_else(|| "8 to 2000".to_owned())
}

/// A thousand connections need more descriptors than a shell usually gives; children inherit it.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_passed_fails() {
        assert!(within("x", Some(1.3), Some(1.3)).is_ok());
        assert!(within("x", Some(1.31), Some(1.3)).is_err());
        assert!(within("x", None, Some(1.3)).is_err());
        assert!(within("x", None, None).is_ok());
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
