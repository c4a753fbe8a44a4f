//! One client connection, plain or TLS 1.3, on a non-blocking socket.
//!
//! Bytes to send are queued and written when the socket takes them; bytes that came are decrypted
//! into one buffer, from which answers are read. After the first few calls nothing is allocated.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How long connecting, and the handshake, may take.
const CONNECT_MS_MAX: u64 = 10_000;
/// Taken from the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection. Sent bytes go out in order; there is one call at a time on it.
pub(crate) struct Client {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Waits to be written to the socket, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// What came and was not consumed.
    pub received: Vec<u8>,
}

/// What became of a socket that was ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    Open,
    Closed,
}

/// The configuration that trusts one certificate. No resumption: each connection costs the same.
pub(crate) fn trusting(certificate: &CertificateDer<'static>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

impl Client {
    /// Connects and, over TLS, completes the handshake.
    ///
    /// # Errors
    /// When nobody listens there, or the handshake fails.
    pub(crate) fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let socket = TcpStream::connect_timeout(&address, limit)
            .with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(limit))?;
        let tls = match tls {
            Some(config) => Some(Box::new(handshake(&socket, config)?)),
            None => None,
        };
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            tls,
            out: Vec::with_capacity(READ_BYTES),
            written: 0,
            received: Vec::with_capacity(READ_BYTES),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Queues `bytes` and writes as much as the socket takes. True when all of it went out.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.out)?;
                }
            }
            None => self.out.extend_from_slice(bytes),
        }
        self.flush()
    }

    /// Writes what waits. True when nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match (&self.socket).write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// Takes what has come into `received`.
    pub(crate) fn receive(&mut self) -> io::Result<Progress> {
        let progress = match &mut self.tls {
            Some(tls) => receive_tls(&self.socket, tls, &mut self.received)?,
            None => receive_plain(&self.socket, &mut self.received)?,
        };
        Ok(progress)
    }
}

fn handshake(socket: &TcpStream, config: &Arc<ClientConfig>) -> anyhow::Result<ClientConnection> {
    let name = ServerName::try_from("localhost")?;
    let mut tls = ClientConnection::new(Arc::clone(config), name)?;
    let mut stream = socket;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).context("TLS handshake")?;
    }
    Ok(tls)
}

fn receive_plain(mut socket: &TcpStream, received: &mut Vec<u8>) -> io::Result<Progress> {
    let mut piece = [0_u8; READ_BYTES];
    match socket.read(&mut piece) {
        Ok(0) => Ok(Progress::Closed),
        Ok(count) => {
            received.extend_from_slice(piece.get(..count).unwrap_or_default());
            Ok(Progress::Open)
        }
        Err(fault) if is_later(&fault) => Ok(Progress::Open),
        Err(fault) => Err(fault),
    }
}

fn receive_tls(
    mut socket: &TcpStream,
    tls: &mut ClientConnection,
    received: &mut Vec<u8>,
) -> io::Result<Progress> {
    match tls.read_tls(&mut socket) {
        Ok(0) => return Ok(Progress::Closed),
        Ok(_) => {}
        Err(fault) if is_later(&fault) => return Ok(Progress::Open),
        Err(fault) => return Err(fault),
    }
    let state = tls.process_new_packets().map_err(io::Error::other)?;
    let count = state.plaintext_bytes_to_read();
    let start = received.len();
    received.resize(start + count, 0);
    if let Some(space) = received.get_mut(start..) {
        tls.reader().read_exact(space)?;
    }
    match state.peer_has_closed() {
        true => Ok(Progress::Closed),
        false => Ok(Progress::Open),
    }
}

fn is_later(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
