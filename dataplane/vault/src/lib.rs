//! Leases: secrets lent to this dataplane for a while.
//!
//! Values live in one piece of memory that the shell made (locked, kept out of dumps) and nowhere
//! else. A value is wiped when it is replaced, revoked, over, or when the table goes; it is lent as a
//! slice, never copied out, and never printed. A lease ends at its time even where nobody sweeps:
//! [`Leases::lend`] looks at the clock on every call.
//!
//! Pure: the storage and the time are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod faults;
mod leases;
mod space;

pub use faults::{LeaseFault, PutFault, Why};
pub use leases::{Leases, SecretIndex};

/// Secrets an appliance may hold. A catalog names at most one a server.
pub const SECRETS_MAX: usize = 1_024;

/// Bytes of one value. Header lines of common servers end at 8 KiB, so a longer one cannot be sent.
pub const VALUE_BYTES_MAX: usize = 8_192;

/// Bytes of a secret's name.
pub const NAME_BYTES_MAX: usize = 128;
