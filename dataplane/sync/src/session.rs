//! One connection's life: say hello, take what comes, report how it went.
//!
//! Each message has its own stream and its own task. A kill goes straight to the sink; a bundle goes
//! to another thread, because trying it takes a while.

use std::sync::Arc;
use std::time::Duration;

use dataplane_bundle::Revision;
use dataplane_bundle::message::{Certified, Encoded, Kind, ToAppliance, ToControl};
use dataplane_telemetry::WallNanos;
use quinn::{Connection, RecvStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};

use crate::handle::{Shared, wall};
use crate::identity::{Identity, Key};
use crate::{dropping, ship, stream};

/// What the tasks of one connection share.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    connection: Connection,
    /// One bundle in memory at a time, whatever is sent.
    bundles: Semaphore,
    /// The index from which the control plane wants records; none before its welcome.
    records_next: watch::Sender<Option<u64>>,
    /// The key whose certificate is being asked for.
    renewing: std::sync::Mutex<Option<Key>>,
}

/// Serves the connection until it ends, and says why it did.
pub(crate) async fn run(shared: &Arc<Shared>, connection: &Connection) -> String {
    let session = Arc::new(Session {
        shared: shared.clone(),
        connection: connection.clone(),
        bundles: Semaphore::new(1),
        records_next: watch::Sender::new(None),
        renewing: std::sync::Mutex::default(),
    });
    if let Err(reason) = session.report(&ToControl::Hello(shared.hello())).await {
        return reason;
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_status(session.clone()));
    tasks.spawn(keep_certificate(session.clone()));
    tasks.spawn(dropping::keep(session.clone()));
    if let Some(source) = shared.records.clone() {
        let next = session.records_next.subscribe();
        tasks.spawn(ship::run(shared.clone(), connection.clone(), source, next));
    }
    loop {
        tokio::select! {
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => {
                    tasks.spawn(take(session.clone(), stream));
                }
                Err(fault) => return fault.to_string(),
            },
            Some(ended) = tasks.join_next() => {
                if let Err(panic) = ended {
                    shared.on_trouble(&format!("a message's task failed: {panic}"));
                }
            }
        }
    }
}

async fn take(session: Arc<Session>, mut stream: RecvStream) {
    if let Err(trouble) = session.take(&mut stream).await {
        session.shared.on_trouble(&trouble);
    }
}

impl Session {
    pub(crate) async fn report(&self, message: &ToControl) -> Result<(), String> {
        let bytes = message.encode().map_err(|refused| refused.to_string())?;
        stream::send(&self.connection, &bytes).await
    }

    async fn take(&self, stream: &mut RecvStream) -> Result<(), String> {
        let (kind, body) = stream::read(stream, Some(&self.bundles)).await?;
        self.shared.on_contact();
        let message = decode(kind, body)?;
        match message {
            ToAppliance::Welcome { records_next: next } | ToAppliance::RecordsStored { next } => {
                self.records_next.send_replace(Some(next));
                Ok(())
            }
            ToAppliance::Bundle(sealed) => self.on_bundle(sealed).await,
            ToAppliance::Kills(sealed) => self.on_kills(sealed).await,
            ToAppliance::Leases(leases) => {
                self.shared.sink.on_leases(leases);
                self.report(&ToControl::LeasesResult { result: Ok(()) }).await
            }
            ToAppliance::Certificate(certified) => self.on_certificate(certified).await,
            ToAppliance::DropOrder(order) => self.on_drop_order(order).await,
            ToAppliance::ExplainAddress { id, address } => self.on_explain(id, address).await,
            ToAppliance::ListPackets { id } => self.on_packets(id).await,
        }
    }

    async fn on_bundle(&self, sealed: Vec<u8>) -> Result<(), String> {
        let shared = self.shared.clone();
        let tried = spawn_blocking(move || shared.acceptor.bundle(&sealed, &*shared.sink)).await;
        let (revision, result) = tried.unwrap_or_else(|panic| {
            (Revision(0), Err(format!("trying the bundle failed: {panic}")))
        });
        if let Err(reason) = &result {
            self.shared.on_trouble(&format!("bundle of revision {revision} refused: {reason}"));
        }
        self.report(&ToControl::BundleResult { revision, result }).await
    }

    async fn on_kills(&self, sealed: Vec<u8>) -> Result<(), String> {
        let shared = self.shared.clone();
        let taken = shared.acceptor.kills(&sealed, &*shared.sink);
        let (serial, result) = match taken {
            Ok(serial) => {
                let kept = spawn_blocking(move || shared.acceptor.keep_kills(serial, &sealed));
                let kept = kept.await;
                (serial, kept.unwrap_or_else(|panic| Err(panic.to_string())))
            }
            Err(reason) => (shared.acceptor.standing().kill_serial, Err(reason)),
        };
        if let Err(reason) = &result {
            self.shared.on_trouble(&format!("kill list: {reason}"));
        }
        self.report(&ToControl::KillsResult { serial, result }).await
    }

    /// Takes a renewed certificate into use from the next connection on.
    async fn on_certificate(&self, certified: Certified) -> Result<(), String> {
        let Some(key) = crate::handle::held(&self.renewing).take() else {
            return Err("a certificate came that was not asked for".to_owned());
        };
        let identity = Identity { certified, key, ..self.shared.identity() };
        crate::tls::enrolled(&identity)?;
        // Both in one closure that runs to its end: this task is dropped with its connection.
        let shared = self.shared.clone();
        let renewed = spawn_blocking(move || {
            identity.store(&shared.config.dirs)?;
            shared.set_identity(identity);
            Ok(())
        });
        renewed.await.map_err(|panic| panic.to_string())?
    }
}

fn decode(kind: Kind, body: Encoded) -> Result<ToAppliance, String> {
    ToAppliance::decode(kind, body).map_err(|refused| refused.to_string())
}

/// Sends the status now and then, until the connection ends.
async fn keep_status(session: Arc<Session>) {
    loop {
        let status = session.shared.sink.status();
        if session.report(&ToControl::Status(status)).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(session.shared.config.status_ms)).await;
    }
}

/// Asks for the next certificate when it is time, until the connection ends.
async fn keep_certificate(session: Arc<Session>) {
    /// Between looks at the clock, and between attempts.
    const LOOK_MS: u64 = 60_000;
    loop {
        let renew_at = session.shared.identity().certified.renew_at;
        if renew_at > WallNanos(0) && wall() >= renew_at {
            let asked = match Key::generate() {
                Ok((key, public_key)) => {
                    *crate::handle::held(&session.renewing) = Some(key);
                    session.report(&ToControl::Renew { public_key }).await
                }
                Err(reason) => Err(reason),
            };
            if let Err(trouble) = asked {
                session.shared.on_trouble(&format!("the certificate is not renewed: {trouble}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}
