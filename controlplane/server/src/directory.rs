//! What the push channel asks of the state, and what it tells it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use controlplane_api::Time;
use controlplane_rollout::{Directory, Report, Secret};
use dataplane_bundle::message::{Certified, Records};
use dataplane_bundle::{ApplianceId, Draft};

use crate::app::App;
use crate::calls;
use crate::random::{sha256_hex, to_hex};

/// The state behind the channel. Weak: the channel must not keep a stopped process alive.
pub(crate) struct State(pub Weak<App>);

impl State {
    fn app(&self) -> Result<Arc<App>, String> {
        self.0.upgrade().ok_or_else(|| "the control plane stops".to_owned())
    }
}

fn text(fault: controlplane_store::Fault) -> String {
    fault.to_string()
}

impl Directory for State {
    async fn redeem(&self, secret: &str, from: SocketAddr) -> Result<ApplianceId, String> {
        let app = self.app()?;
        let row =
            app.store.enrol(&sha256_hex(secret.as_bytes()), app.now()).await.map_err(|_| {
                "the enrolment token is unknown, used or expired: make another with \
             `portcullis appliances enrol NAME`"
                    .to_owned()
            })?;
        tracing::info!(appliance = row.id, %from, "an appliance is enrolled");
        let appliance = ApplianceId::new(&row.id).map_err(|refused| refused.to_string())?;
        // The box of this name before is no longer taken.
        let replaced = app.store.appliances().await.map_err(text)?.into_iter();
        let rollout = app.rollout().map_err(|_| "the push channel is not started".to_owned())?;
        for old in replaced.filter(|old| old.name == row.name && old.id != row.id) {
            if let Ok(old) = ApplianceId::new(&old.id) {
                rollout.dismiss(&old);
            }
        }
        Ok(appliance)
    }

    async fn certified(
        &self,
        appliance: &ApplianceId,
        sha256: [u8; 32],
        certified: &Certified,
    ) -> Result<(), String> {
        let expires_at = Time::from_nanos(certified.expires_at.0);
        let store = &self.app()?.store;
        store
            .appliance_certified(appliance.as_str(), &to_hex(&sha256), expires_at)
            .await
            .map_err(text)
    }

    async fn admit(&self, appliance: &ApplianceId, sha256: [u8; 32]) -> Result<(), String> {
        let app = self.app()?;
        match app.store.is_admitted(appliance.as_str(), &to_hex(&sha256)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("this certificate is no longer taken: the appliance was removed or \
                              replaced; enrol it again"
                .to_owned()),
            Err(fault) => Err(text(fault)),
        }
    }

    async fn bundle(&self, _: &ApplianceId) -> Result<Option<Arc<Draft>>, String> {
        Ok(self.app()?.in_force().made.as_ref().map(|made| Arc::clone(&made.draft)))
    }

    async fn secrets(&self, _: &ApplianceId) -> Result<Vec<Secret>, String> {
        let app = self.app()?;
        let in_force = app.in_force();
        let servers = in_force.stored.set.servers.values();
        let names: std::collections::BTreeSet<&str> =
            servers.filter_map(|server| Some(server.inject.as_ref()?.secret.as_str())).collect();
        let mut secrets = Vec::new();
        for name in names {
            if let Some(opened) = app.store.open_secret(name).await.map_err(text)? {
                let controlplane_store::OpenedSecret { name, revision, value } = opened;
                secrets.push(Secret { name, revision, value });
            }
        }
        Ok(secrets)
    }

    async fn records_next(&self, appliance: &ApplianceId) -> Result<u64, String> {
        let row = self.app()?.store.appliance(appliance.as_str()).await.map_err(text)?;
        row.map(|row| row.records_next).ok_or_else(|| "the appliance is not known".to_owned())
    }

    async fn keep_records(&self, appliance: &ApplianceId, records: Records) -> Result<u64, String> {
        let app = self.app()?;
        let copies = calls::copies(appliance.as_str(), &records);
        let next = records.first_index.saturating_add(records.records.len() as u64);
        let kept = app.store.keep_calls(appliance.as_str(), next, &copies).await.map_err(text)?;
        app.news.send_modify(|news| *news += 1);
        Ok(kept)
    }

    fn report(&self, appliance: &ApplianceId, report: Report) {
        match &report {
            Report::BundleRefused { revision, reason } => {
                tracing::error!(%appliance, %revision, reason, "an appliance refused a bundle");
            }
            Report::KillsRefused { serial, reason } => {
                tracing::error!(%appliance, serial, reason, "an appliance refused the kill list");
            }
            Report::Status(_) => {}
            other => tracing::info!(%appliance, report = ?other, "an appliance reports"),
        }
        if let (Ok(app), Ok(runtime)) = (self.app(), tokio::runtime::Handle::try_current()) {
            let id = appliance.as_str().to_owned();
            runtime.spawn(async move {
                if let Err(fault) = app.store.appliance_seen(&id, app.now()).await {
                    tracing::warn!(%fault, "when an appliance was seen is not kept");
                }
            });
        }
    }
}
