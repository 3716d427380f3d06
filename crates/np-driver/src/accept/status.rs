//! What an acceptor tells of itself: how much of each limit is used, and what came so far. Must never say of whom.

use std::sync::{Arc, Weak};
use std::time::Duration;

use np_dispatch::OnceSettings;
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
    /// How many calls and streams a second one identity may open.
    pub max_peer_calls_per_second: Option<u32>,
    /// Bytes of messages that all connections hold together; counted where there is a limit.
    pub memory_bytes: usize,
    /// How many they may hold.
    pub max_memory: Option<usize>,
    /// Sources (addresses, networks) of which something is remembered; counted where they have a limit.
    pub sources: usize,
    /// How many connections one of them may have.
    pub max_source_connections: Option<usize>,
    /// How many handshakes a second one of them may begin.
    pub max_source_handshakes_per_second: Option<u32>,
    /// What is remembered of exactly-once calls, where the server takes such.
    pub exactly_once: Option<OnceStatus>,
    /// How often peers and calls were refused or cut since the start, by the limit that they had reached; limits that
    /// nobody has reached are left out.
    pub refused: Vec<(&'static str, u64)>,
}

/// What a server remembers of exactly-once calls, and how much it may.
///
/// ```
/// # use np_dispatch::{OnceSettings, Router};
/// # use np_driver::{Acceptor, AcceptorConfig, random_secret_key};
/// # use np_noise::Keypair;
/// # use np_trust::Policy;
/// # let identity = Keypair::from_secret(random_secret_key()?);
/// let mut config = AcceptorConfig::new(identity, Policy::anyone(), Router::new());
/// config.exactly_once = Some(OnceSettings::default());
/// let acceptor = Acceptor::new(config)?;
/// let status = acceptor.roster().status().exactly_once.unwrap();
/// assert_eq!((status.instances, status.max_instances), (0, 16_384));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnceStatus {
    /// Clients that are remembered.
    pub instances: usize,
    /// How many may be.
    pub max_instances: usize,
    /// Calls that run or have their replies remembered.
    pub remembered: usize,
    /// How many may be.
    pub max_remembered: usize,
    /// Bytes of requests that run and of replies that are remembered.
    pub remembered_bytes: usize,
    /// How many there may be.
    pub max_remembered_bytes: usize,
}

impl ServerStatus {
    /// Names and values, as `np.status` tells them: counts in decimal, times in milliseconds, `off` for a limit that is
    /// none. A limit that was reached adds `refused_` and its name, words joined by `_`.
    ///
    /// ```
    /// # use np_dispatch::Router;
    /// # use np_driver::{Acceptor, AcceptorConfig, random_secret_key};
    /// # use np_noise::Keypair;
    /// # use np_trust::Policy;
    /// # let identity = Keypair::from_secret(random_secret_key()?);
    /// # let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new()))?;
    /// assert!(acceptor.roster().status().pairs().contains(&("max_handshakes".to_owned(), "4096".to_owned())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let off = |limit: Option<u64>| limit.map_or_else(|| "off".to_owned(), |limit| limit.to_string());
        let wide = |limit: Option<usize>| off(limit.map(|limit| limit as u64));
        let pairs: [(&str, &dyn ToString); 16] = [
            ("uptime_ms", &self.uptime.as_millis()),
            ("connections", &self.connections),
            ("max_connections", &self.max_connections),
            ("connections_total", &self.connections_total),
            ("handshakes", &self.handshakes),
            ("max_handshakes", &self.max_handshakes),
            ("sources", &self.sources),
            ("max_source_connections", &wide(self.max_source_connections)),
            ("max_source_handshakes_per_second", &off(self.max_source_handshakes_per_second.map(u64::from))),
            ("calls", &self.calls),
            ("max_server_calls", &self.max_server_calls),
            ("max_identity_calls", &self.max_identity_calls),
            ("max_peer_calls_per_second", &off(self.max_peer_calls_per_second.map(u64::from))),
            ("calls_total", &self.calls_total),
            ("memory_bytes", &self.memory_bytes),
            ("max_memory", &wide(self.max_memory)),
        ];
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
        let once = self.exactly_once.iter().flat_map(OnceStatus::pairs);
        let total: u64 = self.refused.iter().map(|(_, times)| times).sum();
        let refused = self.refused.iter().map(|(limit, times)| (format!("refused_{}", limit.replace(' ', "_")), times));
        let refused = std::iter::once(("refused_total".to_owned(), total.to_string()))
            .chain(refused.map(|(name, times)| (name, times.to_string())));
        pairs.chain(once).chain(refused).collect()
    }
}

impl OnceStatus {
    fn pairs(&self) -> Vec<(String, String)> {
        let pairs = [
            ("once_instances", self.instances),
            ("max_instances", self.max_instances),
            ("once_remembered", self.remembered),
            ("max_remembered", self.max_remembered),
            ("once_remembered_bytes", self.remembered_bytes),
            ("max_remembered_bytes", self.max_remembered_bytes),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
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
            max_peer_calls_per_second: settings.config.max_peer_calls_per_second,
            memory_bytes: self.memory.held(),
            max_memory: settings.config.max_memory,
            sources: self.sources.count(),
            max_source_connections: settings.config.max_source_connections,
            max_source_handshakes_per_second: settings.config.max_source_handshakes_per_second,
            exactly_once: self.once_status(settings.config.exactly_once),
            refused: self.audit.telemetry.hits(),
        }
    }

    fn once_status(&self, limits: Option<OnceSettings>) -> Option<OnceStatus> {
        let ((remembered, remembered_bytes, instances), limits) = (self.once.as_ref()?.sizes(), limits?);
        Some(OnceStatus {
            instances,
            max_instances: limits.max_instances,
            remembered,
            max_remembered: limits.max_remembered,
            remembered_bytes,
            max_remembered_bytes: limits.max_remembered_bytes,
        })
    }
}
