//! What a call through a client costs more than one on its connection: no allocation. Counted by `stats_alloc`, over the
//! whole process, so this file has one test.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by any of these")]

use std::alloc::System;

use bytes::Bytes;
use np_facade::{Client, Identity, Policy, Request, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: usize = 1_000;
const BODY: Bytes = Bytes::from_static(b"the same bytes each time");

async fn allocations(work: impl AsyncFn()) -> usize {
    // What grows once has grown then.
    for _ in 0..100 {
        work().await;
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..CALLS {
        work().await;
    }
    region.change().allocations
}

#[tokio::test]
async fn a_call_through_a_client_allocates_no_more_than_one_on_its_connection() {
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen("mem:allocations");
    let server = server.start().await.unwrap();
    let address = server.addresses()[0].to_string();
    let pools = [Client::builder(&address), Client::builder(&address).pool_size(2)];
    for builder in pools {
        let client = builder.connect().await.unwrap();
        let connection = client.connection();
        let below = allocations(async || {
            let request = Request::new("np.echo".parse().unwrap()).body(BODY);
            connection.call(request).await.unwrap();
        });
        let below = below.await;
        let through = allocations(async || {
            client.call("np.echo", BODY).await.unwrap();
        });
        let through = through.await;
        assert!(below >= CALLS, "calls allocate: {below}");
        // Timers and other tasks of the process come and go: a hundredth of an allocation per call is none.
        assert!(through <= below + CALLS / 100, "{through} against {below}");
    }
}
