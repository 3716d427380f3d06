//! Static keys as a handshake takes them. Owns the pair of halves; must never know where keys are stored.

use std::fmt;
use std::sync::Arc;

use np_types::{Psk, PublicKey, SecretKey};

use crate::{AgreementKey, Provider, RustCrypto};

/// A static X25519 key with its public half, which is computed once. Clones are cheap, and share the one secret.
///
/// The secret half is wiped when the last clone is dropped and does not appear in `Debug`.
///
/// ```
/// use np_noise::Keypair;
/// use np_types::SecretKey;
/// let pair = Keypair::from_secret(SecretKey::from_bytes([7; 32]));
/// assert!(pair.public().to_string().starts_with("np1"));
/// assert!(!format!("{pair:?}").contains("npsec"));
/// ```
#[derive(Clone)]
pub struct Keypair {
    key: Arc<dyn AgreementKey>,
    public: PublicKey,
}

impl Keypair {
    /// Computes the public half (one scalar multiplication, tens of microseconds) and keeps both, by [`RustCrypto`].
    #[must_use]
    pub fn from_secret(secret: SecretKey) -> Self {
        Self::new(&RustCrypto, &secret)
    }

    /// As [`Keypair::from_secret`], by another provider: it also does this key's part in every handshake, whatever the
    /// handshake's own provider is.
    ///
    /// ```
    /// use np_noise::{Keypair, RustCrypto};
    /// use np_types::SecretKey;
    /// let secret = SecretKey::from_bytes([7; 32]);
    /// assert_eq!(Keypair::new(&RustCrypto, &secret).public(), Keypair::from_secret(secret).public());
    /// ```
    #[must_use]
    pub fn new(provider: &dyn Provider, secret: &SecretKey) -> Self {
        let key: Arc<dyn AgreementKey> = provider.agreement_key(secret).into();
        Self { public: key.public_key(), key }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn key(&self) -> &dyn AgreementKey {
        &*self.key
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keypair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The keys that one side brings to a handshake.
///
/// A pattern takes exactly the keys that it uses: a missing one and a surplus one are both refused by
/// [`Handshake::new`](crate::Handshake::new), because a key that is given and ignored looks like a check that is made.
/// See [`Pattern::needs_local_static`](crate::Pattern::needs_local_static),
/// [`needs_remote_static`](crate::Pattern::needs_remote_static) and [`needs_psk`](crate::Pattern::needs_psk).
///
/// ```
/// use np_noise::{Keypair, Keys};
/// use np_types::SecretKey;
/// let own = Keypair::from_secret(SecretKey::from_bytes([7; 32]));
/// let keys = Keys { local: Some(&own), ..Keys::default() };
/// assert!(keys.remote.is_none() && keys.psk.is_none());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// This side's static key.
    pub local: Option<&'a Keypair>,
    /// The other side's static key, where the pattern wants it known beforehand.
    pub remote: Option<PublicKey>,
    /// The pre-shared key.
    pub psk: Option<&'a Psk>,
}
