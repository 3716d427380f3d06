//! What becomes of calls whose connection is lost over real sockets, and of calls beside a handler that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::middle::{Fate, stand_between};
use common::process::{Served, serve_if_asked};
use common::{client, config, echo, gate, keypair, request, serve, serve_with, until, within};
use np_dispatch::{CallContext, MethodOptions, Target, bytes_async};
use np_driver::{Connection, ConnectorConfig, connect};
use np_noise::Pattern;
use np_trust::Policy;
use np_types::{CallError, ConnectionError, Deadline, Limits, Misbehaved, Outcome, Status};
use tokio::task::JoinHandle;

#[test]
fn server_process() {
    serve_if_asked();
}

fn start(client: &Connection, method: &'static str, count: usize) -> Vec<JoinHandle<CallError>> {
    let call = |_| {
        let client = client.clone();
        tokio::spawn(async move { client.call(request(method).deadline(Deadline::NONE)).await.unwrap_err() })
    };
    (0..count).map(call).collect()
}

/// Waits for the ends of calls: each in time, each with the loss as its cause; gives what is known of them.
async fn outcomes(calls: Vec<JoinHandle<CallError>>, since: Instant) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for call in calls {
        let error = within(call).await.unwrap();
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        assert_eq!(error.status, Status::Unavailable, "{error}");
        assert!(error.cause.is_some(), "{error:?}");
        outcomes.push(error.outcome);
    }
    outcomes
}

#[tokio::test]
async fn a_killed_server_ends_every_call_at_once_and_says_what_is_known() {
    let mut server = Served::start(100, Duration::from_secs(10));
    let policy = Policy::allow_keys(server.address.keys().iter().copied());
    let client = connect(&server.address, ConnectorConfig::new(keypair(), policy)).await.unwrap();
    let answered = client.call(request("np.echo").body("before")).await.unwrap();
    let waiting = start(&client, "forever", 100);
    // They are on their way once a later call has been answered.
    client.call(request("np.echo")).await.unwrap();
    let before = Instant::now();
    server.kill();
    let outcomes = outcomes(waiting, before).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Unknown), "{outcomes:?}");
    assert_eq!(answered.body, "before");
    let error = within(client.closed()).await;
    // The system tells of a killed process by an end without a close, or by a reset.
    assert!(
        matches!(error, ConnectionError::Misbehaved(Misbehaved::Truncated) | ConnectionError::Io { .. }),
        "{error}"
    );
    let late = client.call(request("np.echo")).await.unwrap_err();
    assert_eq!((late.status, late.outcome), (Status::Unavailable, Outcome::NotProcessed));
}

#[tokio::test]
async fn a_protocol_error_ends_every_call_at_once_and_says_what_is_known() {
    let router = echo();
    let (_, open) = gate(&router, "gate");
    let limits = Limits { max_calls: 3, ..Limits::default() };
    let house = serve_with("tcp://127.0.0.1:0", router, |config| config.limits = limits).await;
    let bad = Arc::new(AtomicBool::new(false));
    let spoils = Arc::clone(&bad);
    let between = stand_between("tcp://127.0.0.1:0", &house.address, Pattern::XX, move |mut unit| {
        if unit.is_record && !unit.towards && spoils.load(Ordering::SeqCst) {
            unit.bytes[2] ^= 1;
        }
        Fate::pass(unit.bytes)
    })
    .await;
    let client = connect(&between, config(&house)).await.unwrap();
    client.ping().await.unwrap();
    let waiting = start(&client, "gate", 5);
    client.ping().await.unwrap();
    bad.store(true, Ordering::SeqCst);
    let before = Instant::now();
    // Its answer is the record that is spoiled.
    open.notify_one();
    let outcomes = outcomes(waiting, before).await;
    let known = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    // Three were with the server; two had not been sent for want of a place.
    assert_eq!((known(Outcome::Unknown), known(Outcome::NotProcessed)), (3, 2), "{outcomes:?}");
    assert_eq!(client.closed().await, Misbehaved::Record.into());
    until(|| house.acceptor.connections().is_empty()).await;
}

#[tokio::test]
async fn a_passed_deadline_drops_the_handler_over_a_socket() {
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (router, dropped) = (echo(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&dropped);
    let handler = move |_: CallContext, _: Bytes| {
        let guard = Guard(Arc::clone(&count));
        async move {
            let _guard = guard;
            std::future::pending::<Result<Bytes, CallError>>().await
        }
    };
    router.on_async("here", handler.clone()).unwrap();
    let target = Target::Unary(Arc::new(bytes_async(handler)));
    router.register_target("spawned", target, MethodOptions::default().spawned()).unwrap();
    let house = serve("tcp://127.0.0.1:0", router).await;
    let client = client(&house).await;
    for (count, method) in (1..).zip(["here", "spawned"]) {
        let deadline = client.clock().deadline(Duration::from_millis(50));
        let error = client.call(request(method).deadline(deadline)).await.unwrap_err();
        assert_eq!(error.status, Status::DeadlineExceeded);
        until(|| dropped.load(Ordering::SeqCst) == count).await;
    }
    client.call(request("np.echo")).await.unwrap();
}

/// A handler that blocks its thread until it is let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_blocking_handler_stops_no_other_connection_and_a_spawned_one_no_other_call() {
    let router = echo();
    let (begun, begins) = mpsc::channel();
    let (let_go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let handler = move |_: CallContext, _: Bytes| {
        let (begun, wait) = (begun.clone(), Arc::clone(&wait));
        async move {
            begun.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            Ok::<_, CallError>(Bytes::from_static(b"through"))
        }
    };
    router.on_async("block", handler.clone()).unwrap();
    let target = Target::Unary(Arc::new(bytes_async(handler)));
    router.register_target("block-spawned", target, MethodOptions::default().spawned()).unwrap();
    let house = serve("tcp://127.0.0.1:0", router).await;
    let (one, other) = (client(&house).await, client(&house).await);
    for method in ["block", "block-spawned"] {
        let blocked = tokio::spawn({
            let one = one.clone();
            async move { one.call(request(method)).await }
        });
        let begins = &begins;
        tokio::task::block_in_place(|| begins.recv_timeout(Duration::from_secs(20)).unwrap());
        for _ in 0..20 {
            within(other.call(request("np.echo").body("on"))).await.unwrap();
        }
        within(client(&house)).await.call(request("np.echo")).await.unwrap();
        if method == "block-spawned" {
            within(one.call(request("np.echo").body("beside"))).await.unwrap();
        }
        assert!(!blocked.is_finished());
        let_go.send(()).unwrap();
        assert_eq!(within(blocked).await.unwrap().unwrap().body, "through");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn panicking_handlers_harm_no_call_beside_them() {
    let router = echo();
    let handler = |_: CallContext, _: Bytes| async {
        tokio::task::yield_now().await;
        assert!(std::hint::black_box(false), "on purpose");
        Ok::<_, CallError>(Bytes::new())
    };
    router.on_async("panic", handler).unwrap();
    let target = Target::Unary(Arc::new(bytes_async(handler)));
    router.register_target("panic-spawned", target, MethodOptions::default().spawned()).unwrap();
    let (started, open) = gate(&router, "gate");
    let house = serve("tcp://127.0.0.1:0", router).await;
    let client = client(&house).await;
    let beside = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("gate")).await }
    });
    started.notified().await;
    for method in ["panic", "panic-spawned"].repeat(5) {
        let error = within(client.call(request(method))).await.unwrap_err();
        assert_eq!((error.status, error.outcome), (Status::Internal, Outcome::Answered));
    }
    open.notify_one();
    assert_eq!(within(beside).await.unwrap().unwrap().body, "through");
}
