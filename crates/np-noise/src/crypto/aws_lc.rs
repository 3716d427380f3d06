//! The accelerated provider: AWS-LC by way of `aws-lc-rs`, which the TLS of np-transport stands on as well.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use np_types::{PublicKey, SecretKey, Suite};
use zeroize::Zeroizing;

use crate::{AgreementKey, CipherKey, NoiseError, Provider, RustCrypto, TAG_LENGTH};

/// The provider by AWS-LC, a library in C and assembly, with the feature `aws-lc`.
///
/// Its keys live in memory of AWS-LC, which wipes whatever it frees: some 600 bytes for one of a cipher. Where it cannot make a key,
/// because its memory is used up, [`RustCrypto`] makes it: the bytes are the same.
///
/// ```
/// use np_noise::{AwsLc, Keypair};
/// use np_types::SecretKey;
/// let secret = SecretKey::from_bytes([7; 32]);
/// assert_eq!(Keypair::new(&AwsLc, &secret).public(), Keypair::from_secret(secret).public());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsLc;

impl Provider for AwsLc {
    fn name(&self) -> &'static str {
        "AWS-LC"
    }

    fn agreement_key(&self, secret: &SecretKey) -> Box<dyn AgreementKey> {
        match Agreement::new(secret) {
            Some(key) => Box::new(key),
            None => RustCrypto.agreement_key(secret),
        }
    }

    fn cipher_key(&self, suite: Suite, key: &[u8; 32]) -> Box<dyn CipherKey> {
        match UnboundKey::new(algorithm(suite), key) {
            Ok(unbound) => Box::new(Sealing { key: LessSafeKey::new(unbound), suite }),
            Err(_) => RustCrypto.cipher_key(suite, key),
        }
    }
}

fn algorithm(suite: Suite) -> &'static Algorithm {
    match suite {
        Suite::AesGcm => &AES_256_GCM,
        _ => &CHACHA20_POLY1305,
    }
}

struct Agreement {
    secret: PrivateKey,
    public: PublicKey,
}

impl Agreement {
    fn new(secret: &SecretKey) -> Option<Self> {
        let secret = PrivateKey::from_private_key(&X25519, secret.expose()).ok()?;
        let public = secret.compute_public_key().ok()?;
        let public = PublicKey::from_bytes(public.as_ref().try_into().ok()?);
        Some(Self { secret, public })
    }
}

impl AgreementKey for Agreement {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn agree(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
        // AWS-LC refuses nothing else but a secret of zeros: every 32 bytes are a public key of X25519.
        let peer = UnparsedPublicKey::new(&X25519, peer.as_bytes());
        agree(&self.secret, peer, NoiseError::ZeroShared, |shared| {
            <[u8; 32]>::try_from(shared).map(Zeroizing::new).map_err(|_| NoiseError::ZeroShared)
        })
    }
}

struct Sealing {
    key: LessSafeKey,
    suite: Suite,
}

impl CipherKey for Sealing {
    fn seal_in_place(&self, nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(ad), text).map_err(|_| NoiseError::BadLength)?;
        tag.as_ref().try_into().map_err(|_| NoiseError::BadLength)
    }

    fn open_in_place(&self, nonce: &[u8; 12], ad: &[u8], record: &mut [u8]) -> Result<(), NoiseError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(ad), record);
        opened.map(drop).map_err(|_| NoiseError::Decrypt)
    }

    fn renewed(&self, key: &[u8; 32]) -> Box<dyn CipherKey> {
        AwsLc.cipher_key(self.suite, key)
    }
}
