//! What an appliance should have, sent until it says that it has it.
//!
//! Three loops that wait for nothing of each other: kills, bundles, leases. A bundle that the
//! appliance refused is not sent again until there is another one.

use std::sync::Arc;
use std::time::Duration;

use dataplane_bundle::message::ToAppliance;
use dataplane_bundle::{Lease, Revision, content};
use dataplane_telemetry::WallNanos;
use tokio::time::{Instant, timeout};

use crate::directory::{Directory, Report};
use crate::rollout::wall;
use crate::session::Session;
use crate::stream::Urgency;

/// The newest kill list, at once.
pub(crate) async fn kills<D: Directory>(session: Arc<Session<D>>) {
    let mut newest = session.shared.kills.subscribe();
    loop {
        let sealed = newest.borrow_and_update().clone();
        let mut acknowledged = session.acknowledged.subscribe();
        let before = acknowledged.borrow_and_update().kills;
        session.tell(&ToAppliance::Kills(sealed.bytes.clone()), Urgency::Kill).await;
        let retry = Duration::from_millis(session.shared.config.retry_ms);
        let answered = tokio::select! {
            answered = timeout(retry, acknowledged.wait_for(|all| {
                all.kills > before && answers(&all.kill, sealed.serial)
            })) => {
                answered.ok().and_then(Result::ok).and_then(|all| all.kill.clone())
            }
            changed = newest.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some((serial, result)) = answered else { continue };
        let again = if result.is_ok() { Duration::MAX } else { retry.saturating_mul(6) };
        session.on_kills(serial, sealed.serial, result);
        if let Ok(Err(_)) = timeout(again, newest.changed()).await {
            return;
        }
    }
}

/// Whether it is about this list, and not about one that was sent before.
fn answers(answer: &Option<(u64, Result<(), String>)>, serial: u64) -> bool {
    answer.as_ref().is_some_and(|(found, result)| result.is_err() || *found >= serial)
}

/// The newest bundle, until it is active or refused.
pub(crate) async fn bundles<D: Directory>(session: Arc<Session<D>>) {
    let mut changes = session.shared.bundles.subscribe();
    let mut active = (session.hello.revision, session.hello.content);
    let mut refused = None;
    loop {
        changes.borrow_and_update();
        let draft = session.asked(|| session.directory.bundle(&session.appliance)).await;
        let sealed = draft.map(|draft| {
            let sealed = draft.seal(&session.appliance, &session.shared.signer);
            (draft.revision(), content(&sealed), sealed)
        });
        let due = sealed.filter(|(revision, content, _)| {
            (*revision, *content) != active && refused != Some(*content)
        });
        let Some((revision, content, sealed)) = due else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        match session.push_bundle(revision, sealed).await {
            Some(Ok(())) => {
                active = (revision, content);
                session.on_bundle(revision, Ok(()));
            }
            Some(Err(reason)) => {
                refused = Some(content);
                session.on_bundle(revision, Err(reason));
            }
            None => {} // No answer in time: look again what is newest, and send that.
        }
    }
}

/// All leases, anew when a secret changed and at half their life.
pub(crate) async fn leases<D: Directory>(session: Arc<Session<D>>) {
    let mut changes = session.shared.secrets.subscribe();
    // A new catalog may name other secrets.
    let mut bundles = session.shared.bundles.subscribe();
    let config = &session.shared.config;
    loop {
        changes.borrow_and_update();
        bundles.borrow_and_update();
        let made = Instant::now();
        let expires_at =
            WallNanos(wall().0.saturating_add(config.lease_ms.saturating_mul(1_000_000)));
        let secrets = session.asked(|| session.directory.secrets(&session.appliance)).await;
        let leases = secrets.into_iter().map(|secret| Lease {
            secret: secret.name,
            revision: secret.revision,
            value: secret.value,
            expires_at,
        });
        let message = ToAppliance::Leases(leases.collect());
        let mut acknowledged = session.acknowledged.subscribe();
        let before = acknowledged.borrow_and_update().leases;
        session.tell(&message, Urgency::Control).await;
        let retry = Duration::from_millis(config.retry_ms);
        if timeout(retry, acknowledged.wait_for(|all| all.leases > before)).await.is_err() {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep_until(made + Duration::from_millis(config.lease_ms / 2)) => {}
            _ = changes.changed() => {}
            _ = bundles.changed() => {}
        }
    }
}

impl<D: Directory> Session<D> {
    /// Sends and waits for the answer; none when it does not come. Trying a bundle may take the
    /// appliance a while, so the wait is longer than for a kill.
    async fn push_bundle(&self, revision: Revision, sealed: Vec<u8>) -> Option<Result<(), String>> {
        let mut acknowledged = self.acknowledged.subscribe();
        let before = acknowledged.borrow_and_update().bundles;
        self.tell(&ToAppliance::Bundle(sealed), Urgency::Bundle).await;
        let wait = Duration::from_millis(self.shared.config.retry_ms.saturating_mul(6));
        let ours = |found: Revision| found == revision || found == Revision(0);
        let answered = acknowledged.wait_for(|all| {
            all.bundles > before && all.bundle.as_ref().is_some_and(|(found, _)| ours(*found))
        });
        let answered = timeout(wait, answered).await;
        let answered = answered.ok()?.ok()?;
        answered.bundle.clone().map(|(_, result)| result)
    }

    fn on_bundle(&self, revision: Revision, result: Result<(), String>) {
        let refused = result.err().map(|reason| (revision, reason));
        self.shared.fleet.update(&self.appliance, |state| {
            state.last_contact = wall();
            state.refused.clone_from(&refused);
            if refused.is_none() {
                state.revision = revision;
            }
        });
        let report = match refused {
            None => Report::BundleActive { revision },
            Some((revision, reason)) => Report::BundleRefused { revision, reason },
        };
        self.directory.report(&self.appliance, report);
    }

    fn on_kills(&self, in_force: u64, pushed: u64, result: Result<(), String>) {
        let refused = result.err();
        self.shared.fleet.update(&self.appliance, |state| {
            state.last_contact = wall();
            state.kill_serial = in_force;
            state.kills_refused.clone_from(&refused);
        });
        let report = match refused {
            None => Report::KillsApplied { serial: in_force },
            Some(reason) => Report::KillsRefused { serial: pushed, reason },
        };
        self.directory.report(&self.appliance, report);
    }
}
