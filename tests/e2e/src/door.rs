//! A TLS connection to the gateway, kept alive, read and written by hand.
//!
//! Blocking and bounded: whatever takes longer than the patience of the test is an error that says
//! so, never a hang.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tests_fixtures::stack::System;

use crate::message::{Reply, Request};

/// How long one read or write may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the gateway is, and whom to trust there.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// What `Host` says.
    pub host: String,
    trust: Arc<ClientConfig>,
}

impl Door {
    /// The gateway of this system, trusting its own certificate and no other.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn of(system: &System) -> anyhow::Result<Self> {
        Self::trusting(system, &std::fs::read(system.certificate())?)
    }

    /// The same, trusting these certificates.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn trusting(system: &System, pem: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|fault| anyhow::anyhow!("{fault:?}"))?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let port = system.listen.rsplit(':').next().context("a port")?;
        let address = format!("127.0.0.1:{port}").parse()?;
        Ok(Self { address, host: system.listen.clone(), trust: Arc::new(config) })
    }

    /// A new connection, its handshake done.
    ///
    /// # Errors
    /// When it is refused, or not trusted.
    pub fn open(&self) -> anyhow::Result<Wire> {
        let mut tcp = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost")?;
        let mut tls = ClientConnection::new(Arc::clone(&self.trust), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Wire { stream: StreamOwned::new(tls, tcp), host: self.host.clone(), inbox: Vec::new() })
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// As [`Wire::ask`].
    pub fn ask(&self, request: &Request) -> anyhow::Result<Reply> {
        self.open()?.ask(request)
    }
}

/// One connection.
pub struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    host: String,
    inbox: Vec<u8>,
}

impl Wire {
    /// Sends a request and reads its whole answer.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        self.send(request)?;
        self.reply()
    }

    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.to_bytes(&self.host);
        self.send_bytes(&bytes)
    }

    /// Whatever a test wants to send.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one whole answer.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn reply(&mut self) -> anyhow::Result<Reply> {
        let end = loop {
            match find(&self.inbox, b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more()?,
            }
        };
        let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.with_context(|| format!("no status in {head:?}"))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let of = |name: &str| headers.iter().find(|(known, _)| known == name);
        let body = if of("transfer-encoding").is_some() {
            self.chunks()?
        } else {
            let length = of("content-length").map_or(Ok(0), |(_, value)| value.parse())?;
            self.take(length)?
        };
        Ok(Reply { status, headers, body })
    }

    /// Reads one whole answer, or nothing where nothing comes for so long.
    ///
    /// # Errors
    /// When the connection ends first, or only a part comes.
    pub fn reply_within(&mut self, limit: Duration) -> anyhow::Result<Option<Reply>> {
        self.stream.sock.set_read_timeout(Some(limit))?;
        let read = self.reply();
        self.stream.sock.set_read_timeout(Some(PATIENCE))?;
        let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        let is_late = |fault: &io::Error| waits.contains(&fault.kind());
        match read {
            Ok(reply) => Ok(Some(reply)),
            Err(fault) if fault.downcast_ref().is_some_and(is_late) && self.inbox.is_empty() => {
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.inbox, b"\r\n") {
                    Some(end) => break end,
                    None => self.more()?,
                }
            };
            let line = self.take(end + 2)?;
            let size = std::str::from_utf8(line.get(..end).unwrap_or_default())?;
            let size =
                usize::from_str_radix(size.trim(), 16).with_context(|| format!("{size:?}"))?;
            let data = self.take(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(data.get(..size).unwrap_or_default());
        }
    }

    fn take(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        while self.inbox.len() < count {
            self.more()?;
        }
        Ok(self.inbox.drain(..count).collect())
    }

    fn more(&mut self) -> anyhow::Result<()> {
        let mut piece = [0; 16_384];
        let count = self.stream.read(&mut piece).context("the gateway's answer")?;
        ensure!(count > 0, "the gateway closed the connection");
        self.inbox.extend_from_slice(piece.get(..count).unwrap_or_default());
        Ok(())
    }

    /// Waits until the gateway closes this connection, and refuses anything that comes instead.
    ///
    /// # Errors
    /// When bytes come, or nothing happens in time.
    pub fn closed_within(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.stream.sock.set_read_timeout(Some(limit))?;
        let mut piece = [0; 1_024];
        let read = self.stream.read(&mut piece);
        self.stream.sock.set_read_timeout(Some(PATIENCE))?;
        match read {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Ok(count) => bail!("{count} bytes came instead of an end"),
            Err(error) => Err(error).context("the connection stays open"),
        }
    }

    /// Whether nothing comes for so long: no byte, and no end.
    pub fn is_quiet_for(&mut self, limit: Duration) -> bool {
        let _ = self.stream.sock.set_read_timeout(Some(limit));
        let read = self.stream.read(&mut [0; 1]);
        let _ = self.stream.sock.set_read_timeout(Some(PATIENCE));
        let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        read.is_err_and(|error| waits.contains(&error.kind()))
    }

    /// The certificate that the gateway showed.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let shown = self.stream.conn.peer_certificates().and_then(<[_]>::first);
        shown.map(|certificate| certificate.to_vec()).unwrap_or_default()
    }

    /// Our end.
    ///
    /// # Errors
    /// When the socket has none.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.sock.local_addr()
    }

    /// Ends our side without a word.
    pub fn drop_hard(self) {
        let _ = self.stream.sock.shutdown(Shutdown::Both);
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
