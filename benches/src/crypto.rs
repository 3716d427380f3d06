//! Suites, providers and handshakes, made once so that every measurement has the same rows of them.
//!
//! A suite or provider that np-noise gets is a row in each measurement, and nothing in the benchmarks changes.

use np_facade::raw::noise::{
    Crypto, Handshake, Keypair, Keys, NoiseError, PROVIDERS, Pattern, Provider, ReceiveCipher, Role, SendCipher, Suite,
};
use np_facade::{Psk, SecretKey};

/// What both sides of every handshake are bound to.
pub const PROLOGUE: &[u8] = b"np-benches";
/// The pre-shared key of the patterns that have one.
pub const PSK: [u8; 32] = [0x50; 32];

/// Every suite by every provider of this build, each with its name.
///
/// ```
/// use np_benches::crypto;
/// let names: Vec<String> = crypto::every().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names[0], "chacha-rustcrypto");
/// ```
#[must_use]
pub fn every() -> Vec<(String, Crypto)> {
    let all = PROVIDERS.iter().flat_map(|provider| {
        Suite::ALL.map(|suite| {
            let name = format!("{suite}-{}", word(*provider));
            (name, Crypto { suite, provider: *provider })
        })
    });
    all.collect()
}

/// A provider's name as a part of another.
///
/// ```
/// use np_facade::raw::noise::RustCrypto;
/// assert_eq!(np_benches::crypto::word(&RustCrypto), "rustcrypto");
/// ```
#[must_use]
pub fn word(provider: &dyn Provider) -> String {
    provider.name().to_lowercase()
}

/// What np uses where nothing is set, on this processor.
///
/// ```
/// assert_eq!(np_benches::crypto::usual().suite, np_facade::default_suite());
/// ```
#[must_use]
pub fn usual() -> Crypto {
    Crypto { suite: np_facade::default_suite(), provider: np_facade::provider() }
}

/// Both ends of one direction.
///
/// ```
/// for (name, crypto) in np_benches::crypto::every() {
///     let (mut send, mut receive) = np_benches::crypto::pair(crypto, [7; 32]);
///     let mut record = b"text".to_vec();
///     let tag = send.seal_in_place(&mut record)?;
///     record.extend_from_slice(&tag);
///     assert_eq!(receive.open_in_place(&mut record)?, b"text", "{name}");
/// }
/// # Ok::<(), np_facade::raw::noise::NoiseError>(())
/// ```
#[must_use]
pub fn pair(crypto: Crypto, key: [u8; 32]) -> (SendCipher, ReceiveCipher) {
    (SendCipher::danger_with(crypto, key), ReceiveCipher::danger_with(crypto, key))
}

/// The static secret of a side.
///
/// ```
/// use np_benches::crypto::secret;
/// use np_facade::raw::noise::Role;
/// assert_ne!(secret(Role::Initiator), secret(Role::Responder));
/// ```
#[must_use]
pub const fn secret(role: Role) -> [u8; 32] {
    match role {
        Role::Initiator => [0x11; 32],
        Role::Responder => [0x22; 32],
    }
}

/// Both sides of handshakes, with static keys that were prepared once, as servers and clients do it.
///
/// ```
/// use np_benches::crypto::{Sides, usual};
/// use np_facade::raw::noise::Pattern;
/// let sides = Sides::new(usual());
/// for pattern in Pattern::ALL {
///     let [one, other] = sides.shake_hands(pattern)?;
///     assert_eq!(one, other);
/// }
/// # Ok::<(), np_facade::raw::noise::NoiseError>(())
/// ```
#[derive(Debug)]
pub struct Sides {
    crypto: Crypto,
    initiator: Keypair,
    responder: Keypair,
}

impl Sides {
    /// Prepares the keys.
    #[must_use]
    pub fn new(crypto: Crypto) -> Self {
        let pair = |role| Keypair::new(crypto.provider, &SecretKey::from_bytes(secret(role)));
        Self { crypto, initiator: pair(Role::Initiator), responder: pair(Role::Responder) }
    }

    /// The static keys of a side.
    #[must_use]
    pub const fn keys(&self, role: Role) -> &Keypair {
        match role {
            Role::Initiator => &self.initiator,
            Role::Responder => &self.responder,
        }
    }

    /// A whole handshake with empty payloads: the hash that each side has at its end. Ephemeral keys are always the same, and
    /// cost what fresh ones do but for their random bytes.
    ///
    /// # Errors
    /// Never, unless np-noise has a fault.
    pub fn shake_hands(&self, pattern: Pattern) -> Result<[[u8; 32]; 2], NoiseError> {
        let (mut a, mut b) = (self.begin(pattern, Role::Initiator)?, self.begin(pattern, Role::Responder)?);
        let (mut message, mut payload) = (Vec::new(), Vec::new());
        while !a.is_finished() {
            let (from, to) = if a.is_my_turn() { (&mut a, &mut b) } else { (&mut b, &mut a) };
            message.clear();
            from.write_message(b"", &mut message)?;
            to.read_message(&message, &mut payload)?;
        }
        Ok([a.finish()?.hash, b.finish()?.hash])
    }

    fn begin(&self, pattern: Pattern, role: Role) -> Result<Handshake, NoiseError> {
        let psk = Psk::from_bytes(PSK);
        let keys = Keys {
            local: pattern.needs_local_static(role).then(|| self.keys(role)),
            remote: pattern.needs_remote_static(role).then(|| self.keys(role.other()).public()),
            psk: pattern.needs_psk().then_some(&psk),
        };
        let ephemeral = match role {
            Role::Initiator => [0x33; 32],
            Role::Responder => [0x44; 32],
        };
        Handshake::with(self.crypto, pattern, role, PROLOGUE, keys, SecretKey::from_bytes(ephemeral))
    }
}
