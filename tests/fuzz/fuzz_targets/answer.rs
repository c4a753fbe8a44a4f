//! JSON-RPC answers from servers.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_relay::fuzz::answer(bytes));
