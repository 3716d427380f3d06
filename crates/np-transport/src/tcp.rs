//! TCP: resolving, connecting and listening.
//!
//! It must never know why a link is wanted.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::address::{Address, Host};
use crate::connect::ConnectOptions;
use crate::error::{Action, TransportError};
use crate::link::PeerLabel;
use crate::listener::BindOptions;
use crate::socket::SocketOptions;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::socket::unless_gone;

pub(crate) async fn connect(
    address: &Address,
    host: &Host,
    port: u16,
    options: &ConnectOptions,
) -> Result<(TcpStream, PeerLabel), TransportError> {
    if port == 0 {
        let why = "0 is a port to listen on; write the port that the server printed".to_owned();
        return Err(TransportError::unusable(Action::Connect, address, why));
    }
    let mut candidates = resolve(Action::Connect, address, host, port).await?;
    if let Some(source) = options.source {
        candidates.retain(|at| at.is_ipv4() == source.is_ipv4());
        if candidates.is_empty() {
            let why = format!("it has no address of the family of the source address {source}; choose another source");
            return Err(TransportError::unusable(Action::Connect, address, why));
        }
    }
    let reached = reach(&in_turn(&candidates), options).await;
    let (stream, peer) = reached.map_err(|source| TransportError::connect(address, source))?;
    Ok((stream, PeerLabel::network(address.scheme(), peer)))
}

async fn reach(candidates: &[SocketAddr], options: &ConnectOptions) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = first_answer(candidates, options.stagger, |at| open(at, options)).await?;
    options.socket.tune_late(&SockRef::from(&stream));
    Ok((stream, peer))
}

/// A connected socket, and where it leads.
async fn open(at: SocketAddr, options: &ConnectOptions) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let settings = SockRef::from(&socket);
    options.socket.prepare(&settings)?;
    options.socket.tune_early(&settings);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if options.speaks_first == Some(true) {
        // The kernel then waits for the first bytes before it answers the server's answer.
        unless_gone(settings.set_tcp_quickack(false));
    }
    if let Some(source) = options.source {
        socket.bind((source, 0).into())?;
    }
    let peer = reachable(at);
    Ok((refuse_own_echo(socket.connect(peer).await?, peer)?, peer))
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

pub(crate) async fn accept(
    address: &Address,
    end: &TcpListener,
    options: &SocketOptions,
) -> Result<(TcpStream, PeerLabel), TransportError> {
    let (stream, peer) = end.accept().await.map_err(|source| TransportError::accept(address, source))?;
    options.tune(&SockRef::from(&stream));
    Ok((stream, PeerLabel::network(address.scheme(), peer)))
}

fn listen(at: SocketAddr, options: &BindOptions) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let settings = SockRef::from(&socket);
    settings.set_reuse_address(options.reuse_address)?;
    if options.share_port {
        share_port(&settings)?;
    }
    if let (true, Some(only)) = (at.is_ipv6(), options.ipv6_only) {
        settings.set_only_v6(only)?;
    }
    // Accepted sockets inherit the buffers.
    options.socket.prepare(&settings)?;
    socket.bind(at)?;
    let listener = socket.listen(options.backlog.max(1))?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Elsewhere the option is missing, or gives all connections to one of the listeners.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_: &SockRef<'_>) -> io::Result<()> {
    let why = "this system spreads no connections over listeners of one port; leave share_port off";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
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

/// The addresses with the families in turn, the family of the first one first, each in its order.
fn in_turn(candidates: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = candidates.first().is_some_and(SocketAddr::is_ipv4);
    let (mut ahead, mut behind): (VecDeque<SocketAddr>, VecDeque<SocketAddr>) =
        candidates.iter().copied().partition(|at| at.is_ipv4() == first_is_v4);
    let mut ordered = Vec::with_capacity(candidates.len());
    while !(ahead.is_empty() && behind.is_empty()) {
        ordered.extend(ahead.pop_front());
        ordered.extend(behind.pop_front());
    }
    ordered
}

/// Starts one attempt after another, the next when one has failed or `stagger` has passed, and takes the first that answers.
/// Of several failures a refusal is told, since it came from the machine itself.
async fn first_answer<T, F>(
    candidates: &[SocketAddr],
    stagger: Duration,
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut running = FuturesUnordered::new();
    let mut waiting = candidates.iter();
    // Alone it is polled as it is: a set of futures would wake its task once more for each that is not ready at once.
    let mut alone = waiting.next().map(|at| Box::pin(attempt(*at)));
    loop {
        let answer = async {
            match &mut alone {
                Some(only) => Some(only.await),
                None => running.next().await,
            }
        };
        let outcome = match waiting.len() {
            0 => answer.await,
            _ => match timeout(stagger, answer).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    running.extend(alone.take());
                    running.extend(waiting.next().map(|at| Box::pin(attempt(*at))));
                    continue;
                }
            },
        };
        alone = None;
        match outcome {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => {
                if failure.kind() != io::ErrorKind::ConnectionRefused {
                    failure = error;
                }
                running.extend(waiting.next().map(|at| Box::pin(attempt(*at))));
            }
            None => return Err(failure),
        }
    }
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
fn refuse_own_echo(stream: TcpStream, peer: SocketAddr) -> io::Result<TcpStream> {
    if stream.local_addr()? == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, pending};
    use std::io;
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    #[cfg(target_os = "linux")]
    use super::{ConnectOptions, TcpListener, TcpSocket, TcpStream, reach};
    use super::{first_answer, in_turn, reachable};

    const STAGGER: Duration = Duration::from_millis(250);

    fn candidates(count: u16) -> Vec<SocketAddr> {
        (1..=count).map(|port| ([192, 0, 2, 1], port).into()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_gives_way_to_the_next() {
        let start = Instant::now();
        let answer = first_answer(&candidates(3), STAGGER, |at| async move {
            match at.port() {
                1 => pending().await,
                2 => Err(io::ErrorKind::NetworkUnreachable.into()),
                port => Ok(port),
            }
        })
        .await;
        assert_eq!(answer.unwrap(), 3);
        assert_eq!(start.elapsed(), STAGGER, "a failure makes room at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_may_still_be_the_first_to_answer() {
        let start = Instant::now();
        let answer = first_answer(&candidates(3), STAGGER, |at| async move {
            sleep(Duration::from_millis(u64::from(at.port()) * 300)).await;
            Ok(at.port())
        })
        .await;
        assert_eq!(answer.unwrap(), 1);
        assert_eq!(start.elapsed(), Duration::from_millis(300));
    }

    #[test]
    fn whoever_connects_to_one_address_is_not_woken_before_it_answers() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (woken, candidates) = (Arc::new(Woken(AtomicBool::new(false))), candidates(1));
        let (waker, attempt) = (Waker::from(Arc::clone(&woken)), |_| pending::<io::Result<()>>());
        let mut answer = pin!(first_answer(&candidates, STAGGER, attempt));
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed), "a task that wakes itself wakes another thread of its runtime");
    }

    /// Where Linux leaves newcomers without an answer: a queue that is full. The guard keeps it so.
    #[cfg(target_os = "linux")]
    async fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // Linux keeps one more than it is told to.
        let listener = socket.listen(1).unwrap();
        let at = listener.local_addr().unwrap();
        let queued = [TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap()];
        (at, (listener, queued))
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_silent_address_is_waited_for_as_long_as_the_options_say() {
        let (silent, _full) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answering = listener.local_addr().unwrap();
        for stagger in [Duration::from_secs(1), Duration::from_secs(600)] {
            let options = ConnectOptions { stagger, ..ConnectOptions::default() };
            let start = Instant::now();
            let (stream, peer) = reach(&[silent, answering], &options).await.unwrap();
            assert_eq!((stream.peer_addr().unwrap(), peer), (answering, answering));
            assert_eq!(start.elapsed(), stagger);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_server_meets_who_speaks_first_with_what_was_said() {
        for speaks_first in [None, Some(false), Some(true)] {
            let options = ConnectOptions { speaks_first, ..ConnectOptions::default() };
            let mut met_silent = 0;
            for _ in 0..4 {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                listener.set_nonblocking(true).unwrap();
                let _connected = reach(&[listener.local_addr().unwrap()], &options).await.unwrap();
                met_silent += usize::from(listener.accept().is_ok());
            }
            // The kernel waits for 200 ms at most, which a busy machine may take.
            let waits = speaks_first == Some(true);
            assert!(if waits { met_silent < 4 } else { met_silent > 0 }, "{met_silent} {speaks_first:?}");
        }
    }

    #[test]
    fn families_take_turns() {
        let read = |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|at| at.parse().unwrap()).collect() };
        let found = read(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        assert_eq!(in_turn(&found), read(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        assert_eq!(in_turn(&[]), []);
    }

    #[tokio::test]
    async fn of_several_failures_a_refusal_is_told() {
        let answer = first_answer(&candidates(3), STAGGER, |at| async move {
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
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        let error = super::refuse_own_echo(stream, own).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn every_address_means_this_machine_to_a_client() {
        for (from, to) in [("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9"), ("192.0.2.1:9", "192.0.2.1:9")] {
            assert_eq!(reachable(from.parse().unwrap()), to.parse().unwrap());
        }
    }
}
