//! Signatures of values: what is signed, and the key that signs. It must never decide whose key counts; the list of allowed
//! keys does.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use np_facade::{SignKey, VerifyKey};

/// The bytes of a signature.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// What is signed begins so, and nothing else that np signs ever does.
const CONTEXT: &[u8] = b"np-cluster value 1\0";

/// The Ed25519 key by which a node signs values, apart from the key of its links: members relay each other's values, and
/// whoever reads one can tell by its signature that no member in between has made it up.
///
/// Its public half stands in the other nodes' list of allowed keys (`sign=`).
///
/// ```
/// let key = np_cluster::SigningKey::from_bytes(&[7; 32]);
/// assert_eq!(format!("{key:?}"), "SigningKey(..)");
/// assert_ne!(key.public_bytes(), [7; 32]);
/// ```
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that these 32 secret random bytes make.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The key of a file that `np keygen --signing` wrote.
    ///
    /// ```no_run
    /// use np_facade::{KeyFileMode, read_sign_key};
    /// let key = np_cluster::SigningKey::new(&read_sign_key("orders-1.sign".as_ref(), KeyFileMode::Checked)?);
    /// println!("np1... orders-1 sign={}", key.verify_key());
    /// # Ok::<(), np_facade::KeyFileError>(())
    /// ```
    #[must_use]
    pub fn new(secret: &SignKey) -> Self {
        Self::from_bytes(secret.expose())
    }

    /// Its public half: what stands in the others' lists, as `sign=npverify1...`.
    ///
    /// ```
    /// let key = np_cluster::SigningKey::from_bytes(&[7; 32]);
    /// assert!(key.verify_key().to_string().starts_with("npverify1"));
    /// ```
    #[must_use]
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey::from_bytes(self.public_bytes())
    }

    /// The bytes of its public half.
    #[must_use]
    pub fn public_bytes(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, claim: &Claim<'_>) -> [u8; SIGNATURE_LEN] {
        self.0.sign(&claim.bytes()).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// What a signature says.
pub(crate) struct Claim<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) node: &'a str,
    pub(crate) key: &'a str,
    pub(crate) text: &'a str,
    pub(crate) expires: u64,
    pub(crate) at: u64,
}

impl Claim<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = CONTEXT.to_vec();
        for text in [self.cluster, self.node, self.key, self.text] {
            bytes.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.expires.to_le_bytes());
        bytes.extend(self.at.to_le_bytes());
        bytes
    }
}

/// Whether a key signed a claim. Keys and signatures of low order, which fit many claims, do not count.
pub(crate) fn check(key: &[u8; 32], claim: &Claim<'_>, signature: &[u8; SIGNATURE_LEN]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(&claim.bytes(), &Signature::from_bytes(signature)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::SigningKey;

    #[test]
    fn a_signing_key_is_named_and_not_shown() {
        assert_eq!(format!("{:?}", SigningKey::from_bytes(&[7; 32])), "SigningKey(..)");
    }
}
