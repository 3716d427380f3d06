//! The rule stands in `fuzz/bodies/config.rs`.
#![no_main]

#[path = "../bodies/config.rs"]
mod body;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    body::target(data);
});
