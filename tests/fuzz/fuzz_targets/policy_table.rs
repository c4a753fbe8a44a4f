//! Policy tables: the verifier, then every decision.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_policy::fuzz::any_table(bytes));
