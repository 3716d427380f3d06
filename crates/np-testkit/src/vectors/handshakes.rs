//! What each side reads between the preface and the first record, and what it makes of that.

use bytes::BytesMut;
use np_noise::{Handshake as Noise, Keys, Pattern, Role, Suite};
use np_session::Handshake;
use np_types::{CloseCode, ConnectionError};
use np_wire::{HandshakeFrame, decode_handshake_frame, encode_handshake_message, encode_refusal};
use serde::Serialize;

use super::{
    CLIENT, CLIENT_EPHEMERAL, SERVER, decide, encoded, hex, initiator, offering, pair, preface, responder, secret,
};

/// The keys, times and nonces are those of the conversations, the suite is 25519_ChaChaPoly_SHA256.
#[derive(Debug, Serialize)]
pub(super) struct Reading {
    about: &'static str,
    /// Who reads: an `initiator` whose first flight has left, or a `responder`.
    to: &'static str,
    pattern: &'static str,
    bytes: String,
    /// `goes on`, `refuses` (an initiator says nothing in clear), `refuses without a word`, `refuses in clear: ` and a
    /// code, or `is refused: ` and the number of a code.
    result: String,
}

pub(super) fn handshakes() -> Vec<Reading> {
    let mut all = choices();
    all.extend(refusals());
    all.extend(first_flights());
    all.extend(third_messages());
    all
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_handshake_message(&mut out, message);
    out
}

/// Message 2 with this payload, in XX.
fn message_2(payload: &[u8]) -> Vec<u8> {
    let mut server = responder(Suite::ChaChaPoly, Pattern::XX, &encoded(&preface(Suite::ChaChaPoly, Pattern::XX)));
    server.read_message(&message_1(Pattern::XX, &[]).1, &mut Vec::new()).expect("a good message 1");
    let mut message = Vec::new();
    server.write_message(payload, &mut message).expect("its turn");
    framed(&message)
}

/// A client's handshake without a session, and its message 1 with this payload.
fn message_1(pattern: Pattern, payload: &[u8]) -> (Noise, Vec<u8>) {
    let client = pair(CLIENT);
    let remote = pattern.needs_remote_static_up_front().then(|| pair(SERVER).public());
    let keys = Keys { local: Some(&client), remote, psk: None };
    let prologue = encoded(&preface(Suite::ChaChaPoly, pattern));
    let ephemeral = secret(CLIENT_EPHEMERAL);
    let mut noise = Noise::new(pattern, Role::Initiator, &prologue, keys, ephemeral).expect("the keys fit");
    let mut message = Vec::new();
    noise.write_message(payload, &mut message).expect("its turn");
    (noise, message)
}

fn choices() -> Vec<Reading> {
    let mut changed = message_2(&[1, 1, 1]);
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    vec![
        client_reads("the choices that were offered", &message_2(&[1, 1, 1]), "goes on"),
        client_reads("bytes of later versions behind them", &message_2(&[1, 1, 1, 7, 7]), "goes on"),
        client_reads("a version that was not offered", &message_2(&[2, 1, 1]), "refuses"),
        client_reads("a suite that was not offered", &message_2(&[1, 2, 1]), "refuses"),
        client_reads("a pattern that was not offered", &message_2(&[1, 1, 2]), "refuses"),
        client_reads("choices that are cut short", &message_2(&[1, 1]), "refuses"),
        client_reads("a message 2 that does not open", &changed, "refuses"),
        client_reads("a message 2 of 1,025 bytes, refused at its length", &[2, 0x04, 0x01], "refuses"),
        client_reads("a kind that nobody knows", &[4], "refuses"),
    ]
}

fn refusals() -> Vec<Reading> {
    let refusal = |code: u16, text: &str| {
        let mut out = Vec::new();
        encode_refusal(&mut out, CloseCode::from_wire(code), text);
        out
    };
    vec![
        client_reads("a refusal in clear", &refusal(0x21, "your clock is 9 s ahead"), "is refused: 33"),
        client_reads("a refusal of the version", &refusal(0x12, ""), "is refused: 18"),
        client_reads("a refusal by a code that nobody knows", &refusal(0x1234, ""), "is refused: 4660"),
        client_reads("a refusal with 256 bytes of text", &refusal(0x30, &"a".repeat(256)), "is refused: 48"),
        client_reads("a refusal with 257 bytes of text, refused at its length", &[3, 0x01, 0x05], "refuses"),
        client_reads("a refusal without its versions", &[3, 0, 2, 0, 0x21], "refuses"),
        client_reads("a refusal whose text is not UTF-8", &[3, 0, 5, 0, 0x21, 1, 1, 0xff], "refuses"),
    ]
}

fn first_flights() -> Vec<Reading> {
    let flight = |pattern, behind: &[u8]| [&encoded(&preface(Suite::ChaChaPoly, pattern)), behind].concat();
    let message = |pattern, payload: &[u8]| framed(&message_1(pattern, payload).1);
    let mut changed = flight(Pattern::IK, &message(Pattern::IK, &[]));
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let zeros = flight(Pattern::XX, &framed(&[0; 32]));
    let payload = flight(Pattern::XX, &message(Pattern::XX, &[0]));
    let long = flight(Pattern::XX, &[2, 0x04, 0x01]);
    let short = flight(Pattern::XX, &framed(&[9; 31]));
    let (refusal, unknown) = (flight(Pattern::XX, &[3, 0, 4, 0, 0, 1, 1]), flight(Pattern::XX, &[7]));
    let in_clear = |about, pattern, bytes: &[u8], code| server_reads(about, pattern, bytes, "refuses in clear: ", code);
    vec![
        in_clear("a message 1 that does not open", Pattern::IK, &changed, "authentication"),
        in_clear("a point of low order", Pattern::XX, &zeros, "authentication"),
        in_clear("a message 1 shorter than its tokens", Pattern::XX, &short, "authentication"),
        in_clear("a message 1 with a payload", Pattern::XX, &payload, "malformed"),
        in_clear("a message 1 of 1,025 bytes, refused at its length", Pattern::XX, &long, "limit-exceeded"),
        in_clear("a refusal from a client", Pattern::XX, &refusal, "malformed"),
        in_clear("a kind that nobody knows", Pattern::XX, &unknown, "malformed"),
    ]
}

/// Behind a good first flight of XX, to which the server answers by message 2.
fn third_messages() -> Vec<Reading> {
    let third = |payload: &[u8]| {
        let (mut client, first) = message_1(Pattern::XX, &[]);
        let answer = message_2(&[1, 1, 1]);
        client.read_message(&answer[3..], &mut Vec::new()).expect("a good message 2");
        let mut message = Vec::new();
        client.write_message(payload, &mut message).expect("its turn");
        [encoded(&preface(Suite::ChaChaPoly, Pattern::XX)), framed(&first), framed(&message)].concat()
    };
    let mut changed = third(&[]);
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let xx = Pattern::XX;
    vec![
        server_reads("a whole handshake", xx, &third(&[]), "goes on", ""),
        server_reads("a message 3 that does not open", xx, &changed, "refuses without a word", ""),
        server_reads("a message 3 with a payload", xx, &third(&[0]), "refuses without a word", ""),
    ]
}

fn client_reads(about: &'static str, bytes: &[u8], wanted: &str) -> Reading {
    let mut client = initiator(Suite::ChaChaPoly, Pattern::XX, "", None);
    client.poll_transmit(&mut Vec::new());
    client.handle_bytes(&mut BytesMut::from(bytes));
    decide(&mut client);
    let result = match (client.error(), decode_handshake_frame(bytes)) {
        (None, _) => "goes on".to_owned(),
        (Some(_), Ok(Some((HandshakeFrame::Refusal(refusal), _)))) => format!("is refused: {}", refusal.code.to_wire()),
        (Some(ConnectionError::ClosedByPeer { .. }), other) => panic!("{about}: {other:?}"),
        (Some(_), _) => "refuses".to_owned(),
    };
    assert_eq!(result, wanted, "{about}");
    Reading { about, to: "initiator", pattern: Pattern::XX.name(), bytes: hex(bytes), result }
}

fn server_reads(about: &'static str, pattern: Pattern, bytes: &[u8], wanted: &str, code: &str) -> Reading {
    let mut server = Handshake::responder(&offering(vec![pattern]));
    let mut input = BytesMut::from(bytes);
    // A question of the handshake stands behind each message.
    for _ in 0..pattern.messages() {
        server.handle_bytes(&mut input);
        decide(&mut server);
    }
    let mut said = Vec::new();
    server.poll_transmit(&mut said);
    let result = match (server.error(), decode_handshake_frame(&said)) {
        (None, _) => "goes on".to_owned(),
        (Some(_), Ok(Some((HandshakeFrame::Refusal(refusal), used)))) if used == said.len() => {
            format!("refuses in clear: {}", refusal.code)
        }
        (Some(_), Ok(Some((_, used)))) if used == said.len() => "refuses without a word".to_owned(),
        other => panic!("{about}: {other:?}"),
    };
    assert_eq!(result, format!("{wanted}{code}"), "{about}");
    Reading { about, to: "responder", pattern: pattern.name(), bytes: hex(bytes), result }
}
