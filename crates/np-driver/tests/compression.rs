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
use common::{House, config, echo, request, serve_with};
use np_compress::{Encoder, Settings};
use np_dispatch::{MethodOptions, Router, Target, bytes};
use np_driver::{AcceptorConfig, Compression, Connection, ConnectorConfig, connect};
use np_types::{Limits, Status};

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
    let error = np_driver::Acceptor::new(config).unwrap_err();
    assert!(error.to_string().contains("threshold"), "{error}");
    let house = serve_with("mem:compressed-wrong", echo(), |_| {}).await;
    let error =
        connect(&house.address, ConnectorConfig { compression: wrong, ..common::config(&house) }).await.unwrap_err();
    assert!(error.to_string().contains("threshold"), "{error}");
}
