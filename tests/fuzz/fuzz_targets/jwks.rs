//! Key sets from identity providers.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_auth::fuzz::jwks(bytes));
