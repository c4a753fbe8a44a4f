//! Whether a server is worth asking: a circuit that opens after failures in a row.
//!
//! *Closed*: calls pass. *Open*: they are refused at once, with the time when to try again. Then one
//! call at a time is let through as a trial; its success closes the circuit, its failure opens it for
//! twice as long. Equal events at equal times give equal answers; there is no jitter, since each core
//! counts for itself and trials are single calls.

use dataplane_telemetry::Nanos;

use crate::limits::{HEALTH_FAILURES_MAX, HEALTH_REST_NS_MAX, HEALTH_REST_NS_MIN, HEALTH_TRIAL_NS};

/// What one core knows of one server. New ones are healthy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Health {
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Failures in a row, below the limit.
    Closed { failures: u32 },
    /// No call before `until`. `rests` have been taken before this one.
    Open { until: Nanos, rests: u32 },
    /// A trial is under way; without a verdict by `lost_at` there is another.
    HalfOpen { lost_at: Nanos, rests: u32 },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// For people and metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HealthState {
    /// Calls pass.
    Serving,
    /// Calls are refused until then.
    Resting { until: Nanos },
    /// One call is on trial, or the next one will be.
    Trying,
}

impl Health {
    /// Asks before each call. `Ok` obliges to report: [`Health::on_success`] or [`Health::on_failure`].
    ///
    /// # Errors
    /// When to try again.
    pub fn may_try(&mut self, now: Nanos) -> Result<(), Nanos> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until: at, rests } | State::HalfOpen { lost_at: at, rests } => {
                if now < at {
                    return Err(at);
                }
                self.state = State::HalfOpen { lost_at: now.plus(HEALTH_TRIAL_NS), rests };
                Ok(())
            }
        }
    }

    /// The server answered by the protocol, whatever the answer said. Also when the call began before
    /// the circuit opened: who answers, lives.
    pub const fn on_success(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// The server did not answer, or not by the protocol. While it rests, failures of calls that began
    /// earlier change nothing.
    pub fn on_failure(&mut self, now: Nanos) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < HEALTH_FAILURES_MAX => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { until: now.plus(rest_ns(0)), rests: 0 },
            State::HalfOpen { rests, .. } => {
                let rests = rests.saturating_add(1);
                State::Open { until: now.plus(rest_ns(rests)), rests }
            }
            open @ State::Open { .. } => open,
        };
    }

    #[must_use]
    pub fn state(&self, now: Nanos) -> HealthState {
        match self.state {
            State::Closed { .. } => HealthState::Serving,
            State::Open { until, .. } if now < until => HealthState::Resting { until },
            State::Open { .. } | State::HalfOpen { .. } => HealthState::Trying,
        }
    }
}

/// Doubles with each rest that did not help.
fn rest_ns(rests: u32) -> u64 {
    let doubled =
        HEALTH_REST_NS_MIN.checked_shl(rests).filter(|ns| ns >> rests == HEALTH_REST_NS_MIN);
    doubled.unwrap_or(HEALTH_REST_NS_MAX).min(HEALTH_REST_NS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = HEALTH_REST_NS_MIN;

    /// Fails until the circuit opens at `now`.
    fn opened(now: Nanos) -> Health {
        let mut health = Health::default();
        for _ in 0..HEALTH_FAILURES_MAX {
            assert_eq!(health.may_try(now), Ok(()), "one past the limit opens it, not before");
            health.on_failure(now);
        }
        health
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let mut health = opened(Nanos(7));
        assert_eq!(health.may_try(Nanos(7)), Err(Nanos(7 + FIRST)));
        assert_eq!(health.state(Nanos(7)), HealthState::Resting { until: Nanos(7 + FIRST) });
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let mut health = Health::default();
        for _ in 0..100 {
            for _ in 1..HEALTH_FAILURES_MAX {
                health.on_failure(Nanos(0));
            }
            health.on_success();
            assert_eq!(health.state(Nanos(0)), HealthState::Serving);
        }
    }

    #[test]
    fn one_trial_at_a_time() {
        let mut health = opened(Nanos(0));
        assert_eq!(health.may_try(Nanos(FIRST - 1)), Err(Nanos(FIRST)));
        assert_eq!(health.may_try(Nanos(FIRST)), Ok(()));
        let lost_at = Nanos(FIRST + HEALTH_TRIAL_NS);
        assert_eq!(health.may_try(Nanos(FIRST)), Err(lost_at));
        assert_eq!(health.state(Nanos(FIRST)), HealthState::Trying);
        assert_eq!(health.may_try(lost_at), Ok(()), "the trial is lost, here is another");
        health.on_success();
        assert_eq!(health.may_try(Nanos(0)), Ok(()));
        assert_eq!(health, Health::default());
    }

    #[test]
    fn rests_double_up_to_the_longest() {
        let (mut health, mut now) = (opened(Nanos(0)), Nanos(0));
        let mut rests = Vec::new();
        for _ in 0..100 {
            let until = health.may_try(now).unwrap_err();
            rests.push(until.since(now));
            now = until;
            assert_eq!(health.may_try(now), Ok(()));
            health.on_failure(now);
        }
        assert_eq!(rests[..4], [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]);
        assert!(rests.is_sorted() && rests[6..].iter().all(|rest| *rest == HEALTH_REST_NS_MAX));
    }

    #[test]
    fn late_failures_do_not_prolong_a_rest() {
        let mut health = opened(Nanos(0));
        for at in 0..100 {
            health.on_failure(Nanos(at));
        }
        assert_eq!(health.may_try(Nanos(99)), Err(Nanos(FIRST)));
    }

    #[test]
    fn the_end_of_time_is_survived() {
        let mut health = opened(Nanos(u64::MAX));
        assert_eq!(health.may_try(Nanos(u64::MAX)), Ok(()));
        health.on_failure(Nanos(u64::MAX));
    }
}
