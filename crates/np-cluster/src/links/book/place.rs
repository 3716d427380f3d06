//! Where a link stands in the book, and the marks of those that stand at no address. Must never know what is at a place.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a link stands in the book: the address at which its member has answered, or a mark that stands for the link alone.
#[derive(Debug, Clone)]
pub(crate) struct At(Arc<Mutex<SocketAddr>>);

impl At {
    pub(super) fn new(at: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    /// The place now.
    pub(crate) fn get(&self) -> SocketAddr {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, at: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// The mark of a link whose member has not answered at the address that it announced: in 100::/64, where nobody ever is
/// (RFC 6666), so that the engine can answer, and nothing is put down to an address that was only claimed.
pub(super) fn mark(id: u64) -> SocketAddr {
    (Ipv6Addr::from((0x0100 << 112) | u128::from(id)), 1).into()
}

/// Whether an address is such a mark.
pub(super) fn is_mark(at: SocketAddr) -> bool {
    matches!(at.ip(), IpAddr::V6(ip) if u128::from(ip) >> 64 == 0x0100 << 48)
}
