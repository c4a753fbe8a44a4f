//! Both clocks, and whether the wall clock was set.

use std::time::{SystemTime, UNIX_EPOCH};

use dataplane_telemetry::{Nanos, Now, WallNanos};
use rustix::time::{ClockId, clock_gettime};

/// RELIABILITY §2: a larger step becomes a record.
const STEP_NS_MAX: i128 = 1_000_000_000;

/// The kernel's monotonic clock and the wall clock.
pub(crate) fn now() -> Now {
    let mono = clock_gettime(ClockId::Monotonic);
    let mono = (mono.tv_sec as u64).saturating_mul(1_000_000_000) + mono.tv_nsec as u64;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
    Now { mono: Nanos(mono), wall: WallNanos(wall) }
}

/// Notices when the two clocks part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    apart_ns: i128,
}

impl Steps {
    pub(crate) fn new(now: Now) -> Self {
        Self { apart_ns: Self::apart(now) }
    }

    /// By how much the wall clock was set since the last step, if it was.
    pub(crate) fn step(&mut self, now: Now) -> Option<i64> {
        let apart_ns = Self::apart(now);
        let by_ns = apart_ns - self.apart_ns;
        if by_ns.abs() <= STEP_NS_MAX {
            return None;
        }
        self.apart_ns = apart_ns;
        Some(i64::try_from(by_ns).unwrap_or(if by_ns < 0 { i64::MIN } else { i64::MAX }))
    }

    fn apart(now: Now) -> i128 {
        i128::from(now.wall.0) - i128::from(now.mono.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_noticed_once_and_drift_is_not() {
        let at = |wall, mono| Now { mono: Nanos(mono), wall: WallNanos(wall) };
        let day_ns = 86_400_000_000_000;
        let mut steps = Steps::new(at(2 * day_ns, 0));
        assert_eq!(steps.step(at(2 * day_ns + 1_900_000_000, 1_000_000_000)), None);
        assert_eq!(steps.step(at(3 * day_ns + 5, 5)), Some(day_ns as i64));
        assert_eq!(steps.step(at(3 * day_ns + 6, 6)), None);
        assert_eq!(steps.step(at(7, 7)), Some(-3 * day_ns as i64));
    }
}
