//! The offender: connections that call, ignore what they are told, and come back.
//!
//! One thread over epoll. Each connection sends some calls at once and the next as soon as these are
//! answered, whatever the answer was; after so many calls, at an end, or when nothing comes for a
//! while, it is thrown away and another takes its place. It believes any certificate and resets what
//! it leaves, so that it is cheaper for itself than for whom it floods. Each tenth of a second it
//! writes down what came of it, as a line of JSON.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};

use crate::answer;
use crate::clock::now_ns;
use crate::mix::{FIRST_ID, Mix, Script};
use crate::poll::{Interest, Poll, Ready};
use crate::portcullis;

/// Between two looks for connections that were silent for too long.
const LOOK_NS: u64 = 20_000_000;
/// Between two lines of what came of it.
const TELL_NS: u64 = 100_000_000;

/// What it does, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flood {
    #[arg(long)]
    pub to: SocketAddr,
    /// Our own address.
    #[arg(long)]
    pub from: IpAddr,
    /// Holds the token that it calls with.
    #[arg(long)]
    pub token_file: PathBuf,
    #[arg(long)]
    pub connections: usize,
    /// Then the connection is thrown away.
    #[arg(long)]
    pub calls_each: u32,
    /// Calls that are sent at once.
    #[arg(long)]
    pub at_once: u32,
    /// So long it waits for a connection, or for an answer.
    #[arg(long)]
    pub patience_ms: u64,
}

/// What came of it since it began.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Came {
    /// Attempts to connect, and those that shook hands.
    pub attempts: u64,
    pub handshakes: u64,
    /// Answers that were 429, and others.
    pub refused: u64,
    pub answered: u64,
    /// Connections that were given up for silence.
    pub given_up: u64,
}

impl Came {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            attempts: self.attempts - before.attempts,
            handshakes: self.handshakes - before.handshakes,
            refused: self.refused - before.refused,
            answered: self.answered - before.answered,
            given_up: self.given_up - before.given_up,
        }
    }
}

/// Floods until it is ended.
///
/// # Errors
/// When this side fails; what the other does is counted.
pub(crate) fn flood(flood: &Flood) -> anyhow::Result<()> {
    let token = std::fs::read_to_string(&flood.token_file).context("the token")?;
    let script = Script::new(Mix::Call, &portcullis::paths(token.trim()));
    let step = script.steps(0).first().context("a step")?;
    let (mut calls, mut call) = (Vec::new(), Vec::new());
    for number in 0..u64::from(flood.at_once) {
        step.write(FIRST_ID + number, &[], &mut call);
        calls.extend_from_slice(&call);
    }
    let mut offender = Offender {
        flood: flood.clone(),
        tls: careless()?,
        calls,
        poll: Poll::new()?,
        lanes: Vec::new(),
        came: Came::default(),
    };
    for place in 0..flood.connections {
        let lane = offender.open(place)?;
        offender.lanes.push(lane);
    }
    offender.run()
}

struct Offender {
    flood: Flood,
    tls: Arc<ClientConfig>,
    /// As many as are sent at once.
    calls: Vec<u8>,
    poll: Poll,
    lanes: Vec<Lane>,
    came: Came,
}

struct Lane {
    socket: TcpStream,
    /// Absent until the connection stands.
    tls: Option<Box<ClientConnection>>,
    shook_hands: bool,
    out: Vec<u8>,
    received: Vec<u8>,
    /// Answers that are still to come, and calls that may still be made.
    under_way: u32,
    calls_left: u32,
    waits_to_write: bool,
    last_ns: u64,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Keep,
    Replace,
}

impl Offender {
    fn run(mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        let (mut looked_ns, mut told_ns) = (now_ns(), now_ns());
        loop {
            self.poll.wake_in(LOOK_NS)?;
            self.poll.wait(true, &mut ready)?;
            let now = now_ns();
            for event in &ready {
                let place = usize::try_from(event.token)?;
                // What ends a connection is the other side's to say and nothing to stop for.
                if self.turn(place, *event, now).unwrap_or(Then::Replace) == Then::Replace {
                    self.replace(place)?;
                }
            }
            if now - looked_ns >= LOOK_NS {
                looked_ns = now;
                self.give_up_silent(now)?;
            }
            if now - told_ns >= TELL_NS {
                told_ns = now;
                let mut out = std::io::stdout().lock();
                serde_json::to_writer(&mut out, &self.came)?;
                out.write_all(b"\n")?;
                out.flush()?;
            }
        }
    }

    fn give_up_silent(&mut self, now: u64) -> anyhow::Result<()> {
        let patience_ns = self.flood.patience_ms * 1_000_000;
        for place in 0..self.lanes.len() {
            let last_ns = self.lanes.get(place).map_or(now, |lane| lane.last_ns);
            if now.saturating_sub(last_ns) > patience_ns {
                self.came.given_up += 1;
                self.replace(place)?;
            }
        }
        Ok(())
    }

    fn replace(&mut self, place: usize) -> anyhow::Result<()> {
        let lane = self.open(place)?;
        *self.lanes.get_mut(place).context("a lane")? = lane;
        Ok(())
    }

    fn open(&mut self, place: usize) -> anyhow::Result<Lane> {
        self.came.attempts += 1;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // Nothing is left of a connection that is thrown away: its port is free at once.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        bind(&socket, &SocketAddr::new(self.flood.from, 0))?;
        match connect(&socket, &self.flood.to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(fault) => return Err(fault).context("connecting"),
        }
        let socket = TcpStream::from(socket);
        self.poll.add(&socket, place as u64, Interest::ReadAndWrite)?;
        Ok(Lane {
            socket,
            tls: None,
            shook_hands: false,
            out: Vec::new(),
            received: Vec::new(),
            under_way: 0,
            calls_left: self.flood.calls_each,
            waits_to_write: true,
            last_ns: now_ns(),
        })
    }

    fn turn(&mut self, place: usize, event: Ready, now: u64) -> anyhow::Result<Then> {
        let lane = self.lanes.get_mut(place).context("a lane")?;
        if lane.tls.is_none() {
            if let Some(fault) = lane.socket.take_error()? {
                return Err(fault.into());
            }
            if !event.writable {
                return Ok(Then::Keep);
            }
            lane.socket.set_nodelay(true)?;
            let name = ServerName::try_from("localhost")?;
            lane.tls = Some(Box::new(ClientConnection::new(Arc::clone(&self.tls), name)?));
        }
        if lane.receive()? {
            lane.last_ns = now;
        }
        let ended = lane.take_answers(&mut self.came)?;
        if ended || (lane.under_way == 0 && lane.calls_left == 0) {
            return Ok(Then::Replace);
        }
        let stands = lane.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        if stands && !std::mem::replace(&mut lane.shook_hands, true) {
            self.came.handshakes += 1;
        }
        if stands && lane.under_way == 0 {
            lane.under_way = self.flood.at_once.min(lane.calls_left);
            lane.calls_left -= lane.under_way;
            let each = self.calls.len() / self.flood.at_once as usize;
            let calls = self.calls.get(..each * lane.under_way as usize).unwrap_or_default();
            if let Some(tls) = &mut lane.tls {
                tls.writer().write_all(calls)?;
            }
        }
        let waits = !lane.flush()?;
        if std::mem::replace(&mut lane.waits_to_write, waits) != waits {
            let interest = if waits { Interest::ReadAndWrite } else { Interest::Read };
            self.poll.change(&lane.socket, place as u64, interest)?;
        }
        Ok(Then::Keep)
    }
}

impl Lane {
    /// Takes what has come; whether anything has.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut has_come = false;
        loop {
            match tls.read_tls(&mut self.socket) {
                Ok(0) => anyhow::bail!("closed"),
                Ok(_) => has_come = true,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(has_come),
                Err(fault) => return Err(fault.into()),
            }
            let count = tls.process_new_packets()?.plaintext_bytes_to_read();
            let start = self.received.len();
            self.received.resize(start + count, 0);
            tls.reader().read_exact(self.received.get_mut(start..).unwrap_or_default())?;
        }
    }

    /// Counts whole answers; whether the other side is about to close.
    fn take_answers(&mut self, came: &mut Came) -> anyhow::Result<bool> {
        let (mut consumed, mut is_last) = (0, false);
        while let Some(rest) = self.received.get(consumed..).filter(|rest| !rest.is_empty()) {
            let Some(answer) = answer::read(rest)? else { break };
            consumed += answer.consumed;
            self.under_way = self.under_way.saturating_sub(1);
            is_last |= answer.last;
            match answer.status {
                429 => came.refused += 1,
                _ => came.answered += 1,
            }
        }
        self.received.drain(..consumed);
        Ok(is_last)
    }

    /// Writes what waits. True when nothing is left.
    fn flush(&mut self) -> anyhow::Result<bool> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.out)?;
            }
        }
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(true)
    }
}

/// Believes whatever it is shown.
#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

fn careless() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
