//! From an address to a link: chooses the transport.
//!
//! It must never retry, and never fall back to another mode or address than the one asked for.

use crate::address::{Address, Place, Scheme, SecurityMode};
use crate::error::TransportError;
use crate::link::Link;
use crate::{mem, tcp};

/// Opens a link to the address.
///
/// A host name is resolved anew, and each of its IP addresses is tried in turn; one that does not answer within 3 s
/// gives way to the next. Beyond that there is no time limit here: the caller sets one. Dropping the future gives up.
/// A listener whose queue is full makes the call wait. TCP links send small writes at once, and on Linux the kernel
/// takes at most 128 KiB that it has not yet sent. The keys of the address are not looked at.
///
/// # Errors
/// [`TransportError`], by blame, with the next step.
pub async fn connect(address: &Address) -> Result<Link, TransportError> {
    check_supported(address)?;
    match address.place() {
        Place::Network { host, port } => tcp::connect(address, host, *port).await,
        #[cfg(unix)]
        Place::File(_) => crate::unix::connect(address).await,
        #[cfg(not(unix))]
        Place::File(_) => Err(TransportError::not_supported(address, "unix:".to_owned())),
        Place::Name(name) => mem::connect(address, name).await,
    }
}

/// Refuses the schemes and modes that are only read so far.
pub(crate) fn check_supported(address: &Address) -> Result<(), TransportError> {
    let scheme = match address.scheme() {
        Scheme::Tcp | Scheme::Mem => None,
        Scheme::Unix if cfg!(unix) => None,
        scheme @ (Scheme::Unix | Scheme::Tls | Scheme::TlsNoise | Scheme::Pipe) => Some(scheme),
    };
    if let Some(scheme) = scheme {
        let what = format!("the scheme {scheme}:");
        return Err(TransportError::not_supported(address, what));
    }
    match address.mode() {
        SecurityMode::Noise => Ok(()),
        mode => {
            let what = format!("the mode {mode}");
            Err(TransportError::not_supported(address, what))
        }
    }
}
