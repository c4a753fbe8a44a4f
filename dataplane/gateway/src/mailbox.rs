//! News for a core: what the rest of the process tells it.
//!
//! A queue and an eventfd. Whoever sends does not wait for the core; the core hears of it in its
//! next turn. Nothing of a call passes here.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use dataplane_bundle::Lease;
use dataplane_drops::Standings;
use dataplane_pipeline::{Announcement, Configuration, Kills};
use monoio::net::UnixStream;
use rustix::event::{EventfdFlags, eventfd};

use crate::descriptor;

/// One thing that a core has to know.
#[derive(Clone)]
pub(crate) enum News {
    /// A bundle and the kills as it sees them: never one without the other.
    Deployment {
        deployment: Arc<Deployment>,
        kills: Arc<Kills>,
    },
    Kills(Arc<Kills>),
    Leases(Arc<Vec<Lease>>),
    /// Where callers stand on their ladders.
    Standings(Arc<Standings>),
    Announcement(Announcement),
    Certificate(Arc<rustls::ServerConfig>),
    /// Finish what runs, take nothing new.
    Drain,
}

/// A configuration with what only the shell needs of it.
pub(crate) struct Deployment {
    pub configuration: Arc<Configuration>,
    /// For each server, how to check its certificate; `None` where it is spoken to in the clear.
    pub client_tls: Vec<Option<Arc<rustls::ClientConfig>>>,
    pub addresses: Arc<crate::addresses::Addresses>,
}

/// The sending side, for everyone.
pub(crate) struct Mailbox {
    queue: Mutex<Vec<News>>,
    bell: OwnedFd,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { queue: Mutex::default(), bell })
    }

    pub(crate) fn send(&self, news: News) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        // A full counter is a bell that nobody has heard yet.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    pub(crate) fn take(&self) -> Vec<News> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn bell(&self) -> io::Result<Bell> {
        Bell::new(self.bell.try_clone()?)
    }
}

/// An eventfd that one core waits for.
pub(crate) struct Bell {
    /// The runtime polls sockets only; an eventfd is polled the same way, and never read as one.
    stream: UnixStream,
}

impl Bell {
    /// On the core's own thread. The eventfd is non-blocking.
    pub(crate) fn new(event: OwnedFd) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::from(event);
        Ok(Self { stream: UnixStream::from_std(stream)? })
    }

    /// Completes once it was rung since the last time.
    pub(crate) async fn rung(&self) -> io::Result<()> {
        loop {
            self.stream.readable(false).await?;
            match rustix::io::read(descriptor::borrow(&self.stream), &mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
