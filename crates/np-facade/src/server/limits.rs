//! How much of everything a server takes, and for how long: settings of its builder. Must never check one: the acceptor does.

use std::time::Duration;

use np_driver::{Lifetime, WhenFull};
use np_types::Limits;

use crate::ServerBuilder;

impl ServerBuilder {
    /// Sets what each connection may cost. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets how many connections may stand at once; one more is refused and told. Default 16,384.
    #[must_use]
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections;
        self
    }

    /// Sets how many handshakes may be in progress at once; one more takes the place of the oldest silent peer. Default
    /// 4,096.
    #[must_use]
    pub const fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.config.max_handshakes = handshakes;
        self
    }

    /// Sets how long a handshake may take. Default 10 s.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// Sets how long written bytes may wait for a client to take them, and a record that has begun to come for its end; a
    /// slower client is cut. Default 60 s.
    #[must_use]
    pub const fn progress_timeout(mut self, timeout: Duration) -> Self {
        self.config.progress_timeout = timeout;
        self
    }

    /// Sets how long connections live: heartbeat, idle timeout and maximum age. Default: a heartbeat of 15 s, and no end.
    ///
    /// ```
    /// use np_facade::{Lifetime, prelude::*};
    /// use std::time::Duration;
    /// let idle = Some(Duration::from_secs(600));
    /// let lifetime = Lifetime { idle_timeout: idle, ..Lifetime::default() };
    /// let builder = Server::builder(Identity::generate()?, Policy::anyone()).lifetime(lifetime);
    /// # Ok::<(), np_facade::Error>(())
    /// ```
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.config.lifetime = lifetime;
        self
    }

    /// Sets how many calls and streams may be at work for all clients. Default 65,536.
    #[must_use]
    pub const fn max_server_calls(mut self, calls: usize) -> Self {
        self.config.max_server_calls = calls;
        self
    }

    /// Sets how many calls and streams may be at work for one identity, over all of its connections. Default 8,192.
    #[must_use]
    pub const fn max_identity_calls(mut self, calls: usize) -> Self {
        self.config.max_identity_calls = calls;
        self
    }

    /// Sets how many connections one source may have at once, handshakes in progress included: an IPv4 address, or an IPv6
    /// network of 64 bits. Default: no limit.
    #[must_use]
    pub const fn max_source_connections(mut self, connections: usize) -> Self {
        self.config.max_source_connections = Some(connections);
        self
    }

    /// Sets how many handshakes a second one source may begin; as many may come at once. Default: no limit.
    #[must_use]
    pub const fn max_source_handshakes_per_second(mut self, handshakes: u32) -> Self {
        self.config.max_source_handshakes_per_second = Some(handshakes);
        self
    }

    /// Sets how many calls and streams a second one identity may open, over all of its connections; as many may come at
    /// once, and one more is refused as safe to send again. Default: no limit.
    #[must_use]
    pub const fn max_peer_calls_per_second(mut self, calls: u32) -> Self {
        self.config.max_peer_calls_per_second = Some(calls);
        self
    }

    /// Sets how many bytes of bodies all connections may hold together, decompressed ones by their whole size. Above it those
    /// of which the application holds more than 64 KiB are not read, and are cut when that lasts as long as
    /// `progress_timeout`. Of half of it, messages half-way in and answers that wait for their callers may be: beyond that
    /// clients who keep much of it get no call taken, and are cut if they do not move it. Default: no limit but that of each connection.
    #[must_use]
    pub const fn max_memory(mut self, bytes: usize) -> Self {
        self.config.max_memory = Some(bytes);
        self
    }

    /// Sets what happens to a call beyond one of the limits of calls. Default: it is refused as safe to send again.
    #[must_use]
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.config.when_full = when_full;
        self
    }

    /// Sets how many first flights are remembered against replay. Default 100,000; at least 10,000.
    #[must_use]
    pub const fn replay_capacity(mut self, flights: usize) -> Self {
        self.config.replay_capacity = flights;
        self
    }
}
