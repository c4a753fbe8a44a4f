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

// All three look at the first slot first, so that they meet.
const ANN: u64 = 1;
const BOB: u64 = 3;
const EVE: u64 = 5;

const BURST: u64 = 100;

const fn ask(fingerprint: u64, cost: u64, now: u64) -> Ask {
    Ask { fingerprint, cost, burst: BURST, now }
}

fn granted(world: &World, ask: Ask) -> bool {
    world.0.take(&ask, &world.1).is_ok()
}

/// Runs each list of takes on a core of its own, and says how many of all takes were granted.
/// Afterwards no key has two slots, and no claim is left.
fn run(slots: [u128; 2], cores: &[&[Ask]]) -> (usize, Arc<World>) {
    let world: Arc<World> = Arc::new((Set::new(), Narrow::new(0)));
    for (slot, word) in world.0.slots.iter().zip(slots) {
        assert!(Wide::swap_if(slot, EMPTY, word));
    }
    let take =
        |world: &World, asks: &[Ask]| asks.iter().filter(|ask| granted(world, **ask)).count();
    let (here, others) = cores.split_first().unwrap();
    let start = |asks: &&[Ask]| {
        let (world, asks) = (Arc::clone(&world), asks.to_vec());
        thread::spawn(move || take(&world, &asks))
    };
    let others: Vec<_> = others.iter().map(start).collect();
    let mut count = take(&world, here);
    count += others.into_iter().map(|core| core.join().unwrap()).sum::<usize>();
    let owners = world.0.slots.each_ref().map(|slot| split(Wide::load(slot)).0);
    assert!(owners.iter().all(|owner| owner & CLAIM == 0), "a claim is left: {owners:x?}");
    assert!(owners[0] == 0 || owners[0] != owners[1], "two slots: {owners:x?}");
    (count, world)
}

fn explore(preemptions: usize, world: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(world);
}

#[test]
fn a_newcomer_on_two_cores_has_one_bucket() {
    explore(3, || {
        let (count, _) = run([EMPTY, EMPTY], &[&[ask(ANN, 60, 10)], &[ask(ANN, 60, 10)]]);
        assert_eq!(count, 1);
    });
}

#[test]
fn a_newcomer_on_three_cores_has_one_bucket() {
    explore(2, || {
        let (count, _) =
            run([EMPTY, EMPTY], &[&[ask(ANN, 40, 10)], &[ask(ANN, 40, 10)], &[ask(ANN, 40, 10)]]);
        assert_eq!(count, 2);
    });
}

#[test]
fn cores_that_see_different_slots_free_make_one_bucket() {
    // Eve's bucket is full at 50: the first core's clock says it is not yet, the second's says so.
    explore(3, || {
        let (count, _) = run([join(EVE, 50), EMPTY], &[&[ask(ANN, 70, 40)], &[ask(ANN, 70, 60)]]);
        assert_eq!(count, 1, "100 + 20 of time are less than 140");
    });
}

#[test]
fn two_newcomers_both_move_in() {
    explore(3, || {
        let (count, _) = run([EMPTY, EMPTY], &[&[ask(ANN, 60, 10)], &[ask(BOB, 60, 10)]]);
        assert_eq!(count, 2);
    });
}

#[test]
fn a_slow_clock_cannot_refill_a_bucket_that_was_given_away() {
    // Bob may push Ann out at 101. Her next take says 50, but counts from 100 wherever it lands.
    explore(3, || {
        let (_, world) = run([join(ANN, 100), EMPTY], &[&[ask(ANN, 40, 50)], &[ask(BOB, 10, 101)]]);
        let words = world.0.slots.each_ref().map(|slot| split(Wide::load(slot)));
        let full_at = words.iter().find(|(owner, _)| *owner == ANN).map(|(_, full_at)| *full_at);
        assert!(full_at.is_none_or(|full_at| full_at >= 140), "{words:?}");
    });
}

#[test]
fn pushed_out_and_back_in_while_another_moves_in() {
    explore(3, || {
        let (count, _) = run(
            [join(ANN, 20), join(EVE, 20)],
            &[&[ask(ANN, 90, 10), ask(ANN, 90, 30)], &[ask(BOB, 10, 30), ask(ANN, 90, 30)]],
        );
        // Ann: 100 at 10, and 20 of time; three times 90 are 270. Bob gets in unless it is crowded.
        assert!(count <= 2, "{count}");
    });
}

#[test]
fn a_take_that_is_given_back_was_never_there_and_never_grants_more() {
    explore(3, || {
        let world: Arc<World> = Arc::new((Set::new(), Narrow::new(0)));
        let other = Arc::clone(&world);
        let thief = thread::spawn(move || granted(&other, ask(ANN, 60, 10)));
        let mut kept = 0;
        if let Ok(taken) = world.0.take(&ask(ANN, 60, 10), &world.1)
            && !world.0.give_back(&taken)
        {
            kept = 60;
        }
        let stolen = if thief.join().unwrap() { 60 } else { 0 };
        let (_, full_at) = world.0.find(ANN).unwrap_or((0, 10));
        assert_eq!(full_at, 10 + kept + stolen);
        assert!(kept + stolen <= BURST);
    });
}
