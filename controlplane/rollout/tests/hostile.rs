//! Clients that do not keep to the protocol, on bare QUIC.

mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use controlplane_rollout::{Authority, Config, ENROLMENTS_MAX, Report, Rollout};
use dataplane_bundle::message::{
    ALPN_ENROL, ALPN_SYNC, CONTROL_NAME, Enrol, Enrolled, HEAD_BYTES, Head, Kind, ToControl,
};
use dataplane_telemetry::WallNanos;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use world::{Memory, PATIENCE, id, kills, signer, wall};

/// A listener, and what a client has to know of it.
struct Listener {
    memory: Arc<Memory>,
    rollout: Rollout,
    address: SocketAddr,
    authority: Authority,
    client: Endpoint,
}

fn listener() -> Listener {
    let authority = Authority::create(wall()).unwrap();
    let theirs = Authority::from_secret(&authority.to_secret()).unwrap();
    let memory: Arc<Memory> = Arc::default();
    let config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    let rollout = Rollout::start(config, theirs, signer(1), &kills(1), memory.clone()).unwrap();
    let address = rollout.local_addr().unwrap();
    let client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    Listener { memory, rollout, address, authority, client }
}

impl Listener {
    async fn connect(
        &self,
        protocol: &[u8],
        identity: Option<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)>,
    ) -> Result<Connection, ConnectionError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.ca().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut tls = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(vec![chain], key.into()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![protocol.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        self.client.connect_with(config, self.address, CONTROL_NAME).unwrap().await
    }

    /// Connects as an enrolled box.
    async fn enrolled(&self, appliance: &str) -> Connection {
        let key = KeyPair::generate().unwrap();
        let public = key.subject_public_key_info();
        let certified = self.authority.certify(&id(appliance), &public, wall(), 1).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &certified.certificate);
        let digest = digest.as_ref().try_into().unwrap();
        self.memory.state.lock().unwrap().certificates.insert(digest);
        let identity = (certified.certificate.into(), key.serialize_der().into());
        self.connect(ALPN_SYNC, Some(identity)).await.unwrap()
    }

    async fn say_hello(&self, connection: &Connection) {
        send(connection, &ToControl::Hello(Default::default()).encode().unwrap()).await;
    }
}

async fn send(connection: &Connection, bytes: &[u8]) {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.finish().unwrap();
}

/// Why the listener closed, within patience.
async fn closed(connection: &Connection) -> String {
    let reason = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    match reason {
        ConnectionError::ApplicationClosed(close) => {
            String::from_utf8_lossy(&close.reason).into_owned()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn without_a_certificate_only_enrolment_is_spoken() {
    let listener = listener();
    let connection = listener.connect(ALPN_SYNC, None).await.unwrap();
    assert_eq!(closed(&connection).await, "no certificate: enrol first");
    assert!(listener.connect(b"h3", None).await.is_err());
    assert!(listener.rollout.appliances().is_empty());
}

#[tokio::test]
async fn a_certificate_that_was_never_issued_is_not_admitted() {
    let listener = listener();
    let key = KeyPair::generate().unwrap();
    let public = key.subject_public_key_info();
    let certified = listener.authority.certify(&id("box-1"), &public, wall(), 1).unwrap();
    let identity = (certified.certificate.into(), key.serialize_der().into());
    let connection = listener.connect(ALPN_SYNC, Some(identity)).await.unwrap();
    assert_eq!(closed(&connection).await, "this certificate was never issued");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let listener = listener();
    let long_ago = WallNanos::from_secs(wall().secs() - 2 * 24 * 3_600);
    let key = KeyPair::generate().unwrap();
    let public = key.subject_public_key_info();
    let certified = listener.authority.certify(&id("box-1"), &public, long_ago, 1).unwrap();
    let identity = (certified.certificate.into(), key.serialize_der().into());
    let connection = listener.connect(ALPN_SYNC, Some(identity)).await;
    let refused = match connection {
        Ok(connection) => connection.closed().await,
        Err(refused) => refused,
    };
    // Alert 45 of RFC 8446 §6.2, with its reason.
    assert!(refused.to_string().contains("certificate expired"), "{refused}");
}

#[tokio::test]
async fn nonsense_instead_of_an_enrolment_is_answered_with_its_reason() {
    let listener = listener();
    let bad_key = Enrol { secret: "x".to_owned().into(), public_key: vec![0x30; 91] };
    let long = [[Kind::Enrol as u8].as_slice(), &u32::MAX.to_le_bytes()].concat();
    let bundle = [[Kind::Bundle as u8].as_slice(), &[0; 4]].concat();
    let good = Enrol { secret: "x".to_owned().into(), public_key: vec![] };
    let trailing = [&good.encode().unwrap()[..], b"more"].concat();
    for (bytes, why) in [
        (&bad_key.encode().unwrap()[..], "public key"),
        (&long, "more than the limit"),
        (&bundle, "not for an appliance to send"),
        (&trailing, "goes on past"),
        (b"TRACE / HTTP/1.1", "not a kind"),
        (b"", "stream finished early"),
    ] {
        let connection = listener.connect(ALPN_ENROL, None).await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let answer = receive.read_to_end(10_000).await.unwrap();
        let (head, body) = answer.split_first_chunk::<HEAD_BYTES>().unwrap();
        let kind = Head::read(*head).unwrap().kind;
        let reason = Enrolled::decode(kind, body).unwrap().unwrap_err();
        assert!(reason.contains(why), "{why}: {reason}");
        connection.close(0_u8.into(), b"");
    }
}

#[tokio::test]
async fn a_box_that_breaks_the_protocol_is_closed_with_the_reason() {
    let listener = listener();
    let message = |kind: Kind, length: u32| [&[kind as u8][..], &length.to_le_bytes()].concat();
    for (bytes, why) in [
        (ToControl::Hello(Default::default()).encode().unwrap().to_vec(), "a second hello"),
        (message(Kind::Records, u32::MAX), "more than the limit"),
        (message(Kind::Bundle, 0), "not for an appliance to send"),
        (message(Kind::Enrol, 0), "not expected from this side"),
        (message(Kind::Status, 3), "stream finished early"),
        (ToControl::Renew { public_key: vec![1; 91] }.encode().unwrap().to_vec(), "public key"),
    ] {
        let connection = listener.enrolled("box-1").await;
        listener.say_hello(&connection).await;
        send(&connection, &bytes).await;
        let reason = closed(&connection).await;
        assert!(reason.contains(why), "{why}: {reason}");
    }
    let connection = listener.enrolled("box-2").await;
    send(&connection, &ToControl::LeasesResult { result: Ok(()) }.encode().unwrap()).await;
    let reason = closed(&connection).await;
    assert!(reason.contains("before the hello"), "{reason}");
}

/// Those who come and say nothing take all turns, for a bounded time; then others come in.
#[tokio::test]
async fn silent_strangers_do_not_keep_others_out_for_long() {
    let listener = listener();
    let mut silent = Vec::new();
    for _ in 0..ENROLMENTS_MAX {
        silent.push(listener.connect(ALPN_ENROL, None).await.unwrap());
    }
    let refused = listener.connect(ALPN_ENROL, None).await.unwrap_err();
    // RFC 9000 §20.1.
    assert!(
        matches!(&refused, ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED),
        "{refused}"
    );
    assert_eq!(closed(&silent[0]).await, "the enrolment took too long");
    for connection in &silent {
        closed(connection).await;
    }
    let connection = listener.enrolled("box-1").await;
    listener.say_hello(&connection).await;
    let memory = listener.memory.clone();
    let connected = move || {
        memory.reported("box-1", |report| matches!(report, Report::Connected { .. }));
    };
    tokio::task::spawn_blocking(connected).await.unwrap();
}

/// An address that was not proven is asked to prove itself: the first answer is a Retry (RFC 9000
/// §17.2.5), which costs no memory, and nothing else comes.
#[tokio::test]
async fn an_unproven_address_gets_a_retry_and_nothing_else() {
    let listener = listener();
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let relay = socket.local_addr().unwrap();
    let config = {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN_ENROL.to_vec()];
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    };
    let _connecting = listener.client.connect_with(config, relay, CONTROL_NAME).unwrap();
    let mut packet = [0; 2_048];
    let (length, _) = socket.recv_from(&mut packet).await.unwrap();
    socket.send_to(&packet[..length], listener.address).await.unwrap();
    let wait = Duration::from_secs(10);
    let answer = tokio::time::timeout(wait, socket.recv_from(&mut packet)).await;
    let (length, from) = answer.unwrap().unwrap();
    assert_eq!(from, listener.address);
    assert_eq!(packet[0] & 0b1111_0000, 0b1111_0000, "a long header of type Retry");
    assert!(length < 1_200, "smaller than what was sent");
}
