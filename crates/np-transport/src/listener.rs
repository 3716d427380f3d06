//! Listeners: one address each, one security mode each.
//!
//! It must never decide who may connect: it hands over links and forgets them.

#[cfg(windows)]
use crate::address::Scheme;
use crate::address::{Address, Place};
use crate::connect::check_supported;
use crate::error::{Action, TransportError};
use crate::incoming::Incoming;
use crate::link::Link;
use crate::socket::SocketOptions;
use crate::tls::TlsServer;
use crate::{mem, tcp};

/// How to bind a [`Listener`]. Of these settings a Windows pipe has none: its user alone may open it.
///
/// ```
/// let options = np_transport::BindOptions::default();
/// assert_eq!((options.unix_mode, options.backlog), (0o600, 1024));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindOptions {
    /// Permission bits of a Unix socket's file, from the first instant at which it can be seen; at most `0o777`, the
    /// process's umask has no say. Connecting needs write permission. Default `0o600`: the owner alone.
    pub unix_mode: u32,
    /// How many connections wait to be accepted before further ones are held up: the systems round it (Linux keeps one
    /// more and cuts it to `net.core.somaxconn`), 0 counts as 1. Default 1,024.
    pub backlog: u32,
    /// Certificates and rules of the schemes `tls` and `tls+noise`, which need them; others do not look at them.
    pub tls: Option<TlsServer>,
    /// The settings of accepted TCP sockets.
    pub socket: SocketOptions,
    /// Whether TCP may bind a port whose earlier connections still linger. On Windows it would let a stranger share the port.
    /// Default: yes on Unix, no on Windows.
    pub reuse_address: bool,
    /// Whether further TCP listeners may bind this port at the same time, each with this setting: the system spreads new
    /// connections over them, so that each core's runtime can accept its own (`SO_REUSEPORT`). On Linux and Android, for
    /// listeners of one user; elsewhere binding is refused. Each server remembers the first flights that it has seen, and
    /// replies of exactly-once calls, by itself. Default: no.
    pub share_port: bool,
    /// Whether a TCP listener on an IPv6 address leaves IPv4 alone; matters for `[::]`. Default: the system's rule.
    pub ipv6_only: Option<bool>,
    /// Whether every TCP connection starts with a PROXY header (version 2), which then says where the peer is. Only for
    /// listeners that nobody but such a proxy can reach: whoever reaches one can claim any address. Default: no.
    pub proxy_protocol: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            unix_mode: 0o600,
            backlog: 1024,
            tls: None,
            socket: SocketOptions::default(),
            reuse_address: cfg!(unix),
            share_port: false,
            ipv6_only: None,
            proxy_protocol: false,
        }
    }
}

/// A place where peers connect to.
///
/// Dropping it stops listening and removes the file of a Unix socket, if it is still this listener's own.
///
/// ```
/// use np_transport::{BindOptions, Listener};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind(&"tcp://127.0.0.1:0".parse()?, &BindOptions::default()).await?;
/// assert_ne!(listener.local_address().port(), Some(0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    address: Address,
    kind: Kind,
    tls: Option<TlsServer>,
    socket: SocketOptions,
    proxy_protocol: bool,
}

/// A listening socket that another process has made: see [`Listener::inherit`].
///
/// ```
/// use np_transport::InheritedSocket;
/// let socket = InheritedSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0")?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritedSocket {
    /// Of TCP: for `tcp://`, `tls://` and `tls+noise://`.
    Tcp(std::net::TcpListener),
    /// A Unix socket: for `unix:`.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

#[derive(Debug)]
enum Kind {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(crate::unix::UnixEnd),
    #[cfg(windows)]
    Pipe(crate::pipe::PipeEnd),
    Mem(mem::MemEnd),
}

impl Listener {
    /// Starts to listen.
    ///
    /// A host name is bound at the first of its IP addresses that can be. A Unix socket whose file is left over from a
    /// process that is gone takes its place; one that answers, and a file that is no socket, are left alone. Whether
    /// one answers is found out by connecting to it. A Windows pipe belongs to the user that this process runs as, who
    /// alone may open it, and not over the network.
    ///
    /// # Errors
    /// [`TransportError`], by blame, with the next step.
    pub async fn bind(address: &Address, options: &BindOptions) -> Result<Self, TransportError> {
        check_supported(address)?;
        let tls = tls_of(address, options)?;
        let (kind, address) = match address.place() {
            Place::Network { host, port } => {
                let (end, at) = tcp::bind(address, host, *port, options).await?;
                (Kind::Tcp(end), address.moved_to(at))
            }
            #[cfg(unix)]
            Place::File(_) => {
                let end = crate::unix::bind(address, options).await?;
                (Kind::Unix(end), address.clone())
            }
            #[cfg(not(unix))]
            Place::File(_) => {
                return Err(TransportError::no_unix(address));
            }
            #[cfg(windows)]
            Place::Name(name) if address.scheme() == Scheme::Pipe => {
                (Kind::Pipe(crate::pipe::bind(address, name)?), address.clone())
            }
            Place::Name(name) => {
                let end = mem::bind(address, name, options)?;
                (Kind::Mem(end), address.clone())
            }
        };
        Ok(Self::of(kind, address, tls, options))
    }

    /// Accepts from a socket that somebody else has bound and listens on: a service manager that starts this process once a
    /// client comes. `address` says by which scheme and mode; the file of a Unix socket is left alone. Of the options
    /// those of binding have no effect: its maker has chosen them.
    ///
    /// # Errors
    /// When the socket is of another kind than the address, or cannot be used.
    ///
    /// ```
    /// use np_transport::{BindOptions, InheritedSocket, Listener};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let socket = InheritedSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0")?);
    /// let listener = Listener::inherit(&"tcp://127.0.0.1:0".parse()?, socket, &BindOptions::default())?;
    /// assert_ne!(listener.local_address().port(), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn inherit(address: &Address, socket: InheritedSocket, options: &BindOptions) -> Result<Self, TransportError> {
        check_supported(address)?;
        let tls = tls_of(address, options)?;
        let failed = |error| TransportError::bind(address, error);
        let (kind, address) = match (socket, address.place()) {
            (InheritedSocket::Tcp(socket), Place::Network { .. }) => {
                socket.set_nonblocking(true).map_err(failed)?;
                let end = tokio::net::TcpListener::from_std(socket).map_err(failed)?;
                let at = end.local_addr().map_err(failed)?;
                (Kind::Tcp(end), address.moved_to(at))
            }
            #[cfg(unix)]
            (InheritedSocket::Unix(socket), Place::File(_)) => {
                (Kind::Unix(crate::unix::inherit(socket).map_err(failed)?), address.clone())
            }
            _ => {
                let why = "the socket that was handed over is of another kind than this address".to_owned();
                return Err(TransportError::unusable(Action::Bind, address, why));
            }
        };
        Ok(Self::of(kind, address, tls, options))
    }

    fn of(kind: Kind, address: Address, tls: Option<TlsServer>, options: &BindOptions) -> Self {
        let pins = tls.as_ref().map(TlsServer::pins).unwrap_or_default();
        let address = pins.into_iter().fold(address, Address::with_pin);
        tracing::debug!(address = %address.without_keys(), "listening");
        Self { address, kind, tls, socket: options.socket.clone(), proxy_protocol: options.proxy_protocol }
    }

    /// Where it listens, in the form that [`connect`](crate::connect()) takes: with the real port and, for TLS, the pins of
    /// the certificates that it had when it was bound.
    #[must_use]
    pub const fn local_address(&self) -> &Address {
        &self.address
    }

    /// Waits for the next connection and makes a link of it. Dropping the future loses no connection that has not begun its
    /// handshake.
    ///
    /// For TLS this includes the handshake, which a silent peer holds up for as long as it likes: a server uses
    /// [`accept_incoming`](Self::accept_incoming) and does the rest in a task of the connection's own.
    ///
    /// # Errors
    /// As [`accept_incoming`](Self::accept_incoming) and [`Incoming::into_link`].
    pub async fn accept(&self) -> Result<Link, TransportError> {
        self.accept_incoming().await?.into_link().await
    }

    /// Waits for the next connection, whatever its peer does. Dropping the future loses none.
    ///
    /// # Errors
    /// An accept loop asks [`TransportError::is_transient`]: if so (too many open files, a peer that was gone again), it
    /// waits a little and goes on; if not, the listener is of no further use.
    pub async fn accept_incoming(&self) -> Result<Incoming, TransportError> {
        match &self.kind {
            Kind::Tcp(end) => {
                let (stream, label) = tcp::accept(&self.address, end, &self.socket).await?;
                let (tls, proxied) = (self.tls.clone(), self.proxy_protocol);
                Ok(Incoming::tcp(&self.address, stream, label, tls, proxied))
            }
            #[cfg(unix)]
            Kind::Unix(end) => end.accept(&self.address).await.map(Incoming::ready),
            #[cfg(windows)]
            Kind::Pipe(end) => end.accept(&self.address).await.map(Incoming::ready),
            Kind::Mem(end) => end.accept(&self.address).await.map(Incoming::ready),
        }
    }
}

/// The TLS settings of an address that needs them.
fn tls_of(address: &Address, options: &BindOptions) -> Result<Option<TlsServer>, TransportError> {
    if !address.scheme().is_tls() {
        return Ok(None);
    }
    let missing = || {
        let why = "a TLS server needs a certificate and its key; give them (--cert, --key)".to_owned();
        TransportError::unusable(Action::Bind, address, why)
    };
    options.tls.clone().map(Some).ok_or_else(missing)
}
