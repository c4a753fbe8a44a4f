//! All interleavings of small worlds: two slots, cores with clocks apart, keys that push each other
//! out. Checked by loom, which runs the same code on its own cells and tries every order.

use loom::sync::Arc;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::*;
use crate::cells::{Cells, Narrow, Wide};

struct Checked;

impl Cells for Checked {
    type Wide = Mutex<u128>;
    type Narrow = AtomicU64;
}

impl Wide for Mutex<u128> {
    fn new(value: u128) -> Self {
        Self::new(value)
    }

    fn load(&self) -> u128 {
        *self.lock().unwrap()
    }

    fn swap_if(&self, from: u128, to: u128) -> bool {
        let mut value = self.lock().unwrap();
        let there = *value == from;
        if there {
            *value = to;
        }
        there
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

type World = (Set<Checked, 2>, AtomicU64);

const ANN: u64 = 1;
const BOB: u64 = 3;
const EVE: u64 = 5;

fn ask(fingerprint: u64, cost: u64, now: u64) -> Ask {
    Ask { fingerprint, cost, burst: 100, now }
}

fn take(world: &World, ask: Ask) -> Option<Taken> {
    world.0.take(&ask, &world.1).ok()
}

/// At most one slot a key, and no claim is left behind.
fn tidy(set: &Set<Checked, 2>) {
    let owners = set.slots.each_ref().map(|slot| split(Wide::load(slot)).0);
    assert!(owners.iter().all(|owner| owner & CLAIM == 0), "a claim is left: {owners:?}");
    assert!(owners[0] == 0 || owners[0] != owners[1], "twice: {owners:?}");
}

fn explore(preemptions: usize, world: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(world);
}

fn fresh() -> Arc<World> {
    Arc::new((Set::new(), Narrow::new(0)))
}
