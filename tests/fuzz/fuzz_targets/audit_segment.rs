//! Segments of the audit log, as a disk gives them back.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests_corpus::audit::segment(bytes));
