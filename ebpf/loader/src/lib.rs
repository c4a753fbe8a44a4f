//! The network card's side of the gateway: loads the XDP program, attaches it, feeds its tables.
//!
//! [`Card`] does what it is told and decides nothing about tenants: who is penalised, why and until
//! when is the caller's. It promises that an entry can only drop what goes to the gateway and what
//! is the tenant's own; that entries end by themselves, and all of them when the heartbeat stops;
//! and that what it lists is what the kernel holds, across a restart too. [`Steering`] spreads new
//! connections over cores; without it the kernel does, less evenly.

mod attach;
mod card;
mod fault;
mod hosts;
mod maps;
mod object;
mod pins;
mod prefixes;
mod samples;
mod services;
mod steering;
mod table;
mod tables;
mod target;

pub use attach::{Attached, Mode, Wanted};
pub use card::{Adopted, Attribution, Card, Fill, Program, Rate, Run, Status};
pub use ebpf_abi::{Drops, Reason, TENANTS_MAX, Table};
pub use fault::{Fault, Owner};
pub use object::{OBJECT, STEERING_OBJECT, Stamp};
pub use samples::Sample;
pub use steering::Steering;
pub use target::{Flow, Penalty, Prefix, Protocol, Service, Target, Tenant, Vlan};

/// The clock of every `_ns` in this crate: the kernel's monotonic one, which programs read too.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
