//! Who this program is.

use std::path::Path;

use np_driver::random_secret_key;
use np_noise::{Keypair, Provider};
use np_trust::{KeyFileMode, read_secret_key, write_new_secret};
use np_types::{PublicKey, SecretKey};

use crate::{Error, provider};

/// A static key pair: what a peer recognises this program by. Its public half is computed once.
///
/// ```
/// let identity = np_facade::Identity::generate()?;
/// assert!(identity.public_key().to_string().starts_with("np1"));
/// # Ok::<(), np_facade::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Identity {
    keys: Keypair,
}

impl Identity {
    /// A fresh identity; nobody knows it yet.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self::from_secret(random_secret_key()?))
    }

    /// The identity of a secret key.
    #[must_use]
    pub fn from_secret(secret: SecretKey) -> Self {
        Self { keys: Keypair::new(provider(), &secret) }
    }

    /// As [`Identity::from_secret`], with another provider of what is computed with the key, in place of [`provider`]. A
    /// builder's `provider` computes the rest: the keys of one handshake, and the records.
    ///
    /// ```
    /// use np_facade::{Identity, raw::noise::RustCrypto};
    /// let secret = np_facade::SecretKey::from_bytes([7; 32]);
    /// let identity = Identity::from_secret_with(&RustCrypto, secret);
    /// ```
    #[must_use]
    pub fn from_secret_with(provider: &'static dyn Provider, secret: SecretKey) -> Self {
        Self { keys: Keypair::new(provider, &secret) }
    }

    /// Reads the secret key file that `np keygen` or [`Identity::create`] wrote.
    ///
    /// # Errors
    /// When the file is not there, holds no secret key, or is readable by others.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_with(path, KeyFileMode::Checked)
    }

    /// As [`Identity::load`], with a say in what the file's mode may be.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load_with(path: impl AsRef<Path>, mode: KeyFileMode) -> Result<Self, Error> {
        Ok(Self::from_secret(read_secret_key(path.as_ref(), mode)?))
    }

    /// Makes a fresh identity and writes its secret to a new file, mode 0600.
    ///
    /// # Errors
    /// When the file is already there or cannot be written; nothing is left behind then.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("server.key");
    /// use np_facade::Identity;
    /// let identity = Identity::create(&path)?;
    /// assert_eq!(Identity::load(&path)?.public_key(), identity.public_key());
    /// assert!(Identity::create(&path).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let secret = random_secret_key()?;
        write_new_secret(path.as_ref(), &secret.to_text())?;
        Ok(Self::from_secret(secret))
    }

    /// The public half: what others allow, and what addresses name.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.keys.public()
    }

    pub(crate) fn into_keys(self) -> Keypair {
        self.keys
    }
}
