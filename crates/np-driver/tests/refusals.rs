//! What strangers cost and are told: the cheapest check comes first, a wrong byte is the last one read, and a reason
//! arrives whatever the peer is still sending.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::time::Duration;

use common::{
    Harm, House, client, config, echo, every_pattern, fitting, keypair, now, proxy, refused, request, serve,
    serve_with, told, within, xx_flight,
};
use np_driver::{ConnectorConfig, connect, random_secret_key};
use np_noise::{Pattern, Role};
use np_session::{Handshake, InitiatorConfig, Preface};
use np_trust::Policy;
use np_types::{CloseCode, ConnectionError, Incompatible, PublicKey, UnixMillis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A first flight of a pattern, made for a server's key.
fn flight(pattern: Pattern, server: PublicKey, time: u64, nonce: [u8; 16]) -> Vec<u8> {
    let own = keypair();
    let psk = common::psk(1);
    let config = InitiatorConfig {
        crypto: Default::default(),
        pattern,
        local: pattern.needs_local_static(Role::Initiator).then_some(&own),
        server_key: pattern.needs_remote_static_up_front().then_some(server),
        psk: pattern.needs_psk().then_some(&psk),
        psk_id: if pattern.needs_psk() { b"team" } else { &[] },
        time: UnixMillis(time),
        nonce,
        ephemeral: random_secret_key().unwrap(),
    };
    let mut out = Vec::new();
    Handshake::initiator(config).unwrap().poll_transmit(&mut out);
    out
}

/// Makes the message after a preface one that no key exchange survives: an ephemeral key of small order.
fn poison(mut flight: Vec<u8>) -> Vec<u8> {
    let message = Preface::decode(&flight).unwrap().unwrap().1 + 3;
    flight[message..message + 32].fill(0);
    flight
}

async fn answer_to(house: &House, bytes: &[u8]) -> ConnectionError {
    let mut link = np_transport::connect(&house.address).await.unwrap();
    link.io.write_all(bytes).await.unwrap();
    told(&mut link).await
}

/// A flight that is wrong in two ways is refused for the way that costs less to find: the key exchange, which would
/// fail too, was not begun.
#[tokio::test]
async fn no_key_exchange_is_begun_for_flights_that_are_skewed_replayed_or_for_a_key_that_is_not_held() {
    let house = serve_with("tcp://127.0.0.1:0", echo(), every_pattern).await;
    let held = house.address.keys()[0];
    for pattern in Pattern::ALL.into_iter().filter(|pattern| *pattern != Pattern::DangerNN) {
        let code = |bytes: Vec<u8>| {
            let house = &house;
            async move { refused(&answer_to(house, &bytes).await).0 }
        };
        // Alone, the poison is found by the exchange, whichever that is.
        assert_eq!(code(poison(flight(pattern, held, now(), [1; 16]))).await, CloseCode::Authentication, "{pattern:?}");
        for skew in [-7_000, 7_000] {
            let time = now().wrapping_add_signed(skew);
            assert_eq!(code(poison(flight(pattern, held, time, [2; 16]))).await, CloseCode::ClockSkew, "{pattern:?}");
        }
        if pattern.needs_remote_static_up_front() {
            let other = keypair().public();
            let told = code(poison(flight(pattern, other, now(), [3; 16]))).await;
            assert_eq!(told, CloseCode::UnknownIdentity, "{pattern:?}");
        }
        if pattern != Pattern::NK {
            let harm = std::sync::Arc::new(Harm::default());
            let between = proxy("tcp://127.0.0.1:0", &house, std::sync::Arc::clone(&harm)).await;
            connect(&between, fitting(&house, pattern)).await.unwrap().call(request("np.echo")).await.unwrap();
            let mut copy = harm.sent.lock().unwrap().clone();
            let preface = Preface::decode(&copy).unwrap().unwrap().1;
            let message = usize::from(u16::from_be_bytes([copy[preface + 1], copy[preface + 2]]));
            copy.truncate(preface + 3 + message);
            assert_eq!(code(poison(copy)).await, CloseCode::Replay, "{pattern:?}");
        }
    }
    let mut version = poison(flight(Pattern::IK, held, now(), [4; 16]));
    version[4..7].copy_from_slice(&[9, 9, 9]);
    let error = answer_to(&house, &version).await;
    assert!(matches!(error, ConnectionError::Incompatible(Incompatible::Version { .. })), "{error}");
}

#[tokio::test]
async fn a_peer_is_cut_at_its_first_wrong_byte() {
    let house = serve("tcp://127.0.0.1:0", echo()).await;
    let fine = xx_flight(now());
    let with = |at: usize, bytes: &[u8]| {
        let mut head = fine[..at].to_vec();
        head.extend_from_slice(bytes);
        head
    };
    let wrong: [(&str, Vec<u8>, CloseCode); 7] = [
        ("garbage", vec![0x16], CloseCode::Malformed),
        ("another protocol", b"G".to_vec(), CloseCode::Malformed),
        ("a magic that a link rewrote", b"np\n".to_vec(), CloseCode::Malformed),
        ("a version range that cannot be", with(4, &[3, 2, 3]), CloseCode::Malformed),
        ("a key id that is too long", with(37, &[65]), CloseCode::LimitExceeded),
        ("no handshake message", with(38, &[9]), CloseCode::Malformed),
        // The two bytes of the length and not one of what it announces.
        ("an announced oversize", with(38, &[2, 0xff, 0xff]), CloseCode::LimitExceeded),
    ];
    for (what, bytes, code) in wrong {
        let mut link = np_transport::connect(&house.address).await.unwrap();
        // Before the last byte nothing is wrong yet.
        let (last, head) = bytes.split_last().unwrap();
        link.io.write_all(head).await.unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(30), link.io.read_u8()).await;
        assert!(silent.is_err(), "{what}");
        link.io.write_all(&[*last]).await.unwrap();
        let before = std::time::Instant::now();
        assert_eq!(refused(&told(&mut link).await).0, code, "{what}");
        assert!(before.elapsed() < Duration::from_secs(5), "{what}");
    }
    client(&house).await.call(request("np.echo")).await.unwrap();
}

/// A reset on arrival of unread bytes would destroy the reason; a client that is still sending must get it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    const JUNK: usize = 64 << 10;
    let house = serve_with("tcp://127.0.0.1:0", echo(), |config| {
        config.policy = Policy::allow_keys([]);
        config.patterns = vec![Pattern::XX, Pattern::IK];
    })
    .await;
    let held = house.address.keys()[0];
    type Make = fn(PublicKey) -> Vec<u8>;
    let kinds: [(&str, Make); 4] = [
        ("skewed", |_| xx_flight(now() - 60_000)),
        ("no magic", |_| b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("another key", |_| flight(Pattern::IK, keypair().public(), now(), [5; 16])),
        ("forged", |held| poison(flight(Pattern::IK, held, now(), [6; 16]))),
    ];
    let mut tries = tokio::task::JoinSet::new();
    for round in 0..50 {
        for (what, make) in kinds {
            let address = house.address.clone();
            tries.spawn(async move {
                let mut link = np_transport::connect(&address).await.unwrap();
                link.io.write_all(&make(held)).await.unwrap();
                // Without a pause, in pieces that the refusal may meet at any place.
                for piece in vec![0x55; JUNK].chunks(1_000 + round * 211) {
                    link.io.write_all(piece).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                let mut answer = bytes::BytesMut::new();
                while within(link.io.read_buf(&mut answer)).await.unwrap_or_else(|error| panic!("{what}: {error}")) > 0
                {
                }
                assert_eq!(answer[0], 3, "{what}: no refusal in clear");
            });
        }
    }
    while let Some(done) = tries.join_next().await {
        done.unwrap();
    }
}

/// The same inside the first record, for peers that have proven a key.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_policy_is_never_a_reset() {
    let house = serve_with("tcp://127.0.0.1:0", echo(), |config| config.policy = Policy::allow_keys([])).await;
    for pattern in [Pattern::XX, Pattern::IK].repeat(50) {
        let error = connect(&house.address, ConnectorConfig { pattern, ..config(&house) }).await.unwrap_err();
        let error = common::handshake_error(error);
        let told = matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. });
        assert!(told, "{error}");
    }
}

#[tokio::test]
async fn max_connections_is_exact() {
    for limit in [1, 3] {
        let house = serve_with("tcp://127.0.0.1:0", echo(), |config| config.max_connections = limit).await;
        let mut clients = Vec::new();
        for _ in 0..limit {
            clients.push(client(&house).await);
        }
        for pattern in [Pattern::XX, Pattern::IK] {
            let error = connect(&house.address, ConnectorConfig { pattern, ..config(&house) }).await.unwrap_err();
            let error = common::handshake_error(error);
            assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::ConnectionLimit, .. }), "{error}");
        }
        for client in &clients {
            client.call(request("np.echo")).await.unwrap();
        }
        assert_eq!(house.acceptor.connections().len(), limit);
    }
}
