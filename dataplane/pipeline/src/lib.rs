//! The life of a call, as one state machine without IO. The crate to read first.
//!
//! [`Connection`] is a client connection, [`Core`] what one core knows; the shell feeds them bytes,
//! time and news, and carries out the [`Step`]s that they name. In order:
//!
//! 1. `connection`: a head is read, its framing judged by `dataplane-ingress`;
//! 2. `route`, `admit`: path, host, origin, credential → a caller, verified once;
//! 3. `judge`: the body is parsed once and its era found; then
//! 4. `methods`: what the gateway answers itself, or
//! 5. `call`: its tool looked up; kills, policy, quotas; the intent on record;
//! 6. `exchange`, `outgoing`: the call written anew, with its lease;
//! 7. `incoming`, `stream`, `passing`, `outcome`: the answer judged, the outcome on record, then released;
//! 8. `wire`: the one mapping from a fault to a status, a code and a sentence.
//!
//! Pure: equal inputs give equal steps. It is what is simulated, fuzzed and counted.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod admit;
mod call;
mod configuration;
mod connection;
mod core;
mod exchange;
mod fault;
pub mod fuzz;
mod incoming;
mod judge;
mod kills;
mod ladder;
mod ledger;
pub mod limits;
mod methods;
mod outcome;
mod outgoing;
mod passing;
mod random;
pub mod route;
pub mod session;
mod stages;
mod stream;
mod upstream_sessions;
mod wire;
mod words;

pub use configuration::{Configuration, Unfit, Upstream};
pub use connection::{Connection, Fate, ServerTrouble, Step};
pub use core::{Announcement, Core, Counters, Resources};
pub use exchange::Exchange;
pub use fault::code;
pub use kills::Kills;
pub use ladder::Heard;
pub use ledger::{RecordNumber, Unrecorded};
