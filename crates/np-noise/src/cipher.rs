//! The cipher states of the traffic phase (Noise sections 5.1 and 11.3), one type per direction.
//!
//! Owns key, counter and rekey. Must never know what a record holds, nor when a key is old enough to be replaced.

use std::fmt;

use zeroize::Zeroizing;

use crate::provider::Key;
use crate::{Crypto, MAX_MESSAGE, NoiseError, TAG_LENGTH};

/// Seals the records of one direction, in order; the record's number is the nonce.
///
/// The associated data is empty. The key is wiped when the cipher is dropped and does not appear in `Debug`.
///
/// ```
/// use np_noise::{ReceiveCipher, SendCipher};
/// let mut send = SendCipher::danger_from_key([7; 32]);
/// let mut receive = ReceiveCipher::danger_from_key([7; 32]);
/// let mut record = b"text".to_vec();
/// let tag = send.seal_in_place(&mut record)?;
/// record.extend_from_slice(&tag);
/// assert_eq!(receive.open_in_place(&mut record)?, b"text");
/// assert_eq!((send.counter(), receive.counter()), (1, 1));
/// # Ok::<(), np_noise::NoiseError>(())
/// ```
pub struct SendCipher {
    // Only a rekey that fails takes the key away, which no cipher lets happen for 32 bytes.
    key: Option<Key>,
    counter: u64,
}

impl SendCipher {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key: Some(key), counter: 0 }
    }

    /// Makes a cipher from a key that no handshake agreed on: for tests and measurements alone. The suite and the provider
    /// are the default ones.
    #[must_use]
    pub fn danger_from_key(key: [u8; 32]) -> Self {
        Self::danger_with(Crypto::default(), key)
    }

    /// As [`Self::danger_from_key`], of a suite and by a provider.
    #[must_use]
    pub fn danger_with(crypto: Crypto, key: [u8; 32]) -> Self {
        Self::new(Key::new(crypto, &Zeroizing::new(key)))
    }

    /// Makes a cipher that hides nothing, for fuzzing past the cryptography alone: the text stays as it is and its tag
    /// is 16 zeros. Counter, limits and rekey are those of every cipher.
    #[cfg(feature = "danger-null-crypto")]
    #[must_use]
    pub fn danger_null() -> Self {
        Self::new(Key::null())
    }

    /// Starts the counter elsewhere than at 0: for tests of its end alone. A nonce used twice gives the key away.
    #[must_use]
    pub const fn danger_with_counter(mut self, counter: u64) -> Self {
        self.counter = counter;
        self
    }

    /// Encrypts the plaintext where it stands and returns the tag that belongs behind it. Does not allocate, but after
    /// [`rest`](Self::rest).
    ///
    /// # Errors
    ///
    /// [`NoiseError::BadLength`] above 65,519 bytes, [`NoiseError::Exhausted`] after 2^64-1 records. The cipher, its
    /// counter and the text are then as before.
    pub fn seal_in_place(&mut self, plaintext: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError> {
        let key = self.key.as_mut().ok_or(NoiseError::Dead)?;
        if plaintext.len() > MAX_MESSAGE - TAG_LENGTH {
            return Err(NoiseError::BadLength);
        }
        let next = self.counter.checked_add(1).ok_or(NoiseError::Exhausted)?;
        let tag = key.seal(self.counter, &[], plaintext)?;
        self.counter = next;
        Ok(tag)
    }

    /// Gives back the memory of the prepared key until the next record, which has it prepared anew from its 32 bytes: for
    /// connections on which nothing moves. Counter and key stay.
    ///
    /// ```
    /// use np_noise::{ReceiveCipher, SendCipher};
    /// let mut send = SendCipher::danger_from_key([7; 32]);
    /// let mut receive = ReceiveCipher::danger_from_key([7; 32]);
    /// send.rest();
    /// receive.rest();
    /// let mut record = b"text".to_vec();
    /// let tag = send.seal_in_place(&mut record)?;
    /// record.extend_from_slice(&tag);
    /// assert_eq!(receive.open_in_place(&mut record)?, b"text");
    /// # Ok::<(), np_noise::NoiseError>(())
    /// ```
    pub fn rest(&mut self) {
        if let Some(key) = &mut self.key {
            key.rest();
        }
    }

    /// Replaces the key by Rekey(k). The old key is wiped; the counter goes on.
    pub fn rekey(&mut self) {
        self.key = self.key.take().and_then(|key| key.rekeyed().ok());
    }

    /// The number of the next record, from 0; rekey does not reset it.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }
}

impl fmt::Debug for SendCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "SendCipher", self.counter, self.key.is_none())
    }
}

/// Opens the records of one direction, in the order in which they were sealed.
///
/// A replayed, dropped, reordered, reflected or changed record fails, and the first failure ends the cipher: the key is
/// wiped and every later call answers [`NoiseError::Dead`].
///
/// ```
/// use np_noise::{NoiseError, ReceiveCipher};
/// let mut receive = ReceiveCipher::danger_from_key([7; 32]);
/// assert_eq!(receive.open_in_place(&mut [0; 20]), Err(NoiseError::Decrypt));
/// assert_eq!(receive.open_in_place(&mut [0; 20]), Err(NoiseError::Dead));
/// ```
pub struct ReceiveCipher {
    key: Option<Key>,
    counter: u64,
}

impl ReceiveCipher {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key: Some(key), counter: 0 }
    }

    /// Makes a cipher from a key that no handshake agreed on: for tests and measurements alone. The suite and the provider
    /// are the default ones.
    #[must_use]
    pub fn danger_from_key(key: [u8; 32]) -> Self {
        Self::danger_with(Crypto::default(), key)
    }

    /// As [`Self::danger_from_key`], of a suite and by a provider.
    #[must_use]
    pub fn danger_with(crypto: Crypto, key: [u8; 32]) -> Self {
        Self::new(Key::new(crypto, &Zeroizing::new(key)))
    }

    /// Makes a cipher that checks nothing, for fuzzing past the cryptography alone: the last 16 bytes of each record are
    /// taken for its tag and left unread. Counter, limits and rekey are those of every cipher.
    #[cfg(feature = "danger-null-crypto")]
    #[must_use]
    pub fn danger_null() -> Self {
        Self::new(Key::null())
    }

    /// Starts the counter elsewhere than at 0: for tests of its end alone.
    #[must_use]
    pub const fn danger_with_counter(mut self, counter: u64) -> Self {
        self.counter = counter;
        self
    }

    /// Checks the record (ciphertext and tag), decrypts it where it stands and returns the plaintext. Does not allocate,
    /// but after [`rest`](Self::rest).
    ///
    /// # Errors
    ///
    /// [`NoiseError::BadLength`] below 16 and above 65,535 bytes, [`NoiseError::Decrypt`] if the record is not the next
    /// one under this key, [`NoiseError::Exhausted`] after 2^64-1 records: each ends the cipher, after which it answers
    /// [`NoiseError::Dead`]. No plaintext is left in the record then; beside that its bytes may be anything.
    pub fn open_in_place<'b>(&mut self, record: &'b mut [u8]) -> Result<&'b mut [u8], NoiseError> {
        let opened = self.open(record);
        if opened.is_err() {
            self.key = None;
        }
        opened
    }

    /// Gives back the memory of the prepared key until the next record, which has it prepared anew from its 32 bytes: for
    /// connections on which nothing moves. Counter and key stay, and a dead cipher stays dead.
    ///
    /// ```
    /// use np_noise::{ReceiveCipher, SendCipher};
    /// let mut send = SendCipher::danger_from_key([7; 32]);
    /// let mut receive = ReceiveCipher::danger_from_key([7; 32]);
    /// send.rest();
    /// receive.rest();
    /// let mut record = b"text".to_vec();
    /// let tag = send.seal_in_place(&mut record)?;
    /// record.extend_from_slice(&tag);
    /// assert_eq!(receive.open_in_place(&mut record)?, b"text");
    /// # Ok::<(), np_noise::NoiseError>(())
    /// ```
    pub fn rest(&mut self) {
        if let Some(key) = &mut self.key {
            key.rest();
        }
    }

    /// Replaces the key by Rekey(k). The old key is wiped; the counter goes on. A dead cipher stays dead.
    pub fn rekey(&mut self) {
        self.key = self.key.take().and_then(|key| key.rekeyed().ok());
    }

    /// The number of the next record, from 0; rekey does not reset it.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    fn open<'b>(&mut self, record: &'b mut [u8]) -> Result<&'b mut [u8], NoiseError> {
        let key = self.key.as_mut().ok_or(NoiseError::Dead)?;
        if record.len() > MAX_MESSAGE {
            return Err(NoiseError::BadLength);
        }
        let length = record.len().checked_sub(TAG_LENGTH).ok_or(NoiseError::BadLength)?;
        let next = self.counter.checked_add(1).ok_or(NoiseError::Exhausted)?;
        key.open(self.counter, &[], record)?;
        self.counter = next;
        Ok(record.get_mut(..length).unwrap_or_default())
    }
}

impl fmt::Debug for ReceiveCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "ReceiveCipher", self.counter, self.key.is_none())
    }
}

fn debug(f: &mut fmt::Formatter<'_>, name: &str, counter: u64, dead: bool) -> fmt::Result {
    f.debug_struct(name).field("counter", &counter).field("dead", &dead).finish_non_exhaustive()
}
