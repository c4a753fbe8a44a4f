//! One TCP connection, in the clear or under TLS, towards a client or towards a server.
//!
//! The kernel owns a buffer while an operation is in flight, so buffers move in and out of each
//! call. A stream keeps its own two wire buffers and gives back what it grew beyond the usual when
//! it is idle: thousands of idle connections must stay small.

use std::io::{self, Read, Write};

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use rustls::Connection;
use socket2::SockRef;

use crate::descriptor;

/// A usual call and its TLS framing fit; more is read in further turns.
const READ_BYTES: usize = 4_096;
/// What a busy connection may read in one turn: a whole TLS record.
const READ_BYTES_BUSY: usize = 16_384;

/// A connection's two directions. One reader and one writer at a time, which is all HTTP/1.1 needs.
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<Connection>>,
    wire_in: Vec<u8>,
    wire_out: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, tls: Option<Connection>) -> Self {
        let mut tls = tls.map(Box::new);
        if let Some(tls) = &mut tls {
            // What is sent before the handshake is over waits here; the machine bounds how much.
            tls.set_buffer_limit(None);
        }
        Self { tcp, tls, wire_in: Vec::new(), wire_out: Vec::new() }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Appends plaintext to `plain`; zero means that the peer has closed. Completes a handshake on
    /// the way.
    pub(crate) async fn fill(&mut self, plain: &mut Vec<u8>) -> io::Result<usize> {
        if self.tls.is_none() {
            return read_some(&mut self.tcp, plain).await;
        }
        loop {
            self.wire_in.clear();
            if read_some(&mut self.tcp, &mut self.wire_in).await? == 0 {
                return Ok(0);
            }
            let taken = self.decrypt(plain);
            self.flush().await?;
            match taken? {
                Taken::Bytes(0) => {}
                Taken::Bytes(count) => return Ok(count),
                Taken::Closed => return Ok(0),
            }
        }
    }

    /// Sends all of `plain` and leaves it empty.
    pub(crate) async fn send(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            let (sent, buffer) = self.tcp.write_all(std::mem::take(plain)).await;
            *plain = buffer;
            plain.clear();
            return sent.map(drop);
        };
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let taken = tls.writer().write(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            while tls.wants_write() {
                tls.write_tls(&mut self.wire_out)?;
            }
        }
        plain.clear();
        self.flush().await
    }

    /// Says goodbye properly; errors no longer matter.
    pub(crate) async fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush().await;
        }
        let _ = SockRef::from(&descriptor::borrow(&self.tcp)).shutdown(std::net::Shutdown::Write);
    }

    /// Gives back memory that a large message needed.
    pub(crate) fn rest(&mut self) {
        for buffer in [&mut self.wire_in, &mut self.wire_out] {
            buffer.clear();
            buffer.shrink_to(READ_BYTES);
        }
    }

    /// Whether the peer has closed or sent something that nobody asked for.
    pub(crate) fn has_news(&self) -> bool {
        let mut probe = [std::mem::MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let seen = SockRef::from(&descriptor::borrow(&self.tcp)).recv_with_flags(&mut probe, flags);
        !seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn decrypt(&mut self, plain: &mut Vec<u8>) -> io::Result<Taken> {
        let Some(tls) = &mut self.tls else { return Ok(Taken::Closed) };
        let (mut wire, mut count) = (self.wire_in.as_slice(), 0);
        let mut closed = false;
        while !wire.is_empty() && !closed {
            if tls.read_tls(&mut wire)? == 0 {
                break;
            }
            let state = tls
                .process_new_packets()
                .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
            closed = state.peer_has_closed();
            let (start, fresh) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(start + fresh, 0);
            if let Some(room) = plain.get_mut(start..) {
                tls.reader().read_exact(room)?;
            }
            count += fresh;
        }
        Ok(if closed && count == 0 { Taken::Closed } else { Taken::Bytes(count) })
    }

    async fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.wire_out)?;
            }
        }
        if self.wire_out.is_empty() {
            return Ok(());
        }
        let (sent, buffer) = self.tcp.write_all(std::mem::take(&mut self.wire_out)).await;
        self.wire_out = buffer;
        self.wire_out.clear();
        sent.map(drop)
    }
}

enum Taken {
    Bytes(usize),
    Closed,
}

async fn read_some(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut owned = std::mem::take(buffer);
    let start = owned.len();
    let wanted = if start == 0 { READ_BYTES } else { READ_BYTES_BUSY };
    if owned.capacity() - start < READ_BYTES {
        owned.reserve(wanted);
    }
    let (count, slice) = tcp.read(owned.slice_mut(start..)).await;
    *buffer = slice.into_inner();
    count
}
