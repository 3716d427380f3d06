//! From the first byte to the keys: preface, handshake messages, and the two decisions that belong to others.
//!
//! ```text
//!   initiator                                responder
//!   preface, message 1 ------------------->  Preface event: proceed(keys) or refuse (in clear)
//!   Peer event: admit or refuse  <---------  message 2
//!   message 3 (XX) ----------------------->  Peer event: admit, or refuse (as the first record)
//!   Session                                  Session
//! ```
//! The first decision (limits, clock, replay, which identity) costs no Diffie-Hellman; the second (is this key
//! welcome) is taken when the key is proven, and in XX before the initiator has shown its own.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf as _, BytesMut};
use np_noise::{Handshake as Noise, Keypair, Keys, Pattern, Role, Traffic};
use np_types::{
    CloseCode, ConnectionError, Incompatible, Limits, Malformed, Misbehaved, Misuse, PeerIdentity, Psk, PublicKey,
    SecretKey, Time, UnixMillis, VERSION,
};
use np_wire::{
    Choices, HandshakeFrame, Preface, Side, decode_handshake_frame, encode_handshake_message, encode_refusal,
};
use sha2::{Digest as _, Sha256};

use crate::Session;

/// The number of the suite 25519_ChaChaPoly_SHA256, the one suite of version 1.
///
/// ```
/// assert_eq!(np_session::SUITE_CHACHAPOLY, 1);
/// ```
pub const SUITE_CHACHAPOLY: u8 = 1;

/// The hint by which a server finds the identity that message 1 was made for: the start of its key's SHA-256.
///
/// ```
/// use np_types::PublicKey;
/// assert_eq!(np_session::server_hint(&PublicKey::from_bytes([0; 32])), [0x66, 0x68, 0x7a, 0xad]);
/// ```
#[must_use]
pub fn server_hint(key: &PublicKey) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// What an initiator brings. Time and randomness are arguments: each connection needs fresh ones.
#[derive(Debug)]
pub struct InitiatorConfig<'a> {
    /// The handshake pattern.
    pub pattern: Pattern,
    /// This side's identity; none where the pattern shows none.
    pub local: Option<&'a Keypair>,
    /// The server's key, where the pattern needs it before message 1.
    pub server_key: Option<PublicKey>,
    /// The pre-shared key of a pattern with psk.
    pub psk: Option<&'a Psk>,
    /// The psk or client-key id that the preface carries; empty for none.
    pub key_id: &'a [u8],
    /// The wall clock.
    pub time: UnixMillis,
    /// 16 random bytes.
    pub nonce: [u8; 16],
    /// 32 random bytes: the ephemeral secret.
    pub ephemeral: SecretKey,
}

/// What a responder offers.
///
/// ```
/// use np_noise::Pattern;
/// use np_session::ResponderConfig;
/// let config = ResponderConfig { patterns: vec![Pattern::XX, Pattern::IK] };
/// assert!(config.patterns.contains(&Pattern::XX));
/// ```
#[derive(Debug, Clone)]
pub struct ResponderConfig {
    /// The patterns that are accepted.
    pub patterns: Vec<Pattern>,
}

/// What a responder decides on with its preface: the identity that the hint names and the keys that the pattern needs.
#[derive(Debug)]
pub struct ResponderKeys<'a> {
    /// This side's identity.
    pub local: Option<&'a Keypair>,
    /// The client's key, where the pattern needs it before message 1.
    pub client_key: Option<PublicKey>,
    /// The pre-shared key of a pattern with psk.
    pub psk: Option<&'a Psk>,
    /// 32 random bytes: the ephemeral secret.
    pub ephemeral: SecretKey,
}

/// What a handshake tells its driver.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HandshakeEvent {
    /// A responder has the preface and message 1 and has done no work for them: [`Handshake::proceed`] or
    /// [`Handshake::refuse`].
    Preface(Preface),
    /// The peer's identity is known: [`Handshake::admit`] or [`Handshake::refuse`].
    Peer(PeerIdentity),
    /// The keys are there: send what is left and call [`Handshake::into_session`].
    Done,
    /// It failed. Send what is left, then end the connection.
    Failed(ConnectionError),
}

/// A handshake in progress, on either side. Boxed state: the long-lived session does not carry its size.
///
/// Feed [`Handshake::handle_bytes`], drain [`Handshake::poll_event`] and answer its two questions, send what
/// [`Handshake::poll_transmit`] gives, and turn it into a [`Session`].
///
/// # Limits
/// At most a preface of 102 bytes and one message of 1,024 bytes are held; an announced oversize is refused at its
/// header.
pub struct Handshake {
    side: Side,
    state: Box<State>,
    out: Vec<u8>,
    events: VecDeque<HandshakeEvent>,
    /// Whether message 2 has left: from then on nothing is said in clear.
    answered: bool,
    error: Option<ConnectionError>,
}

enum State {
    /// Responder: nothing, or a part of the first flight, has come.
    AwaitPreface { patterns: Vec<Pattern> },
    /// Responder: the driver decides on the first flight.
    AwaitKeys { pattern: Pattern, prologue: Vec<u8>, message: Vec<u8> },
    /// Initiator: message 2 is to come.
    AwaitMessage2 { noise: Noise, pattern: Pattern },
    /// Responder: message 3 is to come.
    AwaitMessage3 { noise: Noise },
    /// The driver decides on the peer.
    AwaitVerdict { noise: Noise },
    /// The driver refused an authenticated peer: it is told inside the first record.
    Refused { traffic: Traffic, error: ConnectionError, text: String },
    /// The keys are there.
    Done { traffic: Traffic },
    /// It failed, or is being changed.
    Failed,
}

impl Handshake {
    /// Starts as the side that connects; its preface and message 1 are ready to be sent.
    ///
    /// # Errors
    /// When the pattern needs a key that was not given, or was given one that it does not use.
    pub fn initiator(config: InitiatorConfig<'_>) -> Result<Self, Misuse> {
        let InitiatorConfig { pattern, local, server_key, psk, key_id, time, nonce, ephemeral } = config;
        let hint = server_key.as_ref().map_or([0; 4], server_hint);
        let preface = Preface {
            min_version: VERSION,
            max_version: VERSION,
            version: VERSION,
            suite: SUITE_CHACHAPOLY,
            pattern: pattern.to_wire(),
            time,
            nonce,
            hint,
            key_id: key_id.to_vec(),
        };
        let mut out = Vec::with_capacity(256);
        preface.encode(&mut out);
        let keys = Keys { local, remote: server_key, psk };
        let mut noise = Noise::new(pattern, Role::Initiator, &out, keys, ephemeral).map_err(wrong_keys)?;
        let mut message = Vec::with_capacity(128);
        noise.write_message(&[], &mut message).map_err(wrong_keys)?;
        encode_handshake_message(&mut out, &message);
        let state = Box::new(State::AwaitMessage2 { noise, pattern });
        Ok(Self { side: Side::Initiator, state, out, events: VecDeque::new(), answered: false, error: None })
    }

    /// Starts as the side that was connected to.
    #[must_use]
    pub fn responder(config: &ResponderConfig) -> Self {
        let state = Box::new(State::AwaitPreface { patterns: config.patterns.clone() });
        Self { side: Side::Responder, state, out: Vec::new(), events: VecDeque::new(), answered: false, error: None }
    }

    /// Takes what it understands off `input`; bytes after the handshake stay there for the session.
    pub fn handle_bytes(&mut self, input: &mut BytesMut) {
        if let Err(error) = self.advance(input) {
            self.fail(error);
        }
    }

    /// The transport's read side ended before the handshake did.
    pub fn handle_eof(&mut self) {
        self.fail(Misbehaved::Truncated.into());
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut *self.state, State::Failed) {
            State::AwaitPreface { patterns } => self.first_flight(patterns, input),
            State::AwaitMessage2 { noise, pattern } => self.message_2(noise, pattern, input),
            State::AwaitMessage3 { noise } => self.message_3(noise, input),
            other => {
                *self.state = other;
                Ok(())
            }
        }
    }

    fn first_flight(&mut self, patterns: Vec<Pattern>, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let whole = match Preface::decode(input)? {
            None => None,
            Some((preface, size)) => {
                let pattern = offered(&preface, &patterns)?;
                let rest = input.get(size..).unwrap_or_default();
                first_message(rest)?.map(|(message, used)| (preface, pattern, size, message.to_vec(), used))
            }
        };
        let Some((preface, pattern, size, message, used)) = whole else {
            *self.state = State::AwaitPreface { patterns };
            return Ok(());
        };
        let prologue = input.get(..size).unwrap_or_default().to_vec();
        input.advance(size + used);
        *self.state = State::AwaitKeys { pattern, prologue, message };
        self.events.push_back(HandshakeEvent::Preface(preface));
        Ok(())
    }

    fn message_2(&mut self, mut noise: Noise, pattern: Pattern, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let mut payload = Vec::new();
        match take_message(input, &mut noise, &mut payload, Side::Initiator)? {
            Taken::Partly => {
                *self.state = State::AwaitMessage2 { noise, pattern };
                return Ok(());
            }
            Taken::Whole => {}
        }
        let choices = Choices::decode(&payload)?;
        let expected = Choices { version: VERSION, suite: SUITE_CHACHAPOLY, pattern: pattern.to_wire() };
        if choices != expected {
            return Err(Incompatible::Pattern(choices.pattern).into());
        }
        self.ask_verdict(noise);
        Ok(())
    }

    fn message_3(&mut self, mut noise: Noise, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let mut payload = Vec::new();
        match take_message(input, &mut noise, &mut payload, Side::Responder)? {
            Taken::Partly => *self.state = State::AwaitMessage3 { noise },
            Taken::Whole if payload.is_empty() => self.ask_verdict(noise),
            Taken::Whole => return Err(Malformed::Trailing("handshake message 3").into()),
        }
        Ok(())
    }

    fn ask_verdict(&mut self, noise: Noise) {
        let peer = noise.remote_static().map_or(PeerIdentity::Anonymous, PeerIdentity::Noise);
        *self.state = State::AwaitVerdict { noise };
        self.events.push_back(HandshakeEvent::Peer(peer));
    }

    /// Goes on after [`HandshakeEvent::Preface`]: the first Diffie-Hellman happens here.
    ///
    /// # Errors
    /// When no preface waits, or the keys are not those that the pattern needs.
    pub fn proceed(&mut self, keys: ResponderKeys<'_>) -> Result<(), Misuse> {
        let State::AwaitKeys { pattern, prologue, message } = std::mem::replace(&mut *self.state, State::Failed) else {
            return Err(Misuse::State("no preface waits for a decision"));
        };
        let ResponderKeys { local, client_key, psk, ephemeral } = keys;
        let keys = Keys { local, remote: client_key, psk };
        let noise = Noise::new(pattern, Role::Responder, &prologue, keys, ephemeral).map_err(wrong_keys)?;
        if let Err(error) = self.answer(noise, pattern, &message) {
            self.fail(error);
        }
        Ok(())
    }

    fn answer(&mut self, mut noise: Noise, pattern: Pattern, message: &[u8]) -> Result<(), ConnectionError> {
        let mut payload = Vec::new();
        noise.read_message(message, &mut payload).map_err(|_| Misbehaved::Record)?;
        if !payload.is_empty() {
            return Err(Malformed::Trailing("handshake message 1").into());
        }
        let choices = Choices { version: VERSION, suite: SUITE_CHACHAPOLY, pattern: pattern.to_wire() };
        let mut reply = Vec::with_capacity(128);
        noise.write_message(&choices.encode(), &mut reply).map_err(|_| Misbehaved::Record)?;
        encode_handshake_message(&mut self.out, &reply);
        self.answered = true;
        if noise.is_finished() {
            self.ask_verdict(noise);
        } else {
            *self.state = State::AwaitMessage3 { noise };
        }
        Ok(())
    }

    /// Accepts the peer of [`HandshakeEvent::Peer`].
    ///
    /// # Errors
    /// When no peer waits for a verdict.
    pub fn admit(&mut self) -> Result<(), Misuse> {
        let State::AwaitVerdict { mut noise } = std::mem::replace(&mut *self.state, State::Failed) else {
            return Err(Misuse::State("no peer waits for a verdict"));
        };
        let mut message = Vec::new();
        if !noise.is_finished() {
            noise.write_message(&[], &mut message).map_err(wrong_keys)?;
            encode_handshake_message(&mut self.out, &message);
        }
        let traffic = noise.finish().map_err(wrong_keys)?;
        *self.state = State::Done { traffic };
        self.events.push_back(HandshakeEvent::Done);
        Ok(())
    }

    /// Refuses the first flight or the peer.
    ///
    /// A responder tells a first flight in clear, a proven peer inside the first record. An initiator that refuses the
    /// server's key sends nothing: it has not shown its own yet.
    pub fn refuse(&mut self, code: CloseCode, text: &str, reason: &str) {
        let error = ConnectionError::Refused { code, reason: reason.to_owned() };
        match std::mem::replace(&mut *self.state, State::Failed) {
            State::AwaitVerdict { noise } if self.side == Side::Responder => {
                if let Ok(traffic) = noise.finish() {
                    *self.state = State::Refused { traffic, error, text: text.to_owned() };
                    self.events.push_back(HandshakeEvent::Done);
                }
            }
            _ if self.side == Side::Responder && !self.answered => {
                encode_refusal(&mut self.out, code, text);
                self.give_up(error);
            }
            _ => self.give_up(error),
        }
    }

    /// Fails by the bytes of the peer: a responder that has not sent message 2 says so in clear.
    fn fail(&mut self, error: ConnectionError) {
        if self.error.is_some() {
            return;
        }
        let in_clear = self.side == Side::Responder && !matches!(error, ConnectionError::ClosedByPeer { .. });
        if in_clear && !self.answered {
            encode_refusal(&mut self.out, error.close_code(), &error.to_string());
        }
        *self.state = State::Failed;
        self.give_up(error);
    }

    fn give_up(&mut self, error: ConnectionError) {
        self.error = Some(error.clone());
        self.events.push_back(HandshakeEvent::Failed(error));
    }

    /// The next thing that happened, if any.
    pub fn poll_event(&mut self) -> Option<HandshakeEvent> {
        self.events.pop_front()
    }

    /// Appends what is ready to be sent to `out`; gives whether there was anything.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let any = !self.out.is_empty();
        out.append(&mut self.out);
        any
    }

    /// Why it failed, once it has.
    #[must_use]
    pub const fn error(&self) -> Option<&ConnectionError> {
        self.error.as_ref()
    }

    /// The session over the agreed keys, after [`HandshakeEvent::Done`].
    ///
    /// What the handshake did not send yet goes out before the session's first record. A peer that was refused gets a
    /// session that sends CLOSE and has ended.
    ///
    /// # Errors
    /// When the handshake is not done.
    pub fn into_session(self, limits: Limits, now: Time) -> Result<Session, Misuse> {
        match *self.state {
            State::Done { traffic } => Ok(Session::new(self.side, limits, traffic, self.out, now)),
            State::Refused { traffic, error, text } => {
                let mut session = Session::new(self.side, limits, traffic, self.out, now);
                session.refuse(error, &text);
                Ok(session)
            }
            _ => Err(Misuse::State("the handshake is not done")),
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state {
            State::AwaitPreface { .. } => "AwaitPreface",
            State::AwaitKeys { .. } => "AwaitKeys",
            State::AwaitMessage2 { .. } => "AwaitMessage2",
            State::AwaitMessage3 { .. } => "AwaitMessage3",
            State::AwaitVerdict { .. } => "AwaitVerdict",
            State::Refused { .. } => "Refused",
            State::Done { .. } => "Done",
            State::Failed => "Failed",
        };
        f.debug_struct("Handshake").field("side", &self.side).field("state", &state).finish_non_exhaustive()
    }
}

enum Taken {
    Partly,
    Whole,
}

/// Takes a handshake message off `input` and reads it; a refusal in clear ends the handshake.
fn take_message(
    input: &mut BytesMut,
    noise: &mut Noise,
    payload: &mut Vec<u8>,
    side: Side,
) -> Result<Taken, ConnectionError> {
    let Some((frame, used)) = decode_handshake_frame(input)? else {
        return Ok(Taken::Partly);
    };
    match frame {
        HandshakeFrame::Message(message) => {
            noise.read_message(message, payload).map_err(|_| Misbehaved::Record)?;
        }
        HandshakeFrame::Refusal(_) if side == Side::Responder => {
            return Err(Malformed::Value("the kind of a handshake message").into());
        }
        HandshakeFrame::Refusal(refusal) => {
            if refusal.code == CloseCode::Version {
                let (min, max) = (refusal.min_version, refusal.max_version);
                return Err(Incompatible::Version { min, max, ours: VERSION }.into());
            }
            let text = refusal.text.to_owned();
            return Err(ConnectionError::ClosedByPeer { code: refusal.code, text, in_clear: true });
        }
    }
    input.advance(used);
    Ok(Taken::Whole)
}

/// The pattern of a preface, if version, suite and pattern are spoken here.
fn offered(preface: &Preface, patterns: &[Pattern]) -> Result<Pattern, ConnectionError> {
    let Preface { min_version: min, max_version: max, version, suite, pattern, .. } = *preface;
    if version != VERSION {
        return Err(Incompatible::Version { min, max, ours: VERSION }.into());
    }
    if suite != SUITE_CHACHAPOLY {
        return Err(Incompatible::Suite(suite).into());
    }
    let known = Pattern::from_wire(pattern).filter(|known| patterns.contains(known));
    known.ok_or_else(|| Incompatible::Pattern(pattern).into())
}

/// Message 1 stands behind the preface in the same framing as the others.
fn first_message(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ConnectionError> {
    match decode_handshake_frame(bytes)? {
        None => Ok(None),
        Some((HandshakeFrame::Message(message), used)) => Ok(Some((message, used))),
        Some((HandshakeFrame::Refusal(_), _)) => Err(Malformed::Value("handshake message 1").into()),
    }
}

fn wrong_keys(_: np_noise::NoiseError) -> Misuse {
    Misuse::Argument("the keys given are not those that the handshake pattern needs")
}
