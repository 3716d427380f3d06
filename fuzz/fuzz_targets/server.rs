//! The rule stands in `fuzz/bodies/server.rs`.
#![no_main]

#[path = "../bodies/server.rs"]
mod body;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    body::target(data);
});
