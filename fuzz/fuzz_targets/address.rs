//! The rule stands in `fuzz/bodies/address.rs`.
#![no_main]

#[path = "../bodies/address.rs"]
mod body;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    body::target(data);
});
