//! A core that hands over batches allocates nothing once they have grown to the load's size.
//!
//! Unsafe because an allocator is: it counts, and leaves the work to the system's.

#![allow(unsafe_code)]

mod place;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane_audit::Batch;
use dataplane_audit_writer::start;
use place::{Place, config, push};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises about the layout are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the place came from `alloc` above, with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn submit_allocates_nothing_after_warm_up() {
    let place = Place::new("allocation");
    let (_writer, mut lanes) = start(config(place.path(), 1)).unwrap();
    let (lane, mut batch) = (&mut lanes[0], Batch::with_capacity(65_536));
    let mut rounds = |rounds: u64| {
        for round in 0..rounds {
            let before = ALLOCATIONS.get();
            for _ in 0..20 {
                push_short(&mut batch, round);
            }
            while !lane.submit(&mut batch) {
                std::hint::spin_loop();
            }
            while lane.durable() < lane.submitted() {
                std::hint::spin_loop();
            }
            let made = ALLOCATIONS.get() - before;
            assert!(rounds < 100 || made == 0, "{made} allocations in round {round}");
        }
    };
    rounds(20);
    rounds(500);
    push(&mut Batch::default(), 0, 1);
    assert!(ALLOCATIONS.get() > 0, "the counter counts");
}

fn push_short(batch: &mut Batch, call: u64) {
    use dataplane_audit::{Body, Call, CallId, Record, Stamp};
    let call = Call { call: CallId(call), tool: "refund", ..Call::default() };
    batch.push(&Record::new(Stamp::default(), Body::Call(call))).unwrap();
}
