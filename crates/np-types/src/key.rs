//! Keys and their text forms.
//!
//! Text is bech32m (BIP 350) with a prefix that says what the key is for: `np` a public key, `npsec` a secret key,
//! `nppsk` a pre-shared key, `npsign` a signing key, `npverify` its public half. The checksum finds a typing error, the prefix
//! a secret pasted where a public key belongs.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

const PUBLIC: &str = "np";
const SECRET: &str = "npsec";
const PRE_SHARED: &str = "nppsk";
const SIGN: &str = "npsign";
const VERIFY: &str = "npverify";

/// Why a text is not the key that was asked for. Never holds any part of the text: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no text.
    #[error("the key is empty: no text stands where it belongs")]
    Empty,
    /// White space stands before or behind the key.
    #[error("white space stands before or behind the key; take it away")]
    Space,
    /// The text does not begin as any key of np does.
    #[error("not a key: it does not begin as {wanted} does")]
    Prefix {
        /// What the place takes.
        wanted: &'static str,
    },
    /// The text is not bech32m: a character is wrong, missing or too many.
    #[error("not a key: its checksum does not match; copy the whole text again")]
    Checksum,
    /// A key of another kind stands where `wanted` belongs.
    #[error("this is {found}, but {wanted} belongs here")]
    WrongKind {
        /// What the place takes.
        wanted: &'static str,
        /// What the text is.
        found: &'static str,
    },
    /// The key does not hold 32 bytes.
    #[error("a key holds 32 bytes, this text holds {0}")]
    Length(usize),
}

/// An X25519 public key (RFC 7748): the name of a peer.
///
/// ```
/// use np_types::PublicKey;
/// let key = PublicKey::from_bytes([7; 32]);
/// let text = key.to_string();
/// assert!(text.starts_with("np1"));
/// assert_eq!(text.parse::<PublicKey>()?, key);
/// # Ok::<(), np_types::KeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 bytes of a Montgomery u-coordinate.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(PUBLIC, &self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(PUBLIC, text).map(|bytes| Self(*bytes))
    }
}

/// An Ed25519 public key (RFC 8032): what signatures of a member's values are checked by. It names no peer, and no
/// connection is proven by it.
///
/// ```
/// use np_types::VerifyKey;
/// let key = VerifyKey::from_bytes([7; 32]);
/// let text = key.to_string();
/// assert!(text.starts_with("npverify1"));
/// assert_eq!(text.parse::<VerifyKey>()?, key);
/// # Ok::<(), np_types::KeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifyKey([u8; 32]);

impl VerifyKey {
    /// Takes the 32 bytes of a compressed point.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(VERIFY, &self.0))
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({self})")
    }
}

impl FromStr for VerifyKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(VERIFY, text).map(|bytes| Self(*bytes))
    }
}

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident, $prefix:ident) => {
        $(#[$doc])*
        // In a place of its own: whoever moves a key moves no bytes, and leaves none behind that nobody wipes.
        pub struct $name(Box<Zeroizing<[u8; 32]>>);

        impl $name {
            /// Takes 32 bytes and wipes the caller's copy's successor: the value is zeroized on drop.
            #[must_use]
            pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
                let key = Self(Box::new(Zeroizing::new(bytes)));
                bytes.zeroize();
                key
            }

            /// The secret bytes; whoever copies them wipes the copy.
            #[must_use]
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }

            /// The text form, wiped when dropped. There is no `Display`: a secret is never printed by accident.
            #[must_use]
            pub fn to_text(&self) -> Zeroizing<String> {
                Zeroizing::new(encode($prefix, &self.0))
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl PartialEq for $name {
            /// Compares in constant time.
            fn eq(&self, other: &Self) -> bool {
                self.0.as_slice().ct_eq(other.0.as_slice()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                decode($prefix, text).map(|bytes| Self(Box::new(bytes)))
            }
        }
    };
}

secret_key! {
    /// An X25519 secret key. Zeroized on drop, compared in constant time, absent from `Debug`.
    ///
    /// ```
    /// use np_types::SecretKey;
    /// let key = SecretKey::from_bytes([7; 32]);
    /// assert_eq!(format!("{key:?}"), "SecretKey(..)");
    /// assert_eq!(key.to_text().parse::<SecretKey>()?, key);
    /// # Ok::<(), np_types::KeyError>(())
    /// ```
    SecretKey, SECRET
}

secret_key! {
    /// A pre-shared key: 32 random bytes, never a passphrase. Zeroized on drop, compared in constant time.
    ///
    /// ```
    /// use np_types::Psk;
    /// let psk = Psk::from_bytes([7; 32]);
    /// assert!(psk.to_text().starts_with("nppsk1"));
    /// ```
    Psk, PRE_SHARED
}

secret_key! {
    /// An Ed25519 signing key (RFC 8032): the 32 secret bytes that a member of a cluster signs its values by. It proves no
    /// connection. Zeroized on drop, compared in constant time.
    ///
    /// ```
    /// use np_types::SignKey;
    /// let key = SignKey::from_bytes([7; 32]);
    /// assert_eq!(format!("{key:?}"), "SignKey(..)");
    /// assert!(key.to_text().starts_with("npsign1"));
    /// ```
    SignKey, SIGN
}

fn encode(prefix: &str, bytes: &[u8; 32]) -> String {
    // Both fail only on prefixes and lengths that cannot occur: the prefixes are constants, 32 bytes make 59 characters.
    Hrp::parse(prefix).ok().and_then(|hrp| bech32::encode::<Bech32m>(hrp, bytes).ok()).unwrap_or_default()
}

fn decode(prefix: &'static str, text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let parsed = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| unreadable(prefix, text))?;
    let found = parsed.hrp().to_lowercase();
    if found != prefix {
        return Err(KeyError::WrongKind { wanted: kind(prefix), found: kind(&found) });
    }
    let mut bytes = Zeroizing::new([0u8; 32]);
    let mut count = 0usize;
    for byte in parsed.byte_iter() {
        if let Some(slot) = bytes.get_mut(count) {
            *slot = byte;
        }
        count = count.saturating_add(1);
    }
    if count == 32 { Ok(bytes) } else { Err(KeyError::Length(count)) }
}

/// What is wrong with a text that is not bech32m.
fn unreadable(prefix: &'static str, text: &str) -> KeyError {
    if text.is_empty() {
        return KeyError::Empty;
    }
    if text.trim() != text {
        return KeyError::Space;
    }
    let lower = text.to_ascii_lowercase();
    let begins = |prefix: &str| lower.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('1'));
    if [PUBLIC, SECRET, PRE_SHARED, SIGN, VERIFY].into_iter().any(begins) {
        KeyError::Checksum
    } else {
        KeyError::Prefix { wanted: kind(prefix) }
    }
}

fn kind(prefix: &str) -> &'static str {
    match prefix {
        PUBLIC => "a public key (np1...)",
        SECRET => "a SECRET key (npsec1...)",
        PRE_SHARED => "a pre-shared key (nppsk1...)",
        SIGN => "a SECRET signing key (npsign1...)",
        VERIFY => "the public half of a signing key (npverify1...)",
        _ => "something that is no np key",
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyError, Psk, PublicKey, SecretKey, SignKey, VerifyKey};

    #[test]
    fn a_secret_is_refused_where_a_public_key_belongs() {
        let secret = SecretKey::from_bytes([9; 32]).to_text();
        let error = secret.parse::<PublicKey>().unwrap_err();
        assert!(matches!(error, KeyError::WrongKind { .. }));
        assert!(error.to_string().contains("SECRET key"), "{error}");
        assert!(!error.to_string().contains(&secret[6..20]), "the secret leaked: {error}");
    }

    #[test]
    fn every_single_typing_error_is_found() {
        let text = PublicKey::from_bytes([3; 32]).to_string();
        for at in 3..text.len() {
            for other in "qpzry9x8".chars() {
                let mut wrong: Vec<char> = text.chars().collect();
                if wrong[at] == other {
                    continue;
                }
                wrong[at] = other;
                let wrong: String = wrong.into_iter().collect();
                assert_eq!(wrong.parse::<PublicKey>(), Err(KeyError::Checksum), "{wrong}");
            }
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_told_from_one_with_a_typing_error() {
        let text = PublicKey::from_bytes([3; 32]).to_string();
        assert_eq!("".parse::<PublicKey>(), Err(KeyError::Empty));
        for spaced in [format!(" {text}"), format!("{text}\n"), " ".to_owned()] {
            assert_eq!(spaced.parse::<PublicKey>(), Err(KeyError::Space), "{spaced:?}");
        }
        for other in [&text[3..], "np", "hello", "npx1qqqq"] {
            assert!(matches!(other.parse::<PublicKey>(), Err(KeyError::Prefix { .. })), "{other}");
        }
        assert_eq!("NP1QQ".parse::<PublicKey>(), Err(KeyError::Checksum));
        let error = "hello".parse::<PublicKey>().unwrap_err().to_string();
        assert!(error.contains("does not begin as a public key (np1...)"), "{error}");
    }

    #[test]
    fn other_lengths_are_refused() {
        let hrp = bech32::Hrp::parse("np").unwrap();
        for length in [0usize, 1, 31, 33, 40] {
            let text = bech32::encode::<bech32::Bech32m>(hrp, &vec![1; length]).unwrap();
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Length(length)));
        }
    }

    #[test]
    fn the_older_checksum_is_refused() {
        let hrp = bech32::Hrp::parse("np").unwrap();
        let text = bech32::encode::<bech32::Bech32>(hrp, &[1; 32]).unwrap();
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Checksum));
    }

    #[test]
    fn a_signing_keys_public_half_is_no_peers_key_nor_the_other_way_round() {
        let (verify, public) = (VerifyKey::from_bytes([3; 32]).to_string(), PublicKey::from_bytes([3; 32]).to_string());
        assert!(matches!(verify.parse::<PublicKey>(), Err(KeyError::WrongKind { .. })));
        assert!(matches!(public.parse::<VerifyKey>(), Err(KeyError::WrongKind { .. })));
        let sign = SignKey::from_bytes([3; 32]).to_text();
        assert!(
            matches!(sign.parse::<SecretKey>(), Err(KeyError::WrongKind { found, .. }) if found.contains("SECRET"))
        );
        assert_eq!(sign.parse::<SignKey>(), Ok(SignKey::from_bytes([3; 32])));
        assert_eq!(sign[..sign.len() - 1].parse::<SecretKey>(), Err(KeyError::Checksum));
        assert_eq!(verify[..verify.len() - 1].parse::<VerifyKey>(), Err(KeyError::Checksum));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Psk::from_bytes([1; 32])), "Psk(..)");
    }
}
