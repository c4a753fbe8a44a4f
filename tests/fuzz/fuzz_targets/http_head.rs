//! Streams of HTTP/1.1 requests from clients.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_ingress::fuzz::one_reading(bytes));
