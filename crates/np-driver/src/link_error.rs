//! What a failed read or write of a link means for the connection.

use std::io;

use np_transport::{Failure, TlsError};
use np_types::ConnectionError;

/// The connection's error: TLS that refused somebody is no failure of the network.
pub(crate) fn link_error(what: &str, error: &io::Error) -> ConnectionError {
    match TlsError::of(error) {
        Some(refusal) if refusal.failure() == Failure::Authentication => ConnectionError::Tls(refusal.to_string()),
        _ => ConnectionError::io(what, error),
    }
}

/// Whether the link ended in the midst of TLS: for the connection an end of file like any other.
pub(crate) fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
