//! Every pattern: what each end learns of the other, which keys a preface names, and where the pre-shared key comes in.

use bytes::BytesMut;
use np_noise::{Crypto, Handshake as Noise, Keys, PROVIDERS, Pattern, Provider, Role, Suite};
use np_session::{Event, Handshake, InitiatorConfig, ResponderConfig, ResponderKeys, Side};
use np_testkit::{Pair, Recorder, Setup, keypair};
use np_types::{
    CloseCode, ConnectionError, Incompatible, Malformed, Misbehaved, Misuse, PeerIdentity, Psk, SecretKey, UnixMillis,
};
use np_wire::{Choices, HandshakeFrame, Preface, decode_handshake_frame, encode_handshake_message};

use crate::help::{echo, release_answers, request};

#[test]
fn both_ends_know_each_other_and_share_a_binding() {
    for pattern in Pattern::ALL {
        for (eager, psk_id) in [(false, "team"), (true, "team"), (false, "")] {
            if psk_id.is_empty() && !pattern.takes_psk_late(Role::Responder) {
                continue;
            }
            let mut pair = Setup { pattern, eager, psk_id: psk_id.into(), ..Setup::default() }.connect();
            let proven = [pattern.authenticates_responder(), pattern.authenticates_initiator()];
            for (at, other) in [(0, Side::Responder), (1, Side::Initiator)] {
                let key = keypair(other).public();
                let expected = match pattern {
                    _ if proven[at] => PeerIdentity::Noise(key),
                    Pattern::NNpsk0 => PeerIdentity::Psk("team".to_owned()),
                    _ => PeerIdentity::Anonymous,
                };
                assert_eq!(pair.peers[at].remote, Some(expected), "{pattern:?}");
                let session = pair.peers[at].session();
                assert_eq!(session.remote_static(), proven[at].then_some(&key));
                assert!(session.peer_settings().is_some() && session.error().is_none());
                assert!(matches!(pair.events(at)[..], [Event::Ready(_)]), "{pattern:?}");
            }
            assert_eq!(pair.client().binding().to_owned(), *pair.server().binding());
        }
    }
}

/// What one provider seals the other opens, in the handshake, in records and after a rekey.
#[test]
fn every_pair_of_providers_talks_in_every_suite_and_pattern() {
    assert!(PROVIDERS.len() > 1, "the feature aws-lc is on");
    let providers = PROVIDERS.iter().flat_map(|client| PROVIDERS.iter().map(|server| [*client, *server]));
    for (providers, suite) in providers.flat_map(|both| Suite::ALL.map(|suite| (both, suite))) {
        let mut bindings = Vec::new();
        for pattern in Pattern::ALL {
            let mut pair = Setup { providers, suite, pattern, ..Setup::default() }.connect();
            for _ in 0..3 {
                pair.client().open(request(5_000)).unwrap();
                pair.client().update_key();
                pair.server().update_key();
                pair.settle();
                assert_eq!(echo(&mut pair, 1), 1, "{providers:?} {suite} {pattern:?}");
                assert_eq!(release_answers(&mut pair, 0), 1, "{providers:?} {suite} {pattern:?}");
            }
            bindings.push(*pair.client().binding());
        }
        bindings.dedup();
        assert_eq!(bindings.len(), Pattern::ALL.len());
    }
}

/// The same seed gives the same bytes, whoever computes; another suite gives others.
#[test]
fn what_is_said_depends_on_the_suite_and_not_on_the_provider() {
    let said = |providers: [&'static dyn Provider; 2], suite| {
        let setup = Setup { providers, suite, ..Setup::default() };
        let mut pair = Pair::new(&setup, [Recorder::default(), Recorder::default()]);
        pair.network.pipes.iter_mut().for_each(|pipe| pipe.transcript = Some(Vec::new()));
        pair.settle();
        pair.network.pipes.each_ref().map(|pipe| pipe.transcript.clone().unwrap())
    };
    let rust = PROVIDERS[0];
    for suite in Suite::ALL {
        for provider in PROVIDERS {
            assert_eq!(said([*provider; 2], suite), said([rust; 2], suite), "{provider:?} {suite}");
            assert_eq!(said([*provider, rust], suite), said([rust; 2], suite), "{provider:?} {suite}");
        }
    }
    assert_ne!(said([rust; 2], Suite::AesGcm), said([rust; 2], Suite::ChaChaPoly));
}

#[test]
fn a_suite_that_is_not_offered_is_told_in_clear_with_the_one_that_is() {
    for [asked, offered] in [Suite::ALL, [Suite::AesGcm, Suite::ChaChaPoly]] {
        let pair = Setup { suite: asked, suites: vec![offered], ..Setup::default() }.connect();
        let [told, refused] = pair.peers.each_ref().map(|peer| peer.error().cloned().unwrap());
        assert_eq!(refused, Incompatible::Suite(asked.to_wire()).into());
        let ConnectionError::ClosedByPeer { code: CloseCode::Incompatible, text, in_clear: true } = told else {
            panic!("{told:?}");
        };
        assert!(text.contains(&format!("suite={offered} ")), "{text}");
    }
}

/// A client of XX, and its first flight.
fn xx_client(crypto: Crypto, own: &np_noise::Keypair) -> (Handshake, Vec<u8>) {
    let mut client = Handshake::initiator(InitiatorConfig {
        crypto,
        pattern: Pattern::XX,
        local: Some(own),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(0),
        nonce: [0; 16],
        ephemeral: SecretKey::from_bytes([1; 32]),
    })
    .unwrap();
    let mut flight = Vec::new();
    client.poll_transmit(&mut flight);
    (client, flight)
}

#[test]
fn a_server_that_says_another_suite_or_pattern_than_it_shakes_hands_in_is_refused() {
    let (own, other) = (keypair(Side::Initiator), keypair(Side::Responder));
    let answered = |suite: Suite, said: Choices| {
        let crypto = Crypto { suite, ..Crypto::default() };
        let (mut client, flight) = xx_client(crypto, &own);
        let (_, size) = Preface::decode(&flight).unwrap().unwrap();
        let (prologue, rest) = flight.split_at(size);
        let keys = Keys { local: Some(&other), ..Keys::default() };
        let ephemeral = SecretKey::from_bytes([4; 32]);
        let mut server = Noise::with(crypto, Pattern::XX, Role::Responder, prologue, keys, ephemeral).unwrap();
        let Some((HandshakeFrame::Message(first), _)) = decode_handshake_frame(rest).unwrap() else { panic!() };
        server.read_message(first, &mut Vec::new()).unwrap();
        let (mut second, mut reply) = (Vec::new(), Vec::new());
        server.write_message(&said.encode(), &mut second).unwrap();
        encode_handshake_message(&mut reply, &second);
        client.handle_bytes(&mut BytesMut::from(&reply[..]));
        client.error().cloned()
    };
    for suite in Suite::ALL {
        let right = Choices { version: 1, suite: suite.to_wire(), pattern: Pattern::XX.to_wire() };
        assert_eq!(answered(suite, right), None);
        for said in (0..=3).filter(|said| *said != suite.to_wire()) {
            let wrong = answered(suite, Choices { suite: said, ..right });
            assert_eq!(wrong, Some(Incompatible::Suite(said).into()), "{suite}");
        }
        let pattern = Pattern::IK.to_wire();
        assert_eq!(answered(suite, Choices { pattern, ..right }), Some(Incompatible::Pattern(pattern).into()));
    }
}

/// What a configuration is told before there is a connection is what its handshake would be told.
#[test]
fn a_configuration_passes_its_check_where_a_handshake_begins() {
    let (own, server, psk) = (keypair(Side::Initiator), keypair(Side::Responder).public(), Psk::from_bytes([1; 32]));
    for pattern in Pattern::ALL {
        for given in 0..8 {
            let config = || InitiatorConfig {
                crypto: Default::default(),
                pattern,
                local: (given & 1 > 0).then_some(&own),
                server_key: (given & 2 > 0).then_some(server),
                psk: (given & 4 > 0).then_some(&psk),
                psk_id: if given & 4 > 0 { b"team" } else { b"" },
                time: UnixMillis(0),
                nonce: [0; 16],
                ephemeral: SecretKey::from_bytes([2; 32]),
            };
            let begun = Handshake::initiator(config()).map(drop);
            assert_eq!(config().check().is_ok(), begun.is_ok(), "{pattern:?} {given:03b}");
            let needed = [
                pattern.needs_local_static(Role::Initiator),
                pattern.needs_remote_static(Role::Initiator),
                pattern.needs_psk(),
            ];
            let exactly = [1, 2, 4].map(|bit| given & bit > 0) == needed;
            assert_eq!(begun.is_ok(), exactly, "{pattern:?} {given:03b}");
        }
    }
}

#[test]
fn another_psk_connects_nobody_by_id_or_by_key() {
    for (pattern, psk_id) in [
        (Pattern::NNpsk0, "team"),
        (Pattern::XXpsk3, "team"),
        (Pattern::XXpsk3, ""),
        (Pattern::IKpsk2, "team"),
        (Pattern::IKpsk2, ""),
    ] {
        let psks = [Psk::from_bytes([1; 32]), Psk::from_bytes([2; 32])];
        let pair = Setup { pattern, psks, psk_id: psk_id.into(), ..Setup::default() }.connect();
        let errors = pair.peers.each_ref().map(|peer| peer.error().cloned());
        let expected: [ConnectionError; 2] = match pattern {
            // The server reads message 1 with the wrong key, and may say so in clear.
            Pattern::NNpsk0 => {
                let text = Misbehaved::PreSharedKey;
                let text = ConnectionError::from(text).to_string();
                let told = ConnectionError::ClosedByPeer { code: CloseCode::Authentication, text, in_clear: true };
                [told, Misbehaved::PreSharedKey.into()]
            }
            // Message 2 is sealed with the wrong key; the client goes without a word.
            Pattern::IKpsk2 => [Misbehaved::PreSharedKey.into(), Misbehaved::Truncated.into()],
            // Message 3 is the first with the key, and after message 2 nothing is said in clear.
            _ => [Misbehaved::Truncated.into(), Misbehaved::PreSharedKey.into()],
        };
        assert_eq!(errors, expected.map(Some), "{pattern:?} {psk_id:?}");
        assert!(pair.peers.iter().all(|peer| peer.app.events.is_empty() || !is_ready(&peer.app.events)));
    }
}

fn is_ready(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Ready(_)))
}

/// A preface of a pattern, with key ids and hints that it may not have.
fn preface(pattern: Pattern, hint: [u8; 4], key_id: &[u8]) -> Vec<u8> {
    let (version, time) = (1, UnixMillis(0));
    let (min_version, max_version, suite) = (version, version, 1);
    let (pattern, key_id) = (pattern.to_wire(), key_id.to_vec());
    let mut bytes = Vec::new();
    Preface { min_version, max_version, version, suite, pattern, time, nonce: [1; 16], hint, key_id }
        .encode(&mut bytes);
    bytes
}

#[test]
fn a_preface_names_exactly_the_keys_of_its_pattern() {
    for pattern in Pattern::ALL {
        for (hint, id) in [([0; 4], 0), ([0; 4], 4), ([0; 4], 32), ([7; 4], 0), ([7; 4], 32)] {
            let mut server = Handshake::responder(&ResponderConfig::new(Pattern::ALL.to_vec()));
            server.handle_bytes(&mut BytesMut::from(&preface(pattern, hint, &vec![b'a'; id])[..]));
            let id_fits = match pattern {
                Pattern::KK => id == 32,
                Pattern::NNpsk0 => id > 0,
                Pattern::XXpsk3 | Pattern::IKpsk2 => true,
                _ => id == 0,
            };
            let hint_fits = hint == [0; 4] || pattern.needs_remote_static_up_front();
            let expected = match (id_fits, hint_fits) {
                (false, _) => Some(Malformed::Value("the key id of this pattern").into()),
                (true, false) => Some(Malformed::Value("the hint of this pattern").into()),
                (true, true) => None,
            };
            assert_eq!(server.error(), expected.as_ref(), "{pattern:?} {hint:?} {id}");
        }
        if pattern.needs_psk() {
            for id in [b"two words".as_slice(), b"line\n", b"\xff", "\u{e9}".as_bytes()] {
                let mut server = Handshake::responder(&ResponderConfig::new(Pattern::ALL.to_vec()));
                let hint = if pattern.needs_remote_static_up_front() { [7; 4] } else { [0; 4] };
                server.handle_bytes(&mut BytesMut::from(&preface(pattern, hint, id)[..]));
                assert_eq!(server.error(), Some(&Malformed::Value("the key id of this pattern").into()), "{id:?}");
            }
        }
    }
}

#[test]
fn an_initiator_names_a_psk_where_there_is_one() {
    let (keys, psk) = (keypair(Side::Initiator), Psk::from_bytes([1; 32]));
    let start = |pattern: Pattern, psk_id: &[u8]| {
        let started = Handshake::initiator(InitiatorConfig {
            crypto: Default::default(),
            pattern,
            local: pattern.needs_local_static(Role::Initiator).then_some(&keys),
            server_key: pattern.needs_remote_static_up_front().then_some(keys.public()),
            psk: pattern.needs_psk().then_some(&psk),
            psk_id,
            time: UnixMillis(0),
            nonce: [0; 16],
            ephemeral: SecretKey::from_bytes([1; 32]),
        });
        started.map(|_| ())
    };
    for pattern in Pattern::ALL {
        assert_eq!(start(pattern, b"team").is_ok(), pattern.needs_psk(), "{pattern:?}");
        assert_eq!(start(pattern, b"").is_ok(), pattern != Pattern::NNpsk0, "{pattern:?}");
        assert_eq!(start(pattern, &[b'a'; 64]).is_ok(), pattern.needs_psk(), "{pattern:?}");
        assert!(start(pattern, &[b'a'; 65]).is_err(), "{pattern:?}");
    }
}

#[test]
fn a_psk_is_given_when_it_is_asked_for() {
    let mut server = Handshake::responder(&ResponderConfig::new(vec![Pattern::IKpsk2]));
    let early = server.provide_psk(&Psk::from_bytes([1; 32]));
    assert!(matches!(early, Err(Misuse::State(_))), "{early:?}");
}

/// A bare Noise handshake in XX, to say in it what no session would.
fn bare(role: Role, prologue: &[u8]) -> Noise {
    let own = keypair(if role == Role::Initiator { Side::Initiator } else { Side::Responder });
    let keys = Keys { local: Some(&own), ..Keys::default() };
    Noise::new(Pattern::XX, role, prologue, keys, SecretKey::from_bytes([5; 32])).unwrap()
}

#[test]
fn choices_that_were_not_offered_are_refused() {
    let choose = |choices: &[u8]| {
        let own = keypair(Side::Initiator);
        let (mut client, flight) = xx_client(Crypto::default(), &own);
        let mut server = bare(Role::Responder, &flight[..Preface::FIXED]);
        server.read_message(&flight[Preface::FIXED + 3..], &mut Vec::new()).unwrap();
        let (mut message, mut answer) = (Vec::new(), Vec::new());
        server.write_message(choices, &mut message).unwrap();
        encode_handshake_message(&mut answer, &message);
        client.handle_bytes(&mut BytesMut::from(&answer[..]));
        client.error().cloned()
    };
    assert_eq!(choose(&[1, 1, 1]), None);
    assert_eq!(choose(&[1, 1, 1, 9, 9]), None, "bytes of later versions are skipped");
    for wrong in [[2, 1, 1], [1, 2, 1], [1, 1, 2], [0, 1, 1]] {
        assert!(matches!(choose(&wrong), Some(ConnectionError::Incompatible(_))), "{wrong:?}");
    }
    assert!(matches!(choose(&[1, 1]), Some(ConnectionError::Malformed(_))));
}

#[test]
fn a_client_sends_nothing_inside_its_handshake_messages() {
    let server_keys = keypair(Side::Responder);
    let say = |first: &[u8], third: &[u8]| {
        let mut flight = preface(Pattern::XX, [0; 4], &[]);
        let mut client = bare(Role::Initiator, &flight);
        let mut server = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
        let mut message = Vec::new();
        client.write_message(first, &mut message).unwrap();
        encode_handshake_message(&mut flight, &message);
        server.handle_bytes(&mut BytesMut::from(&flight[..]));
        let ephemeral = SecretKey::from_bytes([6; 32]);
        server.proceed(ResponderKeys { local: Some(&server_keys), client_key: None, psk: None, ephemeral }).unwrap();
        if server.error().is_none() {
            let (mut answer, mut last) = (Vec::new(), Vec::new());
            server.poll_transmit(&mut answer);
            client.read_message(&answer[3..], &mut Vec::new()).unwrap();
            let mut message = Vec::new();
            client.write_message(third, &mut message).unwrap();
            encode_handshake_message(&mut last, &message);
            server.handle_bytes(&mut BytesMut::from(&last[..]));
        }
        server.error().cloned()
    };
    assert_eq!(say(b"", b""), None);
    for (first, third) in [(b"0-rtt".as_slice(), b"".as_slice()), (b"", b"a call")] {
        assert!(matches!(say(first, third), Some(ConnectionError::Malformed(Malformed::Trailing(_)))));
    }
}
