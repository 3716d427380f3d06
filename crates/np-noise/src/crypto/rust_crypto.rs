//! The provider that is always there: `x25519-dalek`, `chacha20poly1305` and `aes-gcm`, in Rust alone.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::consts::{U12, U16, U32};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use np_types::{PublicKey, SecretKey, Suite};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::{AgreementKey, CipherKey, NoiseError, Provider, TAG_LENGTH};

/// The provider in Rust alone: it builds wherever Rust does, and is the default of this crate.
///
/// All of its keys are wiped when they are dropped. A key of ChaCha20-Poly1305 takes 32 bytes, one of AES-256-GCM
/// 1,104.
///
/// ```
/// use np_noise::{Provider as _, RustCrypto};
/// assert_eq!(RustCrypto.name(), "RustCrypto");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RustCrypto;

impl Provider for RustCrypto {
    fn name(&self) -> &'static str {
        "RustCrypto"
    }

    fn agreement_key(&self, secret: &SecretKey) -> Box<dyn AgreementKey> {
        let secret = StaticSecret::from(*secret.expose());
        let public = PublicKey::from_bytes(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Box::new(Agreement { secret, public })
    }

    fn cipher_key(&self, suite: Suite, key: &[u8; 32]) -> Box<dyn CipherKey> {
        match suite {
            Suite::AesGcm => Box::new(Sealing(Aes256Gcm::new(key.into()))),
            _ => Box::new(Sealing(ChaCha20Poly1305::new(key.into()))),
        }
    }
}

struct Agreement {
    secret: StaticSecret,
    public: PublicKey,
}

impl AgreementKey for Agreement {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn agree(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
        let shared = self.secret.diffie_hellman(&x25519_dalek::PublicKey::from(*peer.as_bytes()));
        Ok(Zeroizing::new(shared.to_bytes()))
    }
}

/// Either cipher: both have keys of 32 bytes, nonces of 12 and tags of 16.
struct Sealing<C>(C);

impl<C> CipherKey for Sealing<C>
where
    C: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit<KeySize = U32> + Send + Sync + 'static,
{
    fn seal_in_place(&self, nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError> {
        let tag = self.0.encrypt_inout_detached(nonce.into(), ad, text.into());
        tag.map(Into::into).map_err(|_| NoiseError::BadLength)
    }

    fn open_in_place(&self, nonce: &[u8; 12], ad: &[u8], record: &mut [u8]) -> Result<(), NoiseError> {
        let (text, tag) = record.split_last_chunk_mut::<TAG_LENGTH>().ok_or(NoiseError::Decrypt)?;
        let opened = self.0.decrypt_inout_detached(nonce.into(), ad, text.into(), (&*tag).into());
        opened.map_err(|_| NoiseError::Decrypt)
    }

    fn renewed(&self, key: &[u8; 32]) -> Box<dyn CipherKey> {
        Box::new(Self(C::new(key.into())))
    }
}
