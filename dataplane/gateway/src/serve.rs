//! One core: its listener, its connections, its news, its ring.
//!
//! A thread with one io_uring and everything that it serves. Nothing here is shared with another
//! core; what the process has to tell comes through the mailbox.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dataplane_audit_writer::Lane;
use dataplane_drops::Flow;
use dataplane_pipeline::{Announcement, Connection, Core, Resources};
use monoio::net::{TcpListener, TcpStream};
use socket2::SockRef;

use crate::clock;
use crate::conversation;
use crate::durable::Durable;
use crate::ladder::Ear;
use crate::mailbox::{Bell, Mailbox, News};
use crate::notify::Notify;
use crate::registry::{Entry, Registry};
use crate::ring;
use crate::snapshot::Snapshot;
use crate::stream::Stream;
use crate::upstreams::{Upstreams, raw_fd};

/// How often deadlines are looked at, and the longest that an intent waits for its group.
const SWEEP: Duration = Duration::from_millis(100);
/// Entries of the ring. A turn with more operations enters the kernel once more.
const RING_ENTRIES: u32 = 1_024;

/// What a core is started with.
pub(crate) struct Start {
    pub number: usize,
    pub processor: Option<usize>,
    pub listener: std::net::TcpListener,
    pub resources: Resources,
    pub lane: Lane,
    pub certificate: Arc<rustls::ServerConfig>,
    pub mailboxes: Arc<Vec<Mailbox>>,
    pub snapshot: Arc<Mutex<Snapshot>>,
    pub ear: Ear,
}

/// A running core, as its tasks see it.
pub(crate) struct Shell {
    pub core: RefCell<Core>,
    pub durable: Durable,
    pub registry: Registry,
    pub upstreams: RefCell<Option<Rc<Upstreams>>>,
    pub flush: Notify,
    pub is_draining: Cell<bool>,
    pub accepted: Cell<u64>,
    pub handshakes_failed: Cell<u64>,
    number: usize,
    /// The listener once more, to end it while its task waits for a connection.
    listening: std::net::TcpListener,
    lane: RefCell<Lane>,
    certificate: RefCell<Arc<rustls::ServerConfig>>,
    mailboxes: Arc<Vec<Mailbox>>,
    snapshot: Arc<Mutex<Snapshot>>,
    ear: Ear,
}

/// Serves until it has drained.
///
/// # Errors
/// io_uring is not to be had; the text says what to do.
pub(crate) fn run(start: Start) -> io::Result<()> {
    if let Some(processor) = start.processor {
        monoio::utils::bind_to_cpu_set(Some(processor)).map_err(io::Error::other)?;
    }
    let runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring::builder())
        .enable_timer()
        .build();
    let mut runtime = runtime.map_err(ring::refused)?;
    runtime.block_on(serve(start))
}

async fn serve(start: Start) -> io::Result<()> {
    let listening = start.listener.try_clone()?;
    let listener = TcpListener::from_std(start.listener)?;
    let log_bell = Bell::new(start.lane.wake_fd().try_clone_to_owned()?)?;
    let shell = Rc::new(Shell {
        core: RefCell::new(Core::new(start.resources).map_err(io::Error::other)?),
        durable: Durable::default(),
        registry: Registry::default(),
        upstreams: RefCell::default(),
        flush: Notify::default(),
        is_draining: Cell::new(false),
        accepted: Cell::new(0),
        handshakes_failed: Cell::new(0),
        number: start.number,
        listening,
        lane: RefCell::new(start.lane),
        certificate: RefCell::new(start.certificate),
        mailboxes: start.mailboxes,
        snapshot: start.snapshot,
        ear: start.ear,
    });
    shell.read_news();
    monoio::spawn(hear_log(Rc::clone(&shell), log_bell));
    monoio::spawn(hand_over(Rc::clone(&shell)));
    monoio::spawn(hear_news(Rc::clone(&shell)));
    monoio::spawn(accept(Rc::clone(&shell), listener));
    shell.sweep_until_drained().await;
    Ok(())
}

async fn accept(shell: Rc<Shell>, listener: TcpListener) {
    while !shell.is_draining.get() {
        match listener.accept().await {
            Ok((tcp, peer)) => admit(&shell, tcp, peer),
            Err(_) if shell.is_draining.get() => break,
            // Out of descriptors: those that are open will close.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                monoio::time::sleep(SWEEP).await;
            }
        }
    }
}

fn admit(shell: &Rc<Shell>, tcp: TcpStream, peer: SocketAddr) {
    let has_room = shell.core.borrow().may_accept(shell.registry.open());
    if shell.is_draining.get() || !has_room {
        return;
    }
    shell.accepted.set(shell.accepted.get() + 1);
    let tls = rustls::ServerConnection::new(Arc::clone(&shell.certificate.borrow()));
    let (Ok(tls), Ok(())) = (tls, tcp.set_nodelay(true)) else { return };
    let Ok(local) = tcp.local_addr() else { return };
    let now = clock::now();
    let delay_ms = shell.core.borrow().handshake_delay_ms(peer.ip(), now.mono);
    let machine = Connection::new(Flow::new(peer, local), now.mono);
    let entry = Rc::new(Entry::new(machine, tcp.as_raw_fd()));
    let stream = Stream::new(tcp, Some(tls.into()));
    let place = shell.registry.insert(Rc::clone(&entry));
    let shell = Rc::clone(shell);
    monoio::spawn(async move {
        if delay_ms > 0 {
            monoio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        conversation::hold(&shell, &entry, stream).await;
        shell.registry.remove(place);
    });
}

/// Commits of the log, and its faults.
async fn hear_log(shell: Rc<Shell>, bell: Bell) {
    loop {
        let (durable, fault) = {
            let lane = shell.lane.borrow();
            (lane.durable(), lane.fault())
        };
        {
            let mut core = shell.core.borrow_mut();
            core.on_durable(durable);
            core.on_log(fault.map(|fault| fault.to_string().into()));
        }
        shell.durable.advance(durable);
        shell.durable.lose(fault.is_some());
        shell.flush.notify();
        if let Err(error) = bell.rung().await {
            tracing::error!(%error, "this core no longer hears of commits");
            return;
        }
    }
}

/// Hands records over once every task that is ready has added its own.
async fn hand_over(shell: Rc<Shell>) {
    loop {
        shell.flush.notified().await;
        crate::notify::yield_once().await;
        // Refused only when many batches wait already: the next commit rings, and asks again.
        shell.lane.borrow_mut().submit(shell.core.borrow_mut().batch());
    }
}

async fn hear_news(shell: Rc<Shell>) {
    let bell = match shell.mailboxes.get(shell.number).map(Mailbox::bell) {
        Some(Ok(bell)) => bell,
        _ => {
            tracing::error!("this core cannot hear news");
            return;
        }
    };
    while bell.rung().await.is_ok() {
        shell.read_news();
    }
}

impl Shell {
    fn read_news(&self) {
        let Some(mailbox) = self.mailboxes.get(self.number) else { return };
        for news in mailbox.take() {
            self.on_news(news);
        }
        self.publish();
    }

    fn on_news(&self, news: News) {
        let now = clock::now();
        match news {
            News::Deployment { deployment, kills } => {
                let configuration = Arc::clone(&deployment.configuration);
                let mut core = self.core.borrow_mut();
                match core.on_configuration(configuration) {
                    Ok(()) => {
                        core.on_kills(kills);
                        *self.upstreams.borrow_mut() = Some(Rc::new(Upstreams::new(deployment)));
                    }
                    // It was tried before it was sent; still, the old one stays.
                    Err(error) => tracing::error!(%error, "a core refuses the bundle"),
                }
                drop(core);
                self.end_calls(None);
            }
            News::Kills(kills) => {
                self.core.borrow_mut().on_kills(kills);
                self.end_calls(None);
            }
            News::Standings(standings) => self.core.borrow_mut().on_standings(standings),
            News::Leases(leases) => self.core.borrow_mut().on_leases(&leases, now.wall),
            News::Announcement(announcement) => {
                if let Announcement::SessionEnded(session) = &announcement {
                    self.core.borrow_mut().on_session_ended(*session);
                }
                self.end_calls(Some(&announcement));
            }
            News::Certificate(certificate) => *self.certificate.borrow_mut() = certificate,
            News::Drain => {
                self.is_draining.set(true);
                // A core that is done first must not leave clients waiting in its queue.
                let _ = SockRef::from(&self.listening).shutdown(Shutdown::Both);
                self.core.borrow_mut().drain();
                self.registry.for_each(|entry| {
                    if entry.machine.borrow().is_idle() {
                        entry.wake_client(Shutdown::Read);
                    }
                });
            }
        }
    }

    /// Ends the running calls that the news, or a kill in force, is about.
    fn end_calls(&self, news: Option<&Announcement>) {
        let now = clock::now();
        let mut core = self.core.borrow_mut();
        self.registry.for_each(|entry| {
            let mut machine = entry.machine.borrow_mut();
            if news.is_none() {
                machine.on_change(&mut core, now);
            }
            if machine.is_over(&core, news, now) {
                entry.is_cancelled.set(news.is_some() || entry.is_cancelled.get());
                entry.wake_upstream();
            }
        });
    }

    /// What a client told this core and others must hear.
    pub(crate) fn announce(&self) {
        loop {
            let Some(announcement) = self.core.borrow_mut().announcement() else { break };
            for mailbox in self.mailboxes.iter() {
                mailbox.send(News::Announcement(announcement.clone()));
            }
        }
    }

    /// What the ladder's thread must hear. It is told, and nobody waits for it.
    pub(crate) fn tell_ladder(&self) {
        let mut core = self.core.borrow_mut();
        while let Some(heard) = core.heard() {
            self.ear.tell(heard);
        }
    }

    async fn sweep_until_drained(&self) {
        while !(self.is_draining.get() && self.registry.open() == 0) {
            monoio::time::sleep(SWEEP).await;
            self.sweep();
        }
        self.publish();
    }

    /// Deadlines, clients that have gone, idle connections, and intents that wait for a group.
    fn sweep(&self) {
        let now = clock::now();
        self.registry.for_each(|entry| {
            let mut machine = entry.machine.borrow_mut();
            if machine.deadline() <= now.mono {
                machine.on_deadline(&mut self.core.borrow_mut(), now);
                entry.wake_client(Shutdown::Read);
                entry.wake_upstream();
                if machine.step(&self.core.borrow()) == dataplane_pipeline::Step::Close {
                    entry.wake_client(Shutdown::Both);
                }
            } else if machine.ends_with_client() && entry.client_has_closed() {
                entry.is_gone.set(true);
                entry.wake_upstream();
            }
        });
        if let Some(upstreams) = &*self.upstreams.borrow() {
            upstreams.expire(now.mono);
        }
        self.flush.notify();
        self.publish();
    }

    fn publish(&self) {
        let core = self.core.borrow();
        let now = clock::now();
        let fresh = Snapshot {
            counters: core.counters(),
            connections: self.registry.open() as u64,
            accepted: self.accepted.get(),
            handshakes_failed: self.handshakes_failed.get(),
            revision: core.configuration().map_or(0, |one| one.revision.0),
            kills: core.kills().active(now.wall) as u64,
            leases: core.leases_held() as u64,
            resting: core.resting(now.mono),
        };
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    pub(crate) fn watch_upstream(&self, entry: &Entry, stream: Option<&Stream>) {
        entry.set_upstream(stream.map(raw_fd));
    }
}
