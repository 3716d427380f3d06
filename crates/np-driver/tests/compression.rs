//! Compressed messages over real connections: what each side asks for, what the other reads, and what a bomb costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use common::by_hand::ByHand;
use common::{House, config, echo, request, serve_with};
use np_compress::{Encoder, Settings};
use np_dispatch::{MessageStream, MethodOptions, Router, Target, bytes};
use np_driver::{Acceptor, AcceptorConfig, Compression, Connection, ConnectorConfig, connect};
use np_session::{Encoding, Event, OpenCall, OpenKind};
use np_transport::{BindOptions, Listener};
use np_trust::Policy;
use np_types::{CallError, Limits, Status};

fn text(size: usize) -> Bytes {
    let line = b"id=4711 name=Ada street=Main town=London; ";
    line.iter().copied().cycle().enumerate().map(|(at, byte)| byte ^ (at / 4_096) as u8).take(size).collect()
}

fn by_default(encoder: Encoder) -> Compression {
    Compression { settings: Settings { encoder, ..Settings::default() }, by_default: true }
}

async fn connected(house: &House, change: impl FnOnce(&mut ConnectorConfig)) -> Connection {
    let mut config = config(house);
    change(&mut config);
    connect(&house.address, config).await.unwrap()
}

/// A house behind a line that counts what passes, each way.
async fn counted(router: Router, change: impl FnOnce(&mut AcceptorConfig)) -> (House, Arc<[AtomicU64; 2]>, String) {
    let house = serve_with("tcp://127.0.0.1:0", router, change).await;
    let counts: Arc<[AtomicU64; 2]> = Arc::default();
    let line = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("tcp://{}?key={}", line.local_addr().unwrap(), house.address.keys()[0]);
    let (target, counter) = (format!("127.0.0.1:{}", house.address.port().unwrap()), Arc::clone(&counts));
    tokio::spawn(async move {
        while let Ok((near, _)) = line.accept().await {
            let far = tokio::net::TcpStream::connect(&target).await.unwrap();
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            for (at, mut from, mut to) in [(0, near_read, far_write), (1, far_read, near_write)] {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await {
                        counter[at].fetch_add(count as u64, Ordering::SeqCst);
                        if tokio::io::AsyncWriteExt::write_all(&mut to, &buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    (house, counts, at)
}

fn router() -> Router {
    let router = echo();
    let same = || Target::Unary(Arc::new(bytes(|_, body| Ok(body))));
    router.register_target("small", same(), MethodOptions::default().compressed()).unwrap();
    router.register_target("plain", same(), MethodOptions::default().plain()).unwrap();
    router
}

/// What a call of 200,000 bytes took on the wire, there and back.
async fn cost(client: &Connection, counts: &[AtomicU64; 2], call: np_driver::Request) -> [bool; 2] {
    let before = [0, 1].map(|at| counts[at].load(Ordering::SeqCst));
    let reply = client.call(call.body(text(200_000))).await.unwrap();
    assert_eq!(reply.body, text(200_000));
    [0, 1].map(|at| counts[at].load(Ordering::SeqCst) - before[at] < 150_000)
}

#[tokio::test]
async fn calls_and_methods_say_what_is_compressed_and_defaults_stand_where_they_do_not() {
    for encoder in [Encoder::Lz4, Encoder::Zstd { level: 3 }] {
        let settings = Settings { encoder, ..Settings::default() };
        for default in [false, true] {
            let compression = Compression { settings, by_default: default };
            let (house, counts, at) = counted(router(), |config| config.compression = compression).await;
            let config = ConnectorConfig { compression, ..config(&house) };
            let client = connect(&at.parse().unwrap(), config).await.unwrap();
            assert_eq!(cost(&client, &counts, request("np.echo")).await, [default, default]);
            assert_eq!(cost(&client, &counts, request("small")).await, [default, true]);
            assert_eq!(cost(&client, &counts, request("plain")).await, [default, false]);
            assert_eq!(cost(&client, &counts, request("np.echo").compress(true)).await, [true, default]);
            assert_eq!(cost(&client, &counts, request("np.echo").compress(false)).await, [false, default]);
        }
    }
}

#[tokio::test]
async fn a_side_that_does_not_accept_gets_plain_messages() {
    let deaf = Limits { accept_compressed: false, ..Limits::default() };
    let compression = by_default(Encoder::Lz4);
    for (deaf_server, expected) in [(true, [false, true]), (false, [true, false])] {
        let limits = |is_deaf: bool| if is_deaf { deaf.clone() } else { Limits::default() };
        let (house, counts, at) = counted(router(), |config| {
            (config.compression, config.limits) = (compression, limits(deaf_server));
        })
        .await;
        let config = ConnectorConfig { compression, limits: limits(!deaf_server), ..config(&house) };
        let client = connect(&at.parse().unwrap(), config).await.unwrap();
        assert_eq!(cost(&client, &counts, request("np.echo")).await, expected);
    }
}

#[tokio::test]
async fn one_way_messages_and_calls_back_are_compressed_too() {
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let router = echo();
    router
        .on("note", move |_, body: Bytes| {
            told.send(body).unwrap();
            Ok(())
        })
        .unwrap();
    let house =
        serve_with("mem:compressed-one-way", router, |config| config.compression = by_default(Encoder::Lz4)).await;
    let back = echo();
    let client = connected(&house, |config| {
        (config.compression, config.router) = (by_default(Encoder::Zstd { level: 1 }), back);
    })
    .await;
    client.send_one_way(request("note").body(text(50_000))).await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), text(50_000));
    let server = &house.acceptor.connections()[0];
    assert_eq!(server.call(request("np.echo").body(text(70_000))).await.unwrap().body, text(70_000));
}

/// Streams back whatever comes, message by message.
async fn mirror(mut stream: MessageStream) -> Result<(), CallError> {
    while let Some(message) = stream.recv().await {
        stream.send(message?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn messages_of_streams_are_compressed_where_their_call_or_method_says_so() {
    for encoder in [Encoder::Lz4, Encoder::Zstd { level: 3 }] {
        let compression = Compression { settings: Settings { encoder, ..Settings::default() }, by_default: false };
        let router = router();
        router.on_stream("mirror", |_, stream| mirror(stream)).unwrap();
        let small = Target::Stream(Arc::new(np_dispatch::stream(|_, stream| mirror(stream))));
        router.register_target("small-mirror", small, MethodOptions::default().compressed()).unwrap();
        let (house, counts, at) = counted(router, |config| config.compression = compression).await;
        let config = ConnectorConfig { compression, ..config(&house) };
        let client = connect(&at.parse().unwrap(), config).await.unwrap();
        for (method, asked, expected) in [
            ("mirror", None, [false, false]),
            ("mirror", Some(true), [true, false]),
            ("small-mirror", None, [false, true]),
            ("small-mirror", Some(true), [true, true]),
        ] {
            let before = [0, 1].map(|at| counts[at].load(Ordering::SeqCst));
            let opening = asked.into_iter().fold(request(method), np_driver::Request::compress);
            let mut stream = client.open_stream(opening).await.unwrap();
            // Sizes around the threshold and where work moves to a task of its own, in order all the same.
            let sizes = [200_000, 0, 100, 511, 512, 40_000, 3];
            for size in sizes {
                stream.send(text(size)).await.unwrap();
            }
            stream.finish().await.unwrap();
            for size in sizes {
                assert_eq!(stream.recv().await.unwrap().unwrap(), text(size), "{method} {size}");
            }
            assert!(stream.recv().await.is_none());
            let small = [0, 1].map(|at| counts[at].load(Ordering::SeqCst) - before[at] < 170_000);
            assert_eq!(small, expected, "{method} {asked:?} {encoder:?}");
        }
    }
}

/// It is packed in a task of its own, and leaves before the end though its handler does not wait for it.
#[tokio::test]
async fn the_last_message_of_a_handler_leaves_before_a_good_end_and_before_a_bad_one() {
    let compression = by_default(Encoder::Zstd { level: 3 });
    for size in [1_000, 300_000] {
        for good in [true, false] {
            let router = Router::default();
            let last = move |_, mut stream: MessageStream| async move {
                stream.send(text(size)).await?;
                if good { Ok(()) } else { Err(CallError::failed("no more")) }
            };
            router.on_stream("last", last).unwrap();
            let house = serve_with(&format!("mem:last-message-{size}-{good}"), router, |config| {
                config.compression = compression
            })
            .await;
            let client = connected(&house, |_| {}).await;
            let mut stream = client.open_stream(request("last")).await.unwrap();
            assert_eq!(stream.recv().await.unwrap().unwrap(), text(size), "{size} {good}");
            let end = stream.recv().await;
            assert_eq!(end.is_none(), good, "{end:?}");
            assert!(end.is_none_or(|end| end.unwrap_err().text == "no more"));
        }
    }
}

#[tokio::test]
async fn a_stream_that_lies_about_its_message_ends_alone() {
    let router = echo();
    router.on_stream("mirror", |_, stream| mirror(stream)).unwrap();
    let config = AcceptorConfig { router, ..AcceptorConfig::without_identity(Policy::anonymous(), echo()) };
    let mut acceptor = Acceptor::new(config).unwrap();
    let at = "mem:compressed-lies?mode=danger-plaintext".parse().unwrap();
    acceptor.listen(Listener::bind(&at, &BindOptions::default()).await.unwrap()).unwrap();
    let mut liar = ByHand::connect(&at).await;
    for (encoding, expected) in [
        (Encoding::Lz4 { raw: 100 }, Status::InvalidArgument),
        (Encoding::Zstd { raw: 1 << 20 }, Status::LimitReached),
        (Encoding::Other { number: 9, raw: 100 }, Status::UnsupportedCodec),
    ] {
        let key = liar.session.open(OpenCall::new(OpenKind::Stream, "mirror".parse().unwrap())).unwrap();
        while liar.event().await != (Event::Writable { key }) {}
        liar.session.send_encoded(key, encoding, Bytes::from_static(b"no such thing")).unwrap();
        let error = loop {
            if let Event::Failed { error, .. } = liar.event().await {
                break error;
            }
        };
        assert_eq!(error.status, expected, "{error}");
        // The connection stands.
        liar.session.open(OpenCall::new(OpenKind::Request, "np.echo".parse().unwrap())).unwrap();
        while !matches!(liar.event().await, Event::Answered { .. }) {}
    }
}

#[tokio::test]
async fn a_message_that_would_be_too_long_once_decompressed_is_refused_by_its_sender() {
    let limits = Limits { max_message: 100_000, ..Limits::default() };
    let house = serve_with("mem:compressed-long", router(), |config| config.limits = limits).await;
    let client = connected(&house, |config| config.compression = by_default(Encoder::Lz4)).await;
    let error = client.call(request("np.echo").body(Bytes::from(vec![b'a'; 100_001]))).await.unwrap_err();
    assert_eq!(error.status, Status::LimitReached);
    assert!(error.text.contains("max_message"), "{error}");
}

#[tokio::test]
async fn settings_of_compression_are_checked_on_both_sides() {
    let wrong = Compression { settings: Settings { threshold: 0, ..Settings::default() }, by_default: false };
    let mut config = common::defaults();
    config.compression = wrong;
    let error = Acceptor::new(config).unwrap_err();
    assert!(error.to_string().contains("threshold"), "{error}");
    let house = serve_with("mem:compressed-wrong", echo(), |_| {}).await;
    let error =
        connect(&house.address, ConnectorConfig { compression: wrong, ..common::config(&house) }).await.unwrap_err();
    assert!(error.to_string().contains("threshold"), "{error}");
}
