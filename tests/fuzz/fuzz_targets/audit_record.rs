//! Audit records.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests_corpus::audit::record(bytes));
