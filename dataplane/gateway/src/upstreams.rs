//! Connections to servers: idle ones by server, new ones within their time.
//!
//! A pooled connection that has rested is looked at before it is used, because a call that was sent
//! on a dying connection may have run and is not sent again.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use dataplane_pipeline::Fate;
use dataplane_telemetry::Nanos;
use dataplane_upstream::Pool;
use dataplane_upstream::limits::{POOL_IDLE_MAX, POOL_IDLE_NS};
use monoio::net::TcpStream;
use rustls_pki_types::ServerName;

use crate::mailbox::Deployment;
use crate::stream::Stream;

/// A connection that was used within this is taken as it is; asking the kernel costs a system call.
const FRESH_NS: u64 = 50_000_000;

/// All servers of one deployment, as one core sees them.
pub(crate) struct Upstreams {
    deployment: Arc<Deployment>,
    pools: Vec<RefCell<Pool<Idle>>>,
}

struct Idle {
    stream: Stream,
    since: Nanos,
}

impl Upstreams {
    pub(crate) fn new(deployment: Arc<Deployment>) -> Self {
        let servers = deployment.configuration.servers().iter();
        let pools = servers.map(|_| RefCell::new(Pool::new(POOL_IDLE_MAX, POOL_IDLE_NS))).collect();
        Self { deployment, pools }
    }

    /// An idle connection that is still good.
    pub(crate) fn idle(&self, server: usize, now: Nanos) -> Option<Stream> {
        let mut pool = self.pools.get(server)?.borrow_mut();
        while let Some(Idle { stream, since }) = pool.take(now) {
            if now.since(since) < FRESH_NS || !stream.has_news() {
                return Some(stream);
            }
        }
        None
    }

    /// A new connection, its TLS handshake to be done by the first write.
    pub(crate) async fn connect(&self, server: usize) -> io::Result<Stream> {
        let missing = |what: &str| io::Error::new(io::ErrorKind::NotFound, what.to_owned());
        let servers = self.deployment.configuration.servers();
        let upstream = servers.get(server).ok_or_else(|| missing("no such server"))?;
        let address = self.deployment.addresses.first(server);
        let address = address.ok_or_else(|| missing("the server's name does not resolve"))?;
        let patience = Duration::from_millis(upstream.timeouts.connect_ms);
        let tcp = monoio::time::timeout(patience, TcpStream::connect_addr(address)).await;
        let tcp = tcp.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        tcp.set_nodelay(true)?;
        let tls = match self.deployment.client_tls.get(server) {
            Some(Some(config)) => {
                let name = ServerName::try_from(upstream.origin.host().to_owned())
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                let tls = rustls::ClientConnection::new(Arc::clone(config), name)
                    .map_err(io::Error::other)?;
                Some(rustls::Connection::from(tls))
            }
            _ => None,
        };
        Ok(Stream::new(tcp, tls))
    }

    /// What the machine decided for a connection whose exchange is over.
    pub(crate) fn settle(&self, server: usize, mut stream: Stream, fate: Fate, now: Nanos) {
        let Fate::Reuse { idle_ns } = fate else { return };
        stream.rest();
        if let Some(pool) = self.pools.get(server) {
            drop(pool.borrow_mut().put(Idle { stream, since: now }, now, idle_ns));
        }
    }

    /// Closes what has been idle for too long.
    pub(crate) fn expire(&self, now: Nanos) {
        for pool in &self.pools {
            while pool.borrow_mut().expire(now).is_some() {}
        }
    }
}

/// For the registry.
pub(crate) fn raw_fd(stream: &Stream) -> i32 {
    stream.tcp().as_raw_fd()
}
