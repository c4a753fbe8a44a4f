//! Bearer tokens from clients.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_auth::fuzz::jwt(bytes));
