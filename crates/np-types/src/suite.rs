//! The cipher suites: names and numbers alone. Must never know a key or what computes with one.

use std::fmt;
use std::str::FromStr;

/// How the handshake and the records of a connection are sealed. All suites have X25519 and SHA-256.
///
/// Which one is faster is a matter of the processor: with AES instructions [`Suite::AesGcm`], without them
/// [`Suite::ChaChaPoly`], which is also the slower one's equal in safety, and the default.
///
/// ```
/// use np_types::Suite;
/// assert_eq!(Suite::from_wire(2), Some(Suite::AesGcm));
/// assert_eq!("chacha".parse(), Ok(Suite::ChaChaPoly));
/// assert_eq!(Suite::AesGcm.noise_name(), "25519_AESGCM_SHA256");
/// assert_eq!(Suite::default(), Suite::ChaChaPoly);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439): fast on every processor.
    #[default]
    ChaChaPoly,
    /// AES-256-GCM (NIST SP 800-38D): faster where the processor has instructions for AES, and slower where it has none.
    AesGcm,
}

impl Suite {
    /// Every suite, in the order of the numbers on the wire.
    pub const ALL: [Self; 2] = [Self::ChaChaPoly, Self::AesGcm];

    /// The number that stands for the suite in a preface.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::ChaChaPoly => 1,
            Self::AesGcm => 2,
        }
    }

    /// The suite of a number in a preface.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.to_wire() == number)
    }

    /// The end of the protocol's name in Noise: DH, cipher and hash.
    #[must_use]
    pub const fn noise_name(self) -> &'static str {
        match self {
            Self::ChaChaPoly => "25519_ChaChaPoly_SHA256",
            Self::AesGcm => "25519_AESGCM_SHA256",
        }
    }

    /// The short name, as addresses and settings have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChaChaPoly => "chacha",
            Self::AesGcm => "aes",
        }
    }

    /// The suite that is not this one: what somebody may ask for where this one is refused.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::ChaChaPoly => Self::AesGcm,
            Self::AesGcm => Self::ChaChaPoly,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is the short name of no suite.
///
/// ```
/// let error = "des".parse::<np_types::Suite>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown suite; suites are chacha and aes");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown suite; suites are chacha and aes")]
pub struct UnknownSuite;

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        Self::ALL.into_iter().find(|suite| suite.as_str() == text).ok_or(UnknownSuite)
    }
}
