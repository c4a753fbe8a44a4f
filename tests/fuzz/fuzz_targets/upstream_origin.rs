//! URLs of servers.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_upstream::fuzz::origin(bytes));
