//! Calls over real connections: both ways, many at once, large, cancelled, late, panicking.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::{client, client_with, echo, keypair, request, serve, serve_with};
use np_dispatch::Router;
use np_driver::{Connection, ConnectorConfig, connect};
use np_trust::Policy;
use np_types::{CallError, CloseCode, ConnectionError, Limits, Outcome, Status};

#[tokio::test]
async fn an_echo_comes_back_over_every_transport() {
    let folder = std::env::temp_dir().join(format!("np-driver-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let unix = format!("unix:{}/echo.sock", folder.display());
    for address in ["tcp://127.0.0.1:0", "mem:echo", &unix] {
        if cfg!(not(unix)) && address.starts_with("unix") {
            continue;
        }
        let house = serve(address, echo()).await;
        let client = client(&house).await;
        let reply = client.call(request("np.echo").body("hello")).await.unwrap();
        assert_eq!(reply.body, "hello");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn sixteen_mebibytes_go_both_ways_at_once() {
    let house = serve("mem:large", echo()).await;
    let client = client(&house).await;
    let body = Bytes::from((0..16usize << 20).map(|at| (at / 7) as u8).collect::<Vec<_>>());
    let (one, other) = tokio::join!(
        client.call(request("np.echo").body(body.clone())),
        client.call(request("np.echo").body(body.clone()))
    );
    assert!(one.unwrap().body == body && other.unwrap().body == body);
    let more = Bytes::from(vec![0; (16 << 20) + 1]);
    let error = client.call(request("np.echo").body(more)).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::NotProcessed));
    assert!(error.text.contains("max_message"), "{error}");
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The most replies of one turn of a connection, of twelve times so many that are called at once.
async fn most_replies_in_a_turn(connection: &Connection, calls: usize, on_another_thread: bool) -> usize {
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let begin = || {
        let calls = (0..calls).map(|_| {
            let mut call = Box::pin(connection.call(request("np.echo").body("hello")));
            assert!(call.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
            call
        });
        calls.collect::<Vec<_>>()
    };
    let (mut most, mut seen) = (0, 0);
    for round in 1..=12 {
        let pending =
            if on_another_thread { thread::scope(|scope| scope.spawn(begin).join().unwrap()) } else { begin() };
        while seen < round * calls {
            // Behind all that is ready, so that the connection had one turn since.
            let mut asked = false;
            poll_fn(|cx| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { behind_others(cx) }).await;
            let now = woken.0.load(Ordering::SeqCst);
            (most, seen) = (most.max(now - seen), now);
        }
        drop(pending);
    }
    most
}

fn behind_others(cx: &std::task::Context<'_>) -> Poll<()> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[tokio::test]
async fn a_turn_hands_out_more_replies_while_calls_come_from_another_thread() {
    let house = serve("mem:turns", echo()).await;
    let client = client(&house).await;
    // A task as that of the connection is: the test's own future is polled once in many runs of tasks.
    let most = tokio::spawn(async move {
        // Streams that are open are no calls that wait.
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(client.open_stream(request("np.echo-stream")).await.unwrap());
        }
        let few = most_replies_in_a_turn(&client, 60, false).await;
        let near = most_replies_in_a_turn(&client, 128, false).await;
        (few, near, most_replies_in_a_turn(&client, 128, true).await)
    });
    assert_eq!(most.await.unwrap(), (60, 10, 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_connection() {
    let router = echo();
    router
        .on_async("slow", |_, body: Bytes| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(body)
        })
        .unwrap();
    let house = serve("tcp://127.0.0.1:0", router).await;
    let client = client(&house).await;
    let calls = (0..3_000u32).map(|at| {
        let client = client.clone();
        tokio::spawn(async move {
            let method = if at % 2 == 0 { "np.echo" } else { "slow" };
            let reply = client.call(request(method).body(at.to_be_bytes().to_vec())).await.unwrap();
            assert_eq!(reply.body, at.to_be_bytes().to_vec());
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn the_server_calls_its_client_back() {
    let router = echo();
    router
        .on_async("ask", |context: np_dispatch::CallContext, _: Bytes| async move {
            let method = "name".parse().unwrap();
            let reply = context
                .call(method, np_types::Codec::Bytes, Bytes::new(), np_types::Metadata::new(), np_types::Deadline::NONE)
                .await?;
            Ok(reply.body)
        })
        .unwrap();
    let house = serve("mem:back", router).await;
    let mine = Router::new();
    mine.on("name", |_, _| Ok("I am the client")).unwrap();
    let client = client_with(&house, mine).await;
    let reply = client.call(request("ask")).await.unwrap();
    assert_eq!(reply.body, "I am the client");
}

/// Counts when it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn dropping_a_call_drops_its_handler() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let started = Arc::new(tokio::sync::Notify::new());
    let router = echo();
    let (guard, begun) = (Arc::clone(&dropped), Arc::clone(&started));
    router
        .on_async("forever", move |_, _: Bytes| {
            let guard = Guard(Arc::clone(&guard));
            begun.notify_one();
            async move {
                let _guard = guard;
                std::future::pending::<Result<Bytes, CallError>>().await
            }
        })
        .unwrap();
    let house = serve("mem:drop", router).await;
    let client = client(&house).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("forever")).await }
    });
    started.notified().await;
    call.abort();
    while dropped.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.call(request("np.echo").body("on")).await.unwrap().body, "on");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_the_handler() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (router, guard) = (echo(), Arc::clone(&dropped));
    router
        .on_async("forever", move |_, _: Bytes| {
            let guard = Guard(Arc::clone(&guard));
            async move {
                let _guard = guard;
                std::future::pending::<Result<Bytes, CallError>>().await
            }
        })
        .unwrap();
    let house = serve("mem:late", router).await;
    let client = client(&house).await;
    let before = tokio::time::Instant::now();
    let error = client.call(request("forever")).await.unwrap_err();
    assert_eq!(error.status, Status::DeadlineExceeded);
    let took = before.elapsed();
    assert!((29_900..=30_100).contains(&took.as_millis()), "{took:?}");
    // By the server's own time or by what the client says then: both may be a moment behind.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "the handler has ended");
}

#[tokio::test]
async fn a_panic_fails_its_call_and_no_other() {
    let router = echo();
    router.on("panic", |_, _| -> Result<Bytes, CallError> { panic!("secret detail") }).unwrap();
    router
        .on_async("panic-later", |_, _: Bytes| async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "secret detail");
            Ok(Bytes::new())
        })
        .unwrap();
    let house = serve("mem:panic", router).await;
    let client = client(&house).await;
    for method in ["panic", "panic-later"] {
        let error = client.call(request(method)).await.unwrap_err();
        assert_eq!((error.status, error.outcome), (Status::Internal, Outcome::Answered));
        assert!(!error.text.contains("secret"), "{error}");
    }
    assert_eq!(client.call(request("np.echo").body("on")).await.unwrap().body, "on");
}

#[tokio::test]
async fn an_unknown_method_and_a_wrong_kind_are_answers() {
    let house = serve("mem:unknown", echo()).await;
    let client = client(&house).await;
    let error = client.call(request("no.such")).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::UnknownMethod, Outcome::Answered));
    let mut stream = client.open_stream(request("np.echo")).await.unwrap();
    let error = stream.recv().await.unwrap().unwrap_err();
    assert_eq!(error.status, Status::WrongKind);
}

#[tokio::test]
async fn a_stranger_is_told_why() {
    let house = serve_with("mem:stranger", echo(), |config| config.policy = Policy::allow_keys([])).await;
    let policy = Policy::allow_keys(house.address.keys().iter().copied());
    let error = connect(&house.address, ConnectorConfig::new(keypair(), policy)).await.unwrap_err();
    let np_driver::ConnectError::Handshake { error, .. } = error else { panic!("{error}") };
    assert!(
        matches!(&error, ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_told_so() {
    let house = serve_with("tcp://127.0.0.1:0", echo(), |config| config.max_connections = 2).await;
    let (one, two) = (client(&house).await, client(&house).await);
    let policy = Policy::allow_keys(house.address.keys().iter().copied());
    let config = || ConnectorConfig::new(keypair(), policy.clone());
    let error = connect(&house.address, config()).await.unwrap_err().to_string();
    assert!(error.contains("max_connections"), "{error}");
    for client in [&one, &two] {
        client.call(request("np.echo")).await.unwrap();
    }
    one.close(CloseCode::Normal, "").await;
    // The slot is free once the server has seen the close.
    loop {
        if connect(&house.address, config()).await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_drain_answers_what_was_accepted() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let (router, opened) = (echo(), Arc::clone(&gate));
    let started = Arc::new(tokio::sync::Notify::new());
    let begun = Arc::clone(&started);
    router
        .on_async("gate", move |_, _: Bytes| {
            let (gate, begun) = (Arc::clone(&opened), Arc::clone(&begun));
            async move {
                begun.notify_one();
                gate.notified().await;
                Ok("through")
            }
        })
        .unwrap();
    let mut house = serve("tcp://127.0.0.1:0", router).await;
    let client = client(&house).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(request("gate")).await }
    });
    started.notified().await;
    let drain = tokio::spawn(async move { house.acceptor.drain(Duration::from_secs(10)).await });
    // Once the go-away has come, new calls are refused as not processed.
    let error = loop {
        if let Err(error) = client.call(request("np.echo")).await {
            break error;
        }
    };
    assert_eq!(error.outcome, Outcome::NotProcessed);
    gate.notify_one();
    assert_eq!(call.await.unwrap().unwrap().body, "through");
    drain.await.unwrap();
    assert!(matches!(client.closed().await, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }));
}

#[tokio::test]
async fn withdrawn_calls_fail_as_not_processed_wherever_they_wait() {
    let router = echo();
    router.on_async("never", |_, _: Bytes| std::future::pending::<Result<Bytes, CallError>>()).unwrap();
    let one = Limits { max_calls: 1, ..Limits::default() };
    let house = serve_with("mem:withdraw", router, |config| config.limits = one).await;
    let client = client(&house).await;
    // Two of them at most are with the session: the rest waits before it.
    let calls: Vec<_> = (0..2_000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(request("never")).await })
        })
        .collect();
    client.ping().await.unwrap();
    client.ping().await.unwrap();
    client.withdraw().await;
    let mut outcomes = Vec::new();
    client.ping().await.unwrap();
    client.close(CloseCode::Normal, "").await;
    for call in calls {
        outcomes.push(call.await.unwrap().unwrap_err());
    }
    let withdrawn = outcomes.iter().filter(|error| error.status == Status::Cancelled);
    assert_eq!(withdrawn.filter(|error| error.outcome == Outcome::NotProcessed).count(), 1_999);
    assert_eq!(outcomes.iter().filter(|error| error.outcome == Outcome::Unknown).count(), 1);
}

#[tokio::test]
async fn streams_carry_messages_both_ways() {
    let router = echo();
    router
        .on_stream("double", |_, mut stream: np_dispatch::MessageStream| async move {
            while let Some(message) = stream.recv().await {
                let message = message?;
                stream.send(message.clone()).await?;
                stream.send(message).await?;
            }
            Ok(())
        })
        .unwrap();
    let house = serve("tcp://127.0.0.1:0", router).await;
    let client = client(&house).await;
    let mut stream = client.open_stream(request("double")).await.unwrap();
    for size in [0usize, 1, 1_000, 300_000, 2_000_000] {
        let message = Bytes::from(vec![7; size]);
        stream.send(message.clone()).await.unwrap();
        assert!(stream.recv().await.unwrap().unwrap() == message, "{size}");
        assert!(stream.recv().await.unwrap().unwrap() == message, "{size}");
    }
    stream.finish().await.unwrap();
    assert!(stream.recv().await.is_none());
}

#[tokio::test]
async fn pings_and_key_updates_keep_a_connection_going() {
    let house = serve("mem:ping", echo()).await;
    let client = client(&house).await;
    for _ in 0..10 {
        client.update_key().await;
        client.ping().await.unwrap();
    }
    client.send_one_way(request("np.echo").body("gone")).await.unwrap();
    assert_eq!(client.call(request("np.echo").body("on")).await.unwrap().body, "on");
}
