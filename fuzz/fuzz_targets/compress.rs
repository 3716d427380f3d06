//! The rule stands in `fuzz/bodies/compress.rs`.
#![no_main]

#[path = "../bodies/compress.rs"]
mod body;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    body::target(data);
});
