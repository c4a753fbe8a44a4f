//! Chunked bodies from clients and servers.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_ingress::fuzz::chunks(bytes));
