//! The rule stands in `fuzz/bodies/cluster.rs`; here it is held against memory too.
#![no_main]

#[path = "../bodies/cluster.rs"]
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
    assert!(allocated <= body::MOST_MEMORY, "{allocated} bytes for a message of {}", data.len());
});
