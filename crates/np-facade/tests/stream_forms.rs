//! Streams as users know them: of messages, values and bytes, from either side, half-closed, cancelled, with trailers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use np_facade::{
    ByteReader, ByteStream, ByteWriter, CallError, Client, Codec, Connection, Identity, Limits, MessageStream,
    Metadata, Outcome, Policy, Reply, Request, Router, Server, ServerBuilder, Status, TypedStream,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(address)
}

async fn connect(server: &Server) -> Client {
    Client::connect(&server.addresses()[0].to_string()).await.unwrap()
}

async fn within<T>(body: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), body).await.unwrap()
}

fn request(method: &str) -> Request {
    Request::new(method.parse().unwrap())
}

/// Three streams over values, one for each direction of streaming.
fn streams(router: &Router) {
    router
        .on_stream("sum", |_, messages| async move {
            let mut values: TypedStream<u64, u64> = messages.typed();
            let mut sum = 0;
            while let Some(value) = values.recv().await {
                sum += value?;
            }
            values.send(&sum).await
        })
        .unwrap();
    router
        .on_stream("count", |_, mut messages| async move {
            let until: u64 = messages.recv_as().await.ok_or_else(|| CallError::failed("no number"))??;
            let mut values: TypedStream<(), u64> = messages.typed();
            values.send_all(&mut stream::iter((0..until).map(Ok))).await
        })
        .unwrap();
    router
        .on_stream("double", |ctx, messages| async move {
            assert_eq!(ctx.metadata().value("who"), Some(&b"caller"[..]));
            let (numbers, doubled) = messages.typed::<u64, u64>().split();
            numbers.map_ok(|number| number * 2).forward(doubled).await
        })
        .unwrap();
}

/// Uses all three from a connection, on whichever side it is.
async fn use_streams(connection: &Connection, codec: Codec) {
    let mut metadata = Metadata::new();
    metadata.insert("who", b"caller").unwrap();
    let open = |method| connection.open_stream(request(method).codec(codec).metadata(metadata.clone()));

    let mut sum: TypedStream<u64, u64> = open("sum").await.unwrap().typed();
    sum.send_all(&mut stream::iter((1..=1_000).map(Ok))).await.unwrap();
    sum.close().await.unwrap();
    assert_eq!(sum.try_collect::<Vec<_>>().await.unwrap(), [500_500]);

    let mut count = open("count").await.unwrap();
    count.send_as(&1_000u64).await.unwrap();
    let counted = count.typed::<u64, ()>().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(counted, (0..1_000).collect::<Vec<_>>());

    let mut double: TypedStream<u64, u64> = open("double").await.unwrap().typed();
    for number in 0..100 {
        double.feed(number).await.unwrap();
        assert_eq!(double.next().await, Some(Ok(number * 2)));
    }
    // Its direction ends first, and the other goes on until it is read.
    double.feed(7).await.unwrap();
    double.close().await.unwrap();
    assert_eq!(double.next().await, Some(Ok(14)));
    assert_eq!(double.next().await, None);
}

#[tokio::test]
async fn values_stream_in_each_direction_from_either_side_in_every_codec() {
    let server = builder("mem:value-streams").start().await.unwrap();
    streams(server.router());
    let mine = Router::new();
    streams(&mine);
    let client = Client::builder(server.addresses()[0].to_string()).router(mine).connect().await.unwrap();
    client.ping().await.unwrap();
    let back = server.connections().remove(0);
    within(async {
        for codec in [Codec::Bytes, Codec::Postcard, Codec::Json, Codec::MessagePack] {
            use_streams(&client.connection(), codec).await;
            use_streams(&back, codec).await;
        }
    })
    .await;
}

#[tokio::test]
async fn messages_of_bytes_are_a_stream_and_a_sink() {
    let server = builder("mem:byte-messages")
        .on_stream("echo", |_, messages| async move {
            let (receiver, sender) = messages.split();
            receiver.forward(sender).await
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let (receiver, mut sender) = client.open_stream("echo").await.unwrap().split();
    let sent: Vec<_> = (0..200u32).map(|at| Bytes::from(vec![at as u8; at as usize * 50])).collect();
    let all = sent.clone();
    let sending = tokio::spawn(async move {
        sender.send_all(&mut stream::iter(all.into_iter().map(Ok))).await.unwrap();
        sender.close().await.unwrap();
    });
    assert_eq!(within(receiver.try_collect::<Vec<_>>()).await.unwrap(), sent);
    sending.await.unwrap();
}

fn reader(address: &str) -> ServerBuilder {
    builder(address).on_stream("upper", |_, messages| async move {
        let (mut reader, mut writer) = ByteStream::new(messages).into_split();
        let broken = |error: io::Error| CallError::failed(error.to_string());
        let mut buffer = [0; 1_000];
        loop {
            let size = reader.read(&mut buffer).await.map_err(broken)?;
            if size == 0 {
                return Ok(());
            }
            writer.write_all(&buffer[..size].to_ascii_uppercase()).await.map_err(broken)?;
        }
    })
}

#[tokio::test]
async fn bytes_are_read_and_written_as_by_a_socket() {
    let server = reader("mem:bytes").start().await.unwrap();
    let client = connect(&server).await;
    let (mut reader, mut writer) = ByteStream::new(client.open_stream("upper").await.unwrap()).into_split();
    let text = b"some text\nand more ".repeat(40_000);
    let expected = text.to_ascii_uppercase();
    let writing = tokio::spawn(async move {
        // One write that is larger than a message, and a window, may be.
        writer.write_all(&text).await.unwrap();
        writer.flush().await.unwrap();
        writer.shutdown().await.unwrap();
        assert!(writer.write(b"late").await.is_err());
        writer
    });
    let mut read = Vec::new();
    within(reader.read_to_end(&mut read)).await.unwrap();
    assert!(read == expected, "{} bytes", read.len());
    writing.await.unwrap();
    // The end stays the end.
    assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);

    let mut lines = ByteStream::new(client.open_stream("upper").await.unwrap());
    lines.write_all(b"one\ntw").await.unwrap();
    lines.write_all(b"o\nthree").await.unwrap();
    lines.shutdown().await.unwrap();
    let mut lines = lines.lines();
    for line in ["ONE", "TWO", "THREE"] {
        assert_eq!(within(lines.next_line()).await.unwrap().as_deref(), Some(line));
    }
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn two_ends_of_a_socket_and_a_stream_are_joined() {
    let server = reader("mem:tunnel").start().await.unwrap();
    let client = connect(&server).await;
    let (mut near, mut far) = tokio::io::duplex(4 << 10);
    let mut tunnel = ByteStream::new(client.open_stream("upper").await.unwrap());
    let joined = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut tunnel).await });
    near.write_all(b"through the tunnel").await.unwrap();
    near.shutdown().await.unwrap();
    let mut read = String::new();
    within(near.read_to_string(&mut read)).await.unwrap();
    assert_eq!(read, "THROUGH THE TUNNEL");
    assert_eq!(joined.await.unwrap().unwrap(), (18, 18));
}

#[tokio::test]
async fn a_writer_makes_messages_that_the_peer_takes() {
    let (sizes, mut seen) = mpsc::unbounded_channel();
    let take = move |_, mut messages: MessageStream| {
        let sizes = sizes.clone();
        async move {
            while let Some(message) = messages.recv().await {
                let _ = sizes.send(message?.len());
            }
            Ok(())
        }
    };
    let limits = Limits { max_message: 10_000, ..Limits::default() };
    let small = builder("mem:small-messages").limits(limits).on_stream("take", take.clone()).start().await.unwrap();
    let large = builder("mem:large-messages").on_stream("take", take).start().await.unwrap();
    for (server, most) in [(small, 10_000), (large, 64 << 10)] {
        let client = connect(&server).await;
        let mut writer = ByteStream::new(client.open_stream("take").await.unwrap());
        writer.write_all(&vec![0; 2 * most + 1]).await.unwrap();
        writer.shutdown().await.unwrap();
        let mut rest = Vec::new();
        within(writer.read_to_end(&mut rest)).await.unwrap();
        assert_eq!([seen.recv().await, seen.recv().await, seen.recv().await], [Some(most), Some(most), Some(1)]);
    }
}

#[tokio::test]
async fn bytes_that_nobody_reads_hold_their_writer() {
    let (reading, read) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, done) = (Arc::clone(&reading), Arc::clone(&read));
    let server = builder("mem:slow-bytes")
        .on_stream("slow", move |_, messages| {
            let (begin, done) = (Arc::clone(&begin), Arc::clone(&done));
            async move {
                let (receiver, _sender) = messages.split();
                let mut reader = ByteReader::new(receiver);
                let mut first = [0; 1];
                reader.read_exact(&mut first).await.unwrap();
                begin.notified().await;
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest.len(), (2 << 20) - 1);
                done.notify_one();
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let (_receiver, sender) = client.open_stream("slow").await.unwrap().split();
    let mut writer = ByteWriter::new(sender);
    let written = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        while *counter.lock().unwrap() < 2 << 20 {
            let size = writer.write(&[1; 16 << 10]).await.unwrap();
            *counter.lock().unwrap() += size;
        }
        writer.shutdown().await.unwrap();
        writer
    });
    // Rounds enough for whatever could still move to have moved.
    for _ in 0..200 {
        client.call("np.echo", "round").await.unwrap();
    }
    // A window of 256 KiB, the message whose first byte was read, one that waits and one on its way.
    let held = *written.lock().unwrap();
    assert!((256 << 10..=304 << 10).contains(&held), "{held}");
    reading.notify_one();
    within(read.notified()).await;
    writing.await.unwrap();
}

#[tokio::test]
async fn the_error_of_a_stream_is_inside_the_error_of_its_bytes() {
    let server = builder("mem:byte-errors")
        .on_stream("fail", |_, mut messages| async move {
            messages.send("some").await?;
            // An error does not wait for what has not left.
            messages.flush().await?;
            Err(CallError::answered(Status::PermissionDenied, "not for you"))
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let mut bytes = ByteStream::new(client.open_stream("fail").await.unwrap());
    let mut read = Vec::new();
    for expected in [&b"some"[..], b""] {
        let error = within(bytes.read_to_end(&mut read)).await.unwrap_err();
        assert_eq!(read, expected);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let inside = error.get_ref().unwrap().downcast_ref::<CallError>().unwrap();
        assert_eq!((inside.status, &*inside.text), (Status::PermissionDenied, "not for you"));
        read.clear();
    }
    assert!(bytes.write_all(b"more").await.is_err());
}

/// A stream whose handler lets another task read, which tells how the stream ended.
fn given_away(address: &str) -> (ServerBuilder, mpsc::UnboundedReceiver<Option<CallError>>) {
    let (ends, seen) = mpsc::unbounded_channel();
    let builder = builder(address).on_stream("give", move |_, mut messages| {
        let ends = ends.clone();
        async move {
            messages.send("open").await?;
            tokio::spawn(async move {
                let end = loop {
                    match messages.recv().await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break Some(error),
                        None => break None,
                    }
                };
                let _ = ends.send(end);
            });
            std::future::pending().await
        }
    });
    (builder, seen)
}

#[tokio::test]
async fn a_caller_cancels_for_a_reason_that_the_callee_learns() {
    let (server, mut ends) = given_away("mem:caller-cancels");
    let server = server.start().await.unwrap();
    let client = connect(&server).await;
    let mut stream = client.open_stream("give").await.unwrap();
    within(stream.recv()).await.unwrap().unwrap();
    stream.cancel(Status::LimitReached, "enough");
    let error = within(ends.recv()).await.unwrap().unwrap();
    assert_eq!(error.status, Status::LimitReached);

    // A drop is a cancel without a reason.
    let mut stream = client.open_stream("give").await.unwrap();
    within(stream.recv()).await.unwrap().unwrap();
    drop(stream);
    assert_eq!(within(ends.recv()).await.unwrap().unwrap().status, Status::Cancelled);

    // One half cancels, and the other learns of it here. That all is well is no reason.
    let (mut receiver, sender) = client.open_stream("give").await.unwrap().split();
    within(receiver.recv()).await.unwrap().unwrap();
    sender.cancel(Status::Ok, "enough of it");
    assert_eq!(within(ends.recv()).await.unwrap().unwrap().status, Status::Failed);
    let error = within(receiver.recv()).await.unwrap().unwrap_err();
    assert_eq!((error.outcome, &*error.text), (Outcome::Unknown, "enough of it"));
    let (receiver, mut sender) = client.open_stream("give").await.unwrap().split();
    receiver.cancel(Status::PermissionDenied, "no");
    assert_eq!(within(ends.recv()).await.unwrap().unwrap().status, Status::PermissionDenied);
    assert_eq!(sender.send("more").await.unwrap_err().status, Status::PermissionDenied);
    client.call("np.echo", "").await.unwrap();
}

#[tokio::test]
async fn a_callee_ends_its_stream_for_a_reason_that_the_caller_learns() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let dropped = Arc::new(Notify::new());
    let server = builder("mem:callee-cancels").start().await.unwrap();
    let router = server.router();
    let tell = Arc::clone(&dropped);
    let answer = |_, _| async { Err(CallError::answered(Status::PermissionDenied, "answered")) };
    router.on_stream("answer", answer).unwrap();
    let cancel = move |_, messages: MessageStream| {
        let guard = Dropped(Arc::clone(&tell));
        tokio::spawn(async move { messages.cancel(Status::PermissionDenied, "cancelled") });
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    };
    router.on_stream("cancel", cancel).unwrap();
    let first_poll = |_, messages: MessageStream| async move {
        messages.cancel(Status::PermissionDenied, "before it ended well");
        Ok(())
    };
    router.on_stream("first-poll", first_poll).unwrap();
    let client = connect(&server).await;
    for (method, text) in [("answer", "answered"), ("cancel", "cancelled"), ("first-poll", "before it ended well")] {
        let mut stream = client.open_stream(method).await.unwrap();
        let error = within(stream.recv()).await.unwrap().unwrap_err();
        assert_eq!((error.status, error.outcome), (Status::PermissionDenied, Outcome::Answered));
        assert_eq!(error.text, text);
        assert!(stream.send("more").await.is_err());
    }
    within(dropped.notified()).await;
    client.call("np.echo", "").await.unwrap();
}

/// As many and as long pairs as there may be.
fn most() -> Metadata {
    let mut metadata = Metadata::new();
    for at in 0..Metadata::MAX_PAIRS {
        metadata.insert(&format!("key-{at:02}"), &[at as u8; Metadata::MAX_BYTES / Metadata::MAX_PAIRS - 6]).unwrap();
    }
    assert_eq!(metadata.size(), Metadata::MAX_BYTES);
    metadata
}

#[tokio::test]
async fn metadata_goes_with_requests_answers_openings_and_ends() {
    let server = builder("mem:metadata")
        .on("back", |ctx, body| Ok(Reply { metadata: ctx.metadata().clone(), ..Reply::from(body) }))
        .on_stream("back-at-end", |ctx, mut messages| async move {
            let mut early = Metadata::new();
            early.insert("early", b"replaced").map_err(|error| CallError::failed(error.to_string()))?;
            messages.set_trailers(early)?;
            messages.set_trailers(ctx.metadata().clone())?;
            messages.send("one").await?;
            while let Some(message) = messages.recv().await {
                message?;
                assert_eq!(messages.trailers(), None);
            }
            assert_eq!(messages.trailers(), None);
            Ok(())
        })
        .on_stream("fail-with", |ctx, mut messages| async move {
            messages.set_trailers(ctx.metadata().clone())?;
            Err(CallError::failed("with trailers"))
        })
        .on_stream("none", |_, _| async { Ok(()) })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let reply = client.request("back").metadata(most()).body("hello").send().await.unwrap();
    assert_eq!((reply.metadata, reply.body), (most(), Bytes::from_static(b"hello")));

    let mut stream = client.request("back-at-end").metadata(most()).open_stream().await.unwrap();
    let refused = stream.set_trailers(Metadata::new()).unwrap_err();
    assert_eq!((refused.status, refused.outcome), (Status::InvalidArgument, Outcome::NotProcessed));
    assert_eq!(within(stream.recv()).await.unwrap().unwrap(), "one");
    stream.send("two").await.unwrap();
    assert_eq!(stream.trailers(), None);
    stream.finish().await.unwrap();
    assert!(within(stream.recv()).await.is_none());
    assert_eq!(stream.trailers(), Some(&most()));

    let mut stream = client.request("fail-with").metadata(most()).open_stream().await.unwrap();
    assert_eq!(within(stream.recv()).await.unwrap().unwrap_err().text, "with trailers");
    assert_eq!(stream.trailers(), Some(&most()));

    let mut stream = client.open_stream("none").await.unwrap();
    assert!(within(stream.recv()).await.is_none());
    assert_eq!(stream.trailers(), Some(&Metadata::new()));
}

#[tokio::test]
async fn either_side_pushes_messages_that_have_no_answer() {
    let (pushed, mut seen) = mpsc::unbounded_channel();
    let take = move |ctx: np_facade::CallContext, body: Bytes| {
        let who = ctx.metadata().value("who").map(<[u8]>::to_vec);
        pushed.send((body, who)).map_err(|_| CallError::failed("gone"))
    };
    let server = builder("mem:pushes").on("take", take.clone()).start().await.unwrap();
    let mine = Router::new();
    mine.on("take", take).unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).router(mine).connect().await.unwrap();
    let mut metadata = Metadata::new();
    metadata.insert("who", b"client").unwrap();
    client.request("take").metadata(metadata).body("to the server").send_one_way().await.unwrap();
    let (body, who) = within(seen.recv()).await.unwrap();
    assert_eq!((&body[..], who.as_deref()), (&b"to the server"[..], Some(&b"client"[..])));
    server.connections()[0].send_one_way(request("take").body("to the client")).await.unwrap();
    let (body, who) = within(seen.recv()).await.unwrap();
    assert_eq!((&body[..], who), (&b"to the client"[..], None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_a_deadline_only_where_one_is_set() {
    let (server, mut ends) = given_away("mem:stream-deadlines");
    let server = server.start().await.unwrap();
    let client = connect(&server).await;
    let before = tokio::time::Instant::now();
    let mut stream = client.request("give").deadline(Duration::from_secs(5)).open_stream().await.unwrap();
    stream.recv().await.unwrap().unwrap();
    assert_eq!(stream.recv().await.unwrap().unwrap_err().status, Status::DeadlineExceeded);
    assert!((4_900..5_200).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    assert_eq!(ends.recv().await.unwrap().unwrap().status, Status::DeadlineExceeded);
    let mut stream = client.open_stream("give").await.unwrap();
    stream.recv().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(3_600), stream.recv()).await.unwrap_err();
}
