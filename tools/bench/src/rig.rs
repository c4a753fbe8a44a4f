//! The processes of a run: the origin, and the targets that stand before it.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::ClientConfig;
use serde::Serialize;
use tests_fixtures::stack::{Process, free_port};

use crate::haproxy;
use crate::load::Load;
use crate::material::Material;
use crate::mix::{Mix, Paths};
use crate::place::{self, Cores};
use crate::portcullis::Portcullis;

/// How long a process may take to listen.
const READY: Duration = Duration::from_secs(10);

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The origin itself, without TLS: the floor.
    Direct,
    /// HAProxy without TLS.
    HaproxyPlain,
    /// HAProxy relaying over TLS: the yardstick.
    HaproxyTls,
    /// Everything on.
    Portcullis,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::HaproxyPlain => "haproxy-plain",
            Self::HaproxyTls => "haproxy-tls",
            Self::Portcullis => "portcullis",
        }
    }

    /// Whether it can do this at all: only what decides can deny.
    pub(crate) fn can(self, mix: Mix) -> bool {
        mix != Mix::Denial || self == Self::Portcullis
    }
}

/// The origin, started; the processor time that it takes is not the targets'.
pub(crate) struct Origin {
    process: Process,
    pub address: SocketAddr,
}

impl Origin {
    pub(crate) fn start(material: &Material, cores: Cores, tools: usize) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let words = ["origin", "--listen", &address.to_string(), "--tools", &tools.to_string()]
            .map(ToOwned::to_owned);
        let own = std::env::current_exe()?;
        let log = material.place.path("origin.log");
        let mut process =
            place::on(cores.load, || Process::start("origin", &own, &words, &[], &log))?;
        process.until(READY, "listener", || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, address })
    }
}

/// One thing to measure.
pub(crate) struct Target {
    pub kind: Kind,
    pub address: SocketAddr,
    pub tls: Option<Arc<ClientConfig>>,
    pub paths: Paths,
    pub running: Running,
}

/// Who owns its process.
pub(crate) enum Running {
    Origin(u32),
    Haproxy(Process),
    Portcullis(Box<Portcullis>),
}

impl Target {
    pub(crate) fn start(
        kind: Kind,
        material: &Material,
        cores: Cores,
        origin: &Origin,
    ) -> anyhow::Result<Self> {
        let relayed = Paths {
            host: "localhost".to_owned(),
            modern: "/mcp".to_owned(),
            legacy: "/legacy".to_owned(),
            token: material.token.clone(),
        };
        let tls = Some(Arc::clone(&material.tls));
        match kind {
            Kind::Direct => {
                let pid = origin.process.id().context("the origin ended")?;
                let running = Running::Origin(pid);
                Ok(Self { kind, address: origin.address, tls: None, paths: relayed, running })
            }
            Kind::HaproxyPlain | Kind::HaproxyTls => {
                let with_tls = kind == Kind::HaproxyTls;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
                let mut process = place::on(cores.proxy, || {
                    haproxy::start(kind.name(), material, address, with_tls, origin.address)
                })?;
                process.until(READY, "listener", || TcpStream::connect(address).is_ok())?;
                let (tls, running) = (tls.filter(|_| with_tls), Running::Haproxy(process));
                Ok(Self { kind, address, tls, paths: relayed, running })
            }
            Kind::Portcullis => {
                let started = Portcullis::start(material, cores, origin.address)?;
                let (address, paths) = (started.gateway.address, started.paths(material));
                let running = Running::Portcullis(Box::new(started));
                Ok(Self { kind, address, tls, paths, running })
            }
        }
    }

    /// The process whose processor time and memory count, with all below it.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        let pid = match &self.running {
            Running::Origin(pid) => Some(*pid),
            Running::Haproxy(process) => process.id(),
            Running::Portcullis(portcullis) => portcullis.gateway.process.id(),
        };
        pid.with_context(|| format!("{} does not run", self.kind.name()))
    }

    /// Connects to it.
    pub(crate) fn load(&self, connections: usize) -> anyhow::Result<Load> {
        Load::new(self.address, self.tls.clone(), connections)
            .with_context(|| format!("{}\n{}", self.kind.name(), self.log_tail()))
    }

    /// The end of its log, for faults.
    pub(crate) fn log_tail(&self) -> String {
        match &self.running {
            Running::Origin(_) => String::new(),
            Running::Haproxy(process) => process.log_tail(),
            Running::Portcullis(portcullis) => {
                portcullis.gateway.process.log_tail() + &portcullis.plane.process.log_tail()
            }
        }
    }
}
