//! Chooses the core that a new connection goes to: each in its turn.
//!
//! The kernel's hash spreads connections as dice do; this spreads them evenly, whatever addresses and
//! ports they have. What is even when it opens need not stay so: a core that has many more open
//! connections than another, drawn at random, is passed over. Counts may be old; who is drawn at random
//! is never everybody's choice at once. Where it cannot choose, the kernel's hash does.
#![no_std]
#![no_main]
// As in `main.rs`: the target declares no atomics, the instruction is there.
#![feature(core_intrinsics)]
#![allow(internal_features)]

use aya_ebpf::bindings::sk_action;
use aya_ebpf::btf_maps::{Array, ReusePortSockArray};
use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::macros::{btf_map, sk_reuseport};
use aya_ebpf::programs::SkReuseportContext;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use ebpf_abi::{ABI_VERSION, CORES_MAX, STEERING_SLACK, Steering};

#[btf_map]
pub static STEERING: Array<Steering, 1> = Array::new();
/// Open connections, as each core last said.
#[btf_map]
pub static OPEN: Array<u32, { CORES_MAX as usize }> = Array::new();
#[btf_map]
pub static LISTENERS: ReusePortSockArray<{ CORES_MAX as usize }> = ReusePortSockArray::new();

#[sk_reuseport]
pub fn steering(ctx: SkReuseportContext) -> u32 {
    if let Some(core) = choose() {
        // A core that has ended has no listener, and the hash finds another.
        let _ = LISTENERS.select_reuseport(&ctx, core);
    }
    sk_action::SK_PASS
}

fn choose() -> Option<u32> {
    // Of a relaxed one LLVM 22 makes the instruction that does not fetch.
    const ORDER: AtomicOrdering = AtomicOrdering::AcqRel;
    let steering = STEERING.get_ptr_mut(0)?;
    // SAFETY: an element of a map, which lives as long as the program.
    let (abi, cores) = unsafe { ((*steering).abi, (*steering).cores) };
    if abi != ABI_VERSION || cores == 0 {
        return None;
    }
    // SAFETY: as above; aligned by `repr(C)`.
    let turn = unsafe { atomic_xadd::<u32, u32, ORDER>(&raw mut (*steering).turn, 1) } % cores;
    // SAFETY: a call of the kernel without arguments.
    let drawn = unsafe { bpf_get_prandom_u32() } % cores;
    let (its, others) = (*OPEN.get(turn)?, *OPEN.get(drawn)?);
    Some(if others.saturating_add(STEERING_SLACK) < its { drawn } else { turn })
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// What the kernel asks of programs that call its helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
