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
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use np_noise::{Crypto, Handshake as Noise, Keys, Pattern, Role, Suite};
use np_types::{
    CloseCode, ConnectionError, Incompatible, Limits, Malformed, Misbehaved, Misuse, PeerIdentity, Psk, PublicKey,
    Time, VERSION,
};
use np_wire::{Choices, Preface, Side, encode_handshake_message, encode_refusal};

use crate::Session;
use crate::session::Channel;

mod config;
mod export;
mod outer;
mod rules;

pub use config::{InitiatorConfig, ResponderConfig, ResponderKeys, client_key, server_hint};
pub use export::ConnectionKeys;
use export::Export;
pub use outer::Outer;
use rules::{Taken, first_message, offered, spoken, take_message, unauthentic, wrong_keys};

/// What a handshake tells its driver.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HandshakeEvent {
    /// A responder has the preface and message 1 and has done no work for them: [`Handshake::proceed`] or
    /// [`Handshake::refuse`].
    Preface(Preface),
    /// A responder without a pre-shared key for a pattern that needs one knows which client claims to be there:
    /// [`Handshake::provide_psk`]. The claim is proven by a [`HandshakeEvent::Peer`] alone.
    Psk(PublicKey),
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
    /// By what name the pre-shared key is known: the peer's identity where it has no key of its own.
    psk_id: Vec<u8>,
    /// What goes into a key log, where there is one.
    export: Export,
}

enum State {
    /// Responder: nothing, or a part of the first flight, has come.
    AwaitPreface {
        config: ResponderConfig,
        outer_binding: Option<[u8; 32]>,
    },
    /// Responder: the driver decides on the first flight.
    AwaitKeys {
        crypto: Crypto,
        pattern: Pattern,
        prologue: Vec<u8>,
        message: Vec<u8>,
    },
    /// Initiator: message 2 is to come.
    AwaitMessage2 {
        noise: Noise,
        pattern: Pattern,
    },
    /// Responder: message 3 is to come.
    AwaitMessage3 {
        noise: Noise,
        pattern: Pattern,
    },
    /// Responder: the driver looks for the pre-shared key of the client that message 1 or 3 named.
    AwaitPsk {
        noise: Noise,
        pattern: Pattern,
    },
    /// The driver decides on the peer.
    AwaitVerdict {
        agreed: Agreed,
    },
    /// Responder inside an outer channel: the preface is to come, then the driver decides on it.
    AwaitOuterPreface {
        outer: Outer,
    },
    AwaitOuterStart {
        outer: Outer,
        binding: [u8; 32],
    },
    /// Initiator inside an outer channel: the choices are to come.
    AwaitChoices {
        outer: Outer,
        binding: [u8; 32],
    },
    /// The driver refused an authenticated peer: it is told inside the first record.
    Refused {
        channel: Channel,
        error: ConnectionError,
        text: String,
    },
    /// The keys are there.
    Done {
        channel: Channel,
    },
    /// It failed, or is being changed.
    Failed,
}

/// What the two sides will talk under, once the peer is admitted.
enum Agreed {
    Noise(Noise),
    Outer([u8; 32]),
}

impl Handshake {
    /// Starts as the side that connects; its preface and message 1 are ready to be sent.
    ///
    /// # Errors
    /// When the pattern needs a key that was not given, or was given one that it does not use.
    pub fn initiator(config: InitiatorConfig<'_>) -> Result<Self, Misuse> {
        Self::initiator_bound(config, None)
    }

    /// As [`Handshake::initiator`], inside an outer channel with this binding (`tls+noise`): both sides put it behind
    /// the preface in the prologue, so the handshake fails where the two ends are in different channels.
    ///
    /// # Errors
    /// As [`Handshake::initiator`].
    pub fn initiator_bound(config: InitiatorConfig<'_>, outer_binding: Option<[u8; 32]>) -> Result<Self, Misuse> {
        let key_id = config::key_id(&config)?;
        let InitiatorConfig { crypto, pattern, local, server_key, psk, psk_id, time, nonce, ephemeral } = config;
        let psk_id = psk_id.to_vec();
        let hint = server_key.as_ref().map_or([0; 4], server_hint);
        let preface = Preface {
            min_version: VERSION,
            max_version: VERSION,
            version: VERSION,
            suite: crypto.suite.to_wire(),
            pattern: pattern.to_wire(),
            time,
            nonce,
            hint,
            key_id,
        };
        let mut out = Vec::with_capacity(256);
        preface.encode(&mut out);
        let keys = Keys { local, remote: server_key, psk };
        let prologue = prologue(&out, outer_binding);
        let noise = Noise::with(crypto, pattern, Role::Initiator, &prologue, keys, ephemeral);
        let mut noise = noise.map_err(wrong_keys)?;
        let mut message = Vec::with_capacity(128);
        noise.write_message(&[], &mut message).map_err(wrong_keys)?;
        encode_handshake_message(&mut out, &message);
        let state = Box::new(State::AwaitMessage2 { noise, pattern });
        Ok(Self { out, psk_id, export: Export::of(nonce), ..Self::new(Side::Initiator, state) })
    }

    /// Starts as the side that was connected to.
    #[must_use]
    pub fn responder(config: &ResponderConfig) -> Self {
        Self::responder_bound(config, None)
    }

    /// As [`Handshake::responder`], inside an outer channel with this binding.
    #[must_use]
    pub fn responder_bound(config: &ResponderConfig, outer_binding: Option<[u8; 32]>) -> Self {
        let config = config.clone();
        Self::new(Side::Responder, Box::new(State::AwaitPreface { config, outer_binding }))
    }

    const fn new(side: Side, state: Box<State>) -> Self {
        Self {
            side,
            state,
            out: Vec::new(),
            events: VecDeque::new(),
            answered: false,
            error: None,
            psk_id: Vec::new(),
            export: Export::of([0; 16]),
        }
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
            State::AwaitPreface { config, outer_binding } => self.first_flight(config, outer_binding, input),
            State::AwaitOuterPreface { outer } => self.outer_preface(outer, input),
            State::AwaitChoices { outer, binding } => self.outer_choices(outer, binding, input),
            State::AwaitMessage2 { noise, pattern } => self.message_2(noise, pattern, input),
            State::AwaitMessage3 { noise, pattern } => self.message_3(noise, pattern, input),
            other => {
                *self.state = other;
                Ok(())
            }
        }
    }

    fn first_flight(
        &mut self,
        config: ResponderConfig,
        outer_binding: Option<[u8; 32]>,
        input: &mut BytesMut,
    ) -> Result<(), ConnectionError> {
        let whole = match spoken(input)? {
            None => None,
            Some((preface, size)) => {
                let terms = offered(&preface, &config)?;
                let rest = input.get(size..).unwrap_or_default();
                first_message(rest)?.map(|(message, used)| (preface, terms, size, message.to_vec(), used))
            }
        };
        let Some((preface, (suite, pattern), size, message, used)) = whole else {
            *self.state = State::AwaitPreface { config, outer_binding };
            return Ok(());
        };
        let prologue = prologue(input.get(..size).unwrap_or_default(), outer_binding);
        input.advance(size + used);
        if pattern.needs_psk() {
            self.psk_id.clone_from(&preface.key_id);
        }
        self.export.nonce = preface.nonce;
        let crypto = Crypto { suite, provider: config.provider };
        *self.state = State::AwaitKeys { crypto, pattern, prologue, message };
        self.events.push_back(HandshakeEvent::Preface(preface));
        Ok(())
    }

    fn message_2(&mut self, mut noise: Noise, pattern: Pattern, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let mut payload = Vec::new();
        match take_message(input, &mut noise, &mut payload, pattern, Side::Initiator)? {
            Taken::Partly => {
                *self.state = State::AwaitMessage2 { noise, pattern };
                return Ok(());
            }
            Taken::Whole => {}
        }
        let choices = Choices::decode(&payload)?;
        if choices.suite != suite_of(&noise) {
            return Err(Incompatible::Suite(choices.suite).into());
        }
        if (choices.version, choices.pattern) != (VERSION, pattern.to_wire()) {
            return Err(Incompatible::Pattern(choices.pattern).into());
        }
        self.ask_verdict(noise);
        Ok(())
    }

    fn message_3(&mut self, mut noise: Noise, pattern: Pattern, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let mut payload = Vec::new();
        match take_message(input, &mut noise, &mut payload, pattern, Side::Responder)? {
            Taken::Partly => *self.state = State::AwaitMessage3 { noise, pattern },
            Taken::Whole => self.look_for_psk(noise, pattern, &payload)?,
        }
        Ok(())
    }

    /// Message 1 or 3 was read, perhaps up to the point where the pre-shared key is mixed in.
    fn look_for_psk(&mut self, noise: Noise, pattern: Pattern, payload: &[u8]) -> Result<(), ConnectionError> {
        match noise.remote_static() {
            Some(client) if noise.wants_psk() => {
                *self.state = State::AwaitPsk { noise, pattern };
                self.events.push_back(HandshakeEvent::Psk(client));
                Ok(())
            }
            _ => self.go_on(noise, pattern, payload),
        }
    }

    /// Message 1 or 3 is whole: the answer, or the end.
    fn go_on(&mut self, mut noise: Noise, pattern: Pattern, payload: &[u8]) -> Result<(), ConnectionError> {
        if !payload.is_empty() {
            return Err(Malformed::Trailing("the handshake message of a client").into());
        }
        if noise.is_finished() {
            self.ask_verdict(noise);
            return Ok(());
        }
        let choices = Choices { version: VERSION, suite: suite_of(&noise), pattern: pattern.to_wire() };
        let mut reply = Vec::with_capacity(128);
        noise.write_message(&choices.encode(), &mut reply).map_err(|_| unauthentic(pattern))?;
        encode_handshake_message(&mut self.out, &reply);
        self.answered = true;
        if noise.is_finished() {
            self.ask_verdict(noise);
        } else {
            *self.state = State::AwaitMessage3 { noise, pattern };
        }
        Ok(())
    }

    fn ask_verdict(&mut self, noise: Noise) {
        let peer = match noise.remote_static() {
            Some(key) => PeerIdentity::Noise(key),
            None if self.psk_id.is_empty() => PeerIdentity::Anonymous,
            None => PeerIdentity::Psk(String::from_utf8_lossy(&self.psk_id).into_owned()),
        };
        *self.state = State::AwaitVerdict { agreed: Agreed::Noise(noise) };
        self.events.push_back(HandshakeEvent::Peer(peer));
    }

    /// Goes on after [`HandshakeEvent::Preface`]: the first Diffie-Hellman happens here.
    ///
    /// # Errors
    /// When no preface waits, or the keys are not those that the pattern needs.
    pub fn proceed(&mut self, keys: ResponderKeys<'_>) -> Result<(), Misuse> {
        let State::AwaitKeys { crypto, pattern, prologue, message } =
            std::mem::replace(&mut *self.state, State::Failed)
        else {
            return Err(Misuse::State("no preface waits for a decision"));
        };
        let ResponderKeys { local, client_key, psk, ephemeral } = keys;
        let keys = Keys { local, remote: client_key, psk };
        let noise = Noise::with(crypto, pattern, Role::Responder, &prologue, keys, ephemeral);
        let mut noise = noise.map_err(wrong_keys)?;
        let mut payload = Vec::new();
        let read = noise.read_message(&message, &mut payload).map_err(|_| unauthentic(pattern).into());
        if let Err(error) = read.and_then(|()| self.look_for_psk(noise, pattern, &payload)) {
            self.fail(error);
        }
        Ok(())
    }

    /// Goes on after [`HandshakeEvent::Psk`]. For a client without a pre-shared key give random bytes: it must not learn
    /// from the answer whether there is one.
    ///
    /// # Errors
    /// When no client waits for its key.
    pub fn provide_psk(&mut self, psk: &Psk) -> Result<(), Misuse> {
        let State::AwaitPsk { mut noise, pattern } = std::mem::replace(&mut *self.state, State::Failed) else {
            return Err(Misuse::State("no client waits for a pre-shared key"));
        };
        let mut payload = Vec::new();
        let read = noise.provide_psk(psk, &mut payload).map_err(|_| unauthentic(pattern).into());
        if let Err(error) = read.and_then(|()| self.go_on(noise, pattern, &payload)) {
            self.fail(error);
        }
        Ok(())
    }

    /// Accepts the peer of [`HandshakeEvent::Peer`].
    ///
    /// # Errors
    /// When no peer waits for a verdict.
    pub fn admit(&mut self) -> Result<(), Misuse> {
        let State::AwaitVerdict { mut agreed } = std::mem::replace(&mut *self.state, State::Failed) else {
            return Err(Misuse::State("no peer waits for a verdict"));
        };
        if let Agreed::Noise(noise) = &mut agreed
            && !noise.is_finished()
        {
            let mut message = Vec::new();
            noise.write_message(&[], &mut message).map_err(wrong_keys)?;
            encode_handshake_message(&mut self.out, &message);
        }
        *self.state = State::Done { channel: self.finish(agreed)? };
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
            State::AwaitVerdict { agreed } if self.side == Side::Responder => {
                if let Ok(channel) = self.finish(agreed) {
                    *self.state = State::Refused { channel, error, text: text.to_owned() };
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
    /// The limits may be shared by many sessions. What the handshake did not send yet goes out before the session's first record. A peer that was refused gets a
    /// session that sends CLOSE and has ended.
    ///
    /// # Errors
    /// When the handshake is not done.
    pub fn into_session(self, limits: impl Into<Arc<Limits>>, now: Time) -> Result<Session, Misuse> {
        let limits = limits.into();
        match *self.state {
            State::Done { channel } => Ok(Session::new(self.side, limits, channel, self.out, now)),
            State::Refused { channel, error, text } => {
                let mut session = Session::new(self.side, limits, channel, self.out, now);
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
            State::AwaitPsk { .. } => "AwaitPsk",
            State::AwaitVerdict { .. } => "AwaitVerdict",
            State::AwaitOuterPreface { .. } => "AwaitOuterPreface",
            State::AwaitOuterStart { .. } => "AwaitOuterStart",
            State::AwaitChoices { .. } => "AwaitChoices",
            State::Refused { .. } => "Refused",
            State::Done { .. } => "Done",
            State::Failed => "Failed",
        };
        f.debug_struct("Handshake").field("side", &self.side).field("state", &state).finish_non_exhaustive()
    }
}

/// The number of a handshake's suite; none is 0.
fn suite_of(noise: &Noise) -> u8 {
    noise.suite().map_or(0, Suite::to_wire)
}

/// What the handshake binds beside its messages: the preface as sent, and the outer channel that it runs in.
fn prologue(preface: &[u8], outer_binding: Option<[u8; 32]>) -> Vec<u8> {
    [preface, outer_binding.as_ref().map_or(&[], <[u8; 32]>::as_slice)].concat()
}
