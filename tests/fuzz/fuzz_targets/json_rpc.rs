//! JSON-RPC messages from clients.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_parse::fuzz::message(bytes));
