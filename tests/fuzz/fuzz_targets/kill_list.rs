//! Kill lists, as they arrive and as they are signed.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_bundle::fuzz::kill_list(bytes));
