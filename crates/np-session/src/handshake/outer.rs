//! The handshake inside a channel that is secured, or meant to be open, without Noise: TLS, the operating system's word,
//! or nothing. The preface and the choices settle the version; who the peer is, the transport has found out before.

use bytes::{Buf as _, BytesMut};
use np_types::{ConnectionError, Incompatible, Malformed, Misuse, PeerIdentity, UnixMillis, VERSION};
use np_wire::{Choices, HandshakeFrame, Preface, Side, decode_handshake_frame, encode_handshake_message};
use sha2::{Digest as _, Sha256};

use super::{Agreed, Handshake, HandshakeEvent, State};

/// The suite and the pattern of the modes that have no Noise handshake.
const NONE: u8 = 0;

/// What the transport knows of a connection whose mode has no Noise handshake.
///
/// ```
/// use np_session::{Handshake, Outer};
/// use np_types::PeerIdentity;
/// let outer = Outer { peer: PeerIdentity::Anonymous, binding: None };
/// let server = Handshake::responder_inside(outer);
/// assert!(server.error().is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outer {
    /// Who the peer has proven to be, outside.
    pub peer: PeerIdentity,
    /// The outer channel's binding. Without one a hash of the preface stands for it: unique, and proof of nothing.
    pub binding: Option<[u8; 32]>,
}

impl Handshake {
    /// Starts as the side that connects, inside an outer channel: records will carry no tag.
    ///
    /// `nonce` is 16 random bytes; `time` tells the server's log about the client's clock, and nobody checks it.
    #[must_use]
    pub fn initiator_inside(outer: Outer, time: UnixMillis, nonce: [u8; 16]) -> Self {
        let preface = Preface {
            min_version: VERSION,
            max_version: VERSION,
            version: VERSION,
            suite: NONE,
            pattern: NONE,
            time,
            nonce,
            hint: [0; 4],
            key_id: Vec::new(),
        };
        let mut out = Vec::with_capacity(Preface::FIXED);
        preface.encode(&mut out);
        let binding = binding(&outer, &out);
        Self { out, ..Self::new(Side::Initiator, Box::new(State::AwaitChoices { outer, binding })) }
    }

    /// Starts as the side that was connected to, inside an outer channel.
    #[must_use]
    pub fn responder_inside(outer: Outer) -> Self {
        Self::new(Side::Responder, Box::new(State::AwaitOuterPreface { outer }))
    }

    /// Goes on after [`HandshakeEvent::Preface`] inside an outer channel.
    ///
    /// # Errors
    /// When no such preface waits.
    pub fn proceed_inside(&mut self) -> Result<(), Misuse> {
        let State::AwaitOuterStart { outer, binding } = std::mem::replace(&mut *self.state, State::Failed) else {
            return Err(Misuse::State("no preface of an outer channel waits for a decision"));
        };
        let choices = Choices { version: VERSION, suite: NONE, pattern: NONE };
        encode_handshake_message(&mut self.out, &choices.encode());
        self.answered = true;
        self.ask_verdict_inside(outer, binding);
        Ok(())
    }

    pub(super) fn outer_preface(&mut self, outer: Outer, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let Some((preface, size)) = super::rules::spoken(input)? else {
            *self.state = State::AwaitOuterPreface { outer };
            return Ok(());
        };
        check(&preface)?;
        let binding = binding(&outer, input.get(..size).unwrap_or_default());
        input.advance(size);
        *self.state = State::AwaitOuterStart { outer, binding };
        self.events.push_back(HandshakeEvent::Preface(preface));
        Ok(())
    }

    pub(super) fn outer_choices(
        &mut self,
        outer: Outer,
        binding: [u8; 32],
        input: &mut BytesMut,
    ) -> Result<(), ConnectionError> {
        let Some((frame, used)) = decode_handshake_frame(input)? else {
            *self.state = State::AwaitChoices { outer, binding };
            return Ok(());
        };
        let choices = match frame {
            HandshakeFrame::Message(message) => Choices::decode(message)?,
            HandshakeFrame::Refusal(refusal) => return Err(super::rules::refused(&refusal)),
        };
        if choices != (Choices { version: VERSION, suite: NONE, pattern: NONE }) {
            return Err(Incompatible::Pattern(choices.pattern).into());
        }
        input.advance(used);
        self.ask_verdict_inside(outer, binding);
        Ok(())
    }

    fn ask_verdict_inside(&mut self, outer: Outer, binding: [u8; 32]) {
        *self.state = State::AwaitVerdict { agreed: Agreed::Outer(binding) };
        self.events.push_back(HandshakeEvent::Peer(outer.peer));
    }
}

fn check(preface: &Preface) -> Result<(), ConnectionError> {
    if preface.pattern != NONE {
        return Err(Incompatible::Pattern(preface.pattern).into());
    }
    if preface.suite != NONE {
        return Err(Incompatible::Suite(preface.suite).into());
    }
    if preface.hint != [0; 4] || !preface.key_id.is_empty() {
        return Err(Malformed::Value("a key in a mode without a handshake of keys").into());
    }
    Ok(())
}

fn binding(outer: &Outer, preface: &[u8]) -> [u8; 32] {
    outer.binding.unwrap_or_else(|| Sha256::digest(preface).into())
}
