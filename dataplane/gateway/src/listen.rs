//! Listening sockets: one a core on the same address, so that cores
//! share nothing. Whose a connection is, [`crate::steering`] chooses.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, per core. Linux caps it at `net.core.somaxconn`, 4,096.
const BACKLOG: i32 = 4_096;

/// One core's listener.
///
/// # Errors
/// The address is taken or not ours; the text names it.
pub(crate) fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(named)?;
    socket.set_reuse_address(true).map_err(named)?;
    socket.set_reuse_port(true).map_err(named)?;
    socket.bind(&address.into()).map_err(named)?;
    socket.listen(BACKLOG).map_err(named)?;
    Ok(socket.into())
}
