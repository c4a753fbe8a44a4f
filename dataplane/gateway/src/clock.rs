//! The two clocks, read together once a turn.

use std::time::{SystemTime, UNIX_EPOCH};

use dataplane_telemetry::{Nanos, Now, WallNanos};
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time is the kernel's own: the same for all cores, because quotas are shared, and for the
/// program at the network card.
pub(crate) fn now() -> Now {
    let mono = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(mono.tv_sec).unwrap_or(0);
    let mono = seconds.saturating_mul(1_000_000_000) + u64::try_from(mono.tv_nsec).unwrap_or(0);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
    Now { mono: Nanos(mono), wall: WallNanos(wall) }
}
