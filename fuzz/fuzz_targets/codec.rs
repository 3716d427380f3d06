//! The rule stands in `fuzz/bodies/codec.rs`; here it is held against memory too.
#![no_main]

#[path = "../bodies/codec.rs"]
mod body;

use std::alloc::System;

use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fuzz_target!(|data: &[u8]| {
    let region = Region::new(ALLOCATOR);
    body::target(data);
    let allocated = region.change().bytes_allocated;
    let most = body::most_memory(data.len());
    assert!(allocated <= most, "{allocated} bytes for a body of {}, and {most} are the most", data.len());
});
