//! Callers, refusals, operators and restarts, as the machine of drops hears them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_drops::fuzz::operations(bytes));
