//! The settings of TCP sockets, and how they are put into effect.
//!
//! It must never know where a socket leads.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Settings of each TCP socket, accepted or connected, also those under TLS.
///
/// ```
/// use np_transport::{ConnectOptions, SocketOptions};
/// use std::time::Duration;
/// let socket = SocketOptions { keep_alive: Some(Duration::from_secs(60)), ..SocketOptions::default() };
/// assert!(socket.no_delay);
/// let options = ConnectOptions { socket, ..ConnectOptions::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether small writes are sent at once, without Nagle's algorithm. Default: yes.
    pub no_delay: bool,
    /// After how long an idle connection the system asks the peer whether it is there (and then as often). It keeps the
    /// state of firewalls alive, too. At least 1 s. Default: off.
    pub keep_alive: Option<Duration>,
    /// Bytes that the system buffers for sending; systems round it (Linux doubles it). Default: the system's own tuning.
    pub send_buffer: Option<u32>,
    /// Bytes that the system buffers for receiving; systems round it (Linux doubles it). Default: the system's own tuning.
    pub receive_buffer: Option<u32>,
    /// How many bytes the kernel takes that it has not sent yet: a heartbeat or a cancel waits behind no more than this.
    /// On Linux and Android; other systems have no such limit. Default: 128 KiB.
    pub unsent_limit: Option<u32>,
    /// For how long sent data may stay unacknowledged before the connection is broken. On Linux and Android; other
    /// systems have their own rule. Default: the system's.
    pub user_timeout: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            keep_alive: None,
            send_buffer: None,
            receive_buffer: None,
            unsent_limit: Some(128 * 1024),
            user_timeout: None,
        }
    }
}

impl SocketOptions {
    /// What must stand before a connection does: buffers decide on the window that is offered.
    pub(crate) fn prepare(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    /// What an accepted socket gets.
    pub(crate) fn tune(&self, socket: &SockRef<'_>) {
        self.tune_early(socket);
        self.tune_late(socket);
    }

    /// What a socket may have before it connects. A limit of unsent bytes that is set later wakes whoever waits for sockets:
    /// the kernel tells of room to write then.
    pub(crate) fn tune_early(&self, socket: &SockRef<'_>) {
        unless_gone(socket.set_tcp_nodelay(self.no_delay));
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(bytes) = self.unsent_limit {
            unless_gone(socket.set_tcp_notsent_lowat(bytes));
        }
    }

    /// What begins with the connection: before it, the time for acknowledgements would bound the attempt itself.
    pub(crate) fn tune_late(&self, socket: &SockRef<'_>) {
        if let Some(idle) = self.keep_alive {
            let idle = idle.max(Duration::from_secs(1));
            unless_gone(socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle)));
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.user_timeout.is_some() {
            unless_gone(socket.set_tcp_user_timeout(self.user_timeout));
        }
    }
}

/// A socket that cannot be tuned still carries bytes: often its peer is gone, which the first read will tell.
pub(crate) fn unless_gone(set: io::Result<()>) {
    if let Err(error) = set {
        tracing::debug!(%error, "socket option not set");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::SocketOptions;
    use crate::address::{Address, Host};
    use crate::{BindOptions, ConnectOptions, tcp};

    /// Settings none of which is the default, here or of the system.
    pub(crate) fn unusual() -> SocketOptions {
        SocketOptions {
            no_delay: false,
            keep_alive: Some(Duration::from_secs(77)),
            send_buffer: Some(40_000),
            receive_buffer: Some(50_000),
            unsent_limit: Some(9000),
            user_timeout: Some(Duration::from_millis(12_345)),
        }
    }

    /// Looks whether a stream has the settings of [`unusual`].
    pub(crate) fn assert_unusual(stream: &TcpStream) {
        let socket = SockRef::from(stream);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert!((40_000..=80_000).contains(&socket.send_buffer_size().unwrap()));
        assert!((50_000..=100_000).contains(&socket.recv_buffer_size().unwrap()));
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(77));
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 9000);
            assert_eq!(socket.tcp_user_timeout().unwrap(), unusual().user_timeout);
        }
    }

    /// Both ends of a connection, connected and accepted as for a link.
    async fn pair(socket: &SocketOptions) -> [TcpStream; 2] {
        let (address, host): (Address, _) = ("tcp://127.0.0.1:0".parse().unwrap(), Host::V4(Ipv4Addr::LOCALHOST));
        let options = BindOptions { socket: socket.clone(), ..BindOptions::default() };
        let (end, at) = tcp::bind(&address, &host, 0, &options).await.unwrap();
        let options = ConnectOptions { socket: socket.clone(), ..ConnectOptions::default() };
        let connected = tcp::connect(&address, &host, at.port(), &options);
        let (connected, accepted) = tokio::try_join!(connected, tcp::accept(&address, &end, socket)).unwrap();
        [connected.0, accepted.0]
    }

    #[tokio::test]
    async fn both_ends_send_at_once_and_hold_little() {
        for stream in pair(&SocketOptions::default()).await {
            assert!(stream.nodelay().unwrap());
            assert!(!SockRef::from(&stream).keepalive().unwrap());
            #[cfg(target_os = "linux")]
            assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), 128 * 1024);
        }
    }

    #[tokio::test]
    async fn every_socket_setting_reaches_both_ends() {
        for stream in pair(&unusual()).await {
            assert_unusual(&stream);
        }
    }
}
