//! Cryptography for the targets that are not about it: the same bytes, at a small part of the time. Fuzzing meets the same
//! few keys over and over, so what X25519 gives for two keys is computed once and remembered; with the feature `aws-lc`
//! the ciphers are AWS-LC's, which fuzzing does not slow down. Owns this provider alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::thread::LocalKey;

use np_noise::{AgreementKey, CipherKey, Crypto, NoiseError, Provider, ReceiveCipher, RustCrypto, SendCipher, Suite};
use np_types::{PublicKey, SecretKey};
use zeroize::Zeroizing;

/// Pairs that are remembered; then all are forgotten, so that a long run takes no more memory.
const MOST_PAIRS: usize = 4_096;

#[cfg(feature = "aws-lc")]
const CIPHERS: &dyn Provider = &np_noise::AwsLc;
#[cfg(not(feature = "aws-lc"))]
const CIPHERS: &dyn Provider = &RustCrypto;

/// What was computed, by what it was computed from.
pub(super) type Table<K, V> = RefCell<BTreeMap<K, V>>;

type Agreed = Result<[u8; 32], NoiseError>;

thread_local! {
    static PUBLIC: Table<[u8; 32], PublicKey> = const { RefCell::new(BTreeMap::new()) };
    static SHARED: Table<[[u8; 32]; 2], Agreed> = const { RefCell::new(BTreeMap::new()) };
}

/// See the module.
#[derive(Debug)]
pub(super) struct Quick;

/// A suite by this provider.
pub(super) fn crypto(suite: Suite) -> Crypto {
    Crypto { suite, provider: &Quick }
}

/// Both halves of a cipher.
pub(super) fn ciphers(key: [u8; 32]) -> (SendCipher, ReceiveCipher) {
    let crypto = crypto(Suite::default());
    (SendCipher::danger_with(crypto, key), ReceiveCipher::danger_with(crypto, key))
}

/// The public half of a secret key.
fn public(secret: &[u8; 32]) -> PublicKey {
    remembered(&PUBLIC, *secret, || RustCrypto.agreement_key(&SecretKey::from_bytes(*secret)).public_key())
}

/// The shared secret of two keys, computed by RustCrypto where it is not remembered.
fn agree(secret: &[u8; 32], peer: &PublicKey) -> Agreed {
    remembered(&SHARED, [*secret, *peer.as_bytes()], || {
        RustCrypto.agreement_key(&SecretKey::from_bytes(*secret)).agree(peer).map(|shared| *shared)
    })
}

/// What stands in the table, or what is computed for it.
pub(super) fn remembered<K: Ord, V: Clone>(
    table: &'static LocalKey<Table<K, V>>,
    key: K,
    compute: impl FnOnce() -> V,
) -> V {
    table.with_borrow_mut(|table| {
        if table.len() >= MOST_PAIRS {
            table.clear();
        }
        table.entry(key).or_insert_with(compute).clone()
    })
}

impl Provider for Quick {
    fn name(&self) -> &'static str {
        "remembering"
    }

    fn agreement_key(&self, secret: &SecretKey) -> Box<dyn AgreementKey> {
        Box::new(Remembered { secret: *secret.expose(), public: public(secret.expose()) })
    }

    fn cipher_key(&self, suite: Suite, key: &[u8; 32]) -> Box<dyn CipherKey> {
        CIPHERS.cipher_key(suite, key)
    }
}

struct Remembered {
    secret: [u8; 32],
    public: PublicKey,
}

impl AgreementKey for Remembered {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn agree(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
        agree(&self.secret, peer).map(Zeroizing::new)
    }
}
