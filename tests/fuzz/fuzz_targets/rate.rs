//! Rates as operators write them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_quota::fuzz::rate(bytes));
