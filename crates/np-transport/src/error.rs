//! What can go wrong with a link, by blame, each with the address and the next step.
//!
//! It must never hold a key: addresses are kept without theirs.

use std::io;

use crate::address::Address;
use crate::tls::TlsError;

/// Why a link or a listener cannot be had.
///
/// ```
/// use np_transport::{Failure, TransportError, connect};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let error = connect(&"mem:nobody-is-here".parse()?).await.unwrap_err();
/// assert!(matches!(error, TransportError::Refused { .. }));
/// assert_eq!(error.failure(), Failure::Connect);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The host name has no address.
    #[error("cannot {action} {address}: the name does not resolve ({source}); check it, or write the IP address")]
    Unresolved {
        /// What was being done.
        action: Action,
        /// The address, without keys.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("cannot connect to {address}: {why}; check that the server runs and listens there")]
    Refused {
        /// The address, without keys.
        address: String,
        /// What was seen.
        why: &'static str,
    },
    /// The network has no way there, or nothing there answers.
    #[error("cannot connect to {address}: {source}; check the network, the firewall and the address")]
    Unreachable {
        /// The address, without keys.
        address: String,
        /// What the system said about the last attempt.
        source: io::Error,
    },
    /// Something else is at the place where a listener was wanted.
    #[error("cannot listen on {address}: {what}; {next}")]
    InUse {
        /// The address, without keys.
        address: String,
        /// What is there.
        what: &'static str,
        /// What to do about it.
        next: &'static str,
    },
    /// The operating system does not allow it.
    #[error("cannot {action} {address}: {source}; {next}")]
    Permission {
        /// What was being done.
        action: Action,
        /// The address, without keys.
        address: String,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        next: &'static str,
    },
    /// The address is well written, but this system has no such transport or mode.
    #[error("{what} is not supported in this build for this system, so {address} cannot be used; {next}")]
    NotSupported {
        /// The address, without keys.
        address: String,
        /// The scheme or the mode.
        what: String,
        /// What to use instead.
        next: &'static str,
    },
    /// The address or an option cannot work on any system of this kind.
    #[error("cannot {action} {address}: {why}")]
    Unusable {
        /// What was being done.
        action: Action,
        /// The address, without keys.
        address: String,
        /// The rule that it breaks, and the next step.
        why: String,
    },
    /// TLS does not come about: the peer is not who it must be, or the other way round.
    #[error("cannot {action} {address}: {error}")]
    Tls {
        /// What was being done.
        action: Action,
        /// The address, without keys.
        address: String,
        /// What is wrong, and the next step.
        error: TlsError,
    },
    /// In the mode `local`, and on a Windows pipe in every mode: the other end is of another user than it must be, or the
    /// system does not tell.
    #[error(
        "cannot {action} {address}: the process at its other end is of user {found}, not {expected}; somebody may have \
         taken the name, or else name the user that the server runs as"
    )]
    WrongUser {
        /// What was being done.
        action: Action,
        /// The address, without keys.
        address: String,
        /// The user that it must be: a uid or a SID.
        expected: String,
        /// The user that it is.
        found: String,
    },
    /// Another failure of the operating system.
    #[error("cannot {action} {address}: {source}; {next}")]
    Io {
        /// What was being done.
        action: Action,
        /// The address, without keys.
        address: String,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        next: &'static str,
    },
}

/// What was being done when it failed.
///
/// ```
/// assert_eq!(np_transport::Action::Bind.to_string(), "listen on");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Connecting to a peer.
    Connect,
    /// Binding a listener.
    Bind,
    /// Accepting a connection from a listener that stands.
    Accept,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect to",
            Self::Bind => "listen on",
            Self::Accept => "accept on",
        })
    }
}

/// The coarse kind of a failure, for exit codes and retries.
///
/// ```
/// use np_transport::{Failure, connect};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let error = connect(&"tcp://127.0.0.1:0".parse()?).await.unwrap_err();
/// assert_eq!(error.failure(), Failure::Usage);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The address or an option is wrong: trying again cannot help.
    Usage,
    /// The peer cannot be reached.
    Connect,
    /// One end does not prove to the other what it must.
    Authentication,
    /// This machine refuses: a port in use, a directory that may not be written.
    Local,
}

impl TransportError {
    /// Whose fault it is, coarsely.
    #[must_use]
    pub const fn failure(&self) -> Failure {
        match self {
            Self::NotSupported { .. } | Self::Unusable { .. } => Failure::Usage,
            Self::Refused { .. } | Self::Unreachable { .. } => Failure::Connect,
            Self::InUse { .. } => Failure::Local,
            Self::Tls { error, .. } => error.failure(),
            Self::WrongUser { .. } => Failure::Authentication,
            Self::Unresolved { action, .. } | Self::Permission { action, .. } | Self::Io { action, .. } => match action
            {
                Action::Connect => Failure::Connect,
                Action::Bind | Action::Accept => Failure::Local,
            },
        }
    }

    /// Whether an accept loop should go on after a short pause (say 50 ms; at once would spin while it lasts).
    ///
    /// True for everything that [`Listener::accept`](crate::Listener::accept) reports about one connection (reset before
    /// it was accepted, filtered by a firewall) or about a shortage that passes (file descriptors, memory). False when
    /// the listening socket itself is gone, and for every failure to bind or to connect.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Permission { action, source, .. } | Self::Io { action, source, .. } => {
                *action == Action::Accept && !listener_is_gone(source)
            }
            Self::Tls { action, .. } | Self::WrongUser { action, .. } => *action == Action::Accept,
            Self::Unresolved { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::InUse { .. }
            | Self::NotSupported { .. }
            | Self::Unusable { .. } => false,
        }
    }

    /// The address, without keys.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Unresolved { address, .. }
            | Self::Refused { address, .. }
            | Self::Unreachable { address, .. }
            | Self::InUse { address, .. }
            | Self::Permission { address, .. }
            | Self::NotSupported { address, .. }
            | Self::Unusable { address, .. }
            | Self::Tls { address, .. }
            | Self::WrongUser { address, .. }
            | Self::Io { address, .. } => address,
        }
    }

    pub(crate) fn connect(address: &Address, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let address = address.without_keys().to_string();
        match source.kind() {
            Kind::ConnectionRefused => Self::Refused { address, why: "nobody listens there" },
            Kind::NotFound => Self::Refused { address, why: "there is no such socket" },
            Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::AddrNotAvailable => Self::Unreachable { address, source },
            Kind::PermissionDenied => Self::Permission {
                action: Action::Connect,
                address,
                source,
                next: "ask for access to the socket or its directory, or check the firewall",
            },
            _ => Self::Io { action: Action::Connect, address, source, next: "check the address and the server" },
        }
    }

    pub(crate) fn bind(address: &Address, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let address = address.without_keys().to_string();
        let action = Action::Bind;
        let next = match source.kind() {
            Kind::AddrInUse => {
                return Self::InUse {
                    address,
                    what: "another program listens there",
                    next: "stop it, or choose another port (0 lets the system choose)",
                };
            }
            Kind::PermissionDenied => {
                return Self::Permission {
                    action,
                    address,
                    source,
                    next: "choose a port above 1023 or a directory that you may write",
                };
            }
            Kind::AddrNotAvailable => "this machine has no such address: choose one of its own",
            Kind::NotFound => "create the directory first",
            _ => "check the address",
        };
        Self::Io { action, address, source, next }
    }

    pub(crate) fn accept(address: &Address, source: io::Error) -> Self {
        Self::Io {
            action: Action::Accept,
            address: address.without_keys().to_string(),
            source,
            next: "raise the limit of open files if it is reached (ulimit -n)",
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn no_unix(address: &Address) -> Self {
        let what = "the scheme unix:".to_owned();
        Self::NotSupported { address: address.without_keys().to_string(), what, next: "use pipe: or tcp://" }
    }

    pub(crate) fn proxy(address: &Address, source: io::Error) -> Self {
        Self::Io {
            action: Action::Accept,
            address: address.without_keys().to_string(),
            source,
            next: "let the proxy send its header (PROXY protocol, version 2), or do not ask for one",
        }
    }

    pub(crate) fn tls(action: Action, address: &Address, error: TlsError) -> Self {
        Self::Tls { action, address: address.without_keys().to_string(), error }
    }

    pub(crate) fn unusable(action: Action, address: &Address, why: String) -> Self {
        Self::Unusable { action, address: address.without_keys().to_string(), why }
    }
}

/// Whether accepting can never work again: the descriptor is closed, no socket, or does not listen.
///
/// All else counts as passing, since an error that nobody thought of must not end a server.
fn listener_is_gone(source: &io::Error) -> bool {
    if matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe) {
        return true;
    }
    // EBADF everywhere; ENOTSOCK on Linux, on the BSDs and macOS; their namesakes on Windows.
    let gone: &[i32] = if cfg!(windows) {
        &[10_009, 10_038]
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        &[9, 88]
    } else {
        &[9, 38]
    };
    source.raw_os_error().is_some_and(|code| gone.contains(&code))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io;

    use super::TransportError;

    #[test]
    fn an_accept_loop_survives_shortages_and_vanished_peers_alone() {
        let address = "mem:x".parse().unwrap();
        let transient = |code| TransportError::accept(&address, io::Error::from_raw_os_error(code)).is_transient();
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, ECONNRESET, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, EINTR
        for code in [24, 23, 105, 12, 103, 104, 71, 1, 100, 113, 4] {
            assert!(transient(code), "{code}");
        }
        // EBADF, ENOTSOCK, EINVAL
        for code in [9, 88, 22] {
            assert!(!transient(code), "{code}");
        }
    }

    #[test]
    fn failures_to_bind_and_connect_are_not_transient() {
        let address = "mem:x".parse().unwrap();
        let emfile = || io::Error::from_raw_os_error(24);
        assert!(!TransportError::bind(&address, emfile()).is_transient());
        assert!(!TransportError::connect(&address, emfile()).is_transient());
    }
}
