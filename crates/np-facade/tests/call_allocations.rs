//! What a call allocates, on either side: 64 bytes, 128 calls in flight, one connection, once everything that grows has grown.
//!
//! Client and server have a runtime each, and this file's one thread runs them in turns, so that what `stats_alloc` counts
//! over the process belongs to the side that ran.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by any of these")]

use std::alloc::System;
use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use np_facade::{Client, Identity, Policy, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, yield_now};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const IN_FLIGHT: usize = 128;
/// Calls of each caller: those that make everything large enough, and those that are counted.
const ROUNDS: [usize; 2] = [50, 100];
const BODY: Bytes = Bytes::from_static(&[7; 64]);

/// One side: its runtime, and what it allocated.
struct Side {
    runtime: Runtime,
    tasks: LocalSet,
    allocations: usize,
}

impl Side {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, tasks: LocalSet::new(), allocations: 0 }
    }

    /// Lets every task of the side run a few times.
    fn run(&mut self) {
        let region = Region::new(ALLOCATOR);
        self.tasks.block_on(&self.runtime, async {
            for _ in 0..8 {
                yield_now().await;
            }
        });
        let change = region.change();
        self.allocations += change.allocations + change.reallocations;
    }
}

/// Allocations of a call, in thousandths: the client's and the server's.
fn per_call(method: &'static str) -> [usize; 2] {
    let [mut client, mut server] = [Side::new(), Side::new()];
    let serving = server.runtime.block_on(async {
        let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone());
        let builder = builder.on("now", |_ctx, body: Bytes| Ok(body));
        let builder = builder.on_async("ready", |_ctx, body: Bytes| async move { Ok(body) });
        let builder = builder.on_async("waits", |_ctx, body: Bytes| async move {
            yield_now().await;
            Ok(body)
        });
        builder.listen("mem:call-allocations").start().await.unwrap()
    });
    let address = serving.addresses().first().unwrap().to_string();
    let connecting = client.runtime.spawn(async move { Client::connect(&address).await.unwrap() });
    while !connecting.is_finished() {
        client.run();
        server.run();
    }
    let connection = client.runtime.block_on(connecting).unwrap();
    let mut figures = [0; 2];
    for rounds in ROUNDS {
        let left = Rc::new(Cell::new(IN_FLIGHT));
        for _ in 0..IN_FLIGHT {
            let (connection, left) = (connection.clone(), Rc::clone(&left));
            client.tasks.spawn_local(async move {
                for _ in 0..rounds {
                    assert_eq!(connection.call(method, BODY).await.unwrap(), BODY);
                }
                left.set(left.get() - 1);
            });
        }
        let before = [client.allocations, server.allocations];
        while left.get() > 0 {
            client.run();
            server.run();
        }
        let counted = [client.allocations - before[0], server.allocations - before[1]];
        figures = counted.map(|count| count * 1_000 / (rounds * IN_FLIGHT));
    }
    figures
}

/// What a call allocates at the most, in thousandths, at the client and at the server: at the client its body and the slot of its reply; at
/// the server its body and its handler's future, where it has one. Handlers that wait beyond the 64th of one connection have a
/// task each besides: half of 128.
const BOUNDS: [(&str, [usize; 2]); 4] =
    [("np.echo", [2_000, 1_000]), ("now", [2_000, 1_000]), ("ready", [2_000, 2_000]), ("waits", [2_000, 2_500])];

#[test]
fn a_call_allocates_its_body_its_future_and_its_reply_slot() {
    for (method, [most_client, most_server]) in BOUNDS {
        let [client, server] = per_call(method);
        println!("{method}: {client} and {server} thousandths of an allocation per call, at the client and the server");
        // What a batch allocates, or a table that grows, is a twentieth of an allocation per call at the most.
        assert!(client <= most_client + 50, "{method}: {client} at the client");
        assert!(server <= most_server + 50, "{method}: {server} at the server");
    }
}
