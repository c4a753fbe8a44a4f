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
