//! See [`bodies::codecs`].
#![no_main]
#![allow(dead_code, reason = "the other targets' bodies")]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::codecs(bytes));
