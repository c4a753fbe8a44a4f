//! What is made ready while the log opens: the bundle from disk, the certificate, the buckets.
//!
//! The log waits for its disk and this needs the processor, so that both take the time of one.

use std::sync::Arc;

use anyhow::Context;
use dataplane_auth::MissBudget;
use dataplane_bundle::{KillList, Revision};
use dataplane_pipeline::Configuration;
use dataplane_quota::{Buckets, SLOTS_DEFAULT};
use dataplane_sync::{BackedOut, Dirs, Identity, Stored};

use crate::hub::Hub;
use crate::keys::random;
use crate::mailbox::Deployment;
use crate::settings::Settings;
use crate::tls::Certificate;

/// Buckets that remember where wrong credentials came from.
const MISS_SLOTS: usize = 16_384;

/// What is made ready while the log opens.
pub(crate) struct Ready {
    pub standing: dataplane_sync::Standing,
    kills: Option<KillList>,
    backed_out: Option<BackedOut>,
    bundle: Option<(Revision, Result<Arc<Deployment>, String>)>,
    pub certificate: Certificate,
    pub tls: Arc<rustls::ServerConfig>,
    pub quotas: Arc<Buckets>,
    pub misses: Arc<MissBudget>,
}

impl Ready {
    pub(crate) fn new(
        settings: &Settings,
        dirs: &Dirs,
        identity: &Identity,
    ) -> anyhow::Result<Self> {
        // First of all: of memory that nobody has had they need not be wiped.
        let misses = MissBudget::new(MISS_SLOTS, random()?).context("the budget of checks")?;
        let quotas = Buckets::new(SLOTS_DEFAULT, random()?);
        let stored = load(identity, dirs);
        let standing = stored.standing();
        let hosts = stored.bundle.as_ref().map(|one| one.catalog.gateway.hosts.clone());
        let operators = settings.tls_cert.clone().zip(settings.tls_key.clone());
        let mut certificate =
            Certificate::new(operators, &settings.data_dir, names(&hosts.unwrap_or_default()))?;
        Ok(Self {
            standing,
            kills: stored.kills,
            backed_out: stored.backed_out,
            bundle: stored
                .bundle
                .map(|bundle| (bundle.revision, Hub::ready(Configuration::known(bundle)))),
            tls: certificate.load()?,
            certificate,
            quotas: Arc::new(quotas),
            misses: Arc::new(misses),
        })
    }

    /// Puts what was on disk in force.
    pub(crate) fn hand_out(&mut self, hub: &Hub) {
        if let Some(kills) = &self.kills {
            hub.kill(kills);
        }
        if let Some(backed_out) = self.backed_out.take() {
            tracing::error!(%backed_out, "a bundle is not used");
            hub.on_backed_out(backed_out);
        }
        let Some((revision, made)) = self.bundle.take() else { return };
        match hub.hand_out(made) {
            Ok(()) => tracing::info!(%revision, "the bundle on disk decides"),
            Err(reason) => {
                tracing::error!(%revision, reason, "the bundle on disk is refused");
                // Nothing decides: the control plane is to send it again, and to hear why not.
                (self.standing.revision, self.standing.content) = Default::default();
            }
        }
    }
}

/// What is on disk; a bundle or kill list that may not be used is left until the control plane sends
/// a good one, and until then nothing is served.
fn load(identity: &Identity, dirs: &Dirs) -> Stored {
    match dataplane_sync::boot_from_disk(identity.clone(), dirs) {
        Ok(stored) => {
            for warning in &stored.warnings {
                tracing::warn!(warning);
            }
            stored
        }
        Err(fault) => {
            tracing::error!(%fault, "starting without a bundle: every request is refused until one comes");
            Stored::without_bundle(dirs, identity.clone())
        }
    }
}

/// For a certificate of our own.
fn names(hosts: &[String]) -> Vec<String> {
    let without_port = |host: &String| {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }.to_owned()
    };
    let mut names: Vec<String> = hosts.iter().map(without_port).collect();
    names.extend(["localhost".into(), "127.0.0.1".into()]);
    names.sort();
    names.dedup();
    names
}
