//! Streams over real connections: credit, back-pressure, many at once, ends of every kind.

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
use common::{House, client, client_with, echo, now, request, serve, serve_with, until, within, xx_initiator};
use np_dispatch::MessageStream;
use np_session::{Event, HandshakeEvent, OpenCall, OpenKind, Session};
use np_transport::Link;
use np_types::{CallError, CloseCode, Limits, Outcome, Status, Time};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

const KIB: usize = 1 << 10;

#[tokio::test]
async fn what_is_read_after_the_end_gives_its_credit_back() {
    let router = echo();
    router
        .on_stream("burst", |_, mut stream: MessageStream| async move {
            for _ in 0..15 {
                stream.send(vec![7; 16 * KIB]).await?;
            }
            Ok(())
        })
        .unwrap();
    let house = serve("mem:after-the-end", router).await;
    let client = client(&house).await;
    // Ten times 240 KiB are more than the connection's window of 1 MiB.
    within(async {
        for _ in 0..10 {
            let mut stream = client.open_stream(request("burst")).await.unwrap();
            // All of it, and the end, are there before the first is read.
            client.ping().await.unwrap();
            client.call(request("np.echo").body("round")).await.unwrap();
            tokio::task::yield_now().await;
            let mut size = 0;
            while let Some(message) = stream.recv().await {
                size += message.unwrap().len();
            }
            assert_eq!(size, 240 * KIB);
        }
        client.call(request("np.echo").body(vec![1; 200 * KIB])).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_handler_leaves_unread_gives_its_credit_back() {
    let router = echo();
    router.on_stream("ignore", |_, _stream: MessageStream| async { Ok(()) }).unwrap();
    router
        .on_stream("wait", |_, stream: MessageStream| async move {
            let _stream = stream;
            std::future::pending().await
        })
        .unwrap();
    let house = serve("mem:unread", router).await;
    let client = client(&house).await;
    within(async {
        for at in 0..20 {
            let method = if at % 2 == 0 { "wait" } else { "ignore" };
            let mut stream = client.open_stream(request(method)).await.unwrap();
            for _ in 0..12 {
                if stream.send(vec![0; 20 * KIB]).await.is_err() {
                    break;
                }
            }
            drop(stream);
            client.ping().await.unwrap();
        }
        let body = vec![1; 200 * KIB];
        assert_eq!(client.call(request("np.echo").body(body.clone())).await.unwrap().body, body);
    })
    .await;
}

#[tokio::test]
async fn many_small_messages_wait_for_a_slow_reader() {
    let router = echo();
    let open = Arc::new(Notify::new());
    let gate = Arc::clone(&open);
    router
        .on_stream("sum", move |_, mut stream: MessageStream| {
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                let mut sum = 0u64;
                while let Some(number) = stream.recv_as::<u32>().await {
                    sum += u64::from(number?);
                }
                stream.send_as(&sum).await
            }
        })
        .unwrap();
    let house = serve("mem:small", router).await;
    let client = client(&house).await;
    let mut stream = client.open_stream(request("sum")).await.unwrap();
    for number in 0..20_000u32 {
        stream.send_as(&number).await.unwrap();
    }
    stream.finish().await.unwrap();
    open.notify_one();
    assert_eq!(within(stream.recv_as::<u64>()).await.unwrap().unwrap(), 199_990_000);
}

#[tokio::test]
async fn empty_messages_that_nobody_reads_end_their_stream_alone() {
    let router = echo();
    router
        .on_stream("wait", |_, stream: MessageStream| async move {
            let _stream = stream;
            std::future::pending().await
        })
        .unwrap();
    let house = serve("mem:empty", router).await;
    let client = client(&house).await;
    let mut stream = client.open_stream(request("wait")).await.unwrap();
    within(async { while stream.send(Bytes::new()).await.is_ok() {} }).await;
    let error = stream.recv().await.unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::Answered));
    assert!(error.text.contains("empty messages"), "{error}");
    client.call(request("np.echo")).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_stops_holds_its_sender_and_nobody_else() {
    let router = echo();
    let read = Arc::new(Notify::new());
    let gate = Arc::clone(&read);
    router
        .on_stream("stop", move |_, mut stream: MessageStream| {
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                while let Some(message) = stream.recv().await {
                    message?;
                }
                Ok(())
            }
        })
        .unwrap();
    let house = serve("mem:stop", router).await;
    let client = client(&house).await;
    let stream = client.open_stream(request("stop")).await.unwrap();
    let (mut receiver, mut sender) = stream.split();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for _ in 0..200 {
            sender.send(vec![0; 8 * KIB]).await.unwrap();
            counter.fetch_add(8 * KIB, Ordering::SeqCst);
        }
        sender.finish().await.unwrap();
    });
    // The window is 256 KiB; one message is handed over beyond it, and one may stand half in it.
    until(|| sent.load(Ordering::SeqCst) >= 256 * KIB).await;
    for _ in 0..50 {
        client.call(request("np.echo").body(vec![0; 32 * KIB])).await.unwrap();
    }
    assert!(sent.load(Ordering::SeqCst) <= (256 + 16) * KIB, "{sent:?}");
    read.notify_one();
    within(sending).await.unwrap();
    assert!(within(receiver.recv()).await.is_none());
    assert_eq!(sent.load(Ordering::SeqCst), 1_600 * KIB);
}

#[tokio::test]
async fn a_thousand_streams_are_open_at_once() {
    let router = echo();
    router
        .on_stream("double", |_, mut stream: MessageStream| async move {
            while let Some(number) = stream.recv_as::<u32>().await {
                stream.send_as(&(number? * 2)).await?;
            }
            Ok(())
        })
        .unwrap();
    let house = serve("tcp://127.0.0.1:0", router).await;
    let client = client(&house).await;
    within(async {
        let mut streams = Vec::new();
        for _ in 0..1_000 {
            streams.push(client.open_stream(request("double")).await.unwrap());
        }
        for round in 0..3u32 {
            for (stream, at) in streams.iter_mut().zip(0u32..) {
                stream.send_as(&(at + round)).await.unwrap();
            }
            for (stream, at) in streams.iter_mut().zip(0u32..) {
                assert_eq!(stream.recv_as::<u32>().await.unwrap().unwrap(), (at + round) * 2);
            }
        }
        for mut stream in streams {
            stream.finish().await.unwrap();
            assert!(stream.recv().await.is_none());
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_its_handler_gave_away_ends_with_the_handler() {
    let router = echo();
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    router
        .on_stream("give", move |_, mut stream: MessageStream| {
            let tell = Arc::clone(&tell);
            tokio::spawn(async move {
                while stream.recv().await.is_some() {}
                tell.notify_one();
            });
            async { Ok(()) }
        })
        .unwrap();
    let house = serve("mem:give", router).await;
    let client = client(&house).await;
    let mut stream = client.open_stream(request("give")).await.unwrap();
    assert!(within(stream.recv()).await.is_none());
    within(ended.notified()).await;
}

#[tokio::test]
async fn the_end_of_the_connection_ends_streams_on_both_sides() {
    let router = echo();
    let dropped = Arc::new(Notify::new());
    let tell = Arc::clone(&dropped);
    router
        .on_stream("wait", move |_, stream: MessageStream| {
            let guard = Dropped(Arc::clone(&tell));
            async move {
                let _both = (stream, guard);
                std::future::pending().await
            }
        })
        .unwrap();
    let house = serve("mem:both-sides", router).await;
    let client = client(&house).await;
    let mut stream = client.open_stream(request("wait")).await.unwrap();
    stream.send("one").await.unwrap();
    client.ping().await.unwrap();
    client.close(CloseCode::Normal, "").await;
    let error = within(stream.recv()).await.unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::Unknown));
    assert!(error.cause.is_some(), "{error:?}");
    assert!(stream.send("two").await.is_err());
    within(dropped.notified()).await;
}

struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn the_server_opens_streams_to_its_client() {
    let house = serve("mem:push", echo()).await;
    let mine = echo();
    mine.on_stream("double", |_, mut stream: MessageStream| async move {
        while let Some(message) = stream.recv().await {
            let message = message?;
            stream.send([&message[..], &message[..]].concat()).await?;
        }
        Ok(())
    })
    .unwrap();
    let _client = client_with(&house, mine).await;
    until(|| house.acceptor.connections().len() == 1).await;
    let back = house.acceptor.connections().remove(0);
    assert_eq!(back.call(request("np.echo").body("push")).await.unwrap().body, "push");
    let mut stream = back.open_stream(request("double")).await.unwrap();
    stream.send("ab").await.unwrap();
    assert_eq!(within(stream.recv()).await.unwrap().unwrap(), "abab");
}

#[tokio::test]
async fn a_message_larger_than_the_peer_takes_fails_its_stream_by_name() {
    let router = echo();
    router
        .on_stream("read", |_, mut stream: MessageStream| async move {
            while stream.recv().await.is_some() {}
            Ok(())
        })
        .unwrap();
    let small = Limits { max_message: 64 << 10, ..Limits::default() };
    let house = serve_with("mem:large-message", router, |config| config.limits = small).await;
    let client = client(&house).await;
    let mut stream = client.open_stream(request("read")).await.unwrap();
    stream.send(vec![0; 64 * KIB]).await.unwrap();
    stream.send(vec![0; 64 * KIB + 1]).await.unwrap();
    let error = within(stream.flush()).await.unwrap_err();
    assert!(error.text.contains("max_message"), "{error}");
    drop(stream);
    client.call(request("np.echo")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_stream_ends_it_on_both_sides() {
    let router = echo();
    let dropped = Arc::new(Notify::new());
    let tell = Arc::clone(&dropped);
    router
        .on_stream("wait", move |_, stream: MessageStream| {
            let guard = Dropped(Arc::clone(&tell));
            async move {
                let _both = (stream, guard);
                std::future::pending::<Result<(), CallError>>().await
            }
        })
        .unwrap();
    let house = serve("mem:stream-deadline", router).await;
    let client = client(&house).await;
    let deadline = client.clock().deadline(Duration::from_secs(5));
    let mut stream = client.open_stream(request("wait").deadline(deadline)).await.unwrap();
    let before = tokio::time::Instant::now();
    let error = stream.recv().await.unwrap().unwrap_err();
    assert_eq!(error.status, Status::DeadlineExceeded);
    assert!((4_900..5_200).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    dropped.notified().await;
}

#[tokio::test]
async fn large_messages_of_streams_share_one_budget() {
    let router = echo();
    router
        .on_stream("size", |_, mut stream: MessageStream| async move {
            while let Some(message) = stream.recv().await {
                stream.send_as(&message?.len()).await?;
            }
            Ok(())
        })
        .unwrap();
    let limits = Limits {
        max_message: 1 << 20,
        stream_window: 16 << 10,
        connection_window: 64 << 10,
        // Windows that grow let the messages pass one after the other.
        max_window: 16 << 10,
        reassembly_budget: 1 << 20,
        ..Limits::default()
    };
    let house = serve_with("mem:budget", router, |config| config.limits = limits).await;
    let client = client(&house).await;
    // One after the other, every message fits, however many there are.
    let mut stream = client.open_stream(request("size")).await.unwrap();
    for _ in 0..5 {
        stream.send(vec![0; 1 << 20]).await.unwrap();
        assert_eq!(within(stream.recv_as::<usize>()).await.unwrap().unwrap(), 1 << 20);
    }
    // Four at once do not: those that find no room end by name, the others arrive, the connection stands.
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = client.open_stream(request("size")).await.unwrap();
        stream.send(vec![0; 1 << 20]).await.unwrap();
        streams.push(stream);
    }
    let (mut arrived, mut refused) = (0, 0);
    for mut stream in streams {
        match within(stream.recv_as::<usize>()).await.unwrap() {
            Ok(size) => arrived += usize::from(size == 1 << 20),
            Err(error) => {
                assert_eq!(error.status, Status::LimitReached);
                assert!(error.text.contains("reassembly_budget"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(arrived >= 1 && refused >= 1 && arrived + refused == 4, "{arrived} arrived, {refused} refused");
    stream.send(vec![0; 1 << 20]).await.unwrap();
    assert_eq!(within(stream.recv_as::<usize>()).await.unwrap().unwrap(), 1 << 20);
}

/// A peer that leads its session by hand, to say what no handle of ours would.
struct Raw {
    link: Link,
    session: Session,
    input: BytesMut,
}

impl Raw {
    async fn connect(house: &House) -> Self {
        let mut link = np_transport::connect(&house.address).await.unwrap();
        let (mut handshake, mut input) = (xx_initiator(now()), BytesMut::new());
        loop {
            match handshake.poll_event() {
                Some(HandshakeEvent::Done) => break,
                Some(HandshakeEvent::Peer(_)) => handshake.admit().unwrap(),
                Some(other) => panic!("{other:?}"),
                None => {
                    let mut out = Vec::new();
                    handshake.poll_transmit(&mut out);
                    link.io.write_all(&out).await.unwrap();
                    link.io.read_buf(&mut input).await.unwrap();
                    handshake.handle_bytes(&mut input);
                }
            }
        }
        let session = handshake.into_session(Limits::default(), Time::ZERO).unwrap();
        let mut raw = Self { link, session, input };
        raw.write().await;
        while !matches!(raw.session.poll_event(), Some(Event::Ready(_))) {
            raw.read().await;
        }
        raw
    }

    async fn read(&mut self) {
        self.link.io.read_buf(&mut self.input).await.unwrap();
        self.session.handle_bytes(Time::ZERO, &mut self.input);
    }

    async fn write(&mut self) {
        let mut out = Vec::new();
        self.session.poll_transmit(Time::ZERO, &mut out);
        self.link.io.write_all(&out).await.unwrap();
        self.session.handle_written(out.len());
    }

    /// Goes on until there is nothing open.
    async fn until_idle(&mut self) {
        self.write().await;
        while !self.session.is_idle() {
            self.read().await;
            self.write().await;
        }
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_whatever_reason_its_caller_names() {
    let router = echo();
    let dropped = Arc::new(Notify::new());
    let tell = Arc::clone(&dropped);
    router
        .on_async("wait", move |_, _| {
            let guard = Dropped(Arc::clone(&tell));
            async move {
                let _guard = guard;
                std::future::pending::<Result<(), CallError>>().await
            }
        })
        .unwrap();
    let house = serve("mem:any-reason", router).await;
    within(async {
        let mut raw = Raw::connect(&house).await;
        for status in [Status::Ok, Status::Unavailable, Status::Cancelled, Status::Other(999)] {
            let call = OpenCall::new(OpenKind::Request, "wait".parse().unwrap());
            let key = raw.session.open(call).unwrap();
            raw.write().await;
            raw.session.cancel_with(key, status);
            raw.until_idle().await;
            dropped.notified().await;
            assert_eq!(raw.session.error(), None);
            let events: Vec<_> = std::iter::from_fn(|| raw.session.poll_event()).collect();
            assert!(!events.iter().any(|event| matches!(event, Event::Answered { .. })), "{events:?}");
        }
    })
    .await;
}
