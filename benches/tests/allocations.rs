//! Nothing on the path of a kept connection allocates after warm-up: each stage by itself, and whole
//! calls (allowed, federated, denied) from the client's bytes to the client's bytes.
//!
//! A counting allocator needs `unsafe`: it passes every call on to the system's allocator unchanged.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use benches::stages::{NAMES, run_all};

thread_local! {
    /// Allocations and reallocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that ends has no counter any more, and nobody asks.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments to `System`, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 100;
const CALLS: u64 = 1_000;

/// What still allocates, and how often: a list is asked for once in a while. It may fall, not rise.
const STILL: &[(&str, u64)] = &[("pipeline/list_500", 2)];

fn allocations(stage: &mut dyn FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| stage());
    let before = COUNT.get();
    (0..CALLS).for_each(|_| stage());
    COUNT.get() - before
}

#[test]
fn the_counter_sees_allocations() {
    let mut kept = Vec::new();
    assert!(allocations(&mut || kept = vec![kept.len() as u8; 3]) >= CALLS);
}

#[test]
fn no_stage_and_no_call_allocates_after_warm_up() {
    let table = benches::policy::table().unwrap();
    let mut found = Vec::new();
    let mut runner = |name: &'static str, stage: &mut dyn FnMut()| {
        found.push((name, allocations(stage)));
        Ok(())
    };
    run_all(&table, &mut runner).unwrap();
    assert_eq!(found.len(), NAMES.len());
    found.retain(|(_, count)| *count > 0);
    let still: Vec<_> = STILL.iter().map(|(name, a_call)| (*name, a_call * CALLS)).collect();
    assert_eq!(found, still, "allocations in {CALLS} calls");
}
