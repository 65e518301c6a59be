//! Every program of this folder: libFuzzer around the target that is called as the program is.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| runyard_fuzz::run(env!("CARGO_BIN_NAME"), data));
