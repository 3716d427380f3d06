//! The rule stands in `crates/np-testkit/src/fuzz/rekey.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    np_testkit::fuzz::run("rekey", data);
});
