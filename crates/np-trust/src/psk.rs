//! Pre-shared keys by the names that peers call them by. Must never show a key, nor know a handshake.

use std::collections::BTreeMap;
use std::fmt;

use np_types::{Psk, PublicKey};
use sha2::{Digest as _, Sha256};

/// The longest id, in bytes.
const MAX_ID: usize = 64;

/// What a pre-shared key is called by default: the first 8 bytes of the SHA-256 of its 32 bytes, as 16 hexadecimal
/// digits. Whoever knows the id learns nothing of the key, which is random.
///
/// ```
/// use np_types::Psk;
/// assert_eq!(np_trust::psk_id(&Psk::from_bytes([0; 32])), "66687aadf862bd77");
/// ```
#[must_use]
pub fn psk_id(psk: &Psk) -> String {
    let digest = Sha256::digest(psk.expose());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Why a text is not the id of a pre-shared key. Holds no part of the text: it may be a secret.
///
/// ```
/// use np_trust::{PskIdError, Psks};
/// use np_types::Psk;
/// let error = Psks::new().with_id("two words", Psk::from_bytes([1; 32])).unwrap_err();
/// assert_eq!(error, PskIdError::Character { at: 4 });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PskIdError {
    /// There is no text.
    #[error("the id of a pre-shared key is empty; an id has 1 to 64 characters")]
    Empty,
    /// The text has more than 64 bytes.
    #[error("the id of a pre-shared key has {0} bytes; an id has 1 to 64")]
    TooLong(usize),
    /// A byte is no printable ASCII, or a space.
    #[error("byte {at} of the id of a pre-shared key is not allowed; an id is printable ASCII without a space")]
    Character {
        /// Where it stands, from 1.
        at: usize,
    },
    /// The text begins as a secret does, and ids travel in clear.
    #[error("this begins as a secret does, but the id of a pre-shared key belongs here; `np keygen --psk` prints it")]
    Secret,
    /// Another key has this id.
    #[error("two pre-shared keys have the same id; give each its own")]
    Duplicate,
}

/// Whether a text can be the id of a pre-shared key: 1 to 64 bytes of printable ASCII without a space.
pub(crate) fn check_psk_id(id: &str) -> Result<(), PskIdError> {
    let lower = id.to_ascii_lowercase();
    if id.is_empty() {
        Err(PskIdError::Empty)
    } else if ["nppsk1", "npsec1", "npsign1"].iter().any(|prefix| lower.starts_with(prefix)) {
        Err(PskIdError::Secret)
    } else if id.len() > MAX_ID {
        Err(PskIdError::TooLong(id.len()))
    } else if let Some(at) = id.bytes().position(|byte| !byte.is_ascii_graphic()) {
        Err(PskIdError::Character { at: at + 1 })
    } else {
        Ok(())
    }
}

/// The pre-shared keys of a server: by an id that the client names in clear, and by the client's static public key.
///
/// `Debug` shows the ids and the public keys alone.
///
/// ```
/// use np_trust::{Psks, psk_id};
/// use np_types::{Psk, PublicKey};
/// let (psk, ada) = (Psk::from_bytes([7; 32]), PublicKey::from_bytes([1; 32]));
/// let psks = Psks::new().with_id(&psk_id(&psk), psk.clone())?.with_key(ada, psk.clone());
/// assert_eq!(psks.by_id(psk_id(&psk).as_bytes()), Some(&psk));
/// assert_eq!(psks.by_key(&ada), Some(&psk));
/// assert_eq!(psks.by_id(b"another"), None);
/// # Ok::<(), np_trust::PskIdError>(())
/// ```
#[derive(Clone, Default)]
pub struct Psks {
    ids: BTreeMap<Box<[u8]>, Psk>,
    keys: BTreeMap<PublicKey, Psk>,
}

impl Psks {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key under an id of 1 to 64 bytes of printable ASCII without a space.
    ///
    /// # Errors
    /// When the text cannot be an id, looks like a secret, or names another key already.
    pub fn with_id(mut self, id: &str, psk: Psk) -> Result<Self, PskIdError> {
        check_psk_id(id)?;
        if self.ids.insert(id.as_bytes().into(), psk).is_some() {
            return Err(PskIdError::Duplicate);
        }
        Ok(self)
    }

    /// Adds a key for the client that proves `client`; the later one counts where there are two for a client.
    #[must_use]
    pub fn with_key(mut self, client: PublicKey, psk: Psk) -> Self {
        self.keys.insert(client, psk);
        self
    }

    /// The key of an id, as a peer sent it: any bytes.
    #[must_use]
    pub fn by_id(&self, id: &[u8]) -> Option<&Psk> {
        self.ids.get(id)
    }

    /// The key for a client.
    #[must_use]
    pub fn by_key(&self, client: &PublicKey) -> Option<&Psk> {
        self.keys.get(client)
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.keys.is_empty()
    }
}

impl fmt::Debug for Psks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.ids.keys().map(|id| String::from_utf8_lossy(id)).collect();
        f.debug_struct("Psks").field("ids", &ids).field("keys", &self.keys.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use np_types::{Psk, PublicKey};

    use super::{PskIdError, Psks, psk_id};

    fn psk(byte: u8) -> Psk {
        Psk::from_bytes([byte; 32])
    }

    fn refused(id: &str) -> PskIdError {
        Psks::new().with_id(id, psk(1)).unwrap_err()
    }

    #[test]
    fn keys_are_found_by_id_and_by_client_and_nowhere_else() {
        let (ada, eve) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let psks = Psks::new().with_id("a", psk(1)).unwrap().with_id("b", psk(2)).unwrap();
        let psks = psks.with_key(ada, psk(3)).with_key(eve, psk(4)).with_key(ada, psk(5));
        assert_eq!(psks.by_id(b"a"), Some(&psk(1)));
        assert_eq!(psks.by_id(b"b"), Some(&psk(2)));
        for other in [&b""[..], b"A", b"a ", b"ab", &[0xff; 100]] {
            assert_eq!(psks.by_id(other), None);
        }
        assert_eq!(psks.by_key(&ada), Some(&psk(5)));
        assert_eq!(psks.by_key(&eve), Some(&psk(4)));
        assert_eq!(psks.by_key(&PublicKey::from_bytes([3; 32])), None);
        let some = [psks, Psks::new().with_id("a", psk(1)).unwrap(), Psks::new().with_key(ada, psk(3))];
        assert!(some.iter().all(|psks| !psks.is_empty()) && Psks::new().is_empty());
    }

    #[test]
    fn ids_have_1_to_64_printable_characters() {
        assert!(Psks::new().with_id(&"~".repeat(64), psk(1)).is_ok());
        assert!(Psks::new().with_id("!", psk(1)).is_ok());
        assert_eq!(refused(""), PskIdError::Empty);
        assert_eq!(refused(&"a".repeat(65)), PskIdError::TooLong(65));
        assert!(refused(&"a".repeat(65)).to_string().contains("has 65 bytes; an id has 1 to 64"));
        for (id, at) in [("a b", 2), ("\n", 1), ("aä", 2), ("ab\u{7f}", 3)] {
            assert_eq!(refused(id), PskIdError::Character { at }, "{id}");
        }
    }

    #[test]
    fn an_id_is_given_once() {
        let twice = Psks::new().with_id("a", psk(1)).unwrap().with_id("a", psk(1));
        assert_eq!(twice.unwrap_err(), PskIdError::Duplicate);
    }

    #[test]
    fn a_secret_is_no_id_and_nothing_shows_it() {
        let text = psk(7).to_text();
        let upper = text.to_uppercase();
        for id in [&*text, &upper, &text[..20]] {
            let error = refused(id);
            assert_eq!(error, PskIdError::Secret);
            let shown = format!("{error} {error:?}").to_lowercase();
            assert!(!shown.contains(&text[6..16]), "the secret leaked: {shown}");
        }
        let psks = Psks::new().with_id("ada", psk(7)).unwrap().with_key(PublicKey::from_bytes([1; 32]), psk(7));
        let shown = format!("{psks:?}");
        assert!(shown.contains("\"ada\"") && shown.contains("PublicKey(np1"), "{shown}");
        assert!(!shown.contains(&text[6..16]) && !shown.contains("7, 7"), "the secret leaked: {shown}");
    }

    #[test]
    fn the_id_is_the_start_of_the_sha256_of_the_bytes() {
        // printf '\0%.0s' {1..32} | sha256sum
        assert_eq!(psk_id(&psk(0)), "66687aadf862bd77");
    }
}
