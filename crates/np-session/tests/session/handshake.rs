//! From the first byte to the first record: who is let in, who is refused, and what they are told.

use bytes::BytesMut;
use np_noise::{Keypair, Pattern};
use np_session::{Event, Handshake, HandshakeEvent, InitiatorConfig, ResponderConfig, ResponderKeys, Side};
use np_testkit::{Pair, Recorder, Refuse, Setup, Stage, keypair};
use np_types::{
    CloseCode, ConnectionError, Incompatible, Limits, Malformed, Misbehaved, PublicKey, SecretKey, Time, UnixMillis,
};
use np_wire::{HandshakeFrame, Preface, decode_handshake_frame, encode_refusal};

/// The preface, the head of a handshake message, and message 1 of XX.
const FIRST_FLIGHT: usize = 38 + 3 + 32;

fn closed_in_clear(code: CloseCode) -> impl Fn(&ConnectionError) -> bool {
    move |error| matches!(error, ConnectionError::ClosedByPeer { code: told, in_clear: true, .. } if *told == code)
}

/// Connects and checks how each end failed.
#[track_caller]
fn check(setup: &Setup, client: impl Fn(&ConnectionError) -> bool, server: impl Fn(&ConnectionError) -> bool) {
    let pair = setup.connect();
    let [first, second] = pair.peers.each_ref().map(|peer| peer.error().cloned());
    assert!(first.as_ref().is_some_and(&client), "the client: {first:?}");
    assert!(second.as_ref().is_some_and(&server), "the server: {second:?}");
    for peer in &pair.peers {
        assert!(!peer.app.events.iter().any(|event| matches!(event, Event::Ready(_))), "{:?}", peer.app.events);
    }
}

#[test]
fn a_wrong_server_key_is_refused_before_the_clients_own_is_shown() {
    let setup = Setup { server: PublicKey::from_bytes([9; 32]), ..Setup::default() };
    let mut pair = Pair::new(&setup, [Recorder::default(), Recorder::default()]);
    pair.network.pipes[0].transcript = Some(Vec::new());
    pair.settle();
    assert_eq!(pair.network.pipes[0].transcript.as_ref().map(Vec::len), Some(FIRST_FLIGHT));
    let refused = matches!(pair.peers[0].error(), Some(ConnectionError::Refused { code: CloseCode::NotAllowed, .. }));
    assert!(refused, "{:?}", pair.peers[0].error());
    assert_eq!(pair.peers[1].error(), Some(&Misbehaved::Truncated.into()));
    assert_eq!(pair.peers[1].remote, None);
}

#[test]
fn in_ik_a_wrong_server_key_opens_nothing() {
    let other = Keypair::from_secret(SecretKey::from_bytes([9; 32])).public();
    let setup = Setup { pattern: Pattern::IK, server: other, ..Setup::default() };
    let record = |error: &ConnectionError| *error == Misbehaved::Handshake.into();
    check(&setup, closed_in_clear(CloseCode::Authentication), record);
}

#[test]
fn a_client_that_is_not_allowed_is_told_so_under_encryption() {
    for pattern in [Pattern::XX, Pattern::IK] {
        let refuse = [Refuse::No, Refuse::Peer(CloseCode::NotAllowed)];
        let told = ConnectionError::ClosedByPeer {
            code: CloseCode::NotAllowed,
            text: "not welcome".to_owned(),
            in_clear: false,
        };
        let refused = |error: &ConnectionError| matches!(error, ConnectionError::Refused { .. });
        check(&Setup { pattern, refuse, ..Setup::default() }, |error| *error == told, refused);
    }
}

#[test]
fn a_refused_first_flight_is_told_in_clear() {
    let refuse = [Refuse::No, Refuse::Preface(CloseCode::ClockSkew)];
    let refused = |error: &ConnectionError| matches!(error, ConnectionError::Refused { .. });
    check(&Setup { refuse, ..Setup::default() }, closed_in_clear(CloseCode::ClockSkew), refused);
}

#[test]
fn a_pattern_that_is_not_offered_is_told_in_clear() {
    let setup = Setup { patterns: vec![Pattern::IK], ..Setup::default() };
    let wrong = |error: &ConnectionError| *error == Incompatible::Pattern(Pattern::XX.to_wire()).into();
    check(&setup, closed_in_clear(CloseCode::Incompatible), wrong);
}

/// What a responder answers to a first flight.
fn answer_to(flight: &[u8]) -> (Option<ConnectionError>, Vec<u8>) {
    let mut handshake = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
    handshake.handle_bytes(&mut BytesMut::from(flight));
    let mut out = Vec::new();
    handshake.poll_transmit(&mut out);
    (handshake.error().cloned(), out)
}

fn preface() -> Preface {
    Preface {
        min_version: 1,
        max_version: 1,
        version: 1,
        suite: 1,
        pattern: 1,
        time: UnixMillis(0),
        nonce: [0; 16],
        hint: [0; 4],
        key_id: Vec::new(),
    }
}

#[test]
fn first_flights_that_are_refused_get_one_refusal_in_clear() {
    let flight = |preface: Preface| {
        let mut out = Vec::new();
        preface.encode(&mut out);
        out
    };
    let newer = flight(Preface { min_version: 2, max_version: 3, version: 2, ..preface() });
    let suite = flight(Preface { suite: 9, ..preface() });
    let mut long = flight(preface());
    long.extend_from_slice(&[2, 0x04, 0x01]);
    let cases: [(&[u8], CloseCode); 7] = [
        (b"GET / HTTP/1.1\r\n", CloseCode::Malformed),
        (&newer, CloseCode::Version),
        // Shorter than a preface of version 1, and one whose byte 37 would be a key id that is too long there.
        (&newer[..7], CloseCode::Version),
        (&[&newer[..7], &[0xff; 40]].concat(), CloseCode::Version),
        (&suite, CloseCode::Incompatible),
        (&long, CloseCode::LimitExceeded),
        (b"x", CloseCode::Malformed),
    ];
    for (bytes, code) in cases {
        let (error, out) = answer_to(bytes);
        assert_eq!(error.unwrap().close_code(), code);
        let (frame, used) = decode_handshake_frame(&out).unwrap().unwrap();
        assert_eq!(used, out.len());
        assert!(matches!(frame, HandshakeFrame::Refusal(ref refusal) if refusal.code == code), "{frame:?}");
    }
}

#[test]
fn a_version_that_is_not_spoken_is_found_at_the_seventh_byte() {
    let mut handshake = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
    let mut input = BytesMut::new();
    for byte in b"np\r\n\x02\x04" {
        input.extend_from_slice(&[*byte]);
        handshake.handle_bytes(&mut input);
        assert_eq!(handshake.error(), None);
    }
    input.extend_from_slice(&[3]);
    handshake.handle_bytes(&mut input);
    assert_eq!(handshake.error(), Some(&Incompatible::Version { min: 2, max: 4, ours: 1 }.into()));
}

fn initiator() -> Handshake {
    Handshake::initiator(InitiatorConfig {
        crypto: Default::default(),
        pattern: Pattern::XX,
        local: Some(&keypair(Side::Initiator)),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(0),
        nonce: [1; 16],
        ephemeral: SecretKey::from_bytes([5; 32]),
    })
    .unwrap()
}

#[test]
fn a_client_learns_the_versions_that_the_server_speaks() {
    let mut client = initiator();
    let mut refusal = Vec::new();
    encode_refusal(&mut refusal, CloseCode::Version, "");
    client.handle_bytes(&mut BytesMut::from(&refusal[..]));
    assert_eq!(client.error(), Some(&Incompatible::Version { min: 1, max: 1, ours: 1 }.into()));
    let mut garbage = initiator();
    garbage.handle_bytes(&mut BytesMut::from(&b"HTTP/1.1 400"[..]));
    assert!(matches!(garbage.error(), Some(ConnectionError::Malformed(Malformed::Value(_)))));
    let (mut first, mut out) = (initiator(), Vec::new());
    first.poll_transmit(&mut out);
    assert_eq!(out.len(), FIRST_FLIGHT);
    first.handle_eof();
    out.clear();
    first.poll_transmit(&mut out);
    assert_eq!((out.len(), first.error()), (0, Some(&Misbehaved::Truncated.into())));
}

/// A server that has sent message 2 and waits for message 3.
fn awaiting_message_3() -> (Handshake, Vec<u8>) {
    let mut server = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
    let mut bytes = Vec::new();
    initiator().poll_transmit(&mut bytes);
    server.handle_bytes(&mut BytesMut::from(&bytes[..]));
    let (local, ephemeral) = (keypair(Side::Responder), SecretKey::from_bytes([6; 32]));
    server.proceed(ResponderKeys { local: Some(&local), client_key: None, psk: None, ephemeral }).unwrap();
    assert!(server.poll_transmit(&mut bytes));
    (server, bytes)
}

#[test]
fn nothing_is_said_in_clear_after_message_2() {
    let (mut server, mut bytes) = awaiting_message_3();
    server.handle_bytes(&mut BytesMut::from(&[2, 0, 64].iter().chain(&[0; 64]).copied().collect::<Vec<u8>>()[..]));
    assert_eq!(server.error(), Some(&Misbehaved::Handshake.into()));
    assert!(!server.poll_transmit(&mut bytes));
}

#[test]
fn a_client_has_no_refusals_to_send() {
    let (mut server, _) = awaiting_message_3();
    let mut refusal = Vec::new();
    encode_refusal(&mut refusal, CloseCode::NotAllowed, "forged");
    server.handle_bytes(&mut BytesMut::from(&refusal[..]));
    assert_eq!(server.error(), Some(&Malformed::Value("the kind of a handshake message").into()));
}

#[test]
fn a_first_flight_may_be_split_anywhere() {
    let mut flight = Vec::new();
    initiator().poll_transmit(&mut flight);
    for at in 0..=flight.len() {
        let mut server = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
        let mut input = BytesMut::from(&flight[..at]);
        server.handle_bytes(&mut input);
        input.extend_from_slice(&flight[at..]);
        server.handle_bytes(&mut input);
        let mut expected = preface();
        expected.nonce = [1; 16];
        assert_eq!(server.poll_event(), Some(HandshakeEvent::Preface(expected)), "{at}");
        assert!(input.is_empty() && server.poll_event().is_none());
    }
}

#[test]
fn byte_by_byte_makes_the_same_connection() {
    let mut setup = Setup::default();
    setup.network.chunk = 1;
    let mut pair = setup.connect();
    assert!(pair.peers.iter().all(|peer| matches!(peer.stage, Stage::Running(_))));
    assert!(pair.client().peer_settings().is_some() && pair.server().peer_settings().is_some());
}

#[test]
fn an_undone_handshake_makes_no_session() {
    let session = initiator().into_session(Limits::default(), Time::ZERO);
    assert!(session.is_err());
}
