//! The rule stands in `fuzz/bodies/allow_list.rs`.
#![no_main]

#[path = "../bodies/allow_list.rs"]
mod body;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    body::target(data);
});
