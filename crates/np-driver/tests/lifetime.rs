//! How long connections live: a peer that vanished is noticed in time, an idle or old one is ended in order, any other stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{House, config, echo, gate, request, serve_with};
use np_driver::{Connection, ConnectorConfig, Lifetime, connect};
use np_transport::{Address, BindOptions, Listener};
use np_types::{CloseCode, ConnectionError, Outcome};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

const BEAT: Duration = Duration::from_secs(10);

fn lives(change: impl FnOnce(&mut Lifetime)) -> Lifetime {
    let mut lifetime = Lifetime { heartbeat_interval: None, ..Lifetime::default() };
    change(&mut lifetime);
    lifetime
}

/// Moves bytes one way, while the line stands; a line that is dead takes them and says nothing.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, dead: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if !dead.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// A line to a house that can die without a word.
async fn line(name: &str, house: &House) -> (Address, Arc<AtomicBool>) {
    let at: Address = format!("mem:{name}").parse().unwrap();
    let listener = Listener::bind(&at, &BindOptions::default()).await.unwrap();
    let (dead, target) = (Arc::new(AtomicBool::new(false)), house.address.clone());
    let line = Arc::clone(&dead);
    tokio::spawn(async move {
        while let Ok(near) = listener.accept().await {
            let far = np_transport::connect(&target).await.unwrap();
            let ((near_read, near_write), (far_read, far_write)) =
                (tokio::io::split(near.io), tokio::io::split(far.io));
            tokio::spawn(carry(near_read, far_write, Arc::clone(&line)));
            tokio::spawn(carry(far_read, near_write, Arc::clone(&line)));
        }
    });
    (at.with_key(house.address.keys()[0]), dead)
}

async fn joined(name: &str, server: Lifetime, client: Lifetime) -> (House, Connection, Arc<AtomicBool>) {
    let router = echo();
    gate(&router, "gate");
    let house = serve_with(&format!("mem:{name}-house"), router, |config| config.lifetime = server).await;
    let (at, dead) = line(name, &house).await;
    let connection = connect(&at, ConnectorConfig { lifetime: client, ..config(&house) }).await.unwrap();
    (house, connection, dead)
}

async fn gone(house: &House) {
    while !house.acceptor.connections().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_noticed_within_two_intervals_and_a_tenth_on_either_side() {
    let beats = || lives(|lifetime| lifetime.heartbeat_interval = Some(BEAT));
    for (name, server, client) in [("dead-server", lives(|_| {}), beats()), ("dead-client", beats(), lives(|_| {}))] {
        let (house, connection, dead) = joined(name, server, client).await;
        // It stays while the other end is there, though nothing is asked of it.
        sleep(BEAT * 50).await;
        connection.call(request("np.echo").body("still here")).await.unwrap();
        let call = tokio::spawn({
            let connection = connection.clone();
            async move { connection.call(request("gate").deadline(np_types::Deadline::NONE)).await }
        });
        connection.ping().await.unwrap();
        dead.store(true, Ordering::SeqCst);
        let since = Instant::now();
        if name == "dead-server" {
            let error = connection.closed().await;
            let code = CloseCode::HeartbeatTimeout;
            assert!(matches!(error, ConnectionError::Timeout { code: other, .. } if other == code), "{error}");
            assert_eq!(call.await.unwrap().unwrap_err().outcome, Outcome::Unknown);
        } else {
            gone(&house).await;
        }
        let took = since.elapsed();
        println!("{name}: noticed after {took:?} of an interval of {BEAT:?}");
        assert!(took <= BEAT * 22 / 10 && took >= BEAT, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_heartbeat_waits_for_ever() {
    let (house, connection, dead) = joined("no-beat", lives(|_| {}), lives(|_| {})).await;
    dead.store(true, Ordering::SeqCst);
    sleep(BEAT * 10_000).await;
    assert!(connection.error().is_none() && house.acceptor.connections().len() == 1);
}

/// By default both sides ask, an idle connection lives for ever, and so does one that is used.
#[tokio::test(start_paused = true)]
async fn a_connection_of_the_defaults_lives_for_ever_idle_or_not() {
    let (_house, connection, _) = joined("for-ever", Lifetime::default(), Lifetime::default()).await;
    sleep(Duration::from_secs(86_400)).await;
    for _ in 0..1_000 {
        connection.call(request("np.echo")).await.unwrap();
        sleep(Duration::from_secs(60)).await;
    }
    assert!(connection.error().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_ended_in_order_by_the_side_that_says_so() {
    let idle = || lives(|lifetime| lifetime.idle_timeout = Some(BEAT));
    for (name, server, client) in [("idle-server", idle(), lives(|_| {})), ("idle-client", lives(|_| {}), idle())] {
        let (_house, connection, _) = joined(name, server, client).await;
        for _ in 0..10 {
            sleep(BEAT - Duration::from_millis(1)).await;
            connection.call(request("np.echo")).await.unwrap();
        }
        let call = connection.call(request("gate").deadline(np_types::Deadline::NONE));
        // What is open is no idleness.
        assert!(tokio::time::timeout(BEAT * 3, call).await.is_err());
        let since = Instant::now();
        let error = connection.closed().await;
        assert!((BEAT..BEAT + Duration::from_secs(1)).contains(&since.elapsed()), "{:?}", since.elapsed());
        let (ConnectionError::ClosedByPeer { code, .. } | ConnectionError::ClosedHere(code)) = error else {
            panic!("{error}");
        };
        assert_eq!(code, CloseCode::IdleTimeout, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_ends_in_order_up_to_a_fifth_sooner_and_not_all_at_once() {
    let age = Duration::from_secs(1_000);
    let mut ends = Vec::new();
    for at in 0..20 {
        let name = format!("old-{at}");
        let (_house, connection, _) =
            joined(&name, lives(|lifetime| lifetime.max_age = Some(age)), lives(|_| {})).await;
        let since = Instant::now();
        let open = tokio::spawn({
            let connection = connection.clone();
            async move { connection.call(request("gate").deadline(np_types::Deadline::NONE)).await }
        });
        let busy = async {
            while connection.call(request("np.echo")).await.is_ok() {
                sleep(Duration::from_millis(500)).await;
            }
        };
        busy.await;
        ends.push(since.elapsed());
        let late = connection.call(request("np.echo")).await.unwrap_err();
        assert_eq!(late.outcome, Outcome::NotProcessed, "{late}");
        // What is open has ten seconds.
        let error = connection.closed().await;
        assert!(since.elapsed() <= age + Duration::from_secs(11));
        assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::MaxAge, .. }), "{error}");
        open.await.unwrap().unwrap_err();
    }
    ends.sort();
    assert!(ends[0] >= age * 8 / 10 && ends[19] <= age + Duration::from_secs(1), "{ends:?}");
    assert!(ends[19] - ends[0] > age / 20, "{ends:?}");
}

#[tokio::test]
async fn spans_of_zero_are_refused_by_name_on_both_sides() {
    let house = serve_with("mem:zero-spans", echo(), |_| {}).await;
    for (name, lifetime) in [
        ("heartbeat_interval", lives(|lifetime| lifetime.heartbeat_interval = Some(Duration::ZERO))),
        ("idle_timeout", lives(|lifetime| lifetime.idle_timeout = Some(Duration::ZERO))),
        ("max_age", lives(|lifetime| lifetime.max_age = Some(Duration::ZERO))),
    ] {
        let error = connect(&house.address, ConnectorConfig { lifetime, ..config(&house) }).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        let mut config = common::defaults();
        config.lifetime = lifetime;
        assert!(np_driver::Acceptor::new(config).unwrap_err().to_string().contains(name));
    }
}
