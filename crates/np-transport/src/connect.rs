//! From an address to a link: chooses the transport.
//!
//! It must never retry, and never fall back to another mode or address than the one asked for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use crate::address::{Address, Host, Place, Scheme};
use crate::error::{Action, TransportError};
use crate::link::{Link, PeerLabel};
use crate::socket::SocketOptions;
use crate::tls::{self, TlsClient};
use crate::{mem, tcp};

/// How to connect.
///
/// ```
/// use np_transport::{ConnectOptions, TlsClient};
/// let tls = TlsClient::builder().build()?;
/// let options = ConnectOptions { tls: Some(tls), ..ConnectOptions::default() };
/// # Ok::<(), np_transport::TlsSetupError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Trust and certificate for the schemes `tls` and `tls+noise`. Without it a connection trusts the pins of its address,
    /// or else the operating system's authorities, shows no certificate and takes up no earlier session.
    pub tls: Option<TlsClient>,
    /// The user whose listener is accepted, since anybody could take the name of one that is not there: a uid on Unix, in
    /// the mode `local` alone; on Windows the SID of a pipe's owner, in every mode, as `whoami /user` writes it. A pipe
    /// that belongs to all administrators is accepted where `S-1-5-32-544` is set. Default: the user that this process
    /// runs as.
    pub local_user: Option<String>,
    /// The settings of TCP sockets.
    pub socket: SocketOptions,
    /// The IP address of this machine that TCP connects from; targets of the other family are then left out. Default: the
    /// system chooses.
    pub source: Option<IpAddr>,
    /// For how long the IP addresses of one name, IPv6 and IPv4 in turn, may stay silent before the next is tried beside
    /// them; the first that answers wins. Default: 250 ms.
    pub stagger: Duration,
    /// Whether this side says something as soon as it is connected. On Linux and Android the acknowledgement that ends the
    /// set-up of TCP then goes along with what is said: a packet or two fewer, and a server that is woken once. Where nothing
    /// can be said at once, that acknowledgement comes up to 200 ms later: for a client that is silent, and behind a proxy
    /// that answers in the server's name and takes no bytes before it has reached the server (SYNPROXY), for which this is
    /// to be `Some(false)`. Default: yes for the connections of np-driver, no for a bare link.
    pub speaks_first: Option<bool>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            tls: None,
            local_user: None,
            socket: SocketOptions::default(),
            source: None,
            stagger: Duration::from_millis(250),
            speaks_first: None,
        }
    }
}

/// Opens a link to the address, with default options: see [`connect_with`].
///
/// # Errors
/// [`TransportError`], by blame, with the next step.
pub async fn connect(address: &Address) -> Result<Link, TransportError> {
    connect_with(address, &ConnectOptions::default()).await
}

/// Opens a link to the address.
///
/// A host name is resolved anew, and its IP addresses are tried, one [`stagger`](ConnectOptions::stagger) after another, or
/// at once when one fails. Beyond that there is no time limit here: the caller sets one. Dropping the future gives up.
/// A listener whose queue is full makes the call wait. The keys of the address are not looked at; its pins are.
///
/// # Errors
/// [`TransportError`], by blame, with the next step.
pub async fn connect_with(address: &Address, options: &ConnectOptions) -> Result<Link, TransportError> {
    dial(address, options).await?.into_link().await
}

/// A peer that has been reached; [`into_link`](Self::into_link) does what is left, such as the TLS handshake: who counts
/// the time can tell a peer that is not there from one that is silent.
///
/// ```
/// use np_transport::{BindOptions, ConnectOptions, Listener, dial};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind(&"mem:dialled".parse()?, &BindOptions::default()).await?;
/// let reached = dial(listener.local_address(), &ConnectOptions::default()).await?;
/// let link = reached.into_link().await?;
/// assert_eq!(link.peer.to_string(), "mem:dialled");
/// # Ok(())
/// # }
/// ```
pub struct Dialled(Stage);

enum Stage {
    Ready(Box<Link>),
    Tls(Box<Reached>),
}

/// A TCP connection that is to become one of TLS.
struct Reached {
    address: Address,
    stream: TcpStream,
    peer: PeerLabel,
    ready: Arc<tls::Ready>,
    name: ServerName<'static>,
}

impl Dialled {
    fn ready(link: Link) -> Self {
        Self(Stage::Ready(Box::new(link)))
    }

    /// The handshake of TLS; nothing for other schemes. No time limit: the caller sets one.
    ///
    /// # Errors
    /// [`TransportError::Tls`].
    pub async fn into_link(self) -> Result<Link, TransportError> {
        match self.0 {
            Stage::Ready(link) => Ok(*link),
            Stage::Tls(reached) => {
                let Reached { address, stream, peer, ready, name } = *reached;
                let secured = tls::connect(stream, &ready, name).await;
                let secured = secured.map_err(|error| TransportError::tls(Action::Connect, &address, error))?;
                Ok(Link::secured(secured, &address, peer))
            }
        }
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").finish_non_exhaustive()
    }
}

/// The first half of [`connect_with`]: reaches the peer.
///
/// # Errors
/// [`TransportError`], by blame, with the next step.
pub async fn dial(address: &Address, options: &ConnectOptions) -> Result<Dialled, TransportError> {
    check_supported(address)?;
    match address.place() {
        Place::Network { host, port } => network(address, host, *port, options).await,
        #[cfg(unix)]
        Place::File(_) => crate::unix::connect(address, options).await.map(Dialled::ready),
        #[cfg(not(unix))]
        Place::File(_) => Err(TransportError::no_unix(address)),
        #[cfg(windows)]
        Place::Name(name) if address.scheme() == Scheme::Pipe => {
            crate::pipe::connect(address, name, options).await.map(Dialled::ready)
        }
        Place::Name(name) => mem::connect(address, name).await.map(Dialled::ready),
    }
}

async fn network(
    address: &Address,
    host: &Host,
    port: u16,
    options: &ConnectOptions,
) -> Result<Dialled, TransportError> {
    if !address.scheme().is_tls() {
        let (stream, peer) = tcp::connect(address, host, port, options).await?;
        return Ok(Dialled::ready(Link::at(Box::new(stream), address, peer)));
    }
    let unusable = |why| TransportError::unusable(Action::Connect, address, why);
    let client = match &options.tls {
        Some(client) => client.clone(),
        None => TlsClient::builder().build().map_err(|error| unusable(error.to_string()))?,
    };
    let failed = |error| TransportError::tls(Action::Connect, address, error);
    // Before the peer hears of it: what cannot be trusted is not connected to.
    let ready = client.ready(address.pins()).map_err(failed)?;
    let name = server_name(address, host, &client);
    let name = name.ok_or_else(|| unusable("no certificate can carry this host; add name=example.com".to_owned()))?;
    let (stream, peer) = tcp::connect(address, host, port, options).await?;
    let reached = Reached { address: address.without_keys(), stream, peer, ready, name };
    Ok(Dialled(Stage::Tls(Box::new(reached))))
}

/// The name that the certificate must carry: of the address, else of the client, else the host.
fn server_name(address: &Address, host: &Host, client: &TlsClient) -> Option<ServerName<'static>> {
    if let Some(name) = address.server_name() {
        return ServerName::try_from(name.to_owned()).ok();
    }
    client.server_name().or_else(|| match host {
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        Host::V4(ip) => Some(ServerName::IpAddress(IpAddr::V4(*ip).into())),
        Host::V6(ip, _) => Some(ServerName::IpAddress(IpAddr::V6(*ip).into())),
    })
}

/// Refuses what this system lacks, and names the alternative: before keys are read and trust is weighed.
///
/// # Errors
/// [`TransportError::NotSupported`].
///
/// ```
/// assert!(np_transport::check_supported(&"tcp://127.0.0.1:9000".parse()?).is_ok());
/// assert_eq!(np_transport::check_supported(&"pipe:db".parse()?).is_ok(), cfg!(windows));
/// # Ok::<(), np_transport::AddressError>(())
/// ```
pub fn check_supported(address: &Address) -> Result<(), TransportError> {
    let missing = |what: &str, next: &'static str| TransportError::NotSupported {
        address: address.without_keys().to_string(),
        what: what.to_owned(),
        next,
    };
    match address.scheme() {
        Scheme::Unix if !cfg!(unix) => Err(missing("the scheme unix:", "use pipe: or tcp://")),
        Scheme::Pipe if !cfg!(windows) => Err(missing("the scheme pipe:", "use unix: or tcp://")),
        Scheme::Unix | Scheme::Pipe | Scheme::Tcp | Scheme::Mem | Scheme::Tls | Scheme::TlsNoise => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::{ConnectOptions, Dialled, Stage, dial};
    use crate::TlsClient;
    use crate::socket::tests::{assert_unusual, unusual};

    #[tokio::test]
    async fn a_connection_that_is_to_become_tls_has_the_socket_settings() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tls://{}", listener.local_addr().unwrap()).parse().unwrap();
        let tls = Some(TlsClient::builder().danger_no_verification().build().unwrap());
        let options = ConnectOptions { tls, socket: unusual(), ..ConnectOptions::default() };
        let Dialled(Stage::Tls(reached)) = dial(&address, &options).await.unwrap() else { panic!() };
        assert_unusual(&reached.stream);
    }
}
