//! The whole conversation that `docs/PROTOCOL.md` shows: the page's bytes are what two peers say to each other.
#![cfg(test)]

use bytes::{Bytes, BytesMut};
use np_noise::{Keypair, Pattern};
use np_session::{
    Answer, Event, Handshake, HandshakeEvent, InitiatorConfig, OpenCall, OpenKind, ResponderConfig, ResponderKeys,
    Session,
};
use np_types::{CloseCode, Deadline, Limits, SecretKey, Time, UnixMillis};

const PAGE: &str = include_str!("../../../docs/PROTOCOL.md");

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32])
}

fn handshakes(pattern: Pattern) -> (Handshake, Handshake, Keypair, Keypair) {
    let (client, server) = (Keypair::from_secret(secret(0x11)), Keypair::from_secret(secret(0x22)));
    let initiator = Handshake::initiator(InitiatorConfig {
        pattern,
        local: Some(&client),
        server_key: (pattern == Pattern::IK).then(|| server.public()),
        psk: None,
        psk_id: &[],
        time: UnixMillis(1_800_000_000_000),
        nonce: [0x55; 16],
        ephemeral: secret(0x33),
    });
    let responder = Handshake::responder(&ResponderConfig { patterns: vec![pattern] });
    (initiator.unwrap(), responder, client, server)
}

/// Answers the questions of a handshake.
fn decide(handshake: &mut Handshake, server: &Keypair) {
    while let Some(event) = handshake.poll_event() {
        match event {
            HandshakeEvent::Preface(_) => {
                let local = Some(server);
                let keys = ResponderKeys { local, client_key: None, psk: None, ephemeral: secret(0x44) };
                handshake.proceed(keys).unwrap();
            }
            HandshakeEvent::Peer(_) => handshake.admit().unwrap(),
            HandshakeEvent::Done => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What a session says now, handed to its peer; gives the bytes.
fn say(from: &mut Session, to: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.poll_transmit(Time::ZERO, &mut bytes);
    from.handle_written(bytes.len());
    to.handle_bytes(Time::ZERO, &mut BytesMut::from(&bytes[..]));
    bytes
}

/// A conversation with fixed keys and time: who says which bytes, in order.
fn conversation(pattern: Pattern) -> Vec<(&'static str, Vec<u8>)> {
    let (mut initiator, mut responder, _, server_keys) = handshakes(pattern);
    let (mut flight_1, mut message_2) = (Vec::new(), Vec::new());
    initiator.poll_transmit(&mut flight_1);
    responder.handle_bytes(&mut BytesMut::from(&flight_1[..]));
    decide(&mut responder, &server_keys);
    responder.poll_transmit(&mut message_2);
    initiator.handle_bytes(&mut BytesMut::from(&message_2[..]));
    decide(&mut initiator, &server_keys);
    let mut said = vec![("initiator: preface, message 1", flight_1), ("responder: message 2", message_2)];
    if pattern == Pattern::XX {
        let mut message_3 = Vec::new();
        initiator.poll_transmit(&mut message_3);
        responder.handle_bytes(&mut BytesMut::from(&message_3[..]));
        decide(&mut responder, &server_keys);
        said.push(("initiator: message 3", message_3));
    }
    let mut client = initiator.into_session(Limits::default(), Time::ZERO).unwrap();
    let mut server = responder.into_session(Limits::default(), Time::ZERO).unwrap();
    said.push(("initiator: SETTINGS", say(&mut client, &mut server)));
    said.push(("responder: SETTINGS", say(&mut server, &mut client)));
    said.extend(call_and_close(&mut client, &mut server));
    said
}

fn call_and_close(client: &mut Session, server: &mut Session) -> Vec<(&'static str, Vec<u8>)> {
    let call = OpenCall {
        body: Bytes::from_static(b"hello"),
        deadline: Deadline::after(Time::ZERO, Deadline::DEFAULT),
        ..OpenCall::new(OpenKind::Request, "np.echo".parse().unwrap())
    };
    client.open(call).unwrap();
    client.update_key();
    let mut said = vec![("initiator: METHOD np.echo, REQUEST hello, KEY_UPDATE", say(client, server))];
    while let Some(event) = server.poll_event() {
        if let Event::Opened { key, body, credit, .. } = event {
            server.release(credit);
            server.respond(key, Answer::from(body)).unwrap();
        }
    }
    said.push(("responder: RESPONSE hello", say(server, client)));
    client.close(CloseCode::Normal, "bye");
    said.push(("initiator: CLOSE normal bye, under the next key", say(client, server)));
    let ended = std::iter::from_fn(|| server.poll_event()).last();
    assert!(matches!(ended, Some(Event::Closed(_))));
    said
}

/// The block of a conversation as the page shows it: 32 bytes a line.
fn block(pattern: Pattern) -> String {
    let mut out = String::new();
    for (who, bytes) in conversation(pattern) {
        out += &format!("{who}\n");
        for line in bytes.chunks(32) {
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            out += &format!("  {hex}\n");
        }
    }
    out
}

#[test]
fn the_page_shows_a_whole_conversation_in_each_pattern() {
    for pattern in [Pattern::XX, Pattern::IK] {
        let block = block(pattern);
        assert!(PAGE.contains(&format!("```text\n{block}```\n")), "{}:\n{block}", pattern.name());
    }
}
