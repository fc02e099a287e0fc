#![no_main]
#![allow(unsafe_code, missing_docs, reason = "the macro exports the function that libFuzzer calls")]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::decap::run(input));
