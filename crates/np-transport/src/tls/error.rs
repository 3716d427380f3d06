//! What can go wrong with TLS, each failure with its own name and the next step.
//!
//! It must never hold a private key, nor text from a peer that was not escaped.

use std::fmt;
use std::io;
use std::path::PathBuf;

use np_types::Fingerprint;

use crate::error::Failure;

/// Whose certificate a [`TlsError`] is about.
///
/// ```
/// assert_eq!(np_transport::Party::Peer.to_string(), "the peer's certificate");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The peer's, refused here.
    Peer,
    /// Ours, refused by the peer.
    Ours,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "the peer's certificate",
            Self::Ours => "the peer says that our certificate",
        })
    }
}

/// Why a TLS handshake failed, or why the peer ended TLS after it.
///
/// In TLS 1.3 a client is done before the server has looked at its certificate: such a refusal meets the client's first
/// read. [`TlsError::of`] finds it in that read's error.
///
/// ```
/// use np_transport::{Failure, TlsError};
/// let error = TlsError::NoClientCertificate;
/// assert_eq!(error.failure(), Failure::Authentication);
/// let read = std::io::Error::other(error);
/// assert!(matches!(TlsError::of(&read), Some(TlsError::NoClientCertificate)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate's last day is over. Peers cannot tell [`Self::NotYetValid`] from this one.
    #[error("{whose} has expired{when}; renew it, and check both clocks")]
    Expired {
        /// Whose certificate.
        whose: Party,
        /// How long ago, where it is known: empty or `, 3 days ago`.
        when: String,
    },
    /// The certificate's first day is to come.
    #[error("the peer's certificate is not valid yet{when}; check both clocks, or wait")]
    NotYetValid {
        /// In how long it will be, where it is known: empty or `: it will be in 3 days`.
        when: String,
    },
    /// The certificate is for other names than the one that was asked for.
    #[error(
        "the peer's certificate is not for {expected} but for {presented}; connect to a name that it carries, or add it \
         as name=... to the address"
    )]
    WrongName {
        /// The name that was looked for.
        expected: String,
        /// The names that the certificate has, escaped.
        presented: String,
    },
    /// No certificate authority that is trusted has signed it.
    #[error(
        "{whose} is of no trusted authority; where it is refused, name its authority (--ca) or pin its key (--pin)"
    )]
    UnknownIssuer {
        /// Whose certificate.
        whose: Party,
    },
    /// A revocation list names it.
    #[error("{whose} is revoked; get a new one")]
    Revoked {
        /// Whose certificate.
        whose: Party,
    },
    /// The revocation lists here say nothing of its issuer, or are too old.
    #[error(
        "nothing tells whether the peer's certificate is revoked: {why}; bring a fresh list of each issuer and reload"
    )]
    RevocationUnknown {
        /// What is wrong with the lists.
        why: &'static str,
    },
    /// The peer's key is none of those pinned.
    #[error(
        "the peer's key is none of those pinned: it shows pin=sha256:{seen}; if its key was exchanged and you trust the \
         place that tells you so, pin the new one"
    )]
    PinMismatch {
        /// The key that it has shown.
        seen: Fingerprint,
    },
    /// The certificate breaks a rule: its encoding, its purpose, its signature.
    #[error("{whose} cannot be used: {why}; replace it")]
    BadCertificate {
        /// Whose certificate.
        whose: Party,
        /// The rule.
        why: String,
    },
    /// The peer does not hold the private key of the certificate that it shows.
    #[error("the peer does not hold the key of its certificate: its signature is wrong; somebody may be in between")]
    BadSignature,
    /// The peer does not speak np inside of TLS.
    #[error("the peer does not offer np (ALPN np/1); check that the address is that of an np server or client")]
    NoAlpn,
    /// A certificate was required and not shown.
    #[error("a client certificate is required; give one (--client-cert, --client-key)")]
    NoClientCertificate,
    /// No version of TLS that both ends allow.
    #[error("no TLS version in common; lower the least version (--tls-min 1.2) at the end that is set higher")]
    Version,
    /// No cipher suite, or no key exchange, that both ends allow.
    #[error("no TLS cipher suite or key exchange in common; let both ends allow a common one")]
    Suite,
    /// TLS 1.2 without the extended master secret, so that nothing can be bound to the channel.
    #[error("the peer's TLS 1.2 has no extended master secret, which np requires; update it, or use TLS 1.3")]
    NoExtendedMasterSecret,
    /// The machine trusts no certificate authority at all.
    #[error("this system trusts no certificate authority; name one (--ca FILE) or pin the server's key (--pin)")]
    EmptyPlatformStore,
    /// What the peer sent is not TLS.
    #[error("what the peer sent is not TLS; check that its address starts with tls:// on both ends")]
    NotTls,
    /// The peer has ended TLS with an alert that has no name of its own here.
    #[error("the peer refused TLS ({alert}); its log may say more")]
    Refused {
        /// The alert.
        alert: String,
    },
    /// The peer broke the rules of TLS.
    #[error("the peer broke TLS: {what}; check its version, somebody may be in between")]
    Broken {
        /// What it did.
        what: String,
    },
    /// This end cannot: no randomness, no clock, a verifier of the system that failed.
    #[error("TLS does not work here: {what}; check this system")]
    Here {
        /// What failed.
        what: String,
    },
    /// The connection broke.
    #[error("the connection broke in the TLS handshake ({0}); the peer may have refused it: its log may say more")]
    Io(io::Error),
}

impl TlsError {
    /// Whose fault it is, coarsely: [`Failure::Authentication`] for all that is about certificates, pins and offers.
    #[must_use]
    pub const fn failure(&self) -> Failure {
        match self {
            Self::NotTls | Self::Broken { .. } | Self::Io(_) => Failure::Connect,
            Self::Here { .. } => Failure::Local,
            _ => Failure::Authentication,
        }
    }

    /// The TLS failure inside an I/O error that a link's stream gave, where there is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Why TLS settings cannot be used.
///
/// ```
/// use np_transport::{TlsServer, TlsSetupError};
/// let error = TlsServer::builder().build().unwrap_err();
/// assert!(matches!(error, TlsSetupError::NoCertificate));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A server without a certificate.
    #[error("a TLS server needs a certificate and its key; give them (--cert, --key)")]
    NoCertificate,
    /// A file cannot be read.
    #[error("cannot read the {what} from {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// What was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The PEM text holds nothing of the kind.
    #[error("{place} holds no {what} in PEM form; one starts with the line {starts}")]
    Missing {
        /// What was wanted.
        what: &'static str,
        /// The file, or `the text in memory`.
        place: String,
        /// The line to look for.
        starts: &'static str,
    },
    /// The PEM text, or what is inside of it, cannot be read.
    #[error("the {what} of {place} cannot be used: {why}; make it anew")]
    Malformed {
        /// What was wanted.
        what: &'static str,
        /// The file, or `the text in memory`.
        place: String,
        /// What is wrong. Nothing of a private key.
        why: String,
    },
    /// Certificate and key do not belong together.
    #[error("the certificate of {place} belongs to another key; give the key that it was made for")]
    KeyMismatch {
        /// The certificate's file, or `the text in memory`.
        place: String,
    },
    /// Client certificates are asked for and nothing tells which are genuine.
    #[error("client certificates are asked for, but no authority is named that signs them; name it (--ca)")]
    NoClientAuthority,
    /// An authority or a revocation list that is never looked at.
    #[error("{what} without client authentication is never looked at; ask for client certificates, or leave it out")]
    Unused {
        /// What would be ignored.
        what: &'static str,
    },
    /// No suite of the list fits an allowed version, or the list is empty.
    #[error("none of the cipher suites named works with the TLS versions allowed; name one of {version} or above")]
    NoSuite {
        /// The least version allowed.
        version: super::TlsVersion,
    },
    /// Two settings of which only one can hold.
    #[error("{what} are both given and contradict each other; choose one")]
    Contradiction {
        /// The two.
        what: &'static str,
    },
    /// A name that no certificate can carry.
    #[error("the server name is neither a DNS name nor an IP address; write such as example.com")]
    ServerName,
    /// The provider failed.
    #[error("TLS cannot be set up here: {0}")]
    Provider(String),
}
