//! A client and a server of one connection.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_pipeline::fuzz::conversation(bytes));
