//! Checkpoints and verifier keys of the audit log.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests_corpus::audit::note(bytes));
