//! Modes without a Noise handshake, and Noise inside another channel.

use bytes::{Bytes, BytesMut};
use np_noise::Pattern;
use np_session::{
    Answer, Event, Handshake, HandshakeEvent, InitiatorConfig, OpenCall, OpenKind, Outer, ResponderConfig,
    ResponderKeys, Session, Side,
};
use np_testkit::keypair;
use np_types::{
    CloseCode, ConnectionError, Fingerprint, Incompatible, Limits, Malformed, Misbehaved, Misuse, PeerIdentity, Psk,
    SecretKey, Time, UnixMillis,
};
use np_wire::{Choices, Frame, Preface, encode_frame, encode_handshake_message};

fn certificate() -> PeerIdentity {
    PeerIdentity::Certificate {
        spki: Fingerprint([1; 32]),
        names: vec!["a.example".to_owned()],
        subject: String::new(),
    }
}

fn outer(binding: Option<[u8; 32]>) -> Outer {
    Outer { peer: certificate(), binding }
}

/// Passes what one end has to say to the other.
fn pass(from: &mut Handshake, to: &mut Handshake) {
    let mut bytes = Vec::new();
    from.poll_transmit(&mut bytes);
    to.handle_bytes(&mut BytesMut::from(&bytes[..]));
}

fn ends(client: Option<[u8; 32]>, server: Option<[u8; 32]>) -> [Handshake; 2] {
    ends_of([7; 16], client, server)
}

/// Two ends, the client's with this nonce in its preface.
fn ends_of(nonce: [u8; 16], client: Option<[u8; 32]>, server: Option<[u8; 32]>) -> [Handshake; 2] {
    let mut client = Handshake::initiator_inside(outer(client), UnixMillis(0), nonce);
    let mut server = Handshake::responder_inside(outer(server));
    pass(&mut client, &mut server);
    assert!(matches!(server.poll_event(), Some(HandshakeEvent::Preface(_))));
    server.proceed_inside().unwrap();
    pass(&mut server, &mut client);
    for end in [&mut client, &mut server] {
        assert_eq!(end.poll_event(), Some(HandshakeEvent::Peer(certificate())));
    }
    [client, server]
}

fn sessions() -> [Session; 2] {
    ends(Some([9; 32]), Some([9; 32])).map(|mut end| {
        end.admit().unwrap();
        end.into_session(Limits::default(), Time::ZERO).unwrap()
    })
}

/// What a session says now, heard by the other; gives the bytes.
fn say(from: &mut Session, to: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.poll_transmit(Time::ZERO, &mut bytes);
    from.handle_written(bytes.len());
    to.handle_bytes(Time::ZERO, &mut BytesMut::from(&bytes[..]));
    bytes
}

#[test]
fn records_of_an_outer_channel_carry_calls_and_no_tag() {
    let [mut client, mut server] = sessions();
    say(&mut client, &mut server);
    say(&mut server, &mut client);
    client
        .open(OpenCall { body: Bytes::from_static(b"hello"), ..OpenCall::new(OpenKind::Request, "m".parse().unwrap()) })
        .unwrap();
    client.update_key();
    for session in [&mut client, &mut server] {
        session.rest(Time::ZERO);
    }
    let bytes = say(&mut client, &mut server);
    assert!(bytes.ends_with(b"hello"), "{bytes:?}");
    let opened = std::iter::from_fn(|| server.poll_event()).find_map(|event| match event {
        Event::Opened { key, body, .. } => Some((key, body)),
        _ => None,
    });
    let (key, body) = opened.unwrap();
    assert_eq!(body, "hello");
    server.respond(key, Answer::from(body)).unwrap();
    assert!(say(&mut server, &mut client).ends_with(b"hello"));
    client.close(CloseCode::Normal, "bye");
    say(&mut client, &mut server);
    let closed = std::iter::from_fn(|| server.poll_event()).last();
    assert!(matches!(closed, Some(Event::Closed(ConnectionError::ClosedByPeer { .. }))), "{closed:?}");
}

#[test]
fn a_key_update_is_an_error_where_there_is_no_key() {
    let [mut client, mut server] = sessions();
    say(&mut client, &mut server);
    let mut record = vec![0, 2];
    encode_frame(&mut record, &Frame::KeyUpdate);
    server.handle_bytes(Time::ZERO, &mut BytesMut::from(&record[..]));
    assert_eq!(server.error(), Some(&Misbehaved::KeyUpdate.into()));
}

#[test]
fn the_binding_is_the_outer_channels_or_a_hash_of_the_preface() {
    let bindings = |binding, nonce| {
        ends_of(nonce, binding, binding).map(|mut end| {
            end.admit().unwrap();
            *end.into_session(Limits::default(), Time::ZERO).unwrap().binding()
        })
    };
    assert_eq!(bindings(Some([9; 32]), [7; 16]), [[9; 32]; 2]);
    let [client, server] = bindings(None, [7; 16]);
    assert_eq!(client, server);
    assert_ne!(client, [0; 32]);
    let others = bindings(None, [8; 16]);
    assert!(others[0] == others[1] && others[0] != client, "another preface has another hash");
}

#[test]
fn a_refused_peer_is_told_in_the_first_record_and_a_first_flight_in_clear() {
    let [mut client, mut server] = ends(None, None);
    server.refuse(CloseCode::NotAllowed, "not here", "a test refuses");
    client.admit().unwrap();
    let mut server = server.into_session(Limits::default(), Time::ZERO).unwrap();
    let mut client = client.into_session(Limits::default(), Time::ZERO).unwrap();
    say(&mut server, &mut client);
    let error = client.error().cloned();
    assert!(matches!(error, Some(ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. })));

    let mut client = Handshake::initiator_inside(outer(None), UnixMillis(0), [7; 16]);
    let mut server = Handshake::responder_inside(outer(None));
    pass(&mut client, &mut server);
    server.refuse(CloseCode::HandshakeLimit, "later", "a test refuses");
    pass(&mut server, &mut client);
    let error = client.error().cloned();
    assert!(matches!(
        error,
        Some(ConnectionError::ClosedByPeer { code: CloseCode::HandshakeLimit, in_clear: true, .. })
    ));
}

#[test]
fn a_preface_of_another_mode_is_refused() {
    let preface = |change: fn(&mut Preface)| {
        let mut preface = Preface {
            min_version: 1,
            max_version: 1,
            version: 1,
            suite: 0,
            pattern: 0,
            time: UnixMillis(0),
            nonce: [1; 16],
            hint: [0; 4],
            key_id: Vec::new(),
        };
        change(&mut preface);
        let mut bytes = Vec::new();
        preface.encode(&mut bytes);
        let mut server = Handshake::responder_inside(outer(None));
        server.handle_bytes(&mut BytesMut::from(&bytes[..]));
        server.error().cloned()
    };
    let key = Malformed::Value("a key in a mode without a handshake of keys");
    assert_eq!(preface(|_| {}), None);
    let other = Incompatible::Version { min: 1, max: 2, ours: 1 };
    assert_eq!(preface(|it| (it.version, it.max_version) = (2, 2)), Some(other.into()));
    // Such a preface may be shorter than one of version 1.
    let mut server = Handshake::responder_inside(outer(None));
    server.handle_bytes(&mut BytesMut::from(&b"np\r\n\x01\x02\x02"[..]));
    assert_eq!(server.error(), Some(&other.into()));
    assert_eq!(preface(|it| it.suite = 1), Some(Incompatible::Suite(1).into()));
    assert_eq!(preface(|it| it.pattern = 1), Some(Incompatible::Pattern(1).into()));
    assert_eq!(preface(|it| it.hint = [1; 4]), Some(key.into()));
    assert_eq!(preface(|it| it.key_id = vec![1]), Some(key.into()));
    // And the other way round: a server that expects Noise.
    let mut client = Handshake::initiator_inside(outer(None), UnixMillis(0), [7; 16]);
    let mut server = Handshake::responder(&ResponderConfig::new(Pattern::ALL.to_vec()));
    pass(&mut client, &mut server);
    assert_eq!(server.error(), Some(&Incompatible::Suite(0).into()));
}

#[test]
fn a_preface_and_its_answer_may_come_a_byte_at_a_time() {
    let slowly = |from: &mut Handshake, to: &mut Handshake| {
        let (mut bytes, mut input) = (Vec::new(), BytesMut::new());
        from.poll_transmit(&mut bytes);
        for byte in &bytes {
            assert_eq!((to.poll_event(), to.error()), (None, None));
            input.extend_from_slice(&[*byte]);
            to.handle_bytes(&mut input);
        }
        assert!(input.is_empty());
    };
    let mut client = Handshake::initiator_inside(outer(None), UnixMillis(0), [7; 16]);
    let mut server = Handshake::responder_inside(outer(None));
    slowly(&mut client, &mut server);
    assert!(matches!(server.poll_event(), Some(HandshakeEvent::Preface(_))));
    server.proceed_inside().unwrap();
    slowly(&mut server, &mut client);
    assert_eq!(client.poll_event(), Some(HandshakeEvent::Peer(certificate())));
}

#[test]
fn an_answer_that_chooses_a_handshake_of_keys_is_refused() {
    for (version, suite, pattern) in [(1, 0, 1), (1, 1, 0), (2, 0, 0)] {
        let mut client = Handshake::initiator_inside(outer(None), UnixMillis(0), [7; 16]);
        let mut answer = Vec::new();
        encode_handshake_message(&mut answer, &Choices { version, suite, pattern }.encode());
        client.handle_bytes(&mut BytesMut::from(&answer[..]));
        let error = ConnectionError::from(Incompatible::Pattern(pattern));
        assert_eq!(client.poll_event(), Some(HandshakeEvent::Failed(error)), "{version} {suite} {pattern}");
        assert!(client.admit().is_err());
    }
}

#[test]
fn a_step_out_of_turn_is_the_callers_mistake() {
    let server = || Handshake::responder_inside(outer(None));
    let state = |result| matches!(result, Err(Misuse::State(_)));
    let keys = ResponderKeys { local: None, client_key: None, psk: None, ephemeral: SecretKey::from_bytes([4; 32]) };
    assert!(state(server().proceed_inside()));
    assert!(state(server().proceed(keys)));
    assert!(state(server().provide_psk(&Psk::from_bytes([1; 32]))));
    assert!(state(server().admit()));
    assert!(state(server().into_session(Limits::default(), Time::ZERO).map(drop)));
}

#[test]
fn a_handshake_shows_its_side_and_its_state_and_no_more() {
    let shown = |handshake: &Handshake, side: &str, state: &str| {
        let expected = format!("Handshake {{ side: {side}, state: \"{state}\", .. }}");
        assert_eq!(format!("{handshake:?}"), expected);
    };
    let mut client = Handshake::initiator_inside(outer(None), UnixMillis(0), [7; 16]);
    let mut server = Handshake::responder_inside(outer(None));
    shown(&client, "Initiator", "AwaitChoices");
    shown(&server, "Responder", "AwaitOuterPreface");
    pass(&mut client, &mut server);
    shown(&server, "Responder", "AwaitOuterStart");
    server.proceed_inside().unwrap();
    shown(&server, "Responder", "AwaitVerdict");
    server.admit().unwrap();
    shown(&server, "Responder", "Done");
    client.refuse(CloseCode::NotAllowed, "", "a test refuses");
    shown(&client, "Initiator", "Failed");
}

#[test]
fn noise_inside_another_channel_is_bound_to_it() {
    let connect = |client_outer, server_outer| {
        let (own, server_keys) = (keypair(Side::Initiator), keypair(Side::Responder));
        let config = InitiatorConfig {
            crypto: Default::default(),
            pattern: Pattern::XX,
            local: Some(&own),
            server_key: None,
            psk: None,
            psk_id: &[],
            time: UnixMillis(0),
            nonce: [7; 16],
            ephemeral: SecretKey::from_bytes([3; 32]),
        };
        let mut client = Handshake::initiator_bound(config, client_outer).unwrap();
        let config = ResponderConfig::new(vec![Pattern::XX]);
        let mut server = Handshake::responder_bound(&config, server_outer);
        pass(&mut client, &mut server);
        let ephemeral = SecretKey::from_bytes([4; 32]);
        let keys = ResponderKeys { local: Some(&server_keys), client_key: None, psk: None, ephemeral };
        server.proceed(keys).unwrap();
        pass(&mut server, &mut client);
        client.error().cloned()
    };
    assert_eq!(connect(Some([5; 32]), Some([5; 32])), None);
    assert_eq!(connect(None, None), None);
    for (client, server) in [(Some([5; 32]), Some([6; 32])), (Some([5; 32]), None), (None, Some([5; 32]))] {
        assert_eq!(connect(client, server), Some(Misbehaved::Handshake.into()));
    }
}
