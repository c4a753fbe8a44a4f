//! Packets that a network card has dropped, as people are shown them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane_drops::fuzz::packet(bytes));
