//! A connection to the control plane, and one message on one stream.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dataplane_bundle::message::{CONTROL_NAME, Encoded, HEAD_BYTES, Head, Kind};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Name look-up and handshake, together, for each address.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// What the kernel may hold of a connection's packets is left to it; a message must have arrived
/// whole after this long.
pub const MESSAGE_MS_MAX: u64 = 120_000;

/// How long a goodbye may take.
const GOODBYE_MS_MAX: u64 = 200;

/// A connection, and the socket below it.
pub(crate) struct Link {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
}

impl Link {
    /// Says goodbye, and waits a moment for it to leave.
    pub(crate) async fn close(&self) {
        self.connection.close(0_u8.into(), b"done");
        let _ = timeout(Duration::from_millis(GOODBYE_MS_MAX), self.endpoint.wait_idle()).await;
    }
}

/// Tries each address of `control` (host and port) in turn.
pub(crate) async fn connect(control: &str, config: ClientConfig) -> Result<Link, String> {
    let wait = Duration::from_millis(CONNECT_MS_MAX);
    let found = timeout(wait, tokio::net::lookup_host(control)).await;
    let found = found.map_err(|_| format!("looking up {control} took too long"))?;
    let addresses: Vec<SocketAddr> =
        found.map_err(|fault| format!("{control}: {fault}"))?.collect();
    let mut reason = format!("{control} has no address");
    for address in addresses {
        match timeout(wait, dial(address, config.clone())).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(fault)) => reason = format!("{control} ({address}): {fault}"),
            Err(_) => reason = format!("{control} ({address}) does not answer over QUIC"),
        }
    }
    Err(reason)
}

async fn dial(address: SocketAddr, config: ClientConfig) -> Result<Link, String> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).map_err(|fault| fault.to_string())?;
    let connecting = endpoint.connect_with(config, address, CONTROL_NAME);
    let connecting = connecting.map_err(|fault| fault.to_string())?;
    let connection = connecting.await.map_err(|fault| fault.to_string())?;
    Ok(Link { endpoint, connection })
}

/// Sends one message on a stream of its own.
pub(crate) async fn send(connection: &Connection, message: &[u8]) -> Result<(), String> {
    let mut stream = connection.open_uni().await.map_err(|fault| fault.to_string())?;
    write(&mut stream, message).await
}

pub(crate) async fn write(stream: &mut SendStream, message: &[u8]) -> Result<(), String> {
    stream.write_all(message).await.map_err(|fault| fault.to_string())?;
    stream.finish().map_err(|fault| fault.to_string())
}

/// Reads the one message of a stream, bounded by its kind, to the stream's end. A bundle waits for
/// its turn in `bundles` before it takes memory, and is refused where there are no turns.
pub(crate) async fn read(
    stream: &mut RecvStream,
    bundles: Option<&Semaphore>,
) -> Result<(Kind, Encoded), String> {
    let wait = Duration::from_millis(MESSAGE_MS_MAX);
    let read = timeout(wait, async {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await.map_err(|fault| fault.to_string())?;
        let Head { kind, length } = Head::read(head).map_err(|refused| refused.to_string())?;
        let _turn = match (kind, bundles) {
            (Kind::Bundle, Some(bundles)) => bundles.acquire().await.ok(),
            (Kind::Bundle, None) => return Err("a bundle is not expected here".to_owned()),
            _ => None,
        };
        let mut body = Encoded::new(vec![0; length]);
        stream.read_exact(&mut body).await.map_err(|fault| fault.to_string())?;
        match stream.read(&mut [0]).await {
            Ok(None) => Ok((kind, body)),
            Ok(Some(_)) => Err(format!("{kind:?} goes on past its {length} bytes")),
            Err(fault) => Err(fault.to_string()),
        }
    });
    read.await.map_err(|_| format!("a message did not end within {MESSAGE_MS_MAX} ms"))?
}
