//! From an address to a link: chooses the transport.
//!
//! It must never retry, and never fall back to another mode or address than the one asked for.

use rustls::pki_types::ServerName;

use crate::address::{Address, Host, Place, Scheme};
use crate::error::{Action, TransportError};
use crate::link::Link;
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectOptions {
    /// Trust and certificate for the schemes `tls` and `tls+noise`. Without it a connection trusts the pins of its address,
    /// or else the operating system's authorities, shows no certificate and takes up no earlier session.
    pub tls: Option<TlsClient>,
    /// In the mode `local`: the user whose listener is accepted, a uid on Unix, a SID on Windows. Anybody could take the
    /// name of a listener that is not there. Default: the user that this process runs as.
    pub local_user: Option<String>,
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
/// A host name is resolved anew, and each of its IP addresses is tried in turn; one that does not answer within 3 s
/// gives way to the next. Beyond that there is no time limit here: the caller sets one. Dropping the future gives up.
/// A listener whose queue is full makes the call wait. TCP links send small writes at once, and on Linux the kernel
/// takes at most 128 KiB that it has not yet sent. The keys of the address are not looked at; its pins are.
///
/// # Errors
/// [`TransportError`], by blame, with the next step.
pub async fn connect_with(address: &Address, options: &ConnectOptions) -> Result<Link, TransportError> {
    check_supported(address)?;
    match address.place() {
        Place::Network { host, port } => network(address, host, *port, options).await,
        #[cfg(unix)]
        Place::File(_) => crate::unix::connect(address, options).await,
        #[cfg(not(unix))]
        Place::File(_) => Err(TransportError::not_supported(address, "unix:".to_owned())),
        Place::Name(name) => mem::connect(address, name).await,
    }
}

async fn network(address: &Address, host: &Host, port: u16, options: &ConnectOptions) -> Result<Link, TransportError> {
    if !address.scheme().is_tls() {
        let (stream, peer) = tcp::connect(address, host, port).await?;
        return Ok(Link::at(Box::new(stream), address, peer));
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
    let (stream, peer) = tcp::connect(address, host, port).await?;
    let secured = tls::connect(stream, &ready, name).await.map_err(failed)?;
    Ok(Link::secured(secured, address, peer))
}

/// The name that the certificate must carry: of the address, else of the client, else the host.
fn server_name(address: &Address, host: &Host, client: &TlsClient) -> Option<ServerName<'static>> {
    if let Some(name) = address.server_name() {
        return ServerName::try_from(name.to_owned()).ok();
    }
    client.server_name().or_else(|| match host {
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        Host::V4(ip) => Some(ServerName::IpAddress(std::net::IpAddr::V4(*ip).into())),
        Host::V6(ip, _) => Some(ServerName::IpAddress(std::net::IpAddr::V6(*ip).into())),
    })
}

/// Refuses the schemes that this system or build lacks.
pub(crate) fn check_supported(address: &Address) -> Result<(), TransportError> {
    match address.scheme() {
        Scheme::Tcp | Scheme::Mem | Scheme::Tls | Scheme::TlsNoise => Ok(()),
        Scheme::Unix if cfg!(unix) => Ok(()),
        scheme @ (Scheme::Unix | Scheme::Pipe) => {
            let what = format!("the scheme {scheme}:");
            Err(TransportError::not_supported(address, what))
        }
    }
}
