//! What a connection costs a server while nothing moves on it. One test, so that nothing else is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod common;

use std::alloc::System;
use std::time::Duration;

use bytes::BytesMut;
use common::{House, echo, keypair, now, serve_with};
use np_driver::random_secret_key;
use np_noise::{Crypto, Pattern};
use np_session::{Event, Handshake, HandshakeEvent, InitiatorConfig, OpenCall, OpenKind};
use np_types::{Deadline, Limits, Suite, Time, UnixMillis};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{pause, resume, sleep};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections of each kind.
const EACH: u64 = 64;

/// Bytes that the server may hold for one of them, with its part of tables that grow by doubling. What a connection needs
/// while something moves, such as the prepared keys of AES, 2,208 bytes of them, and a buffer of 2 KiB, goes when it rests.
const MOST: isize = 2_900;

#[tokio::test]
async fn an_idle_connection_keeps_little() {
    let house = serve_with("tcp://127.0.0.1:0", echo(), |config| {
        config.suites = vec![Suite::AesGcm];
        // The clients' sessions are gone, and answer no question.
        config.lifetime.heartbeat_interval = None;
    })
    .await;
    let mut sockets = Vec::with_capacity(4 * EACH as usize);
    // What is there once, or grows by doubling, is there before the counting begins.
    each(&house, &mut sockets, false).await;
    each(&house, &mut sockets, true).await;
    let idle = each(&house, &mut sockets, false).await;
    let called = each(&house, &mut sockets, true).await;
    println!("an idle connection: {idle} bytes, after a call: {called}");
    assert!(idle < MOST, "{idle}");
    assert!(called < MOST, "{called}");
}

/// Adds connections, and gives what each of them holds once they rest. On this side a socket is all that is left.
async fn each(house: &House, sockets: &mut Vec<std::net::TcpStream>, calls: bool) -> isize {
    let region = Region::new(COUNTED);
    for _ in 0..EACH {
        let socket = connected(house, sockets.len() as u64, calls).await;
        sockets.push(socket);
    }
    if sockets.len() > 2 * EACH as usize {
        // Of one that was not called, or once, what a moment needs is gone with it, and thousands at once share it.
        let early = held(&region);
        assert!(early < MOST, "before the rest: {early}");
    }
    pause();
    sleep(Duration::from_secs(3)).await;
    resume();
    held(&region)
}

fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    (change.bytes_allocated as isize - change.bytes_deallocated as isize) / EACH as isize
}

async fn connected(house: &House, number: u64, calls: bool) -> std::net::TcpStream {
    let address = house.address.without_keys().to_string();
    let mut socket = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).await.unwrap();
    let (mut out, mut input) = (Vec::new(), BytesMut::new());
    let mut handshake = initiator(number);
    loop {
        handshake.poll_transmit(&mut out);
        socket.write_all(&std::mem::take(&mut out)).await.unwrap();
        handshake.handle_bytes(&mut input);
        match handshake.poll_event() {
            Some(HandshakeEvent::Peer(_)) => handshake.admit().unwrap(),
            Some(HandshakeEvent::Done) => break,
            Some(other) => panic!("{other:?}"),
            None => assert_ne!(socket.read_buf(&mut input).await.unwrap(), 0),
        }
    }
    let mut session = handshake.into_session(Limits::default(), Time::ZERO).unwrap();
    loop {
        session.poll_transmit(Time::ZERO, &mut out);
        socket.write_all(&std::mem::take(&mut out)).await.unwrap();
        match session.poll_event() {
            Some(Event::Ready(_)) if calls => {
                let mut call = OpenCall::new(OpenKind::Request, "np.echo".parse().unwrap());
                (call.deadline, call.body) = (Deadline::NONE, vec![7; 64].into());
                session.open(call).unwrap();
            }
            Some(Event::Ready(_) | Event::Answered { .. }) => return socket.into_std().unwrap(),
            Some(other) => panic!("{other:?}"),
            None => {
                assert_ne!(socket.read_buf(&mut input).await.unwrap(), 0);
                session.handle_bytes(Time::ZERO, &mut input);
            }
        }
    }
}

fn initiator(number: u64) -> Handshake {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    let local = keypair();
    let config = InitiatorConfig {
        crypto: Crypto { suite: Suite::AesGcm, ..Crypto::default() },
        pattern: Pattern::XX,
        local: Some(&local),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(now()),
        nonce,
        ephemeral: random_secret_key().unwrap(),
    };
    Handshake::initiator(config).unwrap()
}
