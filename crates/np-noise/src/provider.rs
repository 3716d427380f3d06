//! What computes: the functions of a suite behind a trait, so that a caller chooses who does the work.
//!
//! Owns the trait, the choice of suite and provider, and what holds of every provider: nonces, rekey and the refusal of a
//! zero secret are made here, once. Must never know Noise states, patterns or messages.

use std::fmt;

use np_types::{PublicKey, SecretKey, Suite};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{NoiseError, TAG_LENGTH};

/// The nonce that no message uses: Noise keeps it for rekey.
const REKEY_NONCE: u64 = u64::MAX;

/// Computes the functions that handshakes and records stand on. Every provider gives the same bytes: who talks to a peer
/// cannot tell which one it has, and the test vectors run against each.
///
/// A provider is passed as an argument, and never set for the process. Hashing is not its business: SHA-256 of the
/// `sha2` crate takes a few percent of a handshake, and none of a record.
///
/// ```
/// use np_noise::{Provider, RustCrypto};
/// use np_types::{SecretKey, Suite};
/// let provider: &'static dyn Provider = &RustCrypto;
/// let [a, b] = [1, 2].map(|byte| provider.agreement_key(&SecretKey::from_bytes([byte; 32])));
/// assert_eq!(a.agree(&b.public_key())?, b.agree(&a.public_key())?);
///
/// let key = provider.cipher_key(Suite::AesGcm, &[7; 32]);
/// let mut record = b"text".to_vec();
/// let tag = key.seal_in_place(&[0; 12], b"", &mut record)?;
/// record.extend_from_slice(&tag);
/// key.open_in_place(&[0; 12], b"", &mut record)?;
/// assert!(record.starts_with(b"text"));
/// # Ok::<(), np_noise::NoiseError>(())
/// ```
pub trait Provider: fmt::Debug + Send + Sync {
    /// What it is called in logs and measurements.
    fn name(&self) -> &'static str;

    /// Prepares a secret key of X25519; its public half is computed here, once.
    fn agreement_key(&self, secret: &SecretKey) -> Box<dyn AgreementKey>;

    /// Prepares a key of a suite's cipher.
    fn cipher_key(&self, suite: Suite, key: &[u8; 32]) -> Box<dyn CipherKey>;
}

/// A secret key of X25519 (RFC 7748), prepared once and used any number of times; wiped when dropped.
///
/// See [`Provider`] for an example.
pub trait AgreementKey: Send + Sync {
    /// The public half, which is not computed anew.
    fn public_key(&self) -> PublicKey;

    /// Computes the shared secret. A provider may leave a secret of zeros to its caller: np refuses it either way.
    ///
    /// # Errors
    /// [`NoiseError::ZeroShared`] for a public key of low order.
    fn agree(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, NoiseError>;
}

/// A key of a suite's cipher, prepared once and used for many records; wiped when dropped.
///
/// See [`Provider`] for an example.
pub trait CipherKey: Send + Sync {
    /// Encrypts the text where it stands and returns the tag. Does not allocate.
    ///
    /// # Errors
    /// [`NoiseError::BadLength`] where the cipher cannot seal so much at once, which is never the case up to 65,535 bytes.
    fn seal_in_place(&self, nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError>;

    /// Checks the tag, the last 16 bytes of `record`, and decrypts what stands before it in its place. Does not allocate.
    ///
    /// # Errors
    /// [`NoiseError::Decrypt`] if the tag does not fit, and for less than 16 bytes. No plaintext is left in `record` then;
    /// beside that its bytes may be anything.
    fn open_in_place(&self, nonce: &[u8; 12], ad: &[u8], record: &mut [u8]) -> Result<(), NoiseError>;

    /// Prepares another key of the same cipher, by the same provider.
    fn renewed(&self, key: &[u8; 32]) -> Box<dyn CipherKey>;
}

/// What a handshake computes with: a suite, on which both sides have to agree, and a provider, which is this side's own
/// affair. The default is ChaCha20-Poly1305 by [`RustCrypto`](crate::RustCrypto).
///
/// ```
/// use np_noise::Crypto;
/// use np_types::Suite;
/// let aes = Crypto { suite: Suite::AesGcm, ..Crypto::default() };
/// assert_eq!(aes.provider.name(), "RustCrypto");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Crypto {
    /// How messages and records are sealed.
    pub suite: Suite,
    /// Who computes it.
    pub provider: &'static dyn Provider,
}

impl Default for Crypto {
    fn default() -> Self {
        Self { suite: Suite::default(), provider: &crate::RustCrypto }
    }
}

/// Computes a shared secret, and refuses the all-zero one that low-order points lead to.
pub(crate) fn shared(key: &dyn AgreementKey, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
    let shared = key.agree(peer)?;
    if bool::from(shared.ct_eq(&[0; 32])) {
        return Err(NoiseError::ZeroShared);
    }
    Ok(shared)
}

/// A cipher key together with its suite, which is what makes a nonce out of a counter. It is prepared from its bytes when it
/// is used, and stays so until it rests: what a provider prepares is many times as long.
pub(crate) struct Key {
    prepared: Option<Box<dyn CipherKey>>,
    /// In a place of its own, so that a key that is moved leaves no copy behind.
    bytes: Box<Zeroizing<[u8; 32]>>,
    provider: &'static dyn Provider,
    suite: Suite,
    null: bool,
}

impl Key {
    pub(crate) fn new(crypto: Crypto, key: &[u8; 32]) -> Self {
        let mut bytes = Box::new(Zeroizing::new([0; 32]));
        bytes.copy_from_slice(key);
        let Crypto { suite, provider } = crypto;
        Self { prepared: Some(provider.cipher_key(suite, key)), bytes, provider, suite, null: false }
    }

    /// No key at all: the text stays as it is and no tag is checked.
    #[cfg(feature = "danger-null-crypto")]
    pub(crate) fn null() -> Self {
        let Crypto { suite, provider } = Crypto::default();
        Self { prepared: Some(Box::new(Null)), bytes: Box::default(), provider, suite, null: true }
    }

    /// Encrypts in place and returns the tag.
    #[inline]
    pub(crate) fn seal(&mut self, counter: u64, ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError> {
        let nonce = nonce(self.suite, counter);
        self.cipher().seal_in_place(&nonce, ad, text)
    }

    /// Checks the tag at the end of the record, and only then decrypts in place what stands before it.
    #[inline]
    pub(crate) fn open(&mut self, counter: u64, ad: &[u8], record: &mut [u8]) -> Result<(), NoiseError> {
        let nonce = nonce(self.suite, counter);
        self.cipher().open_in_place(&nonce, ad, record)
    }

    /// Drops what was prepared, until the next use.
    pub(crate) fn rest(&mut self) {
        // What stands for no key has no bytes to be made of anew.
        if !self.null {
            self.prepared = None;
        }
    }

    #[inline]
    fn cipher(&mut self) -> &dyn CipherKey {
        let Self { prepared, bytes, provider, suite, .. } = self;
        &**prepared.get_or_insert_with(|| provider.cipher_key(*suite, bytes))
    }

    /// Makes the next key: the first 32 bytes of 32 zeros sealed under the reserved nonce (Noise section 4.2).
    pub(crate) fn rekeyed(mut self) -> Result<Self, NoiseError> {
        let mut next = Zeroizing::new([0u8; 32]);
        self.seal(REKEY_NONCE, &[], next.as_mut_slice())?;
        self.prepared = Some(self.cipher().renewed(&next));
        self.bytes.copy_from_slice(next.as_slice());
        Ok(self)
    }
}

/// Noise sections 12.3 and 12.4: 32 zero bits, then the counter, little-endian for ChaChaPoly and big-endian for AESGCM.
#[inline]
const fn nonce(suite: Suite, counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = match suite {
        Suite::AesGcm => counter.to_be_bytes(),
        _ => counter.to_le_bytes(),
    };
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

#[cfg(feature = "danger-null-crypto")]
struct Null;

#[cfg(feature = "danger-null-crypto")]
impl CipherKey for Null {
    fn seal_in_place(&self, _: &[u8; 12], _: &[u8], _: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError> {
        Ok([0; TAG_LENGTH])
    }

    fn open_in_place(&self, _: &[u8; 12], _: &[u8], _: &mut [u8]) -> Result<(), NoiseError> {
        Ok(())
    }

    fn renewed(&self, _: &[u8; 32]) -> Box<dyn CipherKey> {
        Box::new(Self)
    }
}

#[cfg(test)]
mod tests {
    use np_types::Suite;

    use super::nonce;

    #[test]
    fn each_suite_has_the_order_of_bytes_that_noise_gives_it() {
        let counter = 0x0102_0304_0506_0708;
        assert_eq!(nonce(Suite::ChaChaPoly, counter), [0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(nonce(Suite::AesGcm, counter), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
