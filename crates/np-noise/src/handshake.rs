//! The HandshakeState of Noise section 5.3: walks the token table of a pattern, message by message.
//!
//! Owns turns, keys of the handshake and what each token does. Must never know what payloads mean, nor whether a peer
//! is welcome.

use std::fmt;

use np_types::{Psk, PublicKey, SecretKey};

use crate::pattern::Token;
use crate::provider::shared;
use crate::symmetric::Symmetric;
use crate::{
    AgreementKey, Crypto, Keypair, Keys, MAX_MESSAGE, NoiseError, Pattern, ReceiveCipher, Role, SendCipher, Suite,
};

mod export;

pub use export::TrafficKeys;

/// One side of a handshake in progress.
///
/// Call [`write_message`](Self::write_message) and [`read_message`](Self::read_message) in turns until
/// [`is_finished`](Self::is_finished), then [`finish`](Self::finish). The first failing call of any kind ends the
/// handshake: its secrets are wiped and every later call answers [`NoiseError::Dead`].
///
/// ```
/// use np_noise::{Handshake, Keys, NoiseError, Pattern, Role};
/// use np_types::SecretKey;
/// let ephemeral = SecretKey::from_bytes([3; 32]);
/// let mut side = Handshake::new(Pattern::DangerNN, Role::Responder, b"", Keys::default(), ephemeral)?;
/// let mut out = Vec::new();
/// assert_eq!(side.write_message(b"", &mut out), Err(NoiseError::OutOfTurn));
/// assert_eq!(side.read_message(&[9; 32], &mut out), Err(NoiseError::Dead));
/// # Ok::<(), NoiseError>(())
/// ```
pub struct Handshake {
    // Taken out for the time of a step and put back only after success, so that no failure can leave a half-made state.
    state: Option<Box<State>>,
}

/// What a finished handshake leaves: a cipher per direction and what was proven.
///
/// ```
/// use np_noise::{Handshake, Keys, Pattern, Role, Traffic};
/// use np_types::SecretKey;
/// let new = |role, byte| Handshake::new(Pattern::DangerNN, role, b"", Keys::default(), SecretKey::from_bytes([byte; 32]));
/// let (mut a, mut b) = (new(Role::Initiator, 1)?, new(Role::Responder, 2)?);
/// let (mut first, mut second, mut payload) = (Vec::new(), Vec::new(), Vec::new());
/// a.write_message(b"", &mut first)?;
/// b.read_message(&first, &mut payload)?;
/// b.write_message(b"", &mut second)?;
/// let Traffic { hash, remote_static, .. } = b.finish()?;
/// a.read_message(&second, &mut payload)?;
/// assert_eq!(a.finish()?.hash, hash);
/// assert_eq!(remote_static, None);
/// # Ok::<(), np_noise::NoiseError>(())
/// ```
#[derive(Debug)]
pub struct Traffic {
    /// Seals what this side sends.
    pub send: SendCipher,
    /// Opens what the peer sends.
    pub receive: ReceiveCipher,
    /// The handshake hash: the same on both sides, different for each handshake; a channel binding.
    pub hash: [u8; 32],
    /// The static key that the peer has proven to hold, if the pattern has one.
    pub remote_static: Option<PublicKey>,
}

impl Handshake {
    /// Starts a handshake with the default [`Crypto`]; both sides must use the same pattern, prologue and pre-shared key.
    ///
    /// `ephemeral` must be fresh random bytes, used for this handshake alone.
    ///
    /// # Errors
    ///
    /// [`NoiseError::MissingKey`] and [`NoiseError::UnusedKey`] if `keys` is not exactly what pattern and role take. A
    /// responder of XXpsk3 or IKpsk2 may leave the pre-shared key out, and choose it by the initiator's static key when
    /// [`wants_psk`](Self::wants_psk) says so.
    pub fn new(
        pattern: Pattern,
        role: Role,
        prologue: &[u8],
        keys: Keys<'_>,
        ephemeral: SecretKey,
    ) -> Result<Self, NoiseError> {
        Self::with(Crypto::default(), pattern, role, prologue, keys, ephemeral)
    }

    /// As [`Handshake::new`], with a suite, which both sides must share, and a provider, which each side chooses.
    ///
    /// ```
    /// use np_noise::{Crypto, Handshake, Keys, Pattern, Role};
    /// use np_types::{SecretKey, Suite};
    /// let crypto = Crypto { suite: Suite::AesGcm, ..Crypto::default() };
    /// let ephemeral = SecretKey::from_bytes([3; 32]);
    /// let side = Handshake::with(crypto, Pattern::DangerNN, Role::Initiator, b"", Keys::default(), ephemeral)?;
    /// assert!(side.is_my_turn());
    /// # Ok::<(), np_noise::NoiseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Handshake::new`].
    pub fn with(
        crypto: Crypto,
        pattern: Pattern,
        role: Role,
        prologue: &[u8],
        keys: Keys<'_>,
        ephemeral: SecretKey,
    ) -> Result<Self, NoiseError> {
        exactly(keys.local.is_some(), pattern.needs_local_static(role))?;
        exactly(keys.remote.is_some(), pattern.needs_remote_static(role))?;
        if keys.psk.is_some() || !pattern.takes_psk_late(role) {
            exactly(keys.psk.is_some(), pattern.needs_psk())?;
        }
        let mut state = Box::new(State {
            pattern,
            role,
            next: 0,
            crypto,
            symmetric: Symmetric::new(crypto, pattern.name(), prologue),
            local: keys.local.cloned(),
            ephemeral: Ephemeral::Unused(ephemeral),
            remote: keys.remote,
            remote_ephemeral: None,
            psk: keys.psk.cloned(),
            unread: None,
        });
        state.mix_known_keys()?;
        Ok(Self { state: Some(state) })
    }

    /// Appends the next message, which carries `payload`, to `out`.
    ///
    /// The payload of an early message may be readable by others: Noise section 7.7 says what protects which.
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`], [`NoiseError::Finished`], [`NoiseError::BadLength`] if the message would exceed
    /// 65,535 bytes, [`NoiseError::ZeroShared`], [`NoiseError::Dead`] after any of these. `out` is then as before.
    pub fn write_message(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let start = out.len();
        let mut state = self.state.take().ok_or(NoiseError::Dead)?;
        if let Err(error) = state.write(payload, out) {
            out.truncate(start);
            return Err(error);
        }
        self.state = Some(state);
        Ok(())
    }

    /// Reads the peer's next message and appends what it carries to `payload`.
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`], [`NoiseError::Finished`], [`NoiseError::BadLength`], [`NoiseError::ZeroShared`],
    /// [`NoiseError::Decrypt`], [`NoiseError::Dead`] after any of these. `payload` is then as before.
    pub fn read_message(&mut self, message: &[u8], payload: &mut Vec<u8>) -> Result<(), NoiseError> {
        let mut state = self.state.take().ok_or(NoiseError::Dead)?;
        state.read(message, payload)?;
        self.state = Some(state);
        Ok(())
    }

    /// Whether the pre-shared key must be given now, by [`provide_psk`](Self::provide_psk): the handshake was started
    /// without one, and the message that named the initiator's static key has been read up to the point that needs it.
    ///
    /// In XXpsk3 that message is not yet known to be authentic: it is once the key was given.
    #[must_use]
    pub fn wants_psk(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.wants_psk())
    }

    /// Gives the pre-shared key that [`wants_psk`](Self::wants_psk) asked for, and reads what waited for it: `payload`
    /// gets what the message carries.
    ///
    /// ```
    /// use np_noise::{Handshake, Keypair, Keys, NoiseError, Pattern, Role};
    /// use np_types::{Psk, SecretKey};
    /// let pair = |byte| Keypair::from_secret(SecretKey::from_bytes([byte; 32]));
    /// let (client, server, psk) = (pair(1), pair(2), Psk::from_bytes([3; 32]));
    /// let keys = Keys { local: Some(&client), remote: Some(server.public()), psk: Some(&psk) };
    /// let mut a = Handshake::new(Pattern::IKpsk2, Role::Initiator, b"", keys, SecretKey::from_bytes([4; 32]))?;
    /// let keys = Keys { local: Some(&server), ..Keys::default() };
    /// let mut b = Handshake::new(Pattern::IKpsk2, Role::Responder, b"", keys, SecretKey::from_bytes([5; 32]))?;
    /// let (mut message, mut payload) = (Vec::new(), Vec::new());
    /// a.write_message(b"", &mut message)?;
    /// b.read_message(&message, &mut payload)?;
    /// assert!(b.wants_psk() && b.remote_static() == Some(client.public()));
    /// b.provide_psk(&psk, &mut payload)?;
    /// # let mut message = Vec::new();
    /// b.write_message(b"", &mut message)?;
    /// a.read_message(&message, &mut payload)?;
    /// # Ok::<(), NoiseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NoiseError::UnusedKey`] where none was asked for, [`NoiseError::Decrypt`] if the peer used another one,
    /// [`NoiseError::Dead`] after any of these. `payload` is then as before.
    pub fn provide_psk(&mut self, psk: &Psk, payload: &mut Vec<u8>) -> Result<(), NoiseError> {
        let mut state = self.state.take().ok_or(NoiseError::Dead)?;
        state.provide_psk(psk, payload)?;
        self.state = Some(state);
        Ok(())
    }

    /// The peer's static key: from the start where [`Keys::remote`] gave it, else as soon as the message that carried
    /// it has been read and found authentic. `None` after a failure.
    #[must_use]
    pub fn remote_static(&self) -> Option<PublicKey> {
        self.state.as_ref().and_then(|state| state.remote)
    }

    /// The suite of this handshake. `None` after a failure.
    ///
    /// ```
    /// use np_noise::{Handshake, Keys, Pattern, Role, Suite};
    /// use np_types::SecretKey;
    /// let ephemeral = SecretKey::from_bytes([3; 32]);
    /// let side = Handshake::new(Pattern::DangerNN, Role::Initiator, b"", Keys::default(), ephemeral)?;
    /// assert_eq!(side.suite(), Some(Suite::ChaChaPoly));
    /// # Ok::<(), np_noise::NoiseError>(())
    /// ```
    #[must_use]
    pub fn suite(&self) -> Option<Suite> {
        self.state.as_ref().map(|state| state.crypto.suite)
    }

    /// Whether the last message has been written or read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state.as_ref().is_some_and(|s| s.tokens().is_none())
    }

    /// Whether the next step is [`write_message`](Self::write_message).
    #[must_use]
    pub fn is_my_turn(&self) -> bool {
        self.state.as_ref().is_some_and(|s| s.tokens().is_some() && s.writer() == s.role)
    }

    /// The hash of all that was said so far; zeros after a failure.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.state.as_ref().map_or([0; 32], |state| state.symmetric.hash())
    }

    /// Ends the handshake and makes the traffic ciphers.
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`] before the last message, [`NoiseError::Dead`] after a failure.
    pub fn finish(self) -> Result<Traffic, NoiseError> {
        let state = self.state.ok_or(NoiseError::Dead)?;
        if state.tokens().is_some() {
            return Err(NoiseError::OutOfTurn);
        }
        let (send, receive) = state.symmetric.split(state.role);
        Ok(Traffic { send, receive, hash: state.symmetric.hash(), remote_static: state.remote })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Handshake");
        match &self.state {
            Some(state) => out.field("pattern", &state.pattern).field("role", &state.role).field("next", &state.next),
            None => out.field("dead", &true),
        };
        out.finish_non_exhaustive()
    }
}

struct State {
    pattern: Pattern,
    role: Role,
    /// The index of the next message.
    next: usize,
    crypto: Crypto,
    symmetric: Symmetric,
    local: Option<Keypair>,
    ephemeral: Ephemeral,
    remote: Option<PublicKey>,
    remote_ephemeral: Option<PublicKey>,
    psk: Option<Psk>,
    /// The end of a message that cannot be opened before the pre-shared key is there.
    unread: Option<Vec<u8>>,
}

/// This side's ephemeral key. Preparing it costs a scalar multiplication, which a peer has not earned before its first
/// message has opened.
enum Ephemeral {
    Unused(SecretKey),
    Shown(Box<dyn AgreementKey>),
}

impl State {
    fn tokens(&self) -> Option<&'static [Token]> {
        self.pattern.table().message(self.next)
    }

    const fn writer(&self) -> Role {
        if self.next.is_multiple_of(2) { Role::Initiator } else { Role::Responder }
    }

    /// The pre-messages: static keys known beforehand are hashed, the initiator's first.
    fn mix_known_keys(&mut self) -> Result<(), NoiseError> {
        for owner in [Role::Initiator, Role::Responder] {
            if self.pattern.table().knows(owner) {
                let key = if owner == self.role {
                    self.local()?.public()
                } else {
                    self.remote.ok_or(NoiseError::MissingKey)?
                };
                self.symmetric.mix_hash(key.as_bytes());
            }
        }
        Ok(())
    }

    fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let (tokens, overhead) = self.turn_of(self.role)?;
        if self.wants_psk() {
            return Err(NoiseError::MissingKey);
        }
        if payload.len() > MAX_MESSAGE.saturating_sub(overhead) {
            return Err(NoiseError::BadLength);
        }
        out.reserve(overhead + payload.len());
        for token in tokens {
            match token {
                Token::E => {
                    let key = self.show_ephemeral();
                    out.extend_from_slice(key.as_bytes());
                    self.mix_ephemeral(&key);
                }
                Token::S => {
                    let key = self.local()?.public();
                    self.symmetric.encrypt_and_hash(key.as_bytes(), out)?;
                }
                other => self.mix_secret(*other)?,
            }
        }
        self.symmetric.encrypt_and_hash(payload, out)?;
        self.next += 1;
        Ok(())
    }

    fn read(&mut self, message: &[u8], payload: &mut Vec<u8>) -> Result<(), NoiseError> {
        let (tokens, overhead) = self.turn_of(self.role.other())?;
        if self.unread.is_some() {
            return Err(NoiseError::MissingKey);
        }
        if message.len() > MAX_MESSAGE || message.len() < overhead {
            return Err(NoiseError::BadLength);
        }
        let mut rest = message;
        for token in tokens {
            match token {
                Token::E => {
                    let key = public_key(take(&mut rest, 32)?)?;
                    self.remote_ephemeral = Some(key);
                    self.mix_ephemeral(&key);
                }
                Token::S => {
                    let field = take(&mut rest, self.symmetric.sealed_length(32))?;
                    let mut key = Vec::with_capacity(32);
                    self.symmetric.decrypt_and_hash(field, &mut key)?;
                    self.remote = Some(public_key(&key)?);
                }
                // It is the last token of the one message that a responder can be short of it in.
                Token::Psk if self.psk.is_none() => {
                    self.unread = Some(rest.to_vec());
                    return Ok(());
                }
                other => self.mix_secret(*other)?,
            }
        }
        self.symmetric.decrypt_and_hash(rest, payload)?;
        self.next += 1;
        Ok(())
    }

    /// Once the initiator's key is known, the choice of the pre-shared key is due.
    fn wants_psk(&self) -> bool {
        self.psk.is_none() && self.pattern.needs_psk() && self.remote.is_some()
    }

    fn provide_psk(&mut self, psk: &Psk, payload: &mut Vec<u8>) -> Result<(), NoiseError> {
        if !self.wants_psk() {
            return Err(NoiseError::UnusedKey);
        }
        self.psk = Some(psk.clone());
        if let Some(rest) = self.unread.take() {
            self.mix_secret(Token::Psk)?;
            self.symmetric.decrypt_and_hash(&rest, payload)?;
            self.next += 1;
        }
        Ok(())
    }

    /// The tokens and the length without payload of the next message, if `writer` writes it.
    fn turn_of(&self, writer: Role) -> Result<(&'static [Token], usize), NoiseError> {
        let tokens = self.tokens().ok_or(NoiseError::Finished)?;
        if self.writer() != writer {
            return Err(NoiseError::OutOfTurn);
        }
        let overhead = self.pattern.message_overhead(self.next);
        Ok((tokens, overhead.ok_or(NoiseError::Finished)?))
    }

    fn show_ephemeral(&mut self) -> PublicKey {
        match &self.ephemeral {
            Ephemeral::Shown(key) => key.public_key(),
            Ephemeral::Unused(secret) => {
                let key = self.crypto.provider.agreement_key(secret);
                let public = key.public_key();
                self.ephemeral = Ephemeral::Shown(key);
                public
            }
        }
    }

    fn mix_ephemeral(&mut self, key: &PublicKey) {
        self.symmetric.mix_hash(key.as_bytes());
        // Noise section 9.2: in psk patterns the ephemeral key also salts the chaining key, else a psk used twice
        // would give the same key.
        if self.pattern.needs_psk() {
            self.symmetric.mix_key(key.as_bytes());
        }
    }

    /// The tokens that put nothing on the wire.
    fn mix_secret(&mut self, token: Token) -> Result<(), NoiseError> {
        let initiator = self.role == Role::Initiator;
        let (own_static, their_static) = match token {
            Token::Ee => (false, false),
            Token::Es => (!initiator, initiator),
            Token::Se => (initiator, !initiator),
            Token::Ss => (true, true),
            Token::Psk => {
                let psk = self.psk.as_ref().ok_or(NoiseError::MissingKey)?;
                self.symmetric.mix_key_and_hash(psk.expose());
                return Ok(());
            }
            // The callers handle both, since these stand on the wire.
            Token::E | Token::S => return Ok(()),
        };
        let own = match &self.ephemeral {
            _ if own_static => self.local()?.key(),
            Ephemeral::Shown(key) => &**key,
            // In every pattern a side's own `e` stands before the first token that mixes it.
            Ephemeral::Unused(_) => return Err(NoiseError::OutOfTurn),
        };
        let public = if their_static { self.remote } else { self.remote_ephemeral };
        let shared = shared(own, &public.ok_or(NoiseError::MissingKey)?)?;
        self.symmetric.mix_key(shared.as_slice());
        Ok(())
    }

    fn local(&self) -> Result<&Keypair, NoiseError> {
        self.local.as_ref().ok_or(NoiseError::MissingKey)
    }
}

const fn exactly(given: bool, needed: bool) -> Result<(), NoiseError> {
    match (given, needed) {
        (false, true) => Err(NoiseError::MissingKey),
        (true, false) => Err(NoiseError::UnusedKey),
        _ => Ok(()),
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], NoiseError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(NoiseError::BadLength)?;
    *rest = tail;
    Ok(head)
}

fn public_key(bytes: &[u8]) -> Result<PublicKey, NoiseError> {
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| NoiseError::BadLength)?;
    Ok(PublicKey::from_bytes(bytes))
}
