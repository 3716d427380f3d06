//! What a server has for those who run it: sockets from outside, a status, a shutdown that is announced.

use std::time::Duration;

use np_dispatch::HealthState;
use np_driver::ServerStatus;
use np_transport::InheritedSocket;
use np_trust::Policy;

use super::{Server, ServerBuilder};
use crate::listen::Opening;

impl ServerBuilder {
    /// As [`ServerBuilder::listen`], on a socket that a service manager has bound and hands over; the address says by which
    /// scheme and mode. The file of a Unix socket is left alone. An address that was added before, by the same text, is not
    /// bound then, but served from the socket.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::{InheritedSocket, prelude::*};
    /// let socket = InheritedSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0")?);
    /// let server = Server::builder(Identity::generate()?, Policy::anyone())
    ///     .listen_on("tcp://127.0.0.1:0", socket)
    ///     .start().await?;
    /// let client = Client::connect(&server.addresses()[0].to_string()).await?;
    /// assert_eq!(client.call("np.echo", "hello").await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn listen_on(mut self, address: impl Into<String>, socket: InheritedSocket) -> Self {
        let address = address.into();
        match self.addresses.iter_mut().find(|opening| opening.address == address && opening.socket.is_none()) {
            Some(opening) => opening.socket = Some(socket),
            None => self.addresses.push(Opening { socket: Some(socket), ..Opening::new(address) }),
        }
        self
    }

    /// Adds the method `np.status`, by which the peers that the policy allows learn how the server does: connections,
    /// calls at work and so far, limits, uptime, version. It is off unless this is set, and tells nothing of who is
    /// connected. Others get [`Status::PermissionDenied`](crate::Status::PermissionDenied), and each question is in the
    /// audit log.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::prelude::*;
    /// let monitor = Identity::generate()?;
    /// let server = Server::builder(Identity::generate()?, Policy::anyone())
    ///     .status_for(Policy::allow_keys([monitor.public_key()]))
    ///     .listen("mem:status-for")
    ///     .start().await?;
    /// let client = Client::builder(server.addresses()[0].to_string()).identity(monitor).connect().await?;
    /// let status = client.call("np.status", "").await?;
    /// assert!(String::from_utf8_lossy(&status).contains("connections 1\n"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status_for(mut self, policy: Policy) -> Self {
        self.status = Some(policy);
        self
    }
}

impl Server {
    /// How the server does now: what `np.status` tells.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::prelude::*;
    /// let server = Server::builder(Identity::generate()?, Policy::anyone()).listen("mem:status").start().await?;
    /// assert_eq!(server.status().connections, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        self.parts.roster.status()
    }

    /// As [`Server::shutdown`], and for `delay` before it the server only says that it is not ready (`np.health` answers
    /// `draining`) and goes on serving: time for load balancers to send new clients elsewhere.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::prelude::*;
    /// use std::time::Duration;
    /// let server = Server::builder(Identity::generate()?, Policy::anyone()).listen("mem:delayed").start().await?;
    /// server.shutdown_after(Duration::from_millis(10), Duration::from_secs(10)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown_after(&self, delay: Duration, within: Duration) {
        self.parts.health.set(HealthState::Draining);
        tokio::time::sleep(delay).await;
        self.shutdown(within).await;
    }
}
