//! ChaCha20-Poly1305 (RFC 8439) with Noise's nonce. Owns the key object; must never know counters or their order.

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
use zeroize::Zeroizing;

use crate::NoiseError;

/// The nonce that no message uses: Noise keeps it for rekey.
const REKEY_NONCE: u64 = u64::MAX;

/// One key, prepared once and used for many records; wiped when dropped.
pub(crate) enum Key {
    ChaChaPoly(ChaCha20Poly1305),
    /// No key at all: the text stays as it is and no tag is checked.
    #[cfg(feature = "danger-null-crypto")]
    Null,
}

impl Key {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self::ChaChaPoly(ChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts in place and returns the tag.
    pub(crate) fn seal(&self, nonce: u64, ad: &[u8], text: &mut [u8]) -> Result<[u8; 16], NoiseError> {
        self.seal_under(&spread(nonce), ad, text)
    }

    /// Checks the tag, and only then decrypts in place.
    pub(crate) fn open(&self, nonce: u64, ad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> Result<(), NoiseError> {
        self.open_under(&spread(nonce), ad, text, tag)
    }

    /// Makes the next key: the first 32 bytes of 32 zeros sealed under the reserved nonce (Noise section 4.2).
    pub(crate) fn rekeyed(&self) -> Result<Self, NoiseError> {
        match self {
            Self::ChaChaPoly(_) => {
                let mut next = Zeroizing::new([0u8; 32]);
                self.seal(REKEY_NONCE, &[], next.as_mut_slice())?;
                Ok(Self::new(&next))
            }
            #[cfg(feature = "danger-null-crypto")]
            Self::Null => Ok(Self::Null),
        }
    }

    /// [`Self::seal`] under any nonce of the cipher, of which Noise uses those that begin with four zeros.
    pub(super) fn seal_under(&self, nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; 16], NoiseError> {
        match self {
            Self::ChaChaPoly(cipher) => cipher
                .encrypt_inout_detached(nonce.into(), ad, text.into())
                .map(Into::into)
                .map_err(|_| NoiseError::BadLength),
            #[cfg(feature = "danger-null-crypto")]
            Self::Null => Ok([0; 16]),
        }
    }

    /// [`Self::open`] under any nonce of the cipher.
    pub(super) fn open_under(
        &self,
        nonce: &[u8; 12],
        ad: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), NoiseError> {
        match self {
            Self::ChaChaPoly(cipher) => cipher
                .decrypt_inout_detached(nonce.into(), ad, text.into(), tag.into())
                .map_err(|_| NoiseError::Decrypt),
            #[cfg(feature = "danger-null-crypto")]
            Self::Null => Ok(()),
        }
    }
}

/// Noise section 12.3: 32 zero bits, then the counter in little-endian order.
fn spread(nonce: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = nonce.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}
