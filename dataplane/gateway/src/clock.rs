//! The two clocks, read together once a turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dataplane_telemetry::{Nanos, Now, WallNanos};

/// Monotonic time counts from the process's start, the same for all cores: quotas are shared.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        Now { mono: Nanos(mono), wall: WallNanos(wall) }
    }
}
