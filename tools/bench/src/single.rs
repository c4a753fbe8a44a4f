//! Two figures of the gateway alone: how soon it answers, and what a thousand connections weigh.

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;

use crate::clock::now_ns;
use crate::load::{Load, Pace};
use crate::mix::{Mix, Script};
use crate::report::Spread;
use crate::rig::{Running, Target};
use crate::usage;

/// How long a start may take before it is a failure.
const START_NS_MAX: u64 = 10_000_000_000;

/// Calls are made for so long before each kill: the log's end is then as a crash leaves it.
const LOAD_BEFORE_KILL_MS: u64 = 300;

/// How the gateway ended before it is started again.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// By SIGTERM: its log is closed.
    InOrder,
    /// By SIGKILL, a moment after calls under load.
    Kill,
}

impl Ended {
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::InOrder => "after a stop in order",
            Self::Kill => "after kill -9 under load",
        }
    }
}

/// From `exec` to the first answered call.
#[derive(Debug, Serialize)]
pub(crate) struct Starts {
    pub starts: usize,
    pub after: Ended,
    pub tools: usize,
    /// Calls in the log that it opens.
    pub calls_before: u64,
    pub first_answer_ms: Spread,
}

/// Starts the gateway again and again, and calls as soon as it listens. The time holds fork, exec,
/// opening the log, loading the bundle, the TLS handshake, the token's signature, and the call.
///
/// # Errors
/// When it does not come up, or answers wrongly.
pub(crate) fn starts(
    target: &mut Target,
    count: usize,
    after: Ended,
    before_ms: u64,
    tools: usize,
) -> anyhow::Result<Starts> {
    let script = Script::new(Mix::Call, &target.paths);
    let mut load = target.load(8)?;
    load.warm_up(&script)?;
    let mut calls_before = load.run(&script, Pace::Closed, before_ms)?.done;
    drop(load);
    if let Running::Portcullis(portcullis) = &target.running {
        portcullis.gateway.after_the_trial()?;
    }
    let mut all_ms = Vec::with_capacity(count);
    for _ in 0..count {
        if let Ended::Kill = after {
            let mut load = target.load(8)?;
            calls_before += load.run(&script, Pace::Closed, LOAD_BEFORE_KILL_MS)?.done;
        }
        let Running::Portcullis(portcullis) = &mut target.running else {
            anyhow::bail!("only the gateway is started again")
        };
        match after {
            Ended::InOrder => portcullis.gateway.process.terminate(),
            Ended::Kill => portcullis.gateway.process.kill(),
        };
        let begun_ns = now_ns();
        portcullis.gateway.start_again()?;
        let took_ns = first_answer(target, &script, begun_ns)?;
        all_ms.push(took_ns as f64 / 1e6);
    }
    let first_answer_ms = Spread::of(all_ms).context("no start was asked for")?;
    Ok(Starts { starts: count, after, tools, calls_before, first_answer_ms })
}

fn first_answer(target: &Target, script: &Script, begun_ns: u64) -> anyhow::Result<u64> {
    loop {
        match Load::new(target.address, target.tls.clone(), 1) {
            Ok(mut load) => {
                load.warm_up(script).with_context(|| target.log_tail())?;
                return Ok(now_ns() - begun_ns);
            }
            Err(fault) => {
                let late = now_ns() - begun_ns > START_NS_MAX;
                ensure!(!late, "no listener after a start: {fault:#}\n{}", target.log_tail());
                std::thread::yield_now();
            }
        }
    }
}

/// Resident memory.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub target: &'static str,
    pub connections: usize,
    pub before_mib: f64,
    pub with_connections_mib: f64,
    pub kib_a_connection: f64,
}

/// Opens connections, makes one call on each, and looks.
///
/// # Errors
/// When the target does not take or answer them all.
pub(crate) fn memory(target: &Target, connections: usize) -> anyhow::Result<Memory> {
    let script = Script::new(Mix::Call, &target.paths);
    target.load(1)?.warm_up(&script)?;
    let pid = target.pid()?;
    let before = usage::resident_kib(pid)?;
    let mut load = target.load(connections)?;
    load.warm_up(&script).with_context(|| target.log_tail())?;
    let with_connections = usage::resident_kib(pid)?;
    Ok(Memory {
        target: target.kind.name(),
        connections,
        before_mib: before as f64 / 1024.0,
        with_connections_mib: with_connections as f64 / 1024.0,
        kib_a_connection: with_connections.saturating_sub(before) as f64 / connections as f64,
    })
}
