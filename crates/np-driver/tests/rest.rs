//! What connections keep once nothing moves on them. One test, so that nothing else is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod common;

use std::alloc::System;
use std::time::Duration;

use common::{config, echo, request, serve_with};
use np_driver::{Connection, connect};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::sleep;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are held beyond those at the region's beginning; growth in place is counted as allocated.
fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

/// Buffers, tables and queues of both ends grow with a burst, and go a second after it: a second burst has to take anew
/// what the first one had. What the pipe in between keeps is there before the counting begins.
#[tokio::test(start_paused = true)]
async fn a_burst_leaves_nothing_behind_once_the_connection_rests() {
    let house = serve_with("mem:rest", echo(), |_| {}).await;
    let client = connect(&house.address, config(&house)).await.unwrap();
    burst(&client).await;
    sleep(Duration::from_secs(3)).await;
    let region = Region::new(COUNTED);
    burst(&client).await;
    let after = held(&region);
    sleep(Duration::from_secs(3)).await;
    let rested = held(&region);
    println!("held after the burst: {after} bytes, three seconds later: {rested}");
    assert!(after > 64 << 10, "{after}");
    assert!(rested < 16 << 10, "{rested}");
}

async fn burst(client: &Connection) {
    let calls = (0..64).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.call(request("np.echo").body(vec![7; 8 << 10])).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
}
