//! One message on one stream, with its bounds and its time.

use std::time::Duration;

use dataplane_bundle::message::{Encoded, HEAD_BYTES, Head, Kind};
use quinn::{Connection, RecvStream};
use tokio::time::timeout;

/// A message that an appliance began must have arrived after this long.
pub(crate) const MESSAGE_MS_MAX: u64 = 30_000;

/// Kills overtake leases, and both overtake bundles, wherever packets wait to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Urgency {
    Bundle = 0,
    Control = 1,
    Kill = 2,
}

/// Sends one message on a stream of its own.
pub(crate) async fn send(
    connection: &Connection,
    urgency: Urgency,
    message: &[u8],
) -> Result<(), String> {
    let mut stream = connection.open_uni().await.map_err(|fault| fault.to_string())?;
    stream.set_priority(urgency as i32).map_err(|fault| fault.to_string())?;
    stream.write_all(message).await.map_err(|fault| fault.to_string())?;
    stream.finish().map_err(|fault| fault.to_string())
}

/// Reads the one message of a stream, bounded by its kind, to the stream's end. A bundle never comes
/// this way.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<(Kind, Encoded), String> {
    let read = timeout(Duration::from_millis(MESSAGE_MS_MAX), async {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await.map_err(|fault| fault.to_string())?;
        let Head { kind, length } = Head::read(head).map_err(|refused| refused.to_string())?;
        if (kind as u8) < Kind::Hello as u8 {
            return Err(format!("{kind:?} is not for an appliance to send"));
        }
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
