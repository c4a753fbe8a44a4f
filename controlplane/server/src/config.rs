//! What the process is told when it starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use controlplane_api::Time;

/// The control plane of Portcullis: REST for people and programs, QUIC for appliances.
#[derive(Clone, Debug, Parser)]
#[command(name = "portcullis-control", version)]
pub struct Config {
    /// Where the database, the key file and the first token are kept. Made when absent, for us only.
    #[arg(long, env = "PORTCULLIS_DATA_DIR", default_value = "portcullis-data")]
    pub data_dir: PathBuf,
    /// Address of the REST API.
    #[arg(long, default_value = "127.0.0.1:9440")]
    pub listen: SocketAddr,
    /// Address of the push channel (UDP).
    #[arg(long, default_value = "0.0.0.0:9441")]
    pub quic_listen: SocketAddr,
    /// Certificate chain of the REST API, PEM.
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the REST API, PEM.
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Serve the REST API without TLS on an address that others can reach.
    #[arg(long)]
    pub insecure_plain: bool,
    /// Further names under which the REST API is reached, as in a `Host` header.
    #[arg(long = "host")]
    pub hosts: Vec<String>,
    /// A file whose first line seals the secrets, instead of a key file in the data directory.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// How often identity providers are asked for their keys, in seconds.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub keys_every_s: u64,
    /// How often servers are asked for their tools, in seconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub servers_every_s: u64,
    /// How long a secret is lent to an appliance, in seconds.
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    pub lease_s: u64,
    #[arg(skip)]
    pub clock: Clock,
}

impl Config {
    /// Defaults over `data_dir`, on ports that the system chooses: for tests and for embedding.
    #[must_use]
    pub fn embedded(data_dir: PathBuf) -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            data_dir,
            listen: any,
            quic_listen: any,
            tls_cert: None,
            tls_key: None,
            insecure_plain: false,
            hosts: Vec::new(),
            passphrase_file: None,
            keys_every_s: 900,
            servers_every_s: 300,
            lease_s: 3_600,
            clock: Clock::default(),
        }
    }

    /// Names under which the REST API answers, given where it listens.
    pub(crate) fn own_hosts(&self, listen: SocketAddr) -> Vec<String> {
        let port = listen.port();
        let mut hosts = vec![format!("localhost:{port}"), listen.to_string()];
        if listen.ip().is_unspecified() || listen.ip().is_loopback() {
            hosts.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string());
            hosts.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)).to_string());
        }
        hosts.extend(self.hosts.iter().map(|host| host.to_ascii_lowercase()));
        hosts
    }
}

/// The wall clock; a test brings its own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Time + Send + Sync>);

impl Clock {
    pub fn new(now: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    #[must_use]
    pub fn now(&self) -> Time {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Clock")
    }
}
