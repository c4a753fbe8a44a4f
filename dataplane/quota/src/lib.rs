//! Quotas: how often a caller may call.
//!
//! One table of buckets is shared by all cores, without a lock and without a core's own share, so a
//! limit is exact over the box: in any time `t_ns` at most `burst + t_ns × units / period_ns` units
//! are granted, whatever the cores interleave. What rounding costs the caller is stated at [`Limit`].
//!
//! A bucket that is full again remembers nothing worth keeping, so its place is free: there is no
//! sweep and no list of callers. Where a key's places are all in use the take is refused, by name.
//!
//! Pure: time is an argument; the shell counts what was granted and refused.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod buckets;
mod cells;
pub mod fuzz;
mod grains;
mod key;
mod limit;
mod set;

pub use buckets::{BUCKETS_MAX, Buckets, SLOTS_DEFAULT};
pub use key::BucketKey;
pub use limit::{Limit, LimitFault, RATE_PER_SECOND_MAX, REFILL_NS_MAX};

use dataplane_telemetry::Nanos;

/// Why a take was refused. The first two are the caller's; `Crowded` is the box's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The same take succeeds at this time, and not earlier, if no other comes first.
    Wait(Nanos),
    /// More units than the burst: no wait will help.
    TooLarge,
    /// All places for this key are in use by other buckets. What cannot be counted is refused.
    Crowded,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wait(_) => write!(out, "the quota is used up for now"),
            Self::TooLarge => write!(out, "one call asks for more than the quota's burst"),
            Self::Crowded => {
                write!(out, "too many buckets are in use at once to count this call; retry shortly")
            }
        }
    }
}

/// Which of several limits refused, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The place of the limit in the slice that was asked for.
    pub limit: usize,
    pub why: Refusal,
}
