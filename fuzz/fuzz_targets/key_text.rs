//! The rule stands in `crates/np-testkit/src/fuzz/key_text.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    np_testkit::fuzz::run("key_text", data);
});
