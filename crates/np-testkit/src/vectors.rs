//! The vectors of the protocol page as JSON, for implementations in other languages: prefaces, whole conversations in
//! every pattern and suite, records and their keys, numbers and frames, streams and compressed bodies. Everything is made from fixed keys by the code that also runs in programs.

mod compression;
mod endings;
mod frames;
mod handshakes;
mod prefaces;
mod rekeys;
mod sessions;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use np_noise::{Crypto, Handshake as Noise, Keypair, Keys, Pattern, ReceiveCipher, Role, SendCipher, Suite, Traffic};
use np_session::{
    Answer, Event, Handshake, HandshakeEvent, InitiatorConfig, OpenCall, OpenKind, ResponderConfig, ResponderKeys,
    Session, client_key, server_hint,
};
use np_types::{CloseCode, Deadline, Limits, Psk, SecretKey, Time, UnixMillis};
use np_wire::{HandshakeFrame, Preface, decode_handshake_frame};
use serde::Serialize;
use serde_json::Value;

const CLIENT: u8 = 0x11;
const SERVER: u8 = 0x22;
const CLIENT_EPHEMERAL: u8 = 0x33;
const SERVER_EPHEMERAL: u8 = 0x44;
const NONCE: u8 = 0x55;
const PSK: u8 = 0x66;
const PSK_ID: &str = "team";
/// What stands for the value of a TLS exporter.
const EXPORTED: [u8; 32] = [0x88; 32];
const TIME: u64 = 1_800_000_000_000;

/// A file of vectors.
#[derive(Debug)]
pub struct File {
    /// Its name below `docs/vectors`.
    pub name: &'static str,
    /// What it holds.
    pub text: String,
}

/// Every file of vectors.
///
/// ```
/// let names: Vec<_> = np_testkit::vectors::files().into_iter().map(|file| file.name).collect();
/// assert!(names.contains(&"prefaces.json") && names.contains(&"frames.json"));
/// ```
#[must_use]
pub fn files() -> Vec<File> {
    vec![
        file("prefaces.json", &prefaces::prefaces()),
        file("handshakes.json", &handshakes::handshakes()),
        file("conversations.json", &conversations()),
        file("records.json", &Suite::ALL.map(records)),
        file("rekeys.json", &Suite::ALL.map(rekeys::rekeys)),
        file("numbers.json", &frames::numbers()),
        file("frames.json", &frames::frames()),
        file("streams.json", &sessions::connections()),
        file("endings.json", &endings::endings()),
        file("compression.json", &compression::bodies()),
    ]
}

fn file(name: &'static str, content: &impl Serialize) -> File {
    let mut text = serde_json::to_string_pretty(content).expect("plain data");
    text.push('\n');
    File { name, text }
}

fn preface(suite: Suite, pattern: Pattern) -> Preface {
    let server = pair(SERVER).public();
    let key_id = match pattern {
        Pattern::KK => pair(CLIENT).public().as_bytes().to_vec(),
        _ if pattern.needs_psk() => PSK_ID.into(),
        _ => Vec::new(),
    };
    Preface {
        min_version: 1,
        max_version: 1,
        version: 1,
        suite: suite.to_wire(),
        pattern: pattern.to_wire(),
        time: UnixMillis(TIME),
        nonce: [NONCE; 16],
        hint: if pattern.needs_remote_static_up_front() { server_hint(&server) } else { [0; 4] },
        key_id,
    }
}

fn encoded(preface: &Preface) -> Vec<u8> {
    let mut bytes = Vec::new();
    preface.encode(&mut bytes);
    bytes
}

/// A server that takes every suite, in these patterns.
fn offering(patterns: Vec<Pattern>) -> ResponderConfig {
    ResponderConfig { suites: Suite::ALL.to_vec(), ..ResponderConfig::new(patterns) }
}

/// A whole conversation: what both sides bring, and what they say.
#[derive(Debug, Serialize)]
struct Conversation {
    protocol_name: String,
    pattern: &'static str,
    /// How the server finds the pre-shared key.
    #[serde(skip_serializing_if = "Option::is_none")]
    psk_by: Option<&'static str>,
    client_static_secret: String,
    client_static_public: String,
    server_static_secret: String,
    server_static_public: String,
    client_ephemeral_secret: String,
    server_ephemeral_secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    psk: Option<String>,
    /// The value of the TLS exporter, where the handshake runs inside TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    outer_binding: Option<String>,
    prologue: String,
    handshake_hash: String,
    said: Vec<Said>,
}

/// What one side says at once.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    /// `initiator` or `responder`.
    pub from: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The record's number, which is its nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The record's plaintext, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<String>,
    /// The bytes on the wire, in hexadecimal digits.
    pub bytes: String,
}

fn conversations() -> Vec<Conversation> {
    let by_key = [Pattern::XXpsk3, Pattern::IKpsk2].map(|pattern| (pattern, ""));
    let all = Pattern::ALL.into_iter().map(|pattern| (pattern, PSK_ID));
    let chacha =
        all.clone().chain(by_key).map(|(pattern, psk_id)| conversation(Suite::ChaChaPoly, pattern, psk_id, None));
    let aes = all.map(|(pattern, psk_id)| conversation(Suite::AesGcm, pattern, psk_id, None));
    let inside = [Pattern::XX, Pattern::IK].map(|pattern| conversation(Suite::ChaChaPoly, pattern, "", Some(EXPORTED)));
    chacha.chain(aes).chain(inside).collect()
}

/// What two peers with the keys of the page say to each other in a pattern and 25519_ChaChaPoly_SHA256.
#[must_use]
pub fn said(pattern: Pattern) -> Vec<Said> {
    conversation(Suite::ChaChaPoly, pattern, PSK_ID, None).said
}

fn conversation(suite: Suite, pattern: Pattern, psk_id: &'static str, outer: Option<[u8; 32]>) -> Conversation {
    let (mut said, ends) = shake(suite, pattern, psk_id, outer);
    let [mut client, mut server] = ends.map(|end| end.into_session(Limits::default(), Time::ZERO).expect("it is done"));
    let first = encoded(&Preface { key_id: key_id(pattern, psk_id), ..preface(suite, pattern) });
    let prologue = [&first[..], outer.as_ref().map_or(&[], <[u8; 32]>::as_slice)].concat();
    let mut keys = listen(suite, pattern, (&first, &prologue), &said);
    let binding = hex(client.binding());
    said.push(say("initiator", "SETTINGS", &mut client, &mut server));
    said.push(say("responder", "SETTINGS", &mut server, &mut client));
    said.extend(call_and_close(&mut client, &mut server));
    decrypt(&mut said, &mut keys);
    assert_eq!(binding, hex(&keys.hash), "the session and the bare handshake agree");
    let (client, server) = (pair(CLIENT).public(), pair(SERVER).public());
    Conversation {
        protocol_name: format!("Noise_{}_{}", pattern.name(), suite.noise_name()),
        pattern: pattern.name(),
        psk_by: pattern.needs_psk().then_some(if psk_id.is_empty() { "client key" } else { "id" }),
        client_static_secret: hex(&[CLIENT; 32]),
        client_static_public: hex(client.as_bytes()),
        server_static_secret: hex(&[SERVER; 32]),
        server_static_public: hex(server.as_bytes()),
        client_ephemeral_secret: hex(&[CLIENT_EPHEMERAL; 32]),
        server_ephemeral_secret: hex(&[SERVER_EPHEMERAL; 32]),
        psk: pattern.needs_psk().then(|| hex(&[PSK; 32])),
        outer_binding: outer.map(|binding| hex(&binding)),
        prologue: hex(&prologue),
        handshake_hash: binding,
        said,
    }
}

fn key_id(pattern: Pattern, psk_id: &str) -> Vec<u8> {
    if pattern.needs_psk() { psk_id.into() } else { preface(Suite::default(), pattern).key_id }
}

/// Both handshakes, done, and what was said on the way.
fn shake(suite: Suite, pattern: Pattern, psk_id: &str, outer: Option<[u8; 32]>) -> (Vec<Said>, [Handshake; 2]) {
    let mut client = initiator(suite, pattern, psk_id, outer);
    let mut server = Handshake::responder_bound(&offering(vec![pattern]), outer);
    let mut said = vec![pass("initiator", "preface, message 1", &mut client, &mut server)];
    said.push(pass("responder", "message 2", &mut server, &mut client));
    if pattern.messages() == 3 {
        said.push(pass("initiator", "message 3", &mut client, &mut server));
    }
    (said, [client, server])
}

fn initiator(suite: Suite, pattern: Pattern, psk_id: &str, outer: Option<[u8; 32]>) -> Handshake {
    let (psk, own) = (Psk::from_bytes([PSK; 32]), pair(CLIENT));
    let config = InitiatorConfig {
        crypto: Crypto { suite, ..Crypto::default() },
        pattern,
        local: pattern.needs_local_static(Role::Initiator).then_some(&own),
        server_key: pattern.needs_remote_static_up_front().then(|| pair(SERVER).public()),
        psk: pattern.needs_psk().then_some(&psk),
        psk_id: if pattern.needs_psk() { psk_id.as_bytes() } else { &[] },
        time: UnixMillis(TIME),
        nonce: [NONCE; 16],
        ephemeral: secret(CLIENT_EPHEMERAL),
    };
    Handshake::initiator_bound(config, outer).expect("the keys are those of the pattern")
}

fn pass(who: &'static str, what: &'static str, from: &mut Handshake, to: &mut Handshake) -> Said {
    let mut bytes = Vec::new();
    from.poll_transmit(&mut bytes);
    to.handle_bytes(&mut BytesMut::from(&bytes[..]));
    decide(to);
    Said { from: who, what, record: None, plaintext: None, bytes: hex(&bytes) }
}

/// Answers the questions of a handshake.
fn decide(handshake: &mut Handshake) {
    let (psk, own) = (Psk::from_bytes([PSK; 32]), pair(SERVER));
    while let Some(event) = handshake.poll_event() {
        match event {
            HandshakeEvent::Preface(preface) => {
                let pattern = Pattern::from_wire(preface.pattern).expect("it was offered");
                let by_id = pattern.needs_psk() && !preface.key_id.is_empty();
                let keys = ResponderKeys {
                    local: pattern.needs_local_static(Role::Responder).then_some(&own),
                    client_key: client_key(&preface),
                    psk: by_id.then_some(&psk),
                    ephemeral: secret(SERVER_EPHEMERAL),
                };
                handshake.proceed(keys).expect("a preface waits");
            }
            HandshakeEvent::Psk(_) => handshake.provide_psk(&psk).expect("a client waits"),
            HandshakeEvent::Peer(_) => handshake.admit().expect("a peer waits"),
            HandshakeEvent::Done | HandshakeEvent::Failed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What a session says now, handed to its peer.
fn say(who: &'static str, what: &'static str, from: &mut Session, to: &mut Session) -> Said {
    let mut bytes = Vec::new();
    from.poll_transmit(Time::ZERO, &mut bytes);
    from.handle_written(bytes.len());
    to.handle_bytes(Time::ZERO, &mut BytesMut::from(&bytes[..]));
    Said { from: who, what, record: None, plaintext: None, bytes: hex(&bytes) }
}

fn call_and_close(client: &mut Session, server: &mut Session) -> Vec<Said> {
    let call = OpenCall {
        body: Bytes::from_static(b"hello"),
        deadline: Deadline::after(Time::ZERO, Deadline::DEFAULT),
        ..OpenCall::new(OpenKind::Request, "np.echo".parse().expect("a name"))
    };
    client.open(call).expect("the session stands");
    client.update_key();
    let mut said = vec![say("initiator", "METHOD np.echo, REQUEST hello, KEY_UPDATE", client, server)];
    while let Some(event) = server.poll_event() {
        if let Event::Opened { key, body, credit, .. } = event {
            server.release(credit);
            server.respond(key, Answer::from(body)).expect("the call waits");
        }
    }
    said.push(say("responder", "RESPONSE hello", server, client));
    client.close(CloseCode::Normal, "bye");
    said.push(say("initiator", "CLOSE normal bye, under the next key", client, server));
    let ended = std::iter::from_fn(|| server.poll_event()).last();
    assert!(matches!(ended, Some(Event::Closed(_))));
    said
}

/// The same handshake from its bytes, without a session: the responder's keys.
fn listen(suite: Suite, pattern: Pattern, (first, prologue): (&[u8], &[u8]), said: &[Said]) -> Traffic {
    let mut noise = responder(suite, pattern, prologue);
    for one in said {
        let bytes = unhex(&one.bytes);
        if one.from == "responder" {
            let choices = [1, suite.to_wire(), pattern.to_wire()];
            noise.write_message(&choices, &mut Vec::new()).expect("its turn");
            continue;
        }
        let rest = bytes.strip_prefix(first).unwrap_or(&bytes);
        let Ok(Some((HandshakeFrame::Message(message), _))) = decode_handshake_frame(rest) else {
            panic!("not a handshake message: {}", one.what);
        };
        noise.read_message(message, &mut Vec::new()).expect("it is authentic");
    }
    noise.finish().expect("the last message")
}

fn responder(suite: Suite, pattern: Pattern, prologue: &[u8]) -> Noise {
    let (psk, server) = (Psk::from_bytes([PSK; 32]), pair(SERVER));
    let keys = Keys {
        local: pattern.needs_local_static(Role::Responder).then_some(&server),
        remote: client_key(&preface(suite, pattern)),
        psk: pattern.needs_psk().then_some(&psk),
    };
    let crypto = Crypto { suite, ..Crypto::default() };
    Noise::with(crypto, pattern, Role::Responder, prologue, keys, secret(SERVER_EPHEMERAL)).expect("the keys fit")
}

/// Adds number and plaintext to what was said in records.
fn decrypt(said: &mut [Said], keys: &mut Traffic) {
    // The responder opens with its receiving key what the initiator sealed. What it sealed itself is found by sealing
    // guesses: both ciphers are their own inverse, so sealing a ciphertext again under the same nonce gives the plaintext.
    for one in said.iter_mut().filter(|one| !one.what.contains("message")) {
        let bytes = unhex(&one.bytes);
        let mut record = bytes[2..].to_vec();
        let (number, plain) = if one.from == "initiator" {
            let number = keys.receive.counter();
            (number, keys.receive.open_in_place(&mut record).expect("the next record").to_vec())
        } else {
            record.truncate(record.len() - 16);
            let number = keys.send.counter();
            keys.send.seal_in_place(&mut record).expect("a short record");
            (number, record)
        };
        (one.record, one.plaintext) = (Some(number), Some(hex(&plain)));
        if one.what.contains("KEY_UPDATE") {
            keys.receive.rekey();
        }
    }
}

/// Records under one key, and after one rekey.
#[derive(Debug, Serialize)]
struct Records {
    about: &'static str,
    suite: &'static str,
    key: String,
    records: Vec<RecordVector>,
}

#[derive(Debug, Serialize)]
struct RecordVector {
    number: u64,
    rekeyed: u32,
    plaintext: String,
    bytes: String,
}

fn records(suite: Suite) -> Records {
    let (key, crypto) = ([0x77; 32], Crypto { suite, ..Crypto::default() });
    let mut send = SendCipher::danger_with(crypto, key);
    let mut receive = ReceiveCipher::danger_with(crypto, key);
    let mut rekeyed = 0;
    let records = ["", "a", "the second record", "the first record after a rekey", "and after another"];
    let records = records.iter().enumerate().map(|(at, text)| {
        if at >= 3 {
            send.rekey();
            receive.rekey();
            rekeyed += 1;
        }
        let number = send.counter();
        let mut record = text.as_bytes().to_vec();
        let tag = send.seal_in_place(&mut record).expect("a short record");
        record.extend_from_slice(&tag);
        let length = u16::try_from(record.len()).expect("a short record").to_be_bytes();
        let bytes = hex(&[&length, &record[..]].concat());
        assert_eq!(receive.open_in_place(&mut record).expect("the next record"), text.as_bytes());
        RecordVector { number, rekeyed, plaintext: hex(text.as_bytes()), bytes }
    });
    Records {
        about: "records of one direction under one traffic key: u16 length, ciphertext, 16 bytes of tag; a rekey does not \
                reset the number",
        suite: suite.noise_name(),
        key: hex(&key),
        records: records.collect(),
    }
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32])
}

fn pair(byte: u8) -> Keypair {
    Keypair::from_secret(secret(byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(digit).collect()
}

/// The same value with its names in order, whatever features `serde_json` was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.into_iter().map(|(name, field)| (name, sorted(field))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        other => other,
    }
}
