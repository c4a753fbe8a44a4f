//! One appliance's connection: hears what it says, and sends what it should have.

use std::sync::Arc;
use std::time::Duration;

use dataplane_bundle::drops::DropsReport;
use dataplane_bundle::message::{Hello, Kind, Records, ToAppliance, ToControl};
use dataplane_bundle::{ApplianceId, Revision};
use quinn::{Connection, RecvStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ask::Answer;
use crate::authority::sha256;
use crate::directory::{Directory, Report};
use crate::push;
use crate::rollout::{HANDSHAKE_MS_MAX, Shared, wall};
use crate::state::{ApplianceState, DropsState};
use crate::stream::{self, Urgency};

/// What the tasks of one connection share.
pub(crate) struct Session<D> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: Arc<D>,
    pub(crate) appliance: ApplianceId,
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
    pub(crate) acknowledged: watch::Sender<Acknowledged>,
}

/// What the appliance has answered on this connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    /// The answers so far, and the last: the revision it names (zero where it could not read one).
    pub(crate) bundles: u64,
    pub(crate) bundle: Option<(Revision, Result<(), String>)>,
    pub(crate) kills: u64,
    pub(crate) kill: Option<(u64, Result<(), String>)>,
    pub(crate) leases: u64,
}

/// Serves until the connection ends.
pub(crate) async fn run<D: Directory>(
    shared: Arc<Shared>,
    directory: Arc<D>,
    appliance: ApplianceId,
    connection: Connection,
) {
    let hello = match timeout(Duration::from_millis(HANDSHAKE_MS_MAX), hello(&connection)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(reason)) => return connection.close(6_u8.into(), reason.as_bytes()),
        Err(_) => return connection.close(6_u8.into(), b"no hello"),
    };
    let session = Arc::new(Session {
        shared,
        directory,
        appliance: appliance.clone(),
        connection: connection.clone(),
        hello,
        acknowledged: watch::Sender::default(),
    });
    session.on_connected();
    let mut tasks = JoinSet::new();
    tasks.spawn(push::kills(session.clone()));
    tasks.spawn(push::bundles(session.clone()));
    tasks.spawn(push::leases(session.clone()));
    tasks.spawn(welcome(session.clone()));
    let reason = loop {
        tokio::select! {
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => {
                    tasks.spawn(hear(session.clone(), stream));
                }
                Err(fault) => break fault.to_string(),
            },
            Some(ended) = tasks.join_next() => {
                if let Err(panic) = ended {
                    // Whatever it was, a new connection starts from a known state.
                    tracing::error!(%appliance, %panic, "a task of an appliance's connection failed");
                    connection.close(7_u8.into(), b"an incident; connect again");
                }
            }
        }
    };
    session.on_disconnected(reason);
}

async fn hello(connection: &Connection) -> Result<Hello, String> {
    let mut stream = connection.accept_uni().await.map_err(|fault| fault.to_string())?;
    let (kind, body) = stream::read(&mut stream).await?;
    match ToControl::decode(kind, &body).map_err(|refused| refused.to_string())? {
        ToControl::Hello(hello) => Ok(hello),
        _ => Err(format!("{kind:?} came before the hello")),
    }
}

/// Tells from where on records are wanted, as soon as the directory can say.
async fn welcome<D: Directory>(session: Arc<Session<D>>) {
    let next = session.asked(|| session.directory.records_next(&session.appliance)).await;
    session.tell(&ToAppliance::Welcome { records_next: next }, Urgency::Control).await;
}

async fn hear<D: Directory>(session: Arc<Session<D>>, mut stream: RecvStream) {
    let heard = match stream::read(&mut stream).await {
        Ok((kind, body)) => session.hear(kind, &body).await,
        Err(reason) => Err(reason),
    };
    if let Err(reason) = heard {
        tracing::warn!(appliance = %session.appliance, reason, "a message is refused");
        session.connection.close(8_u8.into(), reason.as_bytes());
    }
}

impl<D: Directory> Session<D> {
    async fn hear(&self, kind: Kind, body: &[u8]) -> Result<(), String> {
        let message = ToControl::decode(kind, body).map_err(|refused| refused.to_string())?;
        match message {
            ToControl::Hello(_) => return Err("a second hello".to_owned()),
            ToControl::BundleResult { revision, result } => self.acknowledged.send_modify(|all| {
                all.bundles += 1;
                all.bundle = Some((revision, result));
            }),
            ToControl::KillsResult { serial, result } => self.acknowledged.send_modify(|all| {
                all.kills += 1;
                all.kill = Some((serial, result));
            }),
            ToControl::LeasesResult { result } => {
                if let Err(reason) = result {
                    tracing::warn!(appliance = %self.appliance, reason, "leases are refused");
                }
                self.acknowledged.send_modify(|all| all.leases += 1);
            }
            ToControl::Status(status) => self.on_status(status),
            ToControl::Records(records) => self.on_records(records).await,
            ToControl::Renew { public_key } => self.on_renew(&public_key).await?,
            ToControl::Drops(report) => self.on_drops(report),
            ToControl::DropOrderResult { id, result } => {
                self.shared.asked.on_answer(&self.appliance, id, Answer::Done(result));
            }
            ToControl::AddressExplained { id, explained } => {
                self.shared.asked.on_answer(&self.appliance, id, Answer::Address(explained));
            }
            ToControl::Packets { id, cards } => {
                self.shared.asked.on_answer(&self.appliance, id, Answer::Packets(cards));
            }
        }
        Ok(())
    }

    fn on_connected(&self) {
        let Hello { revision, kill_serial, version, cores, log_key, .. } = self.hello.clone();
        let (from, now) = (self.connection.remote_address(), wall());
        self.shared.fleet.set(ApplianceState {
            appliance: self.appliance.clone(),
            connected: true,
            since: now,
            last_contact: now,
            address: from,
            version: version.clone(),
            cores,
            log_key,
            revision,
            kill_serial,
            refused: None,
            kills_refused: None,
            status: None,
            drops: None,
            trouble: String::new(),
        });
        let report = Report::Connected { from, version, cores, revision, kill_serial };
        self.directory.report(&self.appliance, report);
    }

    fn on_disconnected(&self, reason: String) {
        // The state belongs to the newest connection.
        if self.shared.is_current(&self.appliance, &self.connection) {
            self.shared.fleet.update(&self.appliance, |state| {
                state.connected = false;
                state.since = wall();
                state.trouble.clone_from(&reason);
            });
        }
        self.directory.report(&self.appliance, Report::Disconnected { reason });
    }

    fn on_status(&self, status: dataplane_bundle::message::Status) {
        self.shared.fleet.update(&self.appliance, |state| {
            state.last_contact = wall();
            state.status = Some(status.clone());
        });
        self.directory.report(&self.appliance, Report::Status(status));
    }

    fn on_drops(&self, report: DropsReport) {
        let now = wall();
        self.shared.fleet.update(&self.appliance, |state| {
            state.last_contact = now;
            state.drops = Some(DropsState::after(state.drops.as_ref(), report, now));
        });
    }

    async fn on_records(&self, records: Records) {
        let kept = self.directory.keep_records(&self.appliance, records).await;
        let next = match kept {
            Ok(next) => next,
            Err(reason) => {
                // Not acknowledged: the appliance sends them again.
                return tracing::warn!(appliance = %self.appliance, reason, "records are not kept");
            }
        };
        self.tell(&ToAppliance::RecordsStored { next }, Urgency::Control).await;
    }

    async fn on_renew(&self, public_key: &[u8]) -> Result<(), String> {
        let days = self.shared.config.certificate_days;
        let certified = self.shared.authority.certify(&self.appliance, public_key, wall(), days);
        let certified = certified.map_err(|fault| fault.to_string())?;
        let sha256 = sha256(&certified.certificate);
        self.directory.certified(&self.appliance, sha256, &certified).await?;
        self.tell(&ToAppliance::Certificate(certified), Urgency::Control).await;
        Ok(())
    }

    /// Sends; a connection that ended meanwhile is noticed where it is served.
    pub(crate) async fn tell(&self, message: &ToAppliance, urgency: Urgency) {
        let sent = match message.encode() {
            Ok(bytes) => stream::send(&self.connection, urgency, &bytes).await,
            Err(refused) => Err(refused.to_string()),
        };
        if let Err(reason) = sent {
            tracing::warn!(appliance = %self.appliance, reason, "a message is not sent");
        }
    }

    /// Asks the directory until it answers.
    pub(crate) async fn asked<T, F: Future<Output = Result<T, String>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> T {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(reason) => {
                    tracing::warn!(appliance = %self.appliance, reason, "the directory fails");
                    tokio::time::sleep(Duration::from_millis(self.shared.config.retry_ms)).await;
                }
            }
        }
    }
}
