//! Peers that are slow, and calls beyond the limits of a server: who is cut, who is refused, who waits, and what it costs.

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

use bytes::{Bytes, BytesMut};
use common::by_hand::ByHand;
use common::{config, echo, gate, request, serve_with, until};
use np_dispatch::{MethodOptions, Router, Target, bytes_async};
use np_driver::{Acceptor, AcceptorConfig, Connection, ConnectorConfig, WhenFull, connect};
use np_session::{Event, OpenCall, OpenKind};
use np_transport::{Address, BindOptions, Listener};
use np_trust::Policy;
use np_types::{CloseCode, ConnectionError, Deadline, Outcome, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

/// A server without encryption, for clients that are moved by hand.
async fn open(name: &str, router: Router, change: impl FnOnce(&mut AcceptorConfig)) -> (Acceptor, Address) {
    let mut config = AcceptorConfig::without_identity(Policy::anonymous(), router);
    change(&mut config);
    let mut acceptor = Acceptor::new(config).unwrap();
    let at: Address = format!("mem:{name}?mode=danger-plaintext").parse().unwrap();
    acceptor.listen(Listener::bind(&at, &BindOptions::default()).await.unwrap()).unwrap();
    (acceptor, at)
}

fn large() -> Router {
    let router = echo();
    router.on("large", |_, _| Ok(vec![7u8; 200_000])).unwrap();
    router
}

fn ask(hand: &mut ByHand, method: &str) -> Vec<u8> {
    hand.session.open(OpenCall::new(OpenKind::Request, method.parse().unwrap())).unwrap();
    let mut out = Vec::new();
    hand.session.poll_transmit(hand.clock.now(), &mut out);
    out
}

/// The pipe takes some bytes and then no more: nobody reads, or one byte a second.
#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_or_dribbles_is_cut_after_progress_timeout() {
    for dribbles in [false, true] {
        let limit = Duration::from_secs(30);
        let (acceptor, at) =
            open(if dribbles { "slow-drip" } else { "slow-stop" }, large(), |config| config.progress_timeout = limit)
                .await;
        let mut hand = ByHand::connect(&at).await;
        until(|| acceptor.connections().len() == 1).await;
        // More answers than the pipe between the two holds.
        for _ in 0..4 {
            let call = ask(&mut hand, "large");
            hand.link.io.write_all(&call).await.unwrap();
        }
        let begun = Instant::now();
        until_cut(&acceptor, async {
            if !dribbles {
                std::future::pending::<()>().await;
            }
            loop {
                sleep(Duration::from_secs(1)).await;
                let _ = hand.link.io.read_u8().await;
            }
        })
        .await;
        let took = begun.elapsed();
        assert!(took >= limit && took < limit + Duration::from_secs(5), "{took:?}");
    }
}

/// A record of which a byte comes each second.
#[tokio::test(start_paused = true)]
async fn a_writer_of_one_byte_a_second_is_cut_and_told() {
    let limit = Duration::from_secs(30);
    let (acceptor, at) = open("slow-writer", echo(), |config| {
        (config.progress_timeout, config.lifetime.heartbeat_interval) = (limit, None);
    })
    .await;
    let mut hand = ByHand::connect(&at).await;
    let call = ask(&mut hand, "np.echo");
    hand.session
        .open(OpenCall {
            body: Bytes::from(vec![1; 500]),
            ..OpenCall::new(OpenKind::Request, "np.echo".parse().unwrap())
        })
        .unwrap();
    let mut record = Vec::new();
    hand.session.poll_transmit(hand.clock.now(), &mut record);
    hand.link.io.write_all(&call).await.unwrap();
    // Whole records that come slowly are no offence.
    sleep(limit * 3).await;
    assert_eq!(acceptor.connections().len(), 1, "an idle peer has begun nothing");
    let begun = Instant::now();
    for byte in &record {
        if hand.link.io.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        if acceptor.connections().is_empty() {
            break;
        }
    }
    let took = begun.elapsed();
    assert!(took >= limit && took < limit + Duration::from_secs(5), "{took:?}");
    let mut input = BytesMut::new();
    while hand.link.io.read_buf(&mut input).await.is_ok_and(|count| count > 0) {}
    hand.session.handle_bytes(hand.clock.now(), &mut input);
    let told = hand.session.error().cloned();
    assert!(matches!(told, Some(ConnectionError::ClosedByPeer { code: CloseCode::Progress, .. })), "{told:?}");
}

async fn until_cut(acceptor: &Acceptor, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = async {
            while !acceptor.connections().is_empty() {
                sleep(Duration::from_millis(100)).await;
            }
        } => {}
    }
}

/// A client that reads slowly but does read is no slow peer, however long it takes.
#[tokio::test(start_paused = true)]
async fn a_peer_that_keeps_up_with_the_least_rate_is_not_cut() {
    let (acceptor, at) = open("slow-enough", large(), |config| config.progress_timeout = Duration::from_secs(30)).await;
    let mut hand = ByHand::connect(&at).await;
    let call = ask(&mut hand, "large");
    hand.link.io.write_all(&call).await.unwrap();
    let mut input = BytesMut::new();
    let answered = loop {
        sleep(Duration::from_secs(1)).await;
        let mut some = [0; 10_000];
        let count = hand.link.io.read(&mut some).await.unwrap();
        input.extend_from_slice(&some[..count]);
        hand.session.handle_bytes(hand.clock.now(), &mut input);
        if let Some(event @ (Event::Answered { .. } | Event::Closed(_))) = hand.session.poll_event() {
            break event;
        }
    };
    assert!(matches!(answered, Event::Answered { .. }), "{answered:?}");
    assert_eq!(acceptor.connections().len(), 1);
}

async fn clients(address: &Address, base: &ConnectorConfig, count: usize) -> Vec<Connection> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(connect(address, base.clone()).await.unwrap());
    }
    all
}

/// At n and n + 1, over several connections of one key, and for all keys together.
#[tokio::test]
async fn calls_beyond_the_limits_of_identity_and_server_are_refused_as_safe_to_send_again() {
    let router = echo();
    let (begun, go) = gate(&router, "gate");
    let house = serve_with("mem:call-limits", router, |config| {
        (config.max_identity_calls, config.max_server_calls) = (3, 4);
    })
    .await;
    let own = config(&house);
    let mut all = clients(&house.address, &own, 2).await;
    all.extend(clients(&house.address, &config(&house), 1).await);
    let mut open = Vec::new();
    for at in [0, 0, 1, 2] {
        let client = all[at].clone();
        open.push(tokio::spawn(async move { client.call(request("gate")).await }));
        begun.notified().await;
    }
    for (at, setting) in [(1, "max_identity_calls"), (2, "max_server_calls")] {
        let error = all[at].call(request("np.echo")).await.unwrap_err();
        assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed), "{error}");
        assert!(error.text.contains(setting), "{error}");
    }
    // The slot of a call that was given up is free when its handler has gone.
    open.remove(0).abort();
    let freed = async {
        while all[1].call(request("np.echo")).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
    for call in open {
        go.notify_one();
        call.await.unwrap().unwrap();
    }
    all[1].call(request("np.echo")).await.unwrap();
}

/// The other policy: they wait, and are answered in the end; their deadline still counts.
#[tokio::test]
async fn calls_wait_for_room_where_the_policy_says_so() {
    let router = echo();
    let (begun, go) = gate(&router, "gate");
    let house = serve_with("mem:call-waits", router, |config| {
        (config.max_identity_calls, config.when_full) = (1, WhenFull::Wait);
    })
    .await;
    let client = clients(&house.address, &config(&house), 1).await.remove(0);
    let open = {
        let client = client.clone();
        tokio::spawn(async move { client.call(request("gate")).await })
    };
    begun.notified().await;
    let deadline = client.clock().deadline(Duration::from_millis(50));
    let late = client.call(request("np.echo").deadline(deadline)).await.unwrap_err();
    assert_eq!(late.status, Status::DeadlineExceeded);
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call(request("np.echo").body("patient")).await })
    };
    assert!(timeout(Duration::from_millis(50), client.ping()).await.is_ok(), "others go on meanwhile");
    assert!(!waiting.is_finished());
    go.notify_one();
    open.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().body, "patient");
}

/// At the server's memory those who hold much are not read, the others go on; and that is not for ever.
#[tokio::test(start_paused = true)]
async fn whoever_fills_the_servers_memory_waits_and_is_cut_and_nobody_else_is() {
    const BODY: usize = 100_000;
    let router = echo();
    let begun = Arc::new(AtomicUsize::new(0));
    let go = Arc::new(tokio::sync::Notify::new());
    let (count, gate) = (Arc::clone(&begun), Arc::clone(&go));
    let held = bytes_async(move |_, body: Bytes| {
        count.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(body.slice(..1))
        }
    });
    router.register_target("hold", Target::Unary(Arc::new(held)), MethodOptions::default()).unwrap();
    let house = serve_with("mem:memory", router, |config| {
        (config.max_memory, config.progress_timeout) = (Some(1 << 20), Duration::from_secs(20));
    })
    .await;
    let all = clients(&house.address, &config(&house), 2).await;
    let hog = |count: usize| {
        let calls = (0..count).map(|_| {
            let client = all[0].clone();
            let hold = request("hold").body(vec![1; BODY]).deadline(Deadline::NONE);
            tokio::spawn(async move { client.call(hold).await })
        });
        calls.collect::<Vec<_>>()
    };
    let first = hog(40);
    let small = |text: &'static str| {
        let client = all[1].clone();
        async move { assert_eq!(client.call(request("np.echo").body(text)).await.unwrap().body, text) }
    };
    sleep(Duration::from_secs(5)).await;
    small("beside").await;
    let at_once = begun.load(Ordering::SeqCst);
    // The limit, and one read more.
    assert!((10..=14).contains(&at_once), "{at_once}");
    for _ in 0..40 {
        sleep(Duration::from_millis(100)).await;
        go.notify_one();
    }
    println!("{at_once} calls of {BODY} bytes at work under a limit of 1 MiB; {} in all", begun.load(Ordering::SeqCst));
    for call in first {
        assert_eq!(call.await.unwrap().unwrap().body.len(), 1);
    }
    // Nobody opens the gate any more.
    let again = hog(40);
    let since = Instant::now();
    small("after").await;
    all[0].closed().await;
    let took = since.elapsed();
    assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(22), "{took:?}");
    small("still").await;
    for call in again {
        call.await.unwrap().unwrap_err();
    }
    match all[0].closed().await {
        ConnectionError::ClosedByPeer { code: CloseCode::LimitExceeded, text, .. } => {
            assert!(text.contains("max_memory"), "{text}");
        }
        other => panic!("{other}"),
    }
}

/// A peer whose calls wait is told to keep the next to itself, and is told of the end of that; nobody else is.
#[tokio::test(start_paused = true)]
async fn a_peer_whose_calls_find_no_place_is_told_to_open_fewer() {
    let router = echo();
    let (begun, go) = gate(&router, "gate");
    let (_acceptor, at) = open("allowance", router, |config| {
        (config.max_server_calls, config.when_full) = (2, WhenFull::Wait);
        config.lifetime.heartbeat_interval = None;
    })
    .await;
    let (mut busy, mut other) = (ByHand::connect(&at).await, ByHand::connect(&at).await);
    let call = |name: &str| OpenCall::new(OpenKind::Request, name.parse().unwrap());
    let allowed = |hand: &ByHand| hand.session.peer_settings().unwrap().max_calls;
    let usual = allowed(&busy);
    for _ in 0..3 {
        busy.session.open(call("gate")).unwrap();
    }
    busy.ping().await;
    begun.notified().await;
    busy.ping().await;
    assert_eq!(allowed(&busy), 2, "as many as are at work");
    // Three go on, and the rest stays here.
    for _ in 0..10 {
        busy.session.open(call("np.echo")).unwrap();
    }
    busy.ping().await;
    assert_eq!(busy.session.queued(), 10);
    other.ping().await;
    assert_eq!(allowed(&other), usual);
    sleep(Duration::from_secs(60)).await;
    for _ in 0..3 {
        go.notify_one();
        while !matches!(busy.event().await, Event::Answered { .. }) {}
    }
    for _ in 0..10 {
        while !matches!(busy.event().await, Event::Answered { .. }) {}
    }
    // No call has to end for that: time is enough.
    sleep(Duration::from_secs(1)).await;
    busy.ping().await;
    assert_eq!((allowed(&busy), busy.session.queued()), (usual, 0));
}

/// A method with tasks of its own is at work until its task has ended, whoever has gone.
#[tokio::test]
async fn a_cancelled_call_gives_its_slot_back_only_when_its_work_has_ended() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    struct Running(Arc<AtomicUsize>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let router = echo();
    let handler = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        bytes_async(move |_, _| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let guard = Running(Arc::clone(&running));
            async move {
                let _guard = guard;
                sleep(Duration::from_secs(60)).await;
                Ok("done")
            }
        })
    };
    let spawned = MethodOptions::default().spawned();
    router.register_target("long", Target::Unary(Arc::new(handler)), spawned).unwrap();
    let house = serve_with("mem:slots", router, |config| config.max_identity_calls = 2).await;
    let client = clients(&house.address, &config(&house), 1).await.remove(0);
    for _ in 0..300 {
        let call = client.call(request("long"));
        let _ = timeout(Duration::from_millis(1), call).await;
    }
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
    until(|| running.load(Ordering::SeqCst) == 0).await;
}

/// A peer that asks for signs of life without end is cut by name, and nobody else notices.
#[tokio::test]
async fn a_flood_ends_its_own_connection_and_no_other_waits() {
    let (acceptor, at) = open("flood", echo(), |_| {}).await;
    let mut other = ByHand::connect(&at).await;
    let mut hand = ByHand::connect(&at).await;
    until(|| acceptor.connections().len() == 2).await;
    let flood = tokio::spawn(async move {
        let mut out = Vec::new();
        let mut pings = 0u32;
        loop {
            hand.session.ping();
            hand.session.poll_transmit(hand.clock.now(), &mut out);
            pings += 1;
            if hand.link.io.write_all(&std::mem::take(&mut out)).await.is_err() || pings > 100_000 {
                break;
            }
            // What comes back is read, or the pipe would be what stops it.
            let mut some = [0; 4_096];
            while let Some(Ok(count @ 1..)) = futures_util::FutureExt::now_or_never(hand.link.io.read(&mut some)) {
                let mut input = BytesMut::from(&some[..count]);
                hand.session.handle_bytes(hand.clock.now(), &mut input);
            }
            if hand.session.error().is_some() {
                break;
            }
        }
        (pings, hand.session.error().cloned())
    });
    while !flood.is_finished() {
        other.session.open(OpenCall::new(OpenKind::Request, "np.echo".parse().unwrap())).unwrap();
        let answered = async { while !matches!(other.event().await, Event::Answered { .. }) {} };
        timeout(Duration::from_secs(5), answered).await.expect("others are served");
    }
    let (pings, told) = flood.await.unwrap();
    assert!(pings < 20_000, "{pings}");
    assert!(matches!(told, Some(ConnectionError::ClosedByPeer { code: CloseCode::Flood, .. }) | None), "{told:?}");
    until(|| acceptor.connections().len() == 1).await;
}

/// What an honest peer waits for is not held against it: answers that wait for its credit, and what is over.
#[tokio::test(start_paused = true)]
async fn answers_on_their_way_and_calls_that_are_over_stop_nobody() {
    let router = large();
    router.on("larger", |_, _| Ok(vec![7u8; 8 << 20])).unwrap();
    let house = serve_with("mem:memory-answers", router, |config| config.max_memory = Some(4 << 20)).await;
    let all = clients(&house.address, &config(&house), 5).await;
    let calls = all.iter().map(|client| client.call(request("larger")));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap().body.len(), 8 << 20);
    }
    // Requests that were answered long ago take no room from others.
    let once = |client: Connection| async move { client.call(request("np.echo").body(vec![1; 3 << 20])).await };
    for client in &all {
        once(client.clone()).await.unwrap();
    }
    let since = Instant::now();
    once(all[0].clone()).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

/// Streams that a handler does not read fill the memory of a server as calls do, and bodies count by what they are when whole.
#[tokio::test(start_paused = true)]
async fn unread_streams_and_unpacked_bodies_count_against_the_memory_of_a_server() {
    let router = echo();
    let begun = Arc::new(AtomicUsize::new(0));
    router
        .on_stream("deaf", |_, stream| async move {
            let _unread = stream;
            std::future::pending::<Result<(), np_types::CallError>>().await
        })
        .unwrap();
    let count = Arc::clone(&begun);
    let hold = bytes_async(move |_, body: Bytes| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let _held = body;
            std::future::pending::<Result<Bytes, np_types::CallError>>().await
        }
    });
    router.register_target("hold", Target::Unary(Arc::new(hold)), MethodOptions::default()).unwrap();
    let house = serve_with("mem:memory-streams", router, |config| config.max_memory = Some(1 << 20)).await;
    let client = clients(&house.address, &config(&house), 1).await.remove(0);
    let mut sent = 0;
    let mut streams = Vec::new();
    'all: for _ in 0..20 {
        let opening = client.open_stream(request("deaf").deadline(Deadline::NONE));
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(2), opening).await else { break };
        for _ in 0..25 {
            match timeout(Duration::from_secs(2), stream.send(vec![1; 10_000])).await {
                Ok(Ok(())) => sent += 10_000,
                _ => break 'all,
            }
        }
        streams.push(stream);
    }
    assert!(sent < 2 << 20, "{sent} of 5 MB were taken");
    drop(streams);
    // Nor do messages larger than a window, which hold no credit once they are whole.
    let client = clients(&house.address, &config(&house), 1).await.remove(0);
    let mut streams = Vec::new();
    let mut whole = 0;
    for _ in 0..20 {
        let opening = client.open_stream(request("deaf").deadline(Deadline::NONE));
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(2), opening).await else { break };
        if let Err(error) = stream.send(vec![1; 2 << 20]).await {
            // What came of the last one waits for this client, which gets nothing more taken for it.
            assert!(error.status == Status::Unavailable && error.text.contains("max_memory"), "{error}");
            break;
        }
        if !matches!(timeout(Duration::from_secs(2), stream.flush()).await, Ok(Ok(()))) {
            break;
        }
        whole += 1;
        streams.push(stream);
    }
    assert!((1..=3).contains(&whole), "{whole} messages of 2 MiB under 1 MiB");
    drop(streams);
    let client = clients(&house.address, &config(&house), 1).await.remove(0);
    let calls = (0..40).map(|_| client.call(request("hold").body(vec![1; 1 << 20]).compress(true)));
    let _ = timeout(Duration::from_secs(5), futures_util::future::join_all(calls)).await;
    // What one turn had read is let through; nothing after it is.
    assert!((1..=20).contains(&begun.load(Ordering::SeqCst)), "{begun:?} of 40 bodies of 1 MiB under 1 MiB");
}

/// The largest answer, read at a steady rate that is far above the least, takes longer than `progress_timeout`, and than
/// two heartbeats.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_goes_on_is_not_cut_however_long_it_takes() {
    let router = echo();
    router.on("larger", |_, _| Ok(vec![7u8; 8 << 20])).unwrap();
    let (acceptor, at) = open("steady", router, |config| config.progress_timeout = Duration::from_secs(20)).await;
    let mut hand = ByHand::connect(&at).await;
    let record = ask(&mut hand, "larger");
    hand.link.io.write_all(&record).await.unwrap();
    let begun = Instant::now();
    let (mut input, mut out) = (BytesMut::new(), Vec::new());
    loop {
        let mut piece = vec![0; 16 << 10];
        let count = hand.link.io.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "cut after {:?}", begun.elapsed());
        input.extend_from_slice(&piece[..count]);
        hand.session.handle_bytes(hand.clock.now(), &mut input);
        while let Some(event) = hand.session.poll_event() {
            if let Event::Answered { answer, .. } = event {
                assert_eq!(answer.body.len(), 8 << 20);
                assert!(begun.elapsed() > Duration::from_secs(100), "{:?}", begun.elapsed());
                assert_eq!(acceptor.connections().len(), 1);
                return;
            }
        }
        out.clear();
        hand.session.poll_transmit(hand.clock.now(), &mut out);
        hand.link.io.write_all(&out).await.unwrap();
        hand.session.handle_written(out.len());
        sleep(Duration::from_millis(250)).await;
    }
}
