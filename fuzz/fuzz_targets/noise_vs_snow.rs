//! The rule stands in `crates/np-testkit/src/fuzz/noise_vs_snow.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    np_testkit::fuzz::run("noise_vs_snow", data);
});
