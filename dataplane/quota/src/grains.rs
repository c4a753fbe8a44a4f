//! Time in 1/64 ns, the unit of the buckets' arithmetic.
//!
//! 64 bits of it last 9.1 years since boot. Past that every take is refused until `u64::MAX`:
//! a clock that cannot be counted grants nothing.

use dataplane_telemetry::Nanos;

/// Grains a nanosecond.
pub(crate) const GRAINS_PER_NS: u64 = 64;

/// Saturates, so that a clock past the end stands still there.
pub(crate) const fn from_nanos(time: Nanos) -> u64 {
    time.0.saturating_mul(GRAINS_PER_NS)
}

/// Rounded up: a wait that is told is never too short.
pub(crate) const fn to_nanos_up(grains: u64) -> Nanos {
    Nanos(grains.div_ceil(GRAINS_PER_NS))
}
