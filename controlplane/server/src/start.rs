//! From nothing to serving, and back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use controlplane_api::wire::{RoleOfToken, Token};
use controlplane_rollout::{Authority, Rollout};
use controlplane_store::Store;
use dataplane_bundle::Signer;
use dataplane_telemetry::WallNanos;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::Config;
use crate::directory::State;
use crate::listen::Listener;
use crate::{auth, change, data_dir, kills, random, routes, upkeep};

/// How long changes under way may go on when the process stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A control plane that serves.
pub struct Running {
    /// Where the REST API listens.
    pub rest: SocketAddr,
    /// Where appliances connect (UDP).
    pub quic: SocketAddr,
    /// `http://…` or `https://…`.
    pub url: String,
    /// The first admin token, while its file is there.
    pub token_file: Option<PathBuf>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    rollout: Rollout,
    app: Arc<App>,
}

impl Running {
    /// Ends what is under way and closes the database.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.upkeep.abort();
        let _ = self.serving.await;
        if tokio::time::timeout(DRAIN, self.app.under_way.write()).await.is_err() {
            tracing::warn!("a change still under way is cut off");
        }
        self.rollout.stop().await;
        self.app.store.close().await;
    }
}

/// Serves until `shutdown` is done.
///
/// # Errors
/// When it cannot start: the address, a file, the database, the key.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let running = start(config).await?;
    println!("REST API        {}/v1", running.url);
    println!("push channel    {} (UDP)", running.quic);
    if let Some(file) = &running.token_file {
        println!("first token     {}", file.display());
    }
    shutdown.await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// Starts, and gives a handle.
///
/// # Errors
/// As [`run`].
pub async fn start(config: Config) -> anyhow::Result<Running> {
    // Both this process's TLS and its clients' take the process's provider; a second start finds it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let source = data_dir::prepare(&config)?;
    let listener = Listener::bind(&config).await?;
    let rest = listener.local_addr()?;
    let store = Store::open(&config.data_dir.join(data_dir::DATABASE_FILE), source).await?;
    let hosts = config.own_hosts(rest);
    let app = Arc::new(App::new(store, config.clock.clone(), hosts));
    let token_file = first_token(&app, &config).await?;
    app.store.expire_kills(app.now()).await?;
    change::resume(&app).await.map_err(plain)?;
    let rollout = rollout(&app, &config).await?;
    app.set_rollout(rollout.clone());
    let (stop, stopped) = watch::channel(false);
    let url = format!("{}://{rest}", listener.scheme());
    let quic = rollout.local_addr()?;
    let serving = tokio::spawn(listener.serve(routes::router(&app), stopped));
    let upkeep = tokio::spawn(upkeep::run(Arc::clone(&app), config));
    tracing::info!(%url, %quic, "serving");
    Ok(Running { rest, quic, url, token_file, stop, serving, upkeep, rollout, app })
}

fn plain(fault: crate::fault::Fault) -> anyhow::Error {
    anyhow!("{fault:?}")
}

/// At first start, an admin token in a file of ours; later, where that file still is.
async fn first_token(app: &App, config: &Config) -> anyhow::Result<Option<PathBuf>> {
    let path = config.data_dir.join(data_dir::TOKEN_FILE);
    if !app.store.tokens().await?.is_empty() {
        return Ok(path.exists().then_some(path));
    }
    let info = Token {
        id: random::hex::<8>().map_err(plain)?,
        name: "bootstrap".to_owned(),
        role: RoleOfToken::Admin,
        created_at: app.now(),
        created_by: "first start".to_owned(),
        expires_at: None,
    };
    let (text, row) = auth::issue(info).map_err(plain)?;
    if path.exists() {
        // A token without its database: of no use, and in the way.
        std::fs::remove_file(&path)
            .with_context(|| format!("cannot replace {}", path.display()))?;
    }
    data_dir::write_private(&path, format!("{text}\n").as_bytes())?;
    app.store.add_token(&row).await?;
    Ok(Some(path))
}

async fn rollout(app: &Arc<App>, config: &Config) -> anyhow::Result<Rollout> {
    let authority = match app.store.material("authority").await? {
        Some(secret) => Authority::from_secret(&secret)?,
        None => {
            let made = Authority::create(WallNanos(app.now().nanos()))?;
            let kept = app.store.keep_material("authority", &made.to_secret()).await?;
            Authority::from_secret(&kept)?
        }
    };
    let seed = match app.store.material("signing-seed").await? {
        Some(seed) => seed,
        None => {
            let seed = controlplane_rollout::new_seed()?;
            app.store.keep_material("signing-seed", seed.as_slice()).await?
        }
    };
    let signer = Signer::from_seed(&seed).context("the sealed signing key is damaged")?;
    let kills = kills::stored(app).await.map_err(plain)?;
    let mut settings = controlplane_rollout::Config::new(config.quic_listen);
    settings.lease_ms = config.lease_s * 1_000;
    let directory = Arc::new(State(Arc::downgrade(app)));
    Ok(Rollout::start(settings, authority, signer, &kills, directory)?)
}
