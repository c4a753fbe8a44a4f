//! The listener: proves addresses, bounds connections, tells enrolment from an enrolled box.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane_bundle::message::{ALPN_ENROL, ALPN_SYNC, Enrol, Enrolled};
use dataplane_bundle::{ApplianceId, EnrolmentToken, KillList, Refused, Signer};
use dataplane_telemetry::WallNanos;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Endpoint, Incoming};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::ask::Asked;
use crate::authority::{Authority, AuthorityFault, SERVER_DAYS, appliance_of, sha256};
use crate::directory::Directory;
use crate::session;
use crate::state::{ApplianceState, Fleet};
use crate::{stream, tls};

/// Boxes that are connected at a time.
pub const APPLIANCES_MAX: usize = 1_024;
/// Connections that are on their way in or enrolling, at a time.
pub const ENROLMENTS_MAX: usize = 32;
/// A handshake, and an enrolment after it, take at most this long each.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;

/// How the channel behaves.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Life of an appliance's certificate, renewed at half.
    pub certificate_days: u64,
    /// Life of a lease, renewed at half.
    pub lease_ms: u64,
    /// What is not acknowledged after this long is sent again.
    pub retry_ms: u64,
}

impl Config {
    /// Certificates of a year, leases of an hour.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, certificate_days: 365, lease_ms: 3_600_000, retry_ms: 10_000 }
    }
}

/// Why the channel cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error("UDP {listen}: {fault}")]
    Listen { listen: SocketAddr, fault: std::io::Error },
    #[error("{0}")]
    Tls(String),
    #[error("the kill list: {0}")]
    Kills(#[from] Refused),
}

/// A sealed kill list.
pub(crate) struct Sealed {
    pub(crate) serial: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What every connection sees.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) authority: Authority,
    pub(crate) signer: Signer,
    pub(crate) fleet: Fleet,
    pub(crate) bundles: watch::Sender<u64>,
    pub(crate) secrets: watch::Sender<u64>,
    pub(crate) kills: watch::Sender<Arc<Sealed>>,
    /// The one connection of each appliance, with a number that tells it from the one before.
    connections: Mutex<HashMap<ApplianceId, (usize, Connection)>>,
    stop: watch::Sender<bool>,
    pub(crate) asked: Asked,
}

/// The running channel; clones are the same one.
#[derive(Clone)]
pub struct Rollout {
    pub(crate) shared: Arc<Shared>,
    endpoint: Endpoint,
}

impl Rollout {
    /// Listens. Call within a tokio runtime. `kills` is the list that is in force now.
    pub fn start<D: Directory>(
        config: Config,
        authority: Authority,
        signer: Signer,
        kills: &KillList,
        directory: Arc<D>,
    ) -> Result<Self, StartFault> {
        let server = tls::server(&authority, wall()).map_err(StartFault::Tls)?;
        let listen = config.listen;
        let endpoint = Endpoint::server(server, listen)
            .map_err(|fault| StartFault::Listen { listen, fault })?;
        let sealed = Sealed { serial: kills.serial, bytes: kills.seal(&signer)? };
        let shared = Arc::new(Shared {
            config,
            authority,
            signer,
            fleet: Fleet::new(),
            bundles: watch::Sender::new(0),
            secrets: watch::Sender::new(0),
            kills: watch::Sender::new(Arc::new(sealed)),
            connections: Mutex::default(),
            stop: watch::Sender::new(false),
            asked: Asked::default(),
        });
        tokio::spawn(listen_on(shared.clone(), endpoint.clone(), directory));
        Ok(Self { shared, endpoint })
    }

    /// Where it listens, when the port was left to the system.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// A new one-time token for a new box; the directory keeps a digest of its secret.
    pub fn enrolment_token(&self) -> Result<EnrolmentToken, AuthorityFault> {
        Ok(EnrolmentToken::new(*random::<16>()?, self.shared.authority.ca_sha256()))
    }

    /// Some appliance's bundle changed: each is asked for again and pushed where it is new.
    pub fn bundles_changed(&self) {
        self.shared.bundles.send_modify(|changes| *changes += 1);
    }

    /// Some secret was set or removed: leases are made anew.
    pub fn secrets_changed(&self) {
        self.shared.secrets.send_modify(|changes| *changes += 1);
    }

    /// Pushes the list to every connected box at once, and to the others when they come. Its serial
    /// has to be higher than that of the list before; otherwise nothing is pushed and false returned.
    pub fn set_kills(&self, kills: &KillList) -> Result<bool, Refused> {
        let sealed =
            Arc::new(Sealed { serial: kills.serial, bytes: kills.seal(&self.shared.signer)? });
        Ok(self.shared.kills.send_if_modified(|current| {
            let newer = sealed.serial > current.serial;
            if newer {
                *current = sealed;
            }
            newer
        }))
    }

    /// Ends the appliance's connection and forgets its state; [`Directory::admit`] keeps it out.
    pub fn dismiss(&self, appliance: &ApplianceId) {
        if let Some((_, connection)) = self.shared.connections().remove(appliance) {
            connection.close(1_u8.into(), b"this appliance was removed");
        }
        self.shared.fleet.forget(appliance);
    }

    /// Every appliance that has connected since the start.
    #[must_use]
    pub fn appliances(&self) -> Vec<ApplianceState> {
        self.shared.fleet.all()
    }

    /// Changes whenever [`Rollout::appliances`] does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.fleet.changes()
    }

    /// Says goodbye to every appliance and stops listening.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        self.endpoint.close(0_u8.into(), b"the control plane stops");
        let _ = timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

impl Shared {
    /// Whether this is the appliance's newest connection.
    pub(crate) fn is_current(&self, appliance: &ApplianceId, connection: &Connection) -> bool {
        let number = connection.stable_id();
        self.connections().get(appliance).is_some_and(|(current, _)| *current == number)
    }

    /// The appliance's newest connection, if it has one.
    pub(crate) fn connection(&self, appliance: &ApplianceId) -> Option<Connection> {
        self.connections().get(appliance).map(|(_, connection)| connection.clone())
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<ApplianceId, (usize, Connection)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 32 secret random bytes: the seed of a new [`Signer`], for the store to seal.
pub fn new_seed() -> Result<Zeroizing<[u8; 32]>, AuthorityFault> {
    random()
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, AuthorityFault> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| AuthorityFault::Randomness)?;
    Ok(bytes)
}

pub(crate) fn wall() -> WallNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Accepts until the channel stops. Each connection is a task: its panic is its own.
async fn listen_on<D: Directory>(shared: Arc<Shared>, endpoint: Endpoint, directory: Arc<D>) {
    let arriving = Arc::new(Semaphore::new(ENROLMENTS_MAX));
    let mut stop = shared.stop.subscribe();
    let mut connections = JoinSet::new();
    let renewal = Duration::from_secs(SERVER_DAYS * 24 * 3_600 / 2);
    let mut renew = tokio::time::interval_at(tokio::time::Instant::now() + renewal, renewal);
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(ended) = connections.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(%panic, "an appliance's connection failed");
                }
                continue;
            }
            _ = renew.tick() => {
                match tls::server(&shared.authority, wall()) {
                    Ok(server) => endpoint.set_server_config(Some(server)),
                    Err(reason) => tracing::error!(reason, "the certificate is not renewed"),
                }
                continue;
            }
            _ = stop.changed() => return,
        };
        let Some(incoming) = incoming else { return };
        if !incoming.remote_address_validated() {
            // An address that was not proven costs us one packet and no memory (RFC 9000 §8.1.2).
            let _ = incoming.retry();
            continue;
        }
        let Ok(turn) = arriving.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let full = shared.connections().len() >= APPLIANCES_MAX;
        if full {
            incoming.refuse();
            continue;
        }
        connections.spawn(arrive(shared.clone(), incoming, directory.clone(), turn));
    }
}

async fn arrive<D: Directory>(
    shared: Arc<Shared>,
    incoming: Incoming,
    directory: Arc<D>,
    turn: tokio::sync::OwnedSemaphorePermit,
) {
    let from = incoming.remote_address();
    let wait = Duration::from_millis(HANDSHAKE_MS_MAX);
    let connection = match timeout(wait, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => return tracing::warn!(%from, %reason, "a handshake failed"),
        Err(_) => return tracing::warn!(%from, "a handshake took too long"),
    };
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    match protocol.as_deref() {
        Some(ALPN_ENROL) => {
            if timeout(wait, enrol(&shared, &*directory, &connection)).await.is_err() {
                connection.close(2_u8.into(), b"the enrolment took too long");
            }
        }
        Some(ALPN_SYNC) => match admit(&*directory, &connection).await {
            Ok(appliance) => {
                drop(turn);
                serve(shared, directory, appliance, connection).await;
            }
            Err(reason) => {
                tracing::warn!(%from, reason, "an appliance is not admitted");
                connection.close(3_u8.into(), reason.as_bytes());
            }
        },
        _ => connection.close(4_u8.into(), b"no protocol that this release knows"),
    }
}

/// Who it is, by the certificate that TLS has verified, and whether it still may.
async fn admit<D: Directory>(
    directory: &D,
    connection: &Connection,
) -> Result<ApplianceId, String> {
    let (appliance, sha256) = identify(connection)?;
    directory.admit(&appliance, sha256).await?;
    Ok(appliance)
}

/// The name in the certificate, and the certificate's digest.
fn identify(connection: &Connection) -> Result<(ApplianceId, [u8; 32]), &'static str> {
    let chain = connection.peer_identity().map(|any| any.downcast::<Vec<CertificateDer<'_>>>());
    let Some(Ok(chain)) = chain else {
        return Err("no certificate: enrol first");
    };
    let certificate = chain.first().ok_or("an empty certificate chain")?;
    let appliance = appliance_of(certificate).ok_or("the certificate names no appliance")?;
    Ok((appliance, sha256(certificate)))
}

/// One box, one connection: a newer one ends the older.
async fn serve<D: Directory>(
    shared: Arc<Shared>,
    directory: Arc<D>,
    appliance: ApplianceId,
    connection: Connection,
) {
    let number = connection.stable_id();
    let older = shared.connections().insert(appliance.clone(), (number, connection.clone()));
    if let Some((_, older)) = older {
        older.close(5_u8.into(), b"the appliance connected again");
    }
    let running = session::run(shared.clone(), directory, appliance.clone(), connection.clone());
    if let Err(panic) = tokio::spawn(running).await {
        tracing::error!(%appliance, %panic, "an appliance's connection failed");
        connection.close(7_u8.into(), b"an incident; connect again");
        shared.fleet.update(&appliance, |state| state.connected = false);
    }
    if shared.is_current(&appliance, &connection) {
        shared.connections().remove(&appliance);
    }
}

/// One request, one answer, and the connection ends.
async fn enrol<D: Directory>(shared: &Shared, directory: &D, connection: &Connection) {
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    let from = connection.remote_address();
    let answer = match stream::read(&mut receive).await {
        Ok((kind, body)) => match Enrol::decode(kind, &body) {
            Ok(request) => welcome(shared, directory, &request, from).await,
            Err(refused) => Err(refused.to_string()),
        },
        Err(reason) => Err(reason),
    };
    match &answer {
        Ok(enrolled) => tracing::info!(%from, appliance = %enrolled.appliance, "enrolled"),
        Err(reason) => tracing::warn!(%from, reason, "an enrolment is refused"),
    }
    let Ok(message) = Enrolled::encode(&answer) else { return };
    if send.write_all(&message).await.is_ok() && send.finish().is_ok() {
        // The box closes when it has read the answer.
        let _ = connection.closed().await;
    }
}

async fn welcome<D: Directory>(
    shared: &Shared,
    directory: &D,
    request: &Enrol,
    from: SocketAddr,
) -> Result<Enrolled, String> {
    let Shared { config, authority, signer, .. } = shared;
    let days = config.certificate_days;
    let certify = |appliance: &ApplianceId| {
        let certified = authority.certify(appliance, &request.public_key, wall(), days);
        certified.map_err(|fault| fault.to_string())
    };
    // A key that cannot be certified must not cost the token.
    certify(&ApplianceId::new("trial").map_err(|refused| refused.to_string())?)?;
    let appliance = directory.redeem(&request.secret, from).await?;
    let certified = certify(&appliance)?;
    directory.certified(&appliance, sha256(&certified.certificate), &certified).await?;
    let ca = authority.ca().to_vec();
    Ok(Enrolled { appliance, certified, ca, signing_keys: vec![signer.public_key()] })
}
