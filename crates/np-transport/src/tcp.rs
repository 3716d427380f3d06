//! TCP: resolving, connecting, listening, and the options that every socket gets.
//!
//! It must never know why a link is wanted.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::address::{Address, Host};
use crate::error::{Action, TransportError};
use crate::link::PeerLabel;
use crate::listener::BindOptions;

/// How long one of several addresses may stay silent before the next is tried.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);

/// How much the kernel takes beyond what it has sent: a heartbeat or a cancel waits behind no more than this.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_LIMIT: u32 = 128 * 1024;

pub(crate) async fn connect(
    address: &Address,
    host: &Host,
    port: u16,
) -> Result<(TcpStream, PeerLabel), TransportError> {
    if port == 0 {
        let why = "0 is a port to listen on; write the port that the server printed".to_owned();
        return Err(TransportError::unusable(Action::Connect, address, why));
    }
    let candidates = resolve(Action::Connect, address, host, port).await?;
    let stream =
        first_answer(&candidates, |at| async move { refuse_own_echo(TcpStream::connect(reachable(at)).await?) })
            .await
            .map_err(|source| TransportError::connect(address, source))?;
    let peer = stream.peer_addr().map_err(|source| TransportError::connect(address, source))?;
    tune(&stream);
    Ok((stream, PeerLabel::network(address.scheme(), peer)))
}

pub(crate) async fn bind(
    address: &Address,
    host: &Host,
    port: u16,
    options: &BindOptions,
) -> Result<(TcpListener, SocketAddr), TransportError> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for at in resolve(Action::Bind, address, host, port).await? {
        match listen(at, options) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = error,
        }
    }
    Err(TransportError::bind(address, failure))
}

pub(crate) async fn accept(address: &Address, end: &TcpListener) -> Result<(TcpStream, PeerLabel), TransportError> {
    let (stream, peer) = end.accept().await.map_err(|source| TransportError::accept(address, source))?;
    tune(&stream);
    Ok((stream, PeerLabel::network(address.scheme(), peer)))
}

fn listen(at: SocketAddr, options: &BindOptions) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Unix this lets a server start again at once; on Windows it would let a stranger share the port.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(at)?;
    let listener = socket.listen(options.backlog.max(1))?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

async fn resolve(action: Action, address: &Address, host: &Host, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
    let name = match host {
        Host::V4(ip) => return Ok(vec![SocketAddr::from((*ip, port))]),
        Host::V6(ip, scope) => return Ok(vec![SocketAddrV6::new(*ip, port, 0, *scope).into()]),
        Host::Name(name) => name,
    };
    let unresolved =
        |source| TransportError::Unresolved { action, address: address.without_keys().to_string(), source };
    let found = tokio::net::lookup_host((name.as_str(), port)).await.map_err(unresolved)?;
    let mut candidates: Vec<SocketAddr> = Vec::new();
    for at in found {
        if !candidates.contains(&at) {
            candidates.push(at);
        }
    }
    if candidates.is_empty() {
        return Err(unresolved(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(candidates)
}

/// Tries one address after another. Of several failures a refusal is told, since it came from the machine itself.
async fn first_answer<T, F>(candidates: &[SocketAddr], mut attempt: impl FnMut(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (index, at) in candidates.iter().enumerate() {
        let last = index.saturating_add(1) == candidates.len();
        let outcome = if last {
            attempt(*at).await
        } else {
            tokio::time::timeout(ATTEMPT_LIMIT, attempt(*at))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) if failure.kind() != io::ErrorKind::ConnectionRefused => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// A listener on every address prints 0.0.0.0 or ::, which not every system can connect to: this machine is meant.
fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => at,
    }
}

/// TCP lets a socket meet itself when the system gives it, as its own port, the very port that it connects to and
/// nobody listens on. A client that waits for its server would talk to its own echo, and hold the server's port.
fn refuse_own_echo(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// A socket that cannot be tuned still carries bytes: often its peer is gone, which the first read will tell.
fn tune(stream: &TcpStream) {
    if let Err(error) = try_tune(stream) {
        tracing::debug!(%error, "socket options not set");
    }
}

fn try_tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_LIMIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;
    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::{ATTEMPT_LIMIT, first_answer, reachable, tune};

    fn candidates(count: u16) -> Vec<SocketAddr> {
        (1..=count).map(|port| ([192, 0, 2, 1], port).into()).collect()
    }

    #[tokio::test]
    async fn sockets_send_at_once_and_hold_little() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream);
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket2::SockRef::from(&stream).tcp_notsent_lowat().unwrap(), super::UNSENT_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_gives_way_to_the_next() {
        let start = Instant::now();
        let answer = first_answer(&candidates(3), |at| async move {
            match at.port() {
                1 => pending().await,
                2 => Err(io::ErrorKind::NetworkUnreachable.into()),
                port => Ok(port),
            }
        })
        .await;
        assert_eq!(answer.unwrap(), 3);
        assert_eq!(start.elapsed(), ATTEMPT_LIMIT);
    }

    #[tokio::test]
    async fn of_several_failures_a_refusal_is_told() {
        let answer = first_answer(&candidates(3), |at| async move {
            let kind = match at.port() {
                2 => io::ErrorKind::ConnectionRefused,
                _ => io::ErrorKind::NetworkUnreachable,
            };
            Err::<(), _>(kind.into())
        })
        .await;
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_that_met_itself_is_refused() {
        let socket = super::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        let error = super::refuse_own_echo(stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn every_address_means_this_machine_to_a_client() {
        for (from, to) in [("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9"), ("192.0.2.1:9", "192.0.2.1:9")] {
            assert_eq!(reachable(from.parse().unwrap()), to.parse().unwrap());
        }
    }
}
