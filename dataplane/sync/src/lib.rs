//! The appliance's side of the push channel.
//!
//! One thread with its own small runtime keeps a QUIC connection to the control plane, and hands
//! what arrives to the dataplane's [`Sink`]: bundles, kills, leases. Everything is checked before
//! (signature, appliance, floor) and kept on disk, so that [`boot_from_disk`] starts a box that has
//! lost its control plane, and takes it back from a bundle by which it died. The other way go
//! acknowledgements, status, what is dropped, and the log's durable records.
//!
//! Promises: a kill never waits for a bundle; nothing older, unsigned or for another box reaches the
//! sink; losing the control plane changes nothing.

mod accept;
mod backoff;
mod dropping;
mod enrol;
mod files;
mod handle;
mod identity;
mod marks;
mod session;
mod ship;
mod sink;
mod stored;
mod stream;
mod tls;

pub use backoff::{WAIT_MS_MAX, WAIT_MS_MIN};
pub use enrol::{EnrolFault, enrol};
pub use files::{Dirs, Floor};
pub use handle::{Config, Handle, LinkState, StartFault, start};
pub use identity::Identity;
pub use marks::{BackedOut, DEATHS_MAX};
pub use ship::{RECORDS_POLL_MS, RECORDS_REST_MS};
pub use sink::{DROPS_MS, RecordSource, Sink};
pub use stored::{
    LoadFault, Standing, Stored, boot_from_disk, load_from_disk, load_identity, stopped_in_order,
};
pub use stream::{CONNECT_MS_MAX, MESSAGE_MS_MAX};
pub use tls::IDLE_MS_MAX;
