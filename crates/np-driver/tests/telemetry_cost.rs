//! What figures cost a call: no allocation. Alone in its program, since it counts those of all threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::alloc::System;

use common::{config, echo, request, serve_with};
use np_driver::{ConnectorConfig, Telemetry, connect};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations of some calls, after some that make everything that grows large enough.
async fn allocations(address: &str, telemetry: &Telemetry) -> usize {
    let house = serve_with(address, echo(), |config| config.telemetry = telemetry.clone()).await;
    let client = connect(&house.address, ConnectorConfig { telemetry: telemetry.clone(), ..config(&house) });
    let client = client.await.unwrap();
    let calls = async || {
        for _ in 0..200 {
            client.call(request("np.echo").body(&b"x"[..])).await.unwrap();
        }
    };
    calls().await;
    let region = Region::new(ALLOCATOR);
    calls().await;
    region.change().allocations
}

#[tokio::test]
async fn a_call_allocates_nothing_for_its_figures() {
    let without = allocations("mem:without", &Telemetry::off()).await;
    let with = allocations("mem:with", &Telemetry::recording()).await;
    assert!(without > 0 && with <= without, "{with} with figures, {without} without");
}
