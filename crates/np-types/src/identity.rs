//! Who a peer has proven to be.

use std::fmt;

use crate::PublicKey;

/// Who the other end of a connection has proven to be.
///
/// ```
/// use np_types::{PeerIdentity, PublicKey};
/// let peer = PeerIdentity::Noise(PublicKey::from_bytes([1; 32]));
/// assert!(peer.is_authenticated());
/// assert!(!PeerIdentity::Anonymous.is_authenticated());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerIdentity {
    /// A Noise static key, proven by the handshake.
    Noise(PublicKey),
    /// A certificate that TLS verified: the SHA-256 of its public key (SPKI), its names and its subject.
    Certificate {
        /// SHA-256 of the subject public key info.
        spki: Fingerprint,
        /// Subject alternative names, as text; none where no authority has vouched for them.
        names: Vec<String>,
        /// The subject's distinguished name (RFC 4514), escaped; empty where no authority has vouched for it. For
        /// people: rules go by the key or by a name.
        subject: String,
    },
    /// A pre-shared key alone, by its id.
    Psk(String),
    /// A process of this machine, by what its operating system says.
    Local(LocalPeer),
    /// Nobody in particular.
    Anonymous,
}

impl PeerIdentity {
    /// Whether the peer has proven anything.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        !matches!(self, Self::Anonymous)
    }

    /// The Noise public key, where that is the identity.
    #[must_use]
    pub const fn public_key(&self) -> Option<&PublicKey> {
        match self {
            Self::Noise(key) => Some(key),
            Self::Certificate { .. } | Self::Psk(_) | Self::Local(_) | Self::Anonymous => None,
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noise(key) => write!(f, "{key}"),
            Self::Certificate { spki, .. } => write!(f, "spki:{spki}"),
            Self::Psk(id) => write!(f, "psk:{}", crate::escape(id, 64)),
            Self::Local(peer) => write!(f, "{peer}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// What the operating system says about the process at the other end of a local socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalPeer {
    /// User: a uid on Unix, a SID on Windows.
    pub user: String,
    /// Its group: a gid on Unix, where the system tells.
    pub group: Option<String>,
    /// Process id, where the system tells.
    pub process: Option<u32>,
}

impl fmt::Display for LocalPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local:{}", self.user)
    }
}

/// A SHA-256, shown as 64 hexadecimal digits and read from them.
///
/// ```
/// use np_types::Fingerprint;
/// assert_eq!(Fingerprint([0xab; 32]).to_string(), "ab".repeat(32));
/// assert_eq!("AB".repeat(32).parse(), Ok(Fingerprint([0xab; 32])));
/// assert!("ab".parse::<Fingerprint>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is no [`Fingerprint`].
///
/// ```
/// let error = "xyz".parse::<np_types::Fingerprint>().unwrap_err();
/// assert_eq!(error.to_string(), "a fingerprint is 64 hexadecimal digits");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FingerprintError;

impl fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fingerprint is 64 hexadecimal digits")
    }
}

impl std::error::Error for FingerprintError {}

impl std::str::FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(FingerprintError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().try_fold(0, |value, digit| hex_digit(*digit).map(|digit| value << 4 | digit))?;
        }
        Ok(Self(bytes))
    }
}

const fn hex_digit(digit: u8) -> Result<u8, FingerprintError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(FingerprintError),
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
