//! Time, trace context and metric names: what every stage may know about observation.
//!
//! Time is an argument everywhere in `pure` crates: monotonic for waiting and metering, wall for
//! what people and tokens say. Metric names exist here and nowhere else; the counters themselves are
//! plain integers of the stages, and the shell collects them into a [`metrics::Page`].

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod metrics;
mod trace;

pub use trace::{TRACEPARENT_LEN, TraceContext};

/// Monotonic time since boot, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later by `wait_ns`, never past the end of time.
    #[must_use]
    pub const fn plus(self, wait_ns: u64) -> Self {
        Self(self.0.saturating_add(wait_ns))
    }

    /// Nanoseconds from `earlier` to here; zero when the clock stepped back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall-clock time since 1970-01-01T00:00:00Z, in nanoseconds. Good until the year 2554.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WallNanos(pub u64);

impl WallNanos {
    /// From seconds, as tokens and certificates count them. Saturates.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

/// Both clocks, read once for everything that happens in one turn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    pub mono: Nanos,
    pub wall: WallNanos,
}
