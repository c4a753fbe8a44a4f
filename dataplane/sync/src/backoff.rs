//! How long to wait before the next attempt: doubling, bounded, jittered.
//!
//! A fleet that lost its control plane must not come back all at once, so each wait is somewhere in
//! the upper half of its step. The randomness is a seed, given once.

/// The first wait.
pub const WAIT_MS_MIN: u64 = 250;
/// The longest wait: how stale an appliance may be after the control plane is back.
pub const WAIT_MS_MAX: u64 = 15_000;

#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { attempt: 0, state: seed }
    }

    /// The wait after one more failure.
    pub(crate) fn wait_ms(&mut self) -> u64 {
        let doubled = WAIT_MS_MIN.saturating_mul(1 << self.attempt.min(16));
        let step = doubled.min(WAIT_MS_MAX);
        self.attempt = self.attempt.saturating_add(1);
        step / 2 + self.random() % (step / 2 + 1)
    }

    /// After a success the next failure starts from the first wait.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_bounds_and_start_again() {
        for seed in 0..1_000 {
            let mut backoff = Backoff::new(seed);
            for attempt in 0..40 {
                let step = (WAIT_MS_MIN << attempt.min(16)).min(WAIT_MS_MAX);
                let wait_ms = backoff.wait_ms();
                assert!((step / 2..=step).contains(&wait_ms), "seed {seed}, attempt {attempt}");
            }
            backoff.reset();
            assert!(backoff.wait_ms() <= WAIT_MS_MIN);
        }
    }

    #[test]
    fn two_seeds_do_not_march_in_step() {
        let waits = |seed| -> Vec<u64> {
            let mut backoff = Backoff::new(seed);
            (0..10).map(|_| backoff.wait_ms()).collect()
        };
        assert_ne!(waits(1), waits(2));
    }
}
