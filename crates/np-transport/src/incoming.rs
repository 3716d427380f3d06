//! A connection that was accepted and of which nothing has been read.
//!
//! It must never hold up the listener that it came from.

use std::fmt;

use tokio::net::TcpStream;

use crate::address::Address;
use crate::error::{Action, TransportError};
use crate::link::{Link, PeerLabel};
use crate::proxy;
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
    Tcp { address: Address, stream: TcpStream, tls: Option<TlsServer>, proxied: bool },
}

impl Incoming {
    pub(crate) fn ready(link: Link) -> Self {
        Self { label: link.peer.clone(), stage: Stage::Ready(Box::new(link)) }
    }

    pub(crate) fn tcp(
        address: &Address,
        stream: TcpStream,
        label: PeerLabel,
        tls: Option<TlsServer>,
        proxied: bool,
    ) -> Self {
        if tls.is_none() && !proxied {
            return Self::ready(Link::at(Box::new(stream), address, label));
        }
        Self { label, stage: Stage::Tcp { address: address.without_keys(), stream, tls, proxied } }
    }

    /// Where the peer is, for logs and limits: never a proof. Behind a proxy it is the proxy's; the link has the client's.
    #[must_use]
    pub const fn label(&self) -> &PeerLabel {
        &self.label
    }

    /// Whether the header of a proxy has to come first, so that the label is the proxy's.
    #[must_use]
    pub const fn is_proxied(&self) -> bool {
        matches!(self.stage, Stage::Tcp { proxied: true, .. })
    }

    /// The link, where nothing is left to do before bytes can be exchanged.
    ///
    /// # Errors
    /// This, where [`into_link`](Self::into_link) has to wait for the peer.
    pub fn try_into_link(self) -> Result<Link, Box<Self>> {
        match self.stage {
            Stage::Ready(link) => Ok(*link),
            Stage::Tcp { .. } => Err(Box::new(self)),
        }
    }

    /// Does what is left before bytes can be exchanged: the header of a proxy, the handshake of TLS; nothing for
    /// other schemes.
    ///
    /// There is no time limit here: the caller sets one. Dropping the future ends the connection. Of what a peer of TLS
    /// sends at most 16 KiB are kept before its hello is there; with a certificate of its own, at most some 100 KiB before
    /// the handshake is done. A peer that is refused is told why, which takes up to 1 s.
    ///
    /// # Errors
    /// [`TransportError::Tls`], and [`TransportError::Io`] for a proxy's header: both of this connection alone.
    pub async fn into_link(self) -> Result<Link, TransportError> {
        self.into_link_hearing(|| {}).await
    }

    /// As [`into_link`](Self::into_link), and says when a peer of TLS has sent a whole hello that offers np: more than
    /// somebody does who just takes up room.
    ///
    /// # Errors
    /// As [`into_link`](Self::into_link).
    pub async fn into_link_hearing(self, heard: impl FnOnce() + Send) -> Result<Link, TransportError> {
        match self.stage {
            Stage::Ready(link) => Ok(*link),
            Stage::Tcp { address, mut stream, tls, proxied } => {
                let mut label = self.label;
                if proxied {
                    let client = proxy::read(&mut stream).await;
                    let client = client.map_err(|error| TransportError::proxy(&address, error))?;
                    label = client.map_or(label, |at| PeerLabel::network(address.scheme(), at));
                }
                let Some(server) = tls else { return Ok(Link::at(Box::new(stream), &address, label)) };
                // A peer that says nothing costs none of what a handshake needs; an error comes again when it is read.
                let _ = stream.peek(&mut [0]).await;
                let secured = Box::pin(tls::accept(stream, &server, heard)).await;
                let secured = secured.map_err(|error| TransportError::tls(Action::Accept, &address, error))?;
                Ok(Link::secured(secured, &address, label))
            }
        }
    }
}

/// A link that is there already, from a source of one's own.
impl From<Link> for Incoming {
    fn from(link: Link) -> Self {
        Self::ready(link)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("label", &self.label).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::Stage;
    use crate::socket::tests::{assert_unusual, unusual};
    use crate::{BindOptions, Listener, TlsServer};

    #[tokio::test]
    async fn what_a_listener_accepts_has_its_socket_settings_also_before_tls() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tls = TlsServer::builder().certificate_pem(made.cert.pem(), made.signing_key.serialize_pem());
        let tls = Some(tls.build().unwrap());
        for (address, proxy_protocol) in [("tcp://127.0.0.1:0", true), ("tls://127.0.0.1:0", false)] {
            let (tls, socket) = (tls.clone(), unusual());
            let options = BindOptions { tls, socket, proxy_protocol, ..BindOptions::default() };
            let listener = Listener::bind(&address.parse().unwrap(), &options).await.unwrap();
            let port = listener.local_address().port().unwrap();
            let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let incoming = listener.accept_incoming().await.unwrap();
            let Stage::Tcp { stream, .. } = &incoming.stage else { panic!("{address}") };
            assert_unusual(stream);
        }
    }
}
