//! The SymmetricState of Noise section 5.2: chaining key, transcript hash, and the handshake's cipher key.
//!
//! Owns how they are mixed; must never know tokens, turns or whose keys they are.

use zeroize::Zeroizing;

use crate::cipher::{ReceiveCipher, SendCipher};
use crate::crypto::hash::{Secret, derive, hash};
use crate::provider::Key;
use crate::{Crypto, NoiseError, Role, TAG_LENGTH};

pub(crate) struct Symmetric {
    crypto: Crypto,
    chaining_key: Secret,
    hash: [u8; 32],
    cipher: Option<Cipher>,
}

struct Cipher {
    key: Key,
    nonce: u64,
}

impl Symmetric {
    pub(crate) fn new(crypto: Crypto, pattern: &str, prologue: &[u8]) -> Self {
        let name = format!("Noise_{pattern}_{}", crypto.suite.noise_name());
        let mut start = [0u8; 32];
        // A name of up to 32 bytes is padded with zeros, a longer one is hashed.
        match start.get_mut(..name.len()) {
            Some(head) => head.copy_from_slice(name.as_bytes()),
            None => start = hash(&[name.as_bytes()]),
        }
        let mut state = Self { crypto, chaining_key: Zeroizing::new(start), hash: start, cipher: None };
        state.mix_hash(prologue);
        state
    }

    pub(crate) const fn hash(&self) -> [u8; 32] {
        self.hash
    }

    pub(crate) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    pub(crate) fn mix_key(&mut self, input: &[u8]) {
        let [chaining_key, key] = derive(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        self.set_key(&key);
    }

    pub(crate) fn mix_key_and_hash(&mut self, input: &[u8]) {
        let [chaining_key, data, key] = derive(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        self.mix_hash(data.as_slice());
        self.set_key(&key);
    }

    /// Appends `plaintext` to `out`, encrypted once there is a key.
    pub(crate) fn encrypt_and_hash(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let start = out.len();
        out.extend_from_slice(plaintext);
        if let Some(cipher) = &mut self.cipher {
            let text = out.get_mut(start..).unwrap_or_default();
            let tag = cipher.key.seal(cipher.nonce, &self.hash, text)?;
            cipher.nonce = cipher.nonce.saturating_add(1);
            out.extend_from_slice(&tag);
        }
        self.mix_hash(out.get(start..).unwrap_or_default());
        Ok(())
    }

    /// Appends the plaintext of `message` to `out`; leaves `out` as it was if the message is not authentic.
    pub(crate) fn decrypt_and_hash(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let start = out.len();
        if let Some(cipher) = &mut self.cipher {
            let length = message.len().checked_sub(TAG_LENGTH).ok_or(NoiseError::BadLength)?;
            out.extend_from_slice(message);
            let opened = cipher.key.open(cipher.nonce, &self.hash, out.get_mut(start..).unwrap_or_default());
            out.truncate(if opened.is_ok() { start + length } else { start });
            opened?;
            cipher.nonce = cipher.nonce.saturating_add(1);
        } else {
            out.extend_from_slice(message);
        }
        self.mix_hash(message);
        Ok(())
    }

    /// How long the next encrypted field of `length` bytes is on the wire.
    pub(crate) const fn sealed_length(&self, length: usize) -> usize {
        length + if self.cipher.is_some() { TAG_LENGTH } else { 0 }
    }

    /// The traffic keys: what the initiator sends under, and what the responder does.
    pub(crate) fn traffic_keys(&self) -> [Secret; 2] {
        derive(&self.chaining_key, &[])
    }

    /// The two traffic ciphers, as the side of `role` uses them.
    pub(crate) fn split(&self, role: Role) -> (SendCipher, ReceiveCipher) {
        let [first, second] = self.traffic_keys();
        let (send, receive) = match role {
            Role::Initiator => (first, second),
            Role::Responder => (second, first),
        };
        let key = |key: &Secret| Key::new(self.crypto, key);
        (SendCipher::new(key(&send)), ReceiveCipher::new(key(&receive)))
    }

    fn set_key(&mut self, key: &Secret) {
        // At most six fields are sealed in a whole handshake, so the nonce never comes near its end.
        self.cipher = Some(Cipher { key: Key::new(self.crypto, key), nonce: 0 });
    }
}
