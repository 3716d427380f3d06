//! How calls and connections end: lost, closed, drained, dropped, late, or waiting for room.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{Harm, client, client_with, config, echo, gate, proxy, request, serve, serve_with, until, within};
use np_dispatch::{CallContext, MethodOptions, Router, Target, bytes_async};
use np_driver::{ConnectorConfig, connect};
use np_types::{CallError, CloseCode, Codec, ConnectionError, Deadline, Limits, Metadata, Outcome, Status};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A router with a method that never answers; counts the handlers that began and those that were dropped.
fn forever() -> (Router, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (begun, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, gone) = (Arc::clone(&begun), Arc::clone(&dropped));
    let router = echo();
    let handler = move |_: CallContext, _: Bytes| {
        count.fetch_add(1, Ordering::SeqCst);
        let guard = Counted(Arc::clone(&gone));
        async move {
            let _guard = guard;
            std::future::pending::<Result<Bytes, CallError>>().await
        }
    };
    router.on_async("forever", handler.clone()).unwrap();
    let target = Target::Unary(Arc::new(bytes_async(handler)));
    router.register_target("forever-spawned", target, MethodOptions::default().spawned()).unwrap();
    (router, begun, dropped)
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn at(counter: &AtomicUsize, count: usize) -> impl FnMut() -> bool {
    move || counter.load(Ordering::SeqCst) == count
}

#[tokio::test]
async fn a_cut_ends_every_call_at_once_and_says_what_is_known() {
    let (router, begun, dropped) = forever();
    let limits = Limits { max_calls: 2, ..Limits::default() };
    let house = serve_with("mem:cut", router, |config| config.limits = limits).await;
    let harm = Arc::new(Harm::default());
    let address = proxy("mem:cut-proxy", &house, Arc::clone(&harm)).await;
    let client = connect(&address, config(&house)).await.unwrap();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(request("forever").deadline(Deadline::NONE)).await.unwrap_err() })
        })
        .collect();
    until(at(&begun, 2)).await;
    harm.cut.notify_one();
    let mut outcomes = Vec::new();
    for call in calls {
        let error = within(call).await.unwrap();
        assert_eq!(error.status, Status::Unavailable);
        assert!(error.cause.is_some(), "{error:?}");
        outcomes.push(error.outcome);
    }
    let unknown = outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count();
    let unsent = outcomes.iter().filter(|outcome| **outcome == Outcome::NotProcessed).count();
    assert_eq!((unknown, unsent), (2, 3));
    until(at(&dropped, 2)).await;
    let error = client.call(request("np.echo")).await.unwrap_err();
    assert_eq!((error.outcome, error.cause.is_some()), (Outcome::NotProcessed, true));
    assert!(client.ping().await.is_err() && client.error().is_some());
}

#[tokio::test]
async fn calls_beyond_max_queued_calls_wait_and_all_arrive() {
    let (router, begun, _) = forever();
    let house = serve("mem:queue", router).await;
    let limits = Limits { max_queued_calls: 2, ..Limits::default() };
    let client = connect(&house.address, ConnectorConfig { limits, ..config(&house) }).await.unwrap();
    for _ in 0..100 {
        let client = client.clone();
        tokio::spawn(async move { client.call(request("forever")).await });
    }
    until(at(&begun, 100)).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_that_waits_for_room_holds() {
    let (router, begun, _) = forever();
    let limits = Limits { max_calls: 1, ..Limits::default() };
    let house = serve_with("mem:late-queue", router, |config| config.limits = limits).await;
    let limits = Limits { max_queued_calls: 1, ..Limits::default() };
    let client = connect(&house.address, ConnectorConfig { limits, ..config(&house) }).await.unwrap();
    for _ in 0..2 {
        let client = client.clone();
        tokio::spawn(async move { client.call(request("forever").deadline(Deadline::NONE)).await });
    }
    until(at(&begun, 1)).await;
    let before = Instant::now();
    let deadline = client.clock().deadline(Duration::from_secs(2));
    let error = client.call(request("np.echo").deadline(deadline)).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::DeadlineExceeded, Outcome::NotProcessed));
    assert!((1_900..2_100).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    // One that is dropped while it waits never arrives; one that waits behind it is not forgotten.
    let dropped = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("forever")).await }
    });
    tokio::task::yield_now().await;
    dropped.abort();
    let behind = client.call(request("np.echo").deadline(client.clock().deadline(Duration::from_secs(1)))).await;
    assert_eq!(behind.unwrap_err().status, Status::DeadlineExceeded);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_makes_room_for_those_that_wait() {
    let (router, begun, _) = forever();
    let limits = Limits { max_calls: 1, ..Limits::default() };
    let house = serve_with("mem:make-room", router, |config| config.limits = limits).await;
    let limits = Limits { max_queued_calls: 1, ..Limits::default() };
    let client = connect(&house.address, ConnectorConfig { limits, ..config(&house) }).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let client = client.clone();
        waiting.push(tokio::spawn(async move { client.call(request("forever")).await }));
        until(at(&begun, 1)).await;
    }
    let last = tokio::spawn(async move { client.call(request("np.echo").body("in the end")).await });
    tokio::task::yield_now().await;
    for call in waiting {
        call.abort();
    }
    assert_eq!(within(last).await.unwrap().unwrap().body, "in the end");
}

#[tokio::test(start_paused = true)]
async fn a_close_does_not_wait_for_a_peer_that_never_reads() {
    let (router, begun, _) = forever();
    let house = serve("mem:never-reads", router).await;
    let harm = Arc::new(Harm::default());
    let address = proxy("mem:never-reads-proxy", &house, Arc::clone(&harm)).await;
    let client = connect(&address, config(&house)).await.unwrap();
    client.ping().await.unwrap();
    harm.stalled.store(true, Ordering::SeqCst);
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(request("forever").body(vec![0; 200 << 10])).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let before = Instant::now();
    let error = client.close(CloseCode::Normal, "enough").await;
    assert_eq!(error, ConnectionError::ClosedHere(CloseCode::Normal));
    assert!(before.elapsed() <= Duration::from_secs(3), "{:?}", before.elapsed());
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn dropping_the_acceptor_ends_calls_of_both_sides_as_unknown() {
    let (router, begun, dropped) = forever();
    let house = serve("mem:drop-acceptor", router).await;
    let (mine, answering, _) = forever();
    let client = client_with(&house, mine).await;
    let here = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("forever")).await.unwrap_err() }
    });
    until(at(&begun, 1)).await;
    let back = house.acceptor.connections().remove(0);
    let there = tokio::spawn(async move { back.call(request("forever")).await.unwrap_err() });
    until(at(&answering, 1)).await;
    drop(house);
    for call in [here, there] {
        let error = within(call).await.unwrap();
        assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::Unknown));
        assert!(error.cause.is_some(), "{error:?}");
    }
    until(at(&dropped, 1)).await;
    within(client.closed()).await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_connection_in_order() {
    let house = serve("tcp://127.0.0.1:0", echo()).await;
    let one = client(&house).await;
    let two = one.clone();
    drop(one);
    two.call(request("np.echo")).await.unwrap();
    let seen = house.acceptor.connections().remove(0);
    assert_eq!(seen.error(), None);
    drop(two);
    let error = within(seen.closed()).await;
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::Normal, .. }), "{error}");
    until(|| house.acceptor.connections().is_empty()).await;
}

#[tokio::test]
async fn a_server_that_goes_on_calling_does_not_keep_a_connection_that_nobody_holds() {
    let house = serve("mem:goes-on", echo()).await;
    let mine = Router::new();
    let (started, open) = gate(&mine, "gate");
    let client = client_with(&house, mine).await;
    until(|| house.acceptor.connections().len() == 1).await;
    let back = house.acceptor.connections().remove(0);
    let first = tokio::spawn({
        let back = back.clone();
        async move { back.call(request("gate")).await }
    });
    started.notified().await;
    drop(client);
    // The accepted call is answered; new ones are refused as soon as the client has said so.
    let call = back.call(request("gate"));
    let error = within(async {
        tokio::select! {
            result = call => result.unwrap_err(),
            () = started.notified() => panic!("a call was accepted that nobody waits for"),
        }
    })
    .await;
    assert_eq!(error.outcome, Outcome::NotProcessed, "{error}");
    open.notify_one();
    assert_eq!(within(first).await.unwrap().unwrap().body, "through");
    let error = within(back.closed()).await;
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::Normal, .. }), "{error}");
}

#[tokio::test]
async fn a_close_under_a_running_handler_is_never_safe_to_repeat() {
    let (router, begun, dropped) = forever();
    let house = serve("mem:close-under", router).await;
    let client = client(&house).await;
    let call = tokio::spawn(async move { client.call(request("forever")).await.unwrap_err() });
    until(at(&begun, 1)).await;
    house.acceptor.connections().remove(0).close(CloseCode::Normal, "").await;
    let error = within(call).await.unwrap();
    assert_ne!(error.outcome, Outcome::NotProcessed, "{error}");
    until(at(&dropped, 1)).await;
}

#[tokio::test]
async fn a_handlers_error_is_never_safe_to_repeat() {
    let router = echo();
    let lost = CallError::unknown(Status::Unavailable, "a service further back was lost");
    router.on("lost", move |_, _| Err::<Bytes, _>(lost.clone())).unwrap();
    let busy = CallError::not_processed(Status::Unavailable, "busy");
    router.on("busy", move |_, _| Err::<Bytes, _>(busy.clone())).unwrap();
    let house = serve("mem:repeat", router).await;
    let client = client(&house).await;
    let error = client.call(request("lost")).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Failed, Outcome::Answered));
    let error = client.call(request("busy")).await.unwrap_err();
    // It may be passed on from a call that the handler made after it had done something.
    assert_eq!((error.status, error.outcome), (Status::Failed, Outcome::Answered));
}

#[tokio::test]
async fn handlers_hold_no_more_than_call_budget() {
    let router = echo();
    let open = Arc::new(Notify::new());
    let wait = Arc::clone(&open);
    let handler = move |_, body: Bytes| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            Ok(body.slice(..1))
        }
    };
    router.on_async("hold", handler).unwrap();
    let limits = Limits { max_message: 1 << 20, call_budget: 5 << 20, ..Limits::default() };
    let house = serve_with("mem:budget", router, |config| config.limits = limits).await;
    let client = client(&house).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let client = client.clone();
        calls.spawn(async move { client.call(request("hold").body(vec![1; 1_000_000])).await });
    }
    for _ in 0..7 {
        let refused = within(calls.join_next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!((refused.status, refused.outcome), (Status::Unavailable, Outcome::NotProcessed));
        assert!(refused.text.contains("call_budget"), "{refused}");
    }
    for _ in 0..5 {
        open.notify_one();
        assert!(within(calls.join_next()).await.unwrap().unwrap().is_ok());
    }
}

/// A call may be on its way into the queue while the task that reads it ends: it is answered all the same. Each round has
/// many callers in that moment; where the queue were not closed before it is read last, they would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_hangs_that_meets_the_end_of_its_connection() {
    let house = serve("mem:stragglers", echo()).await;
    for _ in 0..400 {
        let client = client(&house).await;
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let client = client.clone();
            callers.spawn(async move { while client.call(request("np.echo")).await.is_ok() {} });
        }
        tokio::task::yield_now().await;
        client.close(CloseCode::Normal, "").await;
        while let Some(ended) = within(callers.join_next()).await {
            ended.unwrap();
        }
    }
}

#[tokio::test]
async fn a_watch_tells_of_the_drain_before_calls_fail_by_it_and_keeps_nothing_alive() {
    let (router, begun, dropped) = forever();
    let mut house = serve("mem:watch", router).await;
    let client = client(&house).await;
    let watch = client.watch();
    assert!(watch.takes_calls());
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("forever")).await }
    });
    until(at(&begun, 1)).await;
    let draining = tokio::spawn(async move { house.acceptor.drain(Duration::from_secs(20)).await });
    assert_eq!(within(watch.draining()).await, Ok(CloseCode::Drained));
    assert!(!watch.takes_calls());
    let late = within(client.call(request("forever"))).await.unwrap_err();
    assert_eq!((late.status, late.outcome), (Status::Unavailable, Outcome::NotProcessed));
    call.abort();
    drop(client);
    let ended = within(watch.closed()).await;
    assert!(matches!(ended, ConnectionError::ClosedHere(_) | ConnectionError::ClosedByPeer { .. }), "{ended}");
    assert!(watch.is_closed());
    until(at(&dropped, 1)).await;
    within(draining).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_what_is_left_after_its_time() {
    let (router, begun, dropped) = forever();
    let mut house = serve("mem:drain-cut", router).await;
    let client = client(&house).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("forever")).await.unwrap_err() }
    });
    until(at(&begun, 1)).await;
    let before = Instant::now();
    house.acceptor.drain(Duration::from_secs(5)).await;
    assert!((5_000..7_500).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    let error = call.await.unwrap();
    assert_ne!(error.outcome, Outcome::NotProcessed);
    assert!(matches!(client.closed().await, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    // A second drain has nothing to do.
    let before = Instant::now();
    house.acceptor.drain(Duration::MAX).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_draining_side_calls_back_for_accepted_calls_alone() {
    let router = echo();
    let (begun, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&open));
    let handler = move |context: CallContext, _: Bytes| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            let name = "name".parse().unwrap();
            context.call(name, Codec::Bytes, Bytes::new(), Metadata::new(), Deadline::NONE).await
        }
    };
    router.on_async("ask", handler).unwrap();
    let mut house = serve("mem:drain-nested", router).await;
    let mine = Router::new();
    mine.on("name", |_, _| Ok("the client")).unwrap();
    let client = client_with(&house, mine).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("ask")).await }
    });
    within(begun.notified()).await;
    let back = house.acceptor.connections().remove(0);
    assert_eq!(back.call(request("name")).await.unwrap().body, "the client");
    let drain = tokio::spawn(async move { house.acceptor.drain(Duration::from_secs(10)).await });
    let refused = loop {
        if let Err(error) = back.call(request("name")).await {
            break error;
        }
    };
    assert_eq!((refused.status, refused.outcome), (Status::Unavailable, Outcome::NotProcessed));
    assert!(refused.text.contains("draining"), "{refused}");
    open.notify_one();
    assert_eq!(within(call).await.unwrap().unwrap().body, "the client");
    within(drain).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_peers_that_say_nothing() {
    let mut house = serve("mem:drain-silent", echo()).await;
    let silent = np_transport::connect(&house.address).await.unwrap();
    let client = client(&house).await;
    let before = Instant::now();
    house.acceptor.drain(Duration::from_secs(600)).await;
    assert!(before.elapsed() <= Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(matches!(client.closed().await, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }));
    drop(silent);
}

#[tokio::test]
async fn handlers_of_both_kinds_are_dropped_with_their_call_and_with_their_connection() {
    let (router, begun, dropped) = forever();
    let house = serve("mem:both-kinds", router).await;
    let client = client(&house).await;
    let methods = ["forever", "forever-spawned"];
    for (count, method) in (1..).zip(methods) {
        let call = tokio::spawn({
            let client = client.clone();
            async move { client.call(request(method)).await }
        });
        until(at(&begun, count)).await;
        call.abort();
        until(at(&dropped, count)).await;
    }
    // More than share the connection's task.
    for at in 0..200 {
        let client = client.clone();
        tokio::spawn(async move { client.call(request(methods[at % 2])).await });
    }
    until(at(&begun, 202)).await;
    client.close(CloseCode::Normal, "").await;
    until(at(&dropped, 202)).await;
}

#[tokio::test]
async fn a_handler_that_panics_while_it_is_cancelled_harms_nobody() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("in a destructor");
        }
    }
    let (router, dropped) = (echo(), Arc::new(AtomicUsize::new(0)));
    let started = Arc::new(Notify::new());
    let (tell, count) = (Arc::clone(&started), Arc::clone(&dropped));
    router
        .on_async("bomb", move |_, _| {
            let (tell, bomb) = (Arc::clone(&tell), Bomb(Arc::clone(&count)));
            async move {
                let _bomb = bomb;
                tell.notify_one();
                std::future::pending::<Result<Bytes, CallError>>().await
            }
        })
        .unwrap();
    let house = serve("mem:bomb", router).await;
    let client = client(&house).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("bomb")).await }
    });
    started.notified().await;
    call.abort();
    until(at(&dropped, 1)).await;
    assert_eq!(client.call(request("np.echo").body("on")).await.unwrap().body, "on");
}

#[tokio::test]
async fn cancelling_a_call_cancels_the_calls_that_it_made() {
    let (mine, begun, dropped) = forever();
    let router = echo();
    let nested = |context: CallContext, _: Bytes| async move {
        let method = "forever".parse().unwrap();
        context.call(method, Codec::Bytes, Bytes::new(), Metadata::new(), Deadline::NONE).await
    };
    router.on_async("nested", nested).unwrap();
    let house = serve("mem:cascade", router).await;
    let client = client_with(&house, mine).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("nested")).await }
    });
    until(at(&begun, 1)).await;
    call.abort();
    until(at(&dropped, 1)).await;
    client.call(request("np.echo")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_inherits_the_deadline_of_its_parent() {
    let left = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&left);
    let mine = Router::new();
    mine.on("left", move |context, _| {
        *seen.lock().unwrap() = context.deadline().time();
        Ok(())
    })
    .unwrap();
    let router = echo();
    let nested = |context: CallContext, _: Bytes| async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let method = "left".parse().unwrap();
        context.call(method, Codec::Bytes, Bytes::new(), Metadata::new(), Deadline::NONE).await
    };
    router.on_async("nested", nested).unwrap();
    let house = serve("mem:inherit", router).await;
    let client = client_with(&house, mine).await;
    let now = client.clock().now();
    let deadline = Deadline::after(now, Duration::from_secs(10));
    client.call(request("nested").deadline(deadline)).await.unwrap();
    let inherited = left.lock().unwrap().take().unwrap().since(now);
    assert!((9_900..=10_100).contains(&inherited.as_millis()), "{inherited:?}");
}

#[tokio::test]
async fn times_beyond_every_clock_do_no_harm() {
    let house = serve_with("mem:eternal", echo(), |config| config.handshake_timeout = Duration::MAX).await;
    let config = ConnectorConfig { connect_timeout: Duration::MAX, handshake_timeout: Duration::MAX, ..config(&house) };
    let client = connect(&house.address, config).await.unwrap();
    let deadline = client.clock().deadline(Duration::MAX);
    client.call(request("np.echo").deadline(deadline)).await.unwrap();
    until(|| house.acceptor.connections().len() == 1).await;
    let back = house.acceptor.connections().remove(0);
    within(back.drain(Duration::MAX)).await;
}
