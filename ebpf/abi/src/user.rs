//! The structs as aya reads and writes them: bytes of a map are a value.
//!
//! `unsafe` because the compiler does not check what the assertions of `lib.rs` do: `repr(C)`,
//! integers only, no byte of padding that has no name.
#![allow(unsafe_code)]

use crate::{
    Config, Count, Drops, FlowKey, Penalty, PrefixSlot, Sample, Segments, ServiceKey, ServiceSlot,
    Steering, SynBucket, VlanKey,
};

// SAFETY: integers only; every byte is of a field (asserted in `lib.rs`), any value is valid.
unsafe impl aya::Pod for FlowKey {}
// SAFETY: as above.
unsafe impl aya::Pod for ServiceKey {}
// SAFETY: as above.
unsafe impl aya::Pod for ServiceSlot {}
// SAFETY: as above.
unsafe impl aya::Pod for PrefixSlot {}
// SAFETY: as above.
unsafe impl aya::Pod for Segments {}
// SAFETY: as above.
unsafe impl aya::Pod for VlanKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Penalty {}
// SAFETY: as above.
unsafe impl aya::Pod for SynBucket {}
// SAFETY: as above.
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for Count {}
// SAFETY: as above.
unsafe impl aya::Pod for Drops {}
// SAFETY: as above.
unsafe impl aya::Pod for Sample {}
// SAFETY: as above.
unsafe impl aya::Pod for Steering {}
