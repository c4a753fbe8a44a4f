//! HTTP/1.1 answers from servers.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_upstream::fuzz::response(bytes));
