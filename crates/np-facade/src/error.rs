//! Why something could not be started or connected, and what kind of failure it is.

use np_dispatch::RegisterError;
use np_driver::{AcceptorError, ConnectError, EntropyError};
use np_transport::{AddressError, Failure, TlsSetupError, TransportError};
use np_trust::{KeyFileError, KeyFileProblem, KnownPeersError, PolicyError, PskIdError};
use np_types::{CallError, CloseCode, CodeClass, ConnectionError, Fingerprint, PublicKey, Status};

use crate::ConfigError;

/// What kind of failure it is: what a program, or a script by its exit code, decides by.
///
/// ```
/// use np_facade::ErrorKind;
/// assert_eq!(ErrorKind::Authentication.exit_code(), 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The peer's handler answered with an error.
    Remote,
    /// An argument, address, key, key file or setting is wrong.
    Usage,
    /// No connection, or it was lost.
    Connect,
    /// Somebody's identity was refused, or the connection was closed before the server's first record.
    Authentication,
    /// A deadline passed once there was a link.
    Timeout,
    /// A limit was reached.
    Limit,
    /// This machine failed: a port in use, a full disk.
    Local,
}

impl ErrorKind {
    /// The exit code of the program `np` for this kind.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Remote => 1,
            Self::Usage => 2,
            Self::Connect => 3,
            Self::Authentication => 4,
            Self::Timeout => 5,
            Self::Limit => 6,
            Self::Local => 7,
        }
    }

    /// The kind of a failed call.
    ///
    /// ```
    /// use np_facade::{CallError, ErrorKind};
    /// assert_eq!(ErrorKind::of_call(&CallError::failed("no")), ErrorKind::Remote);
    /// ```
    #[must_use]
    pub fn of_call(error: &CallError) -> Self {
        match (error.status, error.cause.as_deref()) {
            (_, Some(cause)) => Self::of_connection(cause),
            (Status::DeadlineExceeded, None) => Self::Timeout,
            (Status::LimitReached, None) => Self::Limit,
            (_, None) => Self::Remote,
        }
    }

    /// The kind of a connection's end, once it had stood.
    ///
    /// ```
    /// use np_facade::{CloseCode, ConnectionError, ErrorKind};
    /// let error = ConnectionError::ClosedHere(CloseCode::Normal);
    /// assert_eq!(ErrorKind::of_connection(&error), ErrorKind::Connect);
    /// ```
    #[must_use]
    pub const fn of_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ClosedByPeer { code, .. } => match code.class() {
                CodeClass::Limit => Self::Limit,
                CodeClass::Authentication => Self::Authentication,
                _ => Self::Connect,
            },
            ConnectionError::Limit(_) => Self::Limit,
            ConnectionError::Refused { .. } | ConnectionError::Tls(_) => Self::Authentication,
            ConnectionError::Timeout { .. } => Self::Timeout,
            ConnectionError::Misuse(_) => Self::Usage,
            _ => Self::Connect,
        }
    }

    /// Before the server's first record every end but a limit or silence is a failed authentication.
    const fn of_handshake(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ClosedByPeer { code: CloseCode::HandshakeTimeout, .. }
            | ConnectionError::Timeout { .. } => Self::Timeout,
            ConnectionError::ClosedByPeer { code, .. } if matches!(code.class(), CodeClass::Limit) => Self::Limit,
            ConnectionError::Misuse(_) => Self::Usage,
            _ => Self::Authentication,
        }
    }
}

/// Why a server could not start, a client not connect, or an identity not be read.
///
/// ```
/// use np_facade::{Error, ErrorKind};
/// let error = Error::from("tcp://nowhere".parse::<np_facade::Address>().unwrap_err());
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address is not one.
    #[error("{}", .0.explain())]
    Address(#[from] AddressError),
    /// A key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A policy cannot be made of what was given.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A method cannot be registered.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A server's setting is out of its range.
    #[error(transparent)]
    Setting(#[from] AcceptorError),
    /// A setting of a configuration is wrong, or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A server without an address.
    #[error("a server needs at least one address: call listen(\"tcp://127.0.0.1:0\")")]
    NoAddress,
    /// The address names no key, so nothing would tell the server from an impostor.
    #[error(
        "{address} names no server key: add ?key=np1... as the server printed it, or say that anyone may answer \
         (danger_trust_anyone)"
    )]
    NoServerKey {
        /// The address.
        address: String,
    },
    /// A pattern that needs the server's key beforehand, and none in the address.
    #[error(
        "the pattern {pattern} needs the server's key, and {address} names none: add ?key=np1... as the server printed \
         it, or use XX"
    )]
    NeedsKey {
        /// The pattern.
        pattern: &'static str,
        /// The address, without keys.
        address: String,
    },
    /// A key or a pin that would be ignored.
    #[error("the address {address} names a key or a pin, and {by} ignores it: drop one of them")]
    IgnoredKey {
        /// The address, without keys.
        address: String,
        /// What ignores it: a setting, or a pattern.
        by: &'static str,
    },
    /// A setting that the security mode or the handshake pattern would ignore, or lacks.
    #[error("{setting} does not fit {mode}: {why}")]
    Unfit {
        /// The setting.
        setting: &'static str,
        /// The mode or the pattern.
        mode: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// A server's address whose mode needs a key, and no identity.
    #[error(
        "clients of {address} ask for a key, and this server has no identity; give one (Server::builder), or choose tls://"
    )]
    NoIdentity {
        /// The address, without keys.
        address: String,
    },
    /// A server's address whose clients prove themselves otherwise than the policy asks for, so that it could let nobody in.
    #[error(
        "nobody could be let in at {address}: its clients prove who they are {proofs}, and no rule allows such a client; \
         allow some of them, or let the address ask for another proof"
    )]
    NobodyWelcome {
        /// The address, without keys.
        address: String,
        /// By what its clients can prove who they are.
        proofs: String,
    },
    /// A server's address that names the pin of somebody else.
    #[error(
        "the address {address} names pin=sha256:{pin}, and none of this server's certificates has that key; drop pin=, or \
         load its certificate"
    )]
    ForeignPin {
        /// The address, without keys.
        address: String,
        /// The pin that it names.
        pin: Fingerprint,
    },
    /// Certificates or trust of TLS that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// A text that cannot be the id of a pre-shared key.
    #[error("psk_id: {0}")]
    PskId(#[from] PskIdError),
    /// The file of known peers cannot be used.
    #[error(transparent)]
    KnownPeers(#[from] KnownPeersError),
    /// A server's address that names a key of somebody else.
    #[error(
        "the address {address} names the key {key}, which this server does not hold (it is {own}): drop key=, or load its identity"
    )]
    ForeignKey {
        /// The address, without keys.
        address: String,
        /// The key that it names.
        key: PublicKey,
        /// The server's own, the first of them.
        own: PublicKey,
    },
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] TransportError),
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No connection came about to any of several addresses.
    #[error("none of {} addresses could be connected to: {}", .0.len(), each(.0))]
    NoneAnswered(Vec<Self>),
    /// A resolver gave no address.
    #[error("the resolver has no address for this client: {0}; check it, or name an address beside it (address())")]
    Resolve(String),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl Error {
    /// One error of those of several addresses.
    pub(crate) fn of_attempts(mut failed: Vec<Self>) -> Self {
        match failed.pop() {
            Some(only) if failed.is_empty() => only,
            last => {
                failed.extend(last);
                Self::NoneAnswered(failed)
            }
        }
    }

    /// What kind of failure it is. Of several addresses the first counts that answered, whatever it answered.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::KeyFile(error) if matches!(error.problem, KeyFileProblem::Write(_)) => ErrorKind::Local,
            Self::Setting(AcceptorError::Entropy(_)) => ErrorKind::Local,
            Self::Address(_) | Self::KeyFile(_) | Self::Policy(_) | Self::Register(_) | Self::Setting(_) => {
                ErrorKind::Usage
            }
            Self::Config(_) => ErrorKind::Usage,
            Self::NoAddress | Self::NeedsKey { .. } | Self::IgnoredKey { .. } | Self::ForeignKey { .. } => {
                ErrorKind::Usage
            }
            Self::Unfit { .. } | Self::PskId(_) | Self::KnownPeers(_) | Self::NobodyWelcome { .. } => ErrorKind::Usage,
            Self::NoIdentity { .. } | Self::ForeignPin { .. } | Self::Tls(_) => ErrorKind::Usage,
            Self::NoServerKey { .. } => ErrorKind::Authentication,
            Self::Listen(error) => of_transport(error),
            Self::Connect(error) => of_connect(error),
            Self::NoneAnswered(errors) => {
                errors.iter().map(Self::kind).find(|kind| *kind != ErrorKind::Connect).unwrap_or(ErrorKind::Connect)
            }
            Self::Resolve(_) => ErrorKind::Connect,
            Self::Entropy(_) => ErrorKind::Local,
        }
    }
}

fn each(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn of_connect(error: &ConnectError) -> ErrorKind {
    match error {
        ConnectError::Transport(error) => of_transport(error),
        ConnectError::Timeout { .. } => ErrorKind::Connect,
        ConnectError::Handshake { error, .. } => ErrorKind::of_handshake(error),
        ConnectError::Entropy(_) => ErrorKind::Local,
        _ => ErrorKind::Usage,
    }
}

fn of_transport(error: &TransportError) -> ErrorKind {
    match error.failure() {
        Failure::Usage => ErrorKind::Usage,
        Failure::Connect => ErrorKind::Connect,
        Failure::Authentication => ErrorKind::Authentication,
        _ => ErrorKind::Local,
    }
}
