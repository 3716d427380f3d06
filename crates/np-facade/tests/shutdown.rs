//! The ways to stop a server: not ready first, in order, and cut short.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::prelude::*;
use np_facade::{CallError, CloseCode, ConnectionError, ServerBuilder};
use tokio::sync::Notify;
use tokio::time::Instant;

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(address)
}

async fn connect(server: &Server) -> Client {
    let builder = Client::builder(server.addresses()[0].to_string());
    builder.auto_reconnect(false).connect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_delayed_shutdown_says_that_it_is_not_ready_and_goes_on_serving() {
    let server = builder("mem:delayed").start().await.unwrap();
    let before = Instant::now();
    let shutdown = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown_after(Duration::from_secs(60), Duration::from_secs(10)).await }
    });
    tokio::task::yield_now().await;
    let client = connect(&server).await;
    assert_eq!(client.call("np.health", "").await.unwrap(), "draining");
    assert_eq!(client.call("np.echo", "served").await.unwrap(), "served");
    assert!(matches!(client.closed().await, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }));
    assert!(before.elapsed() >= Duration::from_secs(60), "{:?}", before.elapsed());
    shutdown.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shorter_shutdown_cuts_a_longer_one_short() {
    let started = Arc::new(Notify::new());
    let begun = Arc::clone(&started);
    let server = builder("mem:cut-short")
        .on_async("forever", move |_, _| {
            begun.notify_one();
            std::future::pending::<Result<Bytes, CallError>>()
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let call = tokio::spawn(async move { client.call("forever", "").await.unwrap_err() });
    started.notified().await;
    let before = Instant::now();
    let first = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown(Duration::from_secs(3_600)).await }
    });
    tokio::task::yield_now().await;
    server.shutdown(Duration::ZERO).await;
    first.await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    assert_ne!(call.await.unwrap().outcome, Outcome::NotProcessed);
    assert!(server.connections().is_empty());
}
