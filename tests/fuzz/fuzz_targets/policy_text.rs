//! Decimals, dates, durations and addresses in arguments.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_policy::fuzz::any_text(bytes));
