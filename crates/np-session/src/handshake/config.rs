//! What each side brings to a handshake, and how a preface says which keys it was made with.

use np_noise::{Crypto, Keypair, NoiseError, Pattern, Provider, Role, RustCrypto, Suite};
use np_types::{Malformed, Misuse, Psk, PublicKey, SecretKey, UnixMillis};
use np_wire::{MAX_KEY_ID, Preface};
use sha2::{Digest as _, Sha256};

use super::rules::wrong_keys;

#[cfg(doc)]
use crate::HandshakeEvent;

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
    /// The suite that message 1 uses, and who computes. The default is ChaCha20-Poly1305 by the provider in Rust.
    pub crypto: Crypto,
    /// The handshake pattern.
    pub pattern: Pattern,
    /// This side's identity; none where the pattern shows none.
    pub local: Option<&'a Keypair>,
    /// The server's key, where the pattern needs it before message 1.
    pub server_key: Option<PublicKey>,
    /// The pre-shared key of a pattern with psk.
    pub psk: Option<&'a Psk>,
    /// By what name the server finds the pre-shared key: at most 64 bytes. NNpsk0 needs one; in XXpsk3 and IKpsk2 the
    /// server may find it by the client's static key instead, and none is empty. Other patterns carry none.
    pub psk_id: &'a [u8],
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
/// use np_noise::{Pattern, Suite};
/// use np_session::ResponderConfig;
/// let config = ResponderConfig { suites: Suite::ALL.to_vec(), ..ResponderConfig::new(vec![Pattern::XX, Pattern::IK]) };
/// assert!(config.patterns.contains(&Pattern::XX));
/// ```
#[derive(Debug, Clone)]
pub struct ResponderConfig {
    /// The patterns that are accepted.
    pub patterns: Vec<Pattern>,
    /// The suites that are accepted. The initiator chooses one.
    pub suites: Vec<Suite>,
    /// Who computes.
    pub provider: &'static dyn Provider,
}

impl ResponderConfig {
    /// A configuration that accepts these patterns in the default suite, ChaCha20-Poly1305, by the provider in Rust.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns, suites: vec![Suite::default()], provider: &RustCrypto }
    }
}

/// What a responder decides on with its preface: the identity that the hint names and the keys that the pattern needs.
#[derive(Debug)]
pub struct ResponderKeys<'a> {
    /// This side's identity.
    pub local: Option<&'a Keypair>,
    /// The client's key, where the pattern needs it before message 1.
    pub client_key: Option<PublicKey>,
    /// The pre-shared key of a pattern with psk. Without one, XXpsk3 and IKpsk2 ask by [`HandshakeEvent::Psk`] once the
    /// client's key is known.
    pub psk: Option<&'a Psk>,
    /// 32 random bytes: the ephemeral secret.
    pub ephemeral: SecretKey,
}

/// The client's key that a preface names, in a pattern whose responder must know it before message 1 (KK): the key id
/// is the key itself. It is claimed, and proven by the handshake alone.
///
/// ```
/// use np_session::{Preface, client_key};
/// # let preface = |pattern, key_id: &[u8]| Preface {
/// #     min_version: 1, max_version: 1, version: 1, suite: 1, pattern, time: np_types::UnixMillis(0),
/// #     nonce: [0; 16], hint: [0; 4], key_id: key_id.to_vec(),
/// # };
/// let kk = preface(4, &[7; 32]);
/// assert_eq!(client_key(&kk), Some(np_types::PublicKey::from_bytes([7; 32])));
/// assert_eq!(client_key(&preface(1, &[])), None);
/// ```
#[must_use]
pub fn client_key(preface: &Preface) -> Option<PublicKey> {
    let names_key = Pattern::from_wire(preface.pattern)?.needs_remote_static(Role::Responder);
    let key = <[u8; 32]>::try_from(preface.key_id.as_slice()).ok()?;
    names_key.then(|| PublicKey::from_bytes(key))
}

impl InitiatorConfig<'_> {
    /// Whether a handshake can be started so: what the pattern needs is there, and nothing that it does not take. It
    /// computes nothing, so that it may be asked before there is a link.
    ///
    /// ```
    /// use np_noise::{Keypair, Pattern};
    /// use np_session::InitiatorConfig;
    /// use np_types::{SecretKey, UnixMillis};
    /// let local = Keypair::from_secret(SecretKey::from_bytes([1; 32]));
    /// let config = |local| InitiatorConfig {
    ///     crypto: Default::default(),
    ///     pattern: Pattern::XX,
    ///     local,
    ///     server_key: None,
    ///     psk: None,
    ///     psk_id: &[],
    ///     time: UnixMillis(0),
    ///     nonce: [0; 16],
    ///     ephemeral: SecretKey::from_bytes([2; 32]),
    /// };
    /// assert!(config(Some(&local)).check().is_ok());
    /// assert!(config(None).check().is_err());
    /// ```
    ///
    /// # Errors
    /// As [`Handshake::initiator`](crate::Handshake::initiator), but for a server's key of low order.
    pub fn check(&self) -> Result<(), Misuse> {
        let exactly = |given: bool, needed: bool| match (given, needed) {
            (false, true) => Err(wrong_keys(NoiseError::MissingKey)),
            (true, false) => Err(wrong_keys(NoiseError::UnusedKey)),
            _ => Ok(()),
        };
        key_id(self)?;
        exactly(self.local.is_some(), self.pattern.needs_local_static(Role::Initiator))?;
        exactly(self.server_key.is_some(), self.pattern.needs_remote_static(Role::Initiator))?;
        exactly(self.psk.is_some(), self.pattern.needs_psk())
    }
}

/// The key id that an initiator's preface carries.
pub(super) fn key_id(config: &InitiatorConfig<'_>) -> Result<Vec<u8>, Misuse> {
    let pattern = config.pattern;
    if config.psk_id.len() > MAX_KEY_ID || !config.psk_id.iter().all(u8::is_ascii_graphic) {
        return Err(Misuse::Argument(
            "the id of a pre-shared key is at most 64 bytes of printable ASCII without a space",
        ));
    }
    if pattern.needs_psk() {
        if config.psk_id.is_empty() && !pattern.takes_psk_late(Role::Responder) {
            return Err(Misuse::Argument("the pattern NNpsk0 needs the id of the pre-shared key"));
        }
        return Ok(config.psk_id.to_vec());
    }
    if !config.psk_id.is_empty() {
        return Err(Misuse::Argument("the handshake pattern takes no pre-shared key, so no id of one"));
    }
    match config.local {
        Some(local) if pattern.needs_remote_static(Role::Responder) => Ok(local.public().as_bytes().to_vec()),
        _ => Ok(Vec::new()),
    }
}

/// Refuses a preface that names keys which its pattern does not use, or not those that it does.
pub(super) fn check_names(preface: &Preface, pattern: Pattern) -> Result<(), Malformed> {
    let key_id = preface.key_id.len();
    let fits = if pattern.needs_remote_static(Role::Responder) {
        key_id == 32
    } else if pattern.needs_psk() {
        // Ids go into logs and identities, and two that differ must not look alike.
        let id = &preface.key_id;
        id.iter().all(u8::is_ascii_graphic) && (key_id > 0 || pattern.takes_psk_late(Role::Responder))
    } else {
        key_id == 0
    };
    if !fits {
        return Err(Malformed::Value("the key id of this pattern"));
    }
    if preface.hint != [0; 4] && !pattern.needs_remote_static(Role::Initiator) {
        return Err(Malformed::Value("the hint of this pattern"));
    }
    Ok(())
}
