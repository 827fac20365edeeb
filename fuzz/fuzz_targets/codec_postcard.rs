//! See `myelon_tests::fuzz`.
#![no_main]

#[path = "../../tests/src/guards.rs"]
mod guards;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| myelon_tests::fuzz::run("codec_postcard", bytes));
