//! Every handshake pattern between two programs: who is known to whom, which of several keys is used, and which psk.

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

use common::{echo, every_pattern, fitting, handshake_error, keypair, psk, request, serve_with};
use np_driver::{ConnectorConfig, connect, random_psk};
use np_noise::{Pattern, Role};
use np_session::{Handshake, ResponderConfig, server_hint};
use np_transport::{BindOptions, Listener};
use np_trust::{Policy, Psks};
use np_types::{CloseCode, ConnectionError, Misbehaved, PeerIdentity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn every_pattern_carries_calls_and_says_who_is_there() {
    let router = echo();
    router.on("who", |ctx, _| Ok([ctx.peer().to_string().as_bytes(), b" ", ctx.binding()].concat())).unwrap();
    for address in ["mem:every-pattern", "tcp://127.0.0.1:0"] {
        let house = serve_with(address, router.clone(), every_pattern).await;
        for pattern in Pattern::ALL {
            let config = fitting(&house, pattern);
            let own = config.identity.public();
            let client = connect(&house.address, config).await.unwrap();
            let (server, here) = match pattern {
                Pattern::NNpsk0 => (PeerIdentity::Psk("team".to_owned()), "psk:team".to_owned()),
                Pattern::DangerNN => (PeerIdentity::Anonymous, "anonymous".to_owned()),
                Pattern::NK => (PeerIdentity::Noise(house.address.keys()[0]), "anonymous".to_owned()),
                _ => (PeerIdentity::Noise(house.address.keys()[0]), own.to_string()),
            };
            assert_eq!(*client.peer(), server, "{pattern:?}");
            let reply = client.call(request("who")).await.unwrap().body;
            // The channel binding that the handler was given is this end's.
            assert_eq!(reply, [here.as_bytes(), b" ", client.binding()].concat(), "{pattern:?}");
        }
    }
}

#[tokio::test]
async fn the_hint_chooses_the_identity() {
    let identities: Vec<_> = (0..3).map(|_| keypair()).collect();
    let keys: Vec<_> = identities.iter().map(|identity| identity.public()).collect();
    let house = serve_with("mem:identities", echo(), |config| {
        every_pattern(config);
        config.identities = identities;
    })
    .await;
    for pattern in Pattern::ALL.into_iter().filter(|pattern| pattern.needs_local_static(Role::Responder)) {
        for key in &keys {
            // Only these patterns say beforehand which one is meant; the others get the first.
            let server_keys = if pattern.needs_remote_static_up_front() { vec![*key] } else { Vec::new() };
            let config = ConnectorConfig { server_keys, policy: Policy::anyone(), ..fitting(&house, pattern) };
            let client = connect(&house.address, config).await.unwrap();
            let expected = if pattern.needs_remote_static_up_front() { *key } else { keys[0] };
            assert_eq!(*client.peer(), PeerIdentity::Noise(expected), "{pattern:?}");
        }
    }
    assert_ne!(server_hint(&keys[0]), server_hint(&keys[1]));
}

#[tokio::test]
async fn the_keys_of_an_address_are_tried_in_turn() {
    let house = serve_with("mem:rotated", echo(), every_pattern).await;
    let (gone, held) = (keypair().public(), house.address.keys()[0]);
    for pattern in [Pattern::IK, Pattern::NK, Pattern::KK, Pattern::IKpsk2] {
        let policy = Policy::allow_keys([gone, held]);
        let fitting = ConnectorConfig { policy, ..fitting(&house, pattern) };
        for server_keys in [vec![gone, held], vec![held, gone]] {
            let client = connect(&house.address, ConnectorConfig { server_keys, ..fitting.clone() }).await.unwrap();
            assert_eq!(*client.peer(), PeerIdentity::Noise(held));
        }
        let config = ConnectorConfig { server_keys: vec![gone; 2], ..fitting };
        let error = handshake_error(connect(&house.address, config).await.unwrap_err());
        assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::UnknownIdentity, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_psk_is_found_by_its_id_or_by_the_clients_key() {
    let (known, stranger) = (keypair(), keypair());
    let house = serve_with("mem:psk-by-key", echo(), |config| {
        every_pattern(config);
        config.psks = Psks::new().with_id("team", psk(1)).unwrap().with_key(known.public(), psk(2));
    })
    .await;
    for pattern in [Pattern::XXpsk3, Pattern::IKpsk2] {
        let tries = [
            ("team", psk(1), &stranger, true),
            ("team", psk(2), &known, false),
            // The key of the group does not stand in for the one that is the client's own.
            ("team", psk(1), &known, false),
            ("other", psk(1), &known, false),
            ("", psk(2), &known, true),
            ("", psk(1), &known, false),
            ("", psk(2), &stranger, false),
        ];
        for (id, psk, identity, expected) in tries {
            let (identity, psk, psk_id) = (identity.clone(), Some(psk), id.to_owned());
            let config = ConnectorConfig { identity, psk, psk_id, ..fitting(&house, pattern) };
            let connected = connect(&house.address, config).await;
            assert_eq!(connected.is_ok(), expected, "{pattern:?} {id:?}: {connected:?}");
        }
    }
    assert_eq!(house.acceptor.connections().len(), 0);
}

#[tokio::test]
async fn a_wrong_psk_and_an_unknown_id_look_the_same() {
    let house = serve_with("mem:psk-oracle", echo(), every_pattern).await;
    for (id, psk) in [("team", psk(9)), ("nobody", psk(1))] {
        let config = ConnectorConfig { psk: Some(psk), psk_id: id.to_owned(), ..fitting(&house, Pattern::NNpsk0) };
        let error = handshake_error(connect(&house.address, config).await.unwrap_err());
        let text = ConnectionError::from(Misbehaved::PreSharedKey).to_string();
        assert_eq!(error, ConnectionError::ClosedByPeer { code: CloseCode::Authentication, text, in_clear: true });
    }
}

#[tokio::test]
async fn a_policy_decides_on_peers_without_a_key() {
    let allowed = |policy: Policy, pattern: Pattern| async move {
        let house = serve_with("tcp://127.0.0.1:0", echo(), |config| {
            every_pattern(config);
            config.policy = policy;
        })
        .await;
        connect(&house.address, fitting(&house, pattern)).await.map_err(handshake_error).err()
    };
    let refused = |error: Option<ConnectionError>| {
        assert!(
            matches!(error, Some(ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. })),
            "{error:?}"
        );
    };
    refused(allowed(Policy::anyone(), Pattern::NK).await);
    refused(allowed(Policy::anyone(), Pattern::DangerNN).await);
    refused(allowed(Policy::anonymous(), Pattern::NNpsk0).await);
    refused(allowed(Policy::allow_psk("other").unwrap(), Pattern::NNpsk0).await);
    assert_eq!(allowed(Policy::anonymous(), Pattern::NK).await, None);
    assert_eq!(allowed(Policy::anonymous(), Pattern::DangerNN).await, None);
    assert_eq!(allowed(Policy::allow_psk("team").unwrap(), Pattern::NNpsk0).await, None);
}

#[tokio::test]
async fn keys_that_do_not_fit_the_pattern_are_refused_before_anything_is_sent() {
    let house = serve_with("mem:unfit", echo(), every_pattern).await;
    for pattern in Pattern::ALL {
        let fits = fitting(&house, pattern);
        let with_psk = ConnectorConfig { psk: Some(random_psk().unwrap()), ..fits.clone() };
        assert!(connect(&house.address, with_psk).await.is_err(), "a psk that is wrong or of no use");
        let no_psk = ConnectorConfig { psk: None, ..fits.clone() };
        assert_eq!(connect(&house.address, no_psk).await.is_err(), pattern.needs_psk(), "{pattern:?}");
        let no_key = ConnectorConfig { server_keys: Vec::new(), ..fits };
        let needed = pattern.needs_remote_static_up_front();
        assert_eq!(connect(&house.address, no_key).await.is_err(), needed, "{pattern:?}");
    }
}

#[tokio::test]
async fn a_client_without_a_psk_and_one_with_a_wrong_psk_look_the_same() {
    let known = keypair();
    let house = serve_with("mem:psk-members", echo(), |config| {
        every_pattern(config);
        config.psks = Psks::new().with_key(known.public(), psk(2));
    })
    .await;
    for pattern in [Pattern::XXpsk3, Pattern::IKpsk2] {
        let mut errors = Vec::new();
        for identity in [known.clone(), keypair()] {
            let (psk, psk_id) = (Some(psk(9)), String::new());
            let config = ConnectorConfig { identity, psk, psk_id, ..fitting(&house, pattern) };
            errors.push(handshake_error(connect(&house.address, config).await.unwrap_err()));
        }
        assert_eq!(errors[0], errors[1], "{pattern:?}");
    }
}

#[tokio::test]
async fn the_next_key_is_tried_when_the_server_lacks_the_first_and_for_no_other_reason() {
    for (code, tries) in [(CloseCode::UnknownIdentity, 2), (CloseCode::Authentication, 1), (CloseCode::Incompatible, 1)]
    {
        let listener = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap(), &BindOptions::default()).await.unwrap();
        let address = listener.local_address().clone();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            loop {
                let mut link = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut handshake = Handshake::responder(&ResponderConfig::new(Vec::new()));
                handshake.refuse(code, "a test refuses", "");
                let mut refusal = Vec::new();
                handshake.poll_transmit(&mut refusal);
                link.io.write_all(&refusal).await.unwrap();
                link.io.shutdown().await.unwrap();
                while link.io.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {}
            }
        });
        let server_keys: Vec<_> = (0..2).map(|_| keypair().public()).collect();
        let policy = Policy::allow_keys(server_keys.clone());
        let config = ConnectorConfig { pattern: Pattern::IK, server_keys, ..ConnectorConfig::new(keypair(), policy) };
        let error = handshake_error(connect(&address, config).await.unwrap_err());
        assert!(matches!(error, ConnectionError::ClosedByPeer { code: told, .. } if told == code), "{error}");
        assert_eq!(seen.load(Ordering::SeqCst), tries, "{code}");
        server.abort();
    }
}

#[tokio::test]
async fn a_server_proves_a_key_of_the_address_whatever_else_the_policy_accepts() {
    let house = serve_with("mem:named-key", echo(), every_pattern).await;
    for pattern in [Pattern::XX, Pattern::XXpsk3] {
        let fits = ConnectorConfig { policy: Policy::anyone(), ..fitting(&house, pattern) };
        connect(&house.address, fits.clone()).await.unwrap();
        let other = ConnectorConfig { server_keys: vec![keypair().public()], ..fits };
        let error = handshake_error(connect(&house.address, other).await.unwrap_err());
        assert!(matches!(error, ConnectionError::Refused { code: CloseCode::NotAllowed, .. }), "{error}");
    }
}
