//! One session against frames that a test writes itself.

use bytes::BytesMut;
use np_noise::{Handshake as Noise, Keys, Pattern, ReceiveCipher, Role, SendCipher, Traffic};
use np_session::{Event, Handshake, InitiatorConfig, ResponderConfig, ResponderKeys, Session, Settings, Side};
use np_types::{Limits, SecretKey, Time, UnixMillis};
use np_wire::{
    Choices, Frame, Frames, HandshakeFrame, Preface, decode_handshake_frame, encode_frame, encode_handshake_message,
    record_len,
};

use crate::keypair;

/// The keys of a finished handshake, in a test's hands.
#[derive(Debug)]
pub struct Hand {
    send: SendCipher,
    receive: ReceiveCipher,
    input: Vec<u8>,
}

impl Hand {
    fn new(traffic: Traffic) -> Self {
        Self { send: traffic.send, receive: traffic.receive, input: Vec::new() }
    }

    /// Seals frames as one record.
    pub fn seal(&mut self, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut plain = Vec::new();
        frames.iter().for_each(|frame| encode_frame(&mut plain, frame));
        let record = self.seal_bytes(&plain);
        if frames.last() == Some(&Frame::KeyUpdate) {
            self.send.rekey();
        }
        record
    }

    /// Seals any bytes as one record.
    pub fn seal_bytes(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut record = plain.to_vec();
        let tag = self.send.seal_in_place(&mut record).expect("a record's size");
        record.extend_from_slice(&tag);
        let mut out = (record.len() as u16).to_be_bytes().to_vec();
        out.append(&mut record);
        out
    }

    /// Opens whole records and gives their frames' bytes, one after the other.
    pub fn open(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Ok(Some(length)) = record_len(&self.input, 17) {
            if self.input.len() < 2 + length {
                break;
            }
            let mut record: Vec<u8> = self.input.drain(..2 + length).skip(2).collect();
            let plain = self.receive.open_in_place(&mut record).expect("the session's record opens").to_vec();
            if Frames::new(&plain).last() == Some(Ok(Frame::KeyUpdate)) {
                self.receive.rekey();
            }
            frames.extend_from_slice(&plain);
        }
        frames
    }
}

/// A session and a test that talks frames to it.
///
/// ```
/// use np_session::Side;
/// use np_testkit::Dialogue;
/// use np_types::Limits;
/// use np_wire::Frame;
/// let mut talk = Dialogue::open(Side::Responder, &Limits::default());
/// talk.say(&[Frame::Ping(7)]);
/// assert!(talk.hears(&Frame::Pong(7)));
/// ```
#[derive(Debug)]
pub struct Dialogue {
    /// The session under test.
    pub session: Session,
    /// The other end.
    pub hand: Hand,
    /// The time that the session is told.
    pub now: Time,
    /// Bytes that make no whole record yet.
    pub input: BytesMut,
}

impl Dialogue {
    /// A session of `side` whose handshake is done and whose peer has not spoken yet.
    #[must_use]
    pub fn start(side: Side, limits: &Limits) -> Self {
        let (session, traffic) = match side {
            Side::Responder => with_responder(limits),
            Side::Initiator => with_initiator(limits),
        };
        Self { session, hand: Hand::new(traffic), now: Time::ZERO, input: BytesMut::new() }
    }

    /// As [`Dialogue::start`], with the default settings of the other end said and those of the session heard.
    #[must_use]
    pub fn open(side: Side, limits: &Limits) -> Self {
        Self::open_with(side, limits, &Limits::default())
    }

    /// As [`Dialogue::open`], where the other end has limits of its own.
    #[must_use]
    pub fn open_with(side: Side, limits: &Limits, other: &Limits) -> Self {
        let mut talk = Self::start(side, limits);
        talk.say(&[Frame::Settings(settings(other))]);
        talk.hear();
        talk.events();
        talk
    }

    /// Sends a record with `frames` to the session.
    pub fn say(&mut self, frames: &[Frame<'_>]) {
        let record = self.hand.seal(frames);
        self.feed(&record);
    }

    /// Sends any bytes to the session.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.session.handle_bytes(self.now, &mut self.input);
    }

    /// The frames that the session sends now, as bytes for [`Frames`]; the transport takes them all.
    pub fn hear(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        loop {
            let mut out = Vec::new();
            if !self.session.poll_transmit(self.now, &mut out) {
                return frames;
            }
            self.session.handle_written(out.len());
            frames.append(&mut self.hand.open(&out));
        }
    }

    /// Whether `frame` is among what the session sends now.
    pub fn hears(&mut self, frame: &Frame<'_>) -> bool {
        let bytes = self.hear();
        Frames::new(&bytes).any(|heard| heard.as_ref() == Ok(frame))
    }

    /// What happened at the session since this was asked last.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }
}

/// The encodings of bodies that this version knows: LZ4 (1) and Zstandard (2).
const ENCODINGS: u32 = 1 << 1 | 1 << 2;

/// The settings that a side with `limits` sends.
#[must_use]
pub const fn settings(limits: &Limits) -> Settings {
    Settings {
        max_message: limits.max_message,
        max_calls: limits.max_calls,
        stream_window: limits.stream_window,
        connection_window: limits.connection_window,
        encodings: if limits.accept_compressed { ENCODINGS } else { 0 },
    }
}

fn with_responder(limits: &Limits) -> (Session, Traffic) {
    let (own, other) = (keypair(Side::Responder), keypair(Side::Initiator));
    let mut flight = Vec::new();
    let preface = Preface {
        min_version: 1,
        max_version: 1,
        version: 1,
        suite: 1,
        pattern: Pattern::XX.to_wire(),
        time: UnixMillis(0),
        nonce: [9; 16],
        hint: [0; 4],
        key_id: Vec::new(),
    };
    preface.encode(&mut flight);
    let keys = Keys { local: Some(&other), ..Keys::default() };
    let ephemeral = SecretKey::from_bytes([3; 32]);
    let mut noise = Noise::new(Pattern::XX, Role::Initiator, &flight, keys, ephemeral).expect("XX takes these keys");
    write(&mut noise, &[], &mut flight);
    let mut handshake = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
    handshake.handle_bytes(&mut BytesMut::from(&flight[..]));
    let ephemeral = SecretKey::from_bytes([4; 32]);
    let keys = ResponderKeys { local: Some(&own), client_key: None, psk: None, ephemeral };
    handshake.proceed(keys).expect("the preface is there");
    let mut reply = Vec::new();
    handshake.poll_transmit(&mut reply);
    read(&mut noise, &reply);
    let mut last = Vec::new();
    write(&mut noise, &[], &mut last);
    handshake.handle_bytes(&mut BytesMut::from(&last[..]));
    handshake.admit().expect("the peer is proven");
    let session = handshake.into_session(limits.clone(), Time::ZERO).expect("it is done");
    (session, noise.finish().expect("it is finished"))
}

fn with_initiator(limits: &Limits) -> (Session, Traffic) {
    let (own, other) = (keypair(Side::Initiator), keypair(Side::Responder));
    let mut handshake = Handshake::initiator(InitiatorConfig {
        crypto: Default::default(),
        pattern: Pattern::XX,
        local: Some(&own),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(0),
        nonce: [9; 16],
        ephemeral: SecretKey::from_bytes([3; 32]),
    })
    .expect("XX takes these keys");
    let mut flight = Vec::new();
    handshake.poll_transmit(&mut flight);
    let (_, size) = Preface::decode(&flight).expect("a preface").expect("all of it");
    let keys = Keys { local: Some(&other), ..Keys::default() };
    let ephemeral = SecretKey::from_bytes([4; 32]);
    let prologue = &flight[..size];
    let mut noise = Noise::new(Pattern::XX, Role::Responder, prologue, keys, ephemeral).expect("XX takes these keys");
    read(&mut noise, &flight[size..]);
    let mut reply = Vec::new();
    write(&mut noise, &Choices { version: 1, suite: 1, pattern: Pattern::XX.to_wire() }.encode(), &mut reply);
    handshake.handle_bytes(&mut BytesMut::from(&reply[..]));
    handshake.admit().expect("the server is proven");
    let mut last = Vec::new();
    handshake.poll_transmit(&mut last);
    read(&mut noise, &last);
    let session = handshake.into_session(limits.clone(), Time::ZERO).expect("it is done");
    (session, noise.finish().expect("it is finished"))
}

fn write(noise: &mut Noise, payload: &[u8], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    noise.write_message(payload, &mut message).expect("a handshake message");
    encode_handshake_message(out, &message);
}

fn read(noise: &mut Noise, bytes: &[u8]) {
    match decode_handshake_frame(bytes) {
        Ok(Some((HandshakeFrame::Message(message), _))) => {
            noise.read_message(message, &mut Vec::new()).expect("a good handshake message");
        }
        other => panic!("no handshake message: {other:?}"),
    }
}
