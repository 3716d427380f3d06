//! A link: the bytes to and from one peer, and what the transport knows of it.
//!
//! It must never know what the bytes mean.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use np_types::{LocalPeer, PeerIdentity, Suite};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::{Address, Scheme, SecurityMode};
use crate::error::{Action, TransportError};
use crate::tls::{Secured, TlsInfo};

/// A both-way stream of bytes that a task may own. Every type that can be one is one.
///
/// ```
/// let (left, _right) = tokio::io::duplex(1024);
/// let io: Box<dyn np_transport::Io> = Box::new(left);
/// # drop(io);
/// ```
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An open stream to one peer.
///
/// ```
/// use np_transport::{Link, SecurityMode};
/// // A test may make one of any stream.
/// let (left, _right) = tokio::io::duplex(1024);
/// let link = Link::new(Box::new(left), "test");
/// assert_eq!(link.mode, SecurityMode::Noise);
/// assert_eq!(link.peer.to_string(), "test");
/// ```
pub struct Link {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// What must protect them; the owner of the link sees to it.
    pub mode: SecurityMode,
    /// The cipher suite that the address names for a handshake by key, if any.
    pub suite: Option<Suite>,
    /// Where the peer is, for logs and limits: never a proof.
    pub peer: PeerLabel,
    /// The process at the other end, where the operating system says it: Unix sockets, and Windows pipes, whose client is
    /// told the pipe's owner and no process.
    pub local: Option<LocalPeer>,
    /// Who the peer has proven to be by the transport alone: a certificate in the TLS modes, a user of this machine in the
    /// mode `local`; else anonymous.
    pub identity: PeerIdentity,
    /// What TLS has agreed on; `None` without it.
    pub tls: Option<TlsInfo>,
    /// A value that both ends of an outer secure channel know and nobody else; `None` without such a channel.
    pub channel_binding: Option<[u8; 32]>,
}

impl Link {
    /// A link of Noise mode over any stream, without an IP address.
    #[must_use]
    pub fn new(io: Box<dyn Io>, peer: &str) -> Self {
        let peer = PeerLabel { text: peer.to_owned(), ip: None };
        Self::of_mode(io, SecurityMode::Noise, peer)
    }

    /// A link of the address's mode.
    pub(crate) fn at(io: Box<dyn Io>, address: &Address, peer: PeerLabel) -> Self {
        Self { suite: address.suite(), ..Self::of_mode(io, address.mode(), peer) }
    }

    /// A link whose peer TLS has verified.
    pub(crate) fn secured(secured: Secured, address: &Address, peer: PeerLabel) -> Self {
        let mut link = Self::at(secured.io, address, peer);
        link.identity = secured.identity;
        link.tls = Some(secured.info);
        link.channel_binding = Some(secured.binding);
        link
    }

    /// The same link, if the user at its other end is the expected one, or any that the system tells where none is expected.
    /// In the mode `local` that user is who the peer has proven to be.
    pub(crate) fn of_user(
        mut self,
        action: Action,
        address: &Address,
        expected: Option<&str>,
    ) -> Result<Self, TransportError> {
        let fits = |peer: &&LocalPeer| expected.is_none_or(|expected| peer.user == expected);
        match self.local.as_ref().filter(fits) {
            Some(peer) => {
                if self.mode == SecurityMode::Local {
                    self.identity = PeerIdentity::Local(peer.clone());
                }
                Ok(self)
            }
            None => Err(TransportError::WrongUser {
                action,
                address: address.without_keys().to_string(),
                expected: expected.unwrap_or("one that the system tells").to_owned(),
                found: self.local.map_or_else(|| "unknown".to_owned(), |peer| peer.user),
            }),
        }
    }

    const fn of_mode(io: Box<dyn Io>, mode: SecurityMode, peer: PeerLabel) -> Self {
        let (local, tls, channel_binding) = (None, None, None);
        Self { io, mode, suite: None, peer, local, identity: PeerIdentity::Anonymous, tls, channel_binding }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("mode", &self.mode)
            .field("peer", &self.peer)
            .field("local", &self.local)
            .field("identity", &self.identity)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Where a peer is, as people read it, and its IP address, as limits need it.
///
/// ```
/// use np_transport::PeerLabel;
/// let label = PeerLabel { text: "tcp://192.0.2.1:4711".into(), ip: Some([192, 0, 2, 1].into()) };
/// assert_eq!(label.to_string(), "tcp://192.0.2.1:4711");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerLabel {
    /// For logs.
    pub text: String,
    /// For limits per source; an IPv4 address that came in over IPv6 is written as IPv4. `None` off the network.
    pub ip: Option<IpAddr>,
}

impl PeerLabel {
    pub(crate) fn network(scheme: Scheme, at: SocketAddr) -> Self {
        let ip = at.ip().to_canonical();
        let shown = if ip == at.ip() { at } else { SocketAddr::new(ip, at.port()) };
        Self { text: format!("{scheme}://{shown}"), ip: Some(ip) }
    }
}

impl fmt::Display for PeerLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::PeerLabel;
    use crate::address::Scheme;

    #[test]
    fn an_ipv4_peer_of_a_dual_stack_socket_is_counted_as_ipv4() {
        let label = PeerLabel::network(Scheme::Tcp, "[::ffff:192.0.2.7]:80".parse().unwrap());
        assert_eq!(label.text, "tcp://192.0.2.7:80");
        assert_eq!(label.ip, Some([192, 0, 2, 7].into()));
    }
}
