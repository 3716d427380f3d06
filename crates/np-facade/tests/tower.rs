//! Layers of tower around both sides: a timeout, a concurrency limit and a rate limit, each with its effect.

#![cfg(feature = "tower")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_facade::prelude::*;
use np_facade::tower::{BoxError, CallRequest, HandlerService, call_error, service, service_with};
use np_facade::{Handler, MethodOptions, bytes_async};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::timeout::error::Elapsed;
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

async fn serve(name: &str, handler: impl Handler) -> (Server, Client) {
    let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(format!("mem:{name}"));
    let server = builder.method("work", handler, MethodOptions::default()).start().await.unwrap();
    let client = Client::connect(&server.addresses()[0].to_string()).await.unwrap();
    (server, client)
}

/// A handler that holds each call until there is a permit, and how many it holds and held at most.
fn held(gate: &Arc<Semaphore>) -> (impl Handler, Arc<[AtomicUsize; 2]>) {
    let (gate, counts) = (Arc::clone(gate), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let seen = Arc::clone(&counts);
    let handler = bytes_async(move |_ctx, body| {
        let (gate, counts) = (Arc::clone(&gate), Arc::clone(&counts));
        async move {
            let now = counts[0].fetch_add(1, Ordering::SeqCst) + 1;
            counts[1].fetch_max(now, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            counts[0].fetch_sub(1, Ordering::SeqCst);
            Ok(body)
        }
    });
    (handler, seen)
}

fn to_answer(error: BoxError) -> CallError {
    if error.is::<Elapsed>() {
        return CallError::answered(Status::DeadlineExceeded, "the server gives a call 50 ms");
    }
    call_error(error)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_around_a_handler_ends_its_call() {
    let (handler, _) = held(&Arc::new(Semaphore::new(0)));
    let stack = ServiceBuilder::new().timeout(Duration::from_millis(50)).service(HandlerService::new(handler));
    let (_server, client) = serve("tower-timeout", service_with(stack, to_answer)).await;
    let error = client.call("work", "").await.unwrap_err();
    assert_eq!((error.status, error.text.as_str()), (Status::DeadlineExceeded, "the server gives a call 50 ms"));
}

#[tokio::test]
async fn a_concurrency_limit_around_a_handler_holds_the_others_back() {
    let gate = Arc::new(Semaphore::new(0));
    let (handler, counts) = held(&gate);
    let stack = ServiceBuilder::new().concurrency_limit(3).service(HandlerService::new(handler));
    let (_server, client) = serve("tower-concurrency", service(stack)).await;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        calls.spawn(async move { client.call("work", "through").await });
    }
    while counts[0].load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    client.ping().await.unwrap();
    gate.add_permits(10);
    while let Some(answered) = calls.join_next().await {
        assert_eq!(answered.unwrap().unwrap(), "through");
    }
    assert_eq!(counts[1].load(Ordering::SeqCst), 3, "three at once, and no more");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_around_a_handler_spreads_its_calls() {
    let handler = np_facade::bytes(|_ctx, body| Ok(body));
    // A rate limit counts in one place, so that clones share it by a buffer before it.
    let stack =
        ServiceBuilder::new().buffer(16).rate_limit(2, Duration::from_secs(1)).service(HandlerService::new(handler));
    let (_server, client) = serve("tower-rate", service(stack)).await;
    let before = Instant::now();
    for _ in 0..6 {
        client.call("work", "").await.unwrap();
    }
    assert!((2_000..3_000).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn layers_go_round_a_client_too() {
    let gate = Arc::new(Semaphore::new(0));
    let (handler, counts) = held(&gate);
    let (_server, client) = serve("tower-client", handler).await;
    let mut hasty = ServiceBuilder::new().timeout(Duration::from_secs(1)).service(client.clone());
    let error = hasty.ready().await.unwrap().call(CallRequest::new("work")).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error}");
    // Dropping the call has cancelled it at the server.
    client.ping().await.unwrap();
    gate.add_permits(100);
    let limited = ServiceBuilder::new().concurrency_limit(2).rate_limit(4, Duration::from_secs(1)).service(client);
    let before = Instant::now();
    counts[1].store(0, Ordering::SeqCst);
    let mut limited = limited;
    for _ in 0..8 {
        let reply = limited.ready().await.unwrap().call(CallRequest::new("work").body("kept")).await.unwrap();
        assert_eq!(reply.body, "kept");
    }
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_request_carries_what_it_was_given() {
    let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen("mem:tower-request");
    let said = |ctx: CallContext, body: bytes::Bytes| {
        let metadata = ctx.metadata().value("who").map(|who| String::from_utf8_lossy(who).into_owned());
        Ok(format!("{} {:?} {} {}", ctx.codec(), metadata, body.len(), ctx.deadline().time().is_some()))
    };
    let server = builder.on("say", said).start().await.unwrap();
    let client = Client::connect(&server.addresses()[0].to_string()).await.unwrap();
    let mut metadata = np_facade::Metadata::new();
    metadata.insert("who", b"ada").unwrap();
    let request = CallRequest::new("say").codec(np_facade::Codec::Json).body("{}").metadata(metadata);
    let reply = client.clone().oneshot(request.deadline(Duration::from_secs(5))).await.unwrap();
    assert_eq!(reply.body, r#"json Some("ada") 2 true"#);
    let error = client.oneshot(CallRequest::new("no name")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::NotProcessed);
}
