//! Versions and cipher suites: the settings, and what a handshake has made of them.
//!
//! It must never offer what rustls does not.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};

use super::error::TlsSetupError;

/// A version of TLS.
///
/// ```
/// use np_transport::TlsVersion;
/// assert_eq!("1.3".parse(), Ok(TlsVersion::Tls13));
/// assert_eq!(TlsVersion::Tls12.to_string(), "1.2");
/// assert!("1.1".parse::<TlsVersion>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2, with the extended master secret: certificates travel in clear, and nothing protects against a later
    /// quantum computer.
    Tls12,
    /// TLS 1.3: the default.
    #[default]
    Tls13,
}

impl TlsVersion {
    /// Itself and what is above it.
    pub(super) fn and_above(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err("a TLS version is 1.2 or 1.3"),
        }
    }
}

/// A cipher suite, by its name in the standards.
///
/// ```
/// use np_transport::TlsSuite;
/// let suite: TlsSuite = "TLS13_AES_128_GCM_SHA256".parse().unwrap();
/// assert_eq!(suite.to_string(), "TLS13_AES_128_GCM_SHA256");
/// assert!(TlsSuite::ALL.contains(&suite));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsSuite(CipherSuite);

impl TlsSuite {
    /// TLS 1.3: AES-256 in Galois/counter mode.
    pub const AES_256_GCM: Self = Self(CipherSuite::TLS13_AES_256_GCM_SHA384);
    /// TLS 1.3: AES-128 in Galois/counter mode.
    pub const AES_128_GCM: Self = Self(CipherSuite::TLS13_AES_128_GCM_SHA256);
    /// TLS 1.3: ChaCha20-Poly1305.
    pub const CHACHA20_POLY1305: Self = Self(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    /// Every suite there is, those of TLS 1.3 first, in the order in which they are preferred.
    pub const ALL: [Self; 9] = [
        Self::AES_256_GCM,
        Self::AES_128_GCM,
        Self::CHACHA20_POLY1305,
        Self(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        Self(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        Self(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
        Self(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        Self(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
        Self(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ];
}

impl fmt::Display for TlsSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().unwrap_or("unknown"))
    }
}

impl FromStr for TlsSuite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|suite| suite.0.as_str() == Some(text)).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            format!("unknown cipher suite; suites are {}", names.join(", "))
        })
    }
}

/// What a handshake has agreed on, for logs and diagnosis.
///
/// ```
/// # use np_transport::{TlsInfo, TlsVersion};
/// fn shown(info: &TlsInfo) -> String {
///     format!("TLS {} {} {}", info.version, info.suite, info.group)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite.
    pub suite: TlsSuite,
    /// The key exchange, such as `X25519MLKEM768`; empty for a TLS 1.2 session that was resumed without one.
    pub group: String,
    /// Whether an earlier session was taken up again, without certificates on the wire.
    pub resumed: bool,
}

impl TlsInfo {
    pub(super) fn of(connection: &rustls::CommonState) -> Option<Self> {
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        };
        Some(Self {
            version,
            suite: TlsSuite(connection.negotiated_cipher_suite()?.suite()),
            group: connection.negotiated_key_exchange_group().map_or_else(String::new, |it| format!("{:?}", it.name())),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

/// The provider with the suites of the list alone, in its order; with all of them where there is no list.
pub(super) fn provider(suites: Option<&[TlsSuite]>, least: TlsVersion) -> Result<Arc<CryptoProvider>, TlsSetupError> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(suites) = suites {
        let known = provider.cipher_suites;
        let wanted = |suite: &TlsSuite| known.iter().find(|it| it.suite() == suite.0).copied();
        provider.cipher_suites = suites.iter().filter_map(wanted).collect();
        let usable = |version: &&'static SupportedProtocolVersion| {
            provider.cipher_suites.iter().any(|suite| suite.version().version == version.version)
        };
        if !least.and_above().iter().any(usable) {
            return Err(TlsSetupError::NoSuite { version: least });
        }
    }
    Ok(Arc::new(provider))
}
