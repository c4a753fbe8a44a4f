//! What the process is told when it starts. Everything else comes signed from the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The dataplane of Portcullis: terminates TLS, knows the caller, decides, forwards, records.
#[derive(Clone, Debug, Parser)]
#[command(name = "portcullis-gateway", version)]
pub(crate) struct Settings {
    /// Identity, bundle, kills and audit log live here.
    #[arg(long, env = "PORTCULLIS_DATA_DIR", default_value = "/var/lib/portcullis/gateway")]
    pub data_dir: PathBuf,

    /// Where MCP clients connect, over TLS.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,

    /// Where metrics and health are read; keep it on loopback or a management network.
    #[arg(long, default_value = "127.0.0.1:9442")]
    pub admin_listen: SocketAddr,

    /// The control plane's push port, `HOST:PORT`. Needed to enrol; remembered afterwards.
    #[arg(long, env = "PORTCULLIS_CONTROL")]
    pub control: Option<String>,

    /// One-time enrolment token, from `portcullis appliances enrol NAME`.
    #[arg(long, env = "PORTCULLIS_ENROL_TOKEN", hide_env_values = true)]
    pub enrol: Option<String>,

    /// Certificate chain for clients, PEM; read again when it changes. Without one the gateway makes
    /// its own certificate in the data directory, which clients have to be told to trust.
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of `--tls-cert`, PEM.
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Processors to serve on, one thread each, for example `0,1`. Default: all that this process
    /// may use.
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,

    /// Network interface whose card drops the packets of those who keep ignoring their refusals. Needs
    /// CAP_BPF and CAP_NET_ADMIN. Without it they are told and slowed, and nothing is dropped.
    #[arg(long, value_name = "INTERFACE")]
    pub card_interface: Option<String>,

    /// Where the card's program and tables are pinned, on a bpf file system.
    #[arg(long, default_value = "/sys/fs/bpf/portcullis")]
    pub card_pins: PathBuf,

    /// Lets an audit log grow that lost records: the loss as the refused start has named it, for example
    /// `cut-22-7-5f3c9a10`. Covers that loss and no later one; put on record.
    #[arg(long, value_name = "LOSS")]
    pub accept_audit_loss: Vec<String>,

    /// How long calls may finish after SIGTERM, in seconds.
    #[arg(long, default_value_t = 30)]
    pub drain_s: u64,
}
