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
    pub(crate) fn prepare(&self, socket: SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    /// A socket that cannot be tuned still carries bytes: often its peer is gone, which the first read will tell.
    pub(crate) fn tune(&self, socket: SockRef<'_>) {
        if let Err(error) = self.try_tune(&socket) {
            tracing::debug!(%error, "socket options not set");
        }
    }

    fn try_tune(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.no_delay)?;
        if let Some(idle) = self.keep_alive {
            let idle = idle.max(Duration::from_secs(1));
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            if let Some(bytes) = self.unsent_limit {
                socket.set_tcp_notsent_lowat(bytes)?;
            }
            if self.user_timeout.is_some() {
                socket.set_tcp_user_timeout(self.user_timeout)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    use super::SocketOptions;

    async fn tuned(options: &SocketOptions) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        options.prepare(SockRef::from(&stream)).unwrap();
        options.try_tune(&SockRef::from(&stream)).unwrap();
        stream
    }

    #[tokio::test]
    async fn sockets_send_at_once_and_hold_little() {
        let stream = tuned(&SocketOptions::default()).await;
        assert!(stream.nodelay().unwrap());
        assert!(!SockRef::from(&stream).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), 128 * 1024);
    }

    #[tokio::test]
    async fn every_socket_setting_reaches_the_socket() {
        let options = SocketOptions {
            no_delay: false,
            keep_alive: Some(Duration::from_secs(77)),
            send_buffer: Some(40_000),
            receive_buffer: Some(50_000),
            unsent_limit: Some(9000),
            user_timeout: Some(Duration::from_millis(12_345)),
        };
        let stream = tuned(&options).await;
        let socket = SockRef::from(&stream);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert!((40_000..=80_000).contains(&socket.send_buffer_size().unwrap()));
        assert!((50_000..=100_000).contains(&socket.recv_buffer_size().unwrap()));
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 9000);
            assert_eq!(socket.tcp_user_timeout().unwrap(), options.user_timeout);
        }
    }
}
