//! What an acceptor tells of itself: how much of each limit is used, and what came so far. Must never say of whom.

use std::sync::{Arc, Weak};
use std::time::Duration;

use np_types::Time;

use super::{Acceptor, Roster, Shared};
use crate::commands::lock;

/// How a server does, at one moment.
///
/// ```
/// # use np_dispatch::Router;
/// # use np_driver::{Acceptor, AcceptorConfig, random_secret_key};
/// # use np_noise::Keypair;
/// # use np_trust::Policy;
/// let identity = Keypair::from_secret(random_secret_key()?);
/// let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new()))?;
/// let status = acceptor.roster().status();
/// assert_eq!((status.connections, status.max_connections), (0, 16_384));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Time since it was started.
    pub uptime: Duration,
    /// Connections that stand.
    pub connections: usize,
    /// How many may.
    pub max_connections: usize,
    /// Connections since the start, those that stand included.
    pub connections_total: u64,
    /// Handshakes in progress.
    pub handshakes: usize,
    /// How many may be.
    pub max_handshakes: usize,
    /// Calls and streams at work, for all peers.
    pub calls: usize,
    /// How many may be for all peers.
    pub max_server_calls: usize,
    /// How many may be for one identity.
    pub max_identity_calls: usize,
    /// Calls and streams since the start, those at work included.
    pub calls_total: u64,
}

impl ServerStatus {
    /// Names and values, as `np.status` tells them: counts in decimal, times in milliseconds.
    ///
    /// ```
    /// # use np_dispatch::Router;
    /// # use np_driver::{Acceptor, AcceptorConfig, random_secret_key};
    /// # use np_noise::Keypair;
    /// # use np_trust::Policy;
    /// # let identity = Keypair::from_secret(random_secret_key()?);
    /// # let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new()))?;
    /// assert!(acceptor.roster().status().pairs().contains(&("max_handshakes", "4096".to_owned())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let pairs: [(&str, &dyn ToString); 10] = [
            ("uptime_ms", &self.uptime.as_millis()),
            ("connections", &self.connections),
            ("max_connections", &self.max_connections),
            ("connections_total", &self.connections_total),
            ("handshakes", &self.handshakes),
            ("max_handshakes", &self.max_handshakes),
            ("calls", &self.calls),
            ("max_server_calls", &self.max_server_calls),
            ("max_identity_calls", &self.max_identity_calls),
            ("calls_total", &self.calls_total),
        ];
        pairs.into_iter().map(|(name, value)| (name, value.to_string())).collect()
    }
}

/// A [`ServerStatus`] on request, for whoever may not keep the acceptor alive: a handler of its own table.
///
/// ```
/// # use np_dispatch::Router;
/// # use np_driver::{Acceptor, AcceptorConfig, random_secret_key};
/// # use np_noise::Keypair;
/// # use np_trust::Policy;
/// # let identity = Keypair::from_secret(random_secret_key()?);
/// let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new()))?;
/// let source = acceptor.status_source();
/// assert!(source.status().is_some());
/// drop(acceptor);
/// assert!(source.status().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StatusSource(Weak<Shared>);

impl StatusSource {
    /// The status now; `None` once the acceptor is gone.
    #[must_use]
    pub fn status(&self) -> Option<ServerStatus> {
        self.0.upgrade().map(|shared| shared.status())
    }
}

impl Acceptor {
    /// What tells how this acceptor does, and does not keep it.
    #[must_use]
    pub fn status_source(&self) -> StatusSource {
        StatusSource(Arc::downgrade(&self.shared))
    }
}

impl Roster {
    /// How the server does now.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        self.0.status()
    }
}

impl Shared {
    fn status(&self) -> ServerStatus {
        let (connections, connections_total) = {
            let live = lock(&self.live);
            (live.connections.len(), live.next)
        };
        let settings = self.settings();
        let (calls, calls_total) = self.calls.counts();
        ServerStatus {
            uptime: self.clock.now().since(Time::ZERO),
            connections,
            max_connections: settings.config.max_connections,
            connections_total,
            handshakes: self.half_open.count(),
            max_handshakes: settings.config.max_handshakes,
            calls,
            max_server_calls: settings.config.max_server_calls,
            max_identity_calls: settings.config.max_identity_calls,
            calls_total,
        }
    }
}
