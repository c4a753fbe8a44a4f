//! The atomic cells that a set is made of, as a trait.
//!
//! The set's protocol is generic over them so that the very same code runs on the processor's
//! 128-bit compare-and-swap and, in tests, under a checker that tries all interleavings.

use std::sync::atomic::{AtomicU64, Ordering};

use portable_atomic::AtomicU128;

pub(crate) trait Cells {
    type Wide: Wide;
    type Narrow: Narrow;
}

pub(crate) trait Wide {
    fn new(value: u128) -> Self;
    fn load(&self) -> u128;
    /// True where `from` was there and `to` is now.
    fn swap_if(&self, from: u128, to: u128) -> bool;
}

pub(crate) trait Narrow {
    fn new(value: u64) -> Self;
    fn load(&self) -> u64;
    fn swap_if(&self, from: u64, to: u64) -> bool;
    /// Raises to `value`; returns what is there then.
    fn raise(&self, value: u64) -> u64;
    /// A number that nobody else was given.
    fn next(&self) -> u64;
}

/// The processor's own.
pub(crate) struct Native;

impl Cells for Native {
    type Wide = AtomicU128;
    type Narrow = AtomicU64;
}

impl Wide for AtomicU128 {
    fn new(value: u128) -> Self {
        Self::new(value)
    }

    fn load(&self) -> u128 {
        self.load(Ordering::Acquire)
    }

    fn swap_if(&self, from: u128, to: u128) -> bool {
        self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Narrow for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    fn load(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn swap_if(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn raise(&self, value: u64) -> u64 {
        self.fetch_max(value, Ordering::AcqRel).max(value)
    }

    fn next(&self) -> u64 {
        self.fetch_add(1, Ordering::AcqRel)
    }
}
