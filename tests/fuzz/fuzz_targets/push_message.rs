//! Messages of the push channel, both directions.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_bundle::fuzz::message(bytes));
