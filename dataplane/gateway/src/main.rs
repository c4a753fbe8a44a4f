//! portcullis-gateway: the dataplane process.
//!
//! One thread a core serves; beside them run the log's thread, the channel to the control plane,
//! and the management listener. It starts from its last bundle on disk, with or without a control
//! plane, and stops after the calls that run.

mod addresses;
mod admin;
mod capabilities;
mod card;
mod clock;
mod conversation;
mod descriptor;
mod durable;
mod gateway;
mod hub;
mod kept;
mod keys;
mod ladder;
mod listen;
mod mailbox;
mod memory;
mod notify;
mod ready;
mod records;
mod registry;
mod ring;
mod samples;
mod serve;
mod settings;
mod snapshot;
mod steering;
mod stream;
mod tls;
mod upstreams;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Parser;
use dataplane_bundle::EnrolmentToken;
use dataplane_sync::{Dirs, EnrolFault};

use crate::gateway::Gateway;
use crate::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    ring::probe()?;
    memory::forbid_dumps().context("core dumps cannot be forbidden")?;
    let dirs = Dirs::new(&settings.data_dir);
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("cannot make {}", settings.data_dir.display()))?;
    enrol(&settings, &dirs)?;
    let identity = dataplane_sync::load_identity(&dirs)
        .context("start it once with --control HOST:PORT --enrol TOKEN")?;
    // Before the log is opened: whoever asks for a stop from now on gets one in order.
    let signals = Signals::register()?;
    let started = Gateway::start(&settings, dirs.clone(), identity);
    // A port that is taken is not the bundle's fault.
    started.inspect_err(|_| dataplane_sync::stopped_in_order(&dirs))?.run(&settings, &signals)
}

/// What people ask of the process.
#[derive(Default)]
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        let signals = Self::default();
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&signals.stop))?;
        }
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&signals.reload))?;
        Ok(signals)
    }
}

fn enrol(settings: &Settings, dirs: &Dirs) -> anyhow::Result<()> {
    let Some(token) = &settings.enrol else { return Ok(()) };
    let token: EnrolmentToken = token.parse().context("--enrol is not an enrolment token")?;
    let control = settings.control.as_deref().context("--enrol needs --control HOST:PORT")?;
    match dataplane_sync::enrol(dirs, control, &token) {
        Ok(appliance) => tracing::info!(%appliance, control, "enrolled"),
        Err(EnrolFault::AlreadyEnrolled { appliance, .. }) => {
            tracing::info!(%appliance, "already enrolled; the token was not used");
        }
        Err(fault) => return Err(fault).context("enrolment failed"),
    }
    Ok(())
}
