//! Many tasks on many threads that call, stream, cancel and drop at random; afterwards nothing may be missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{client_with, echo, request, serve, until};
use np_dispatch::{CallContext, MessageStream, MethodOptions, Router, Target, bytes_async};
use np_driver::Connection;
use np_types::CloseCode;

struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn methods(alive: &Arc<AtomicUsize>) -> Router {
    let router = echo();
    let count = Arc::clone(alive);
    let slow = move |_: CallContext, body: Bytes| {
        let alive = Alive::new(&count);
        async move {
            let _alive = alive;
            for _ in 0..body.len() % 7 {
                tokio::task::yield_now().await;
            }
            Ok(body)
        }
    };
    router.on_async("slow", slow.clone()).unwrap();
    let target = Target::Unary(Arc::new(bytes_async(slow)));
    router.register_target("spawned", target, MethodOptions::default().spawned()).unwrap();
    let count = Arc::clone(alive);
    router
        .on_stream("back", move |_, mut stream: MessageStream| {
            let alive = Alive::new(&count);
            async move {
                let _alive = alive;
                while let Some(message) = stream.recv().await {
                    let message = message?;
                    // Some handlers leave in the middle.
                    if message.len() % 97 == 13 {
                        return Ok(());
                    }
                    stream.send(message).await?;
                }
                Ok(())
            }
        })
        .unwrap();
    router
}

/// A few numbers from a seed, enough to vary what is done.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

async fn one_act(connection: &Connection, dice: &mut Dice) {
    let size = [10, 3_000, 40_000, 300_000][dice.roll(4)] + dice.roll(1_000);
    let body = Bytes::from(vec![size as u8; size]);
    match dice.roll(4) {
        kind @ 0..3 => {
            let method = ["np.echo", "slow", "spawned"][kind];
            if let Ok(reply) = connection.call(request(method).body(body.clone())).await {
                assert!(reply.body == body);
            }
        }
        _ => {
            let Ok(mut stream) = connection.open_stream(request("back")).await else {
                return;
            };
            for _ in 0..dice.roll(6) {
                if stream.send(body.clone()).await.is_err() {
                    return;
                }
                // An echo that nobody reads would stop both sides once the windows are full.
                if size > 10_000 || dice.roll(3) == 0 {
                    let _ = stream.recv().await;
                }
            }
            if dice.roll(2) == 0 {
                let _ = stream.finish().await;
            }
        }
    }
}

async fn acts(connection: Connection, seed: u64) {
    let mut dice = Dice(seed);
    for _ in 0..40 {
        let patience = Duration::from_micros([50, 500, 5_000, 20_000_000][dice.roll(4)]);
        let done = tokio::time::timeout(patience, one_act(&connection, &mut dice)).await;
        assert!(done.is_ok() || patience < Duration::from_secs(1), "an act hangs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_cancelled_nothing_leaks_and_nobody_hangs() {
    for address in ["tcp://127.0.0.1:0", "mem:storm"] {
        let alive = Arc::new(AtomicUsize::new(0));
        let house = serve(address, methods(&alive)).await;
        let client = client_with(&house, methods(&alive)).await;
        until(|| house.acceptor.connections().len() == 1).await;
        let back = house.acceptor.connections().remove(0);
        let mut tasks = Vec::new();
        for seed in 0..24 {
            let connection = if seed % 3 == 0 { back.clone() } else { client.clone() };
            tasks.push(tokio::spawn(acts(connection, seed)));
        }
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        }
        // Every handler is gone, and the whole of the windows is there again, both ways.
        until(|| alive.load(Ordering::SeqCst) == 0).await;
        for connection in [&client, &back] {
            for _ in 0..8 {
                let body = vec![1; 250_000];
                let reply =
                    tokio::time::timeout(Duration::from_secs(20), connection.call(request("np.echo").body(body)));
                assert_eq!(reply.await.unwrap().unwrap().body.len(), 250_000);
            }
        }
        client.close(CloseCode::Normal, "").await;
        until(|| house.acceptor.connections().is_empty()).await;
    }
}
