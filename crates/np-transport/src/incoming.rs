//! A connection that was accepted and of which nothing has been read.
//!
//! It must never hold up the listener that it came from.

use std::fmt;

use tokio::net::TcpStream;

use crate::address::Address;
use crate::error::{Action, TransportError};
use crate::link::{Link, PeerLabel};
use crate::tls::{self, TlsServer};

/// A connection that was accepted; [`into_link`](Self::into_link) does what is left, such as the TLS handshake.
///
/// ```
/// use np_transport::{BindOptions, Listener, connect};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind(&"mem:incoming".parse()?, &BindOptions::default()).await?;
/// let _client = connect(listener.local_address()).await?;
/// let incoming = listener.accept_incoming().await?;
/// assert_eq!(incoming.label().to_string(), "mem:incoming");
/// let link = incoming.into_link().await?;
/// # Ok(())
/// # }
/// ```
pub struct Incoming {
    label: PeerLabel,
    stage: Stage,
}

enum Stage {
    Ready(Box<Link>),
    Tls { address: Address, stream: TcpStream, server: TlsServer },
}

impl Incoming {
    pub(crate) fn ready(link: Link) -> Self {
        Self { label: link.peer.clone(), stage: Stage::Ready(Box::new(link)) }
    }

    pub(crate) fn tcp(address: &Address, stream: TcpStream, label: PeerLabel, tls: Option<TlsServer>) -> Self {
        match tls {
            Some(server) => Self { label, stage: Stage::Tls { address: address.without_keys(), stream, server } },
            None => Self::ready(Link::at(Box::new(stream), address, label)),
        }
    }

    /// Where the peer is, for logs and limits: never a proof.
    #[must_use]
    pub const fn label(&self) -> &PeerLabel {
        &self.label
    }

    /// Does what is left before bytes can be exchanged: the handshake of TLS; nothing for other schemes.
    ///
    /// There is no time limit here: the caller sets one. Dropping the future ends the connection. Before the handshake is
    /// done at most some 100 KiB are kept of what the peer sends. A peer that is refused is told why, which takes up to 1 s.
    ///
    /// # Errors
    /// [`TransportError::Tls`], which is of this connection alone.
    pub async fn into_link(self) -> Result<Link, TransportError> {
        match self.stage {
            Stage::Ready(link) => Ok(*link),
            Stage::Tls { address, stream, server } => {
                let secured = tls::accept(stream, &server).await;
                let secured = secured.map_err(|error| TransportError::tls(Action::Accept, &address, error))?;
                Ok(Link::secured(secured, &address, self.label))
            }
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("label", &self.label).finish_non_exhaustive()
    }
}
