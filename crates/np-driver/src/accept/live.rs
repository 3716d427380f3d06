//! The table of the connections that stand: a drain, a new policy and whoever calls peers look there. Must never decide
//! who stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Settings, Shared};
use crate::commands::lock;
use crate::connection::Connection;

#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) next: u64,
    pub(super) connections: BTreeMap<u64, Connection>,
}

/// The connections of an [`Acceptor`](crate::Acceptor), for those who call or push to peers.
///
/// ```
/// # use np_dispatch::Router;
/// # use np_driver::{Acceptor, AcceptorConfig, random_secret_key};
/// # use np_noise::Keypair;
/// # use np_trust::Policy;
/// let identity = Keypair::from_secret(random_secret_key()?);
/// let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new()))?;
/// assert!(acceptor.roster().connections().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Roster(pub(super) Arc<Shared>);

impl Roster {
    /// The connections that are open now, in the order in which they came.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        lock(&self.0.live).connections.values().cloned().collect()
    }
}

impl Shared {
    /// Puts a connection into the table.
    pub(super) fn register(self: &Arc<Self>, connection: &Connection, settings: &Arc<Settings>) -> Registered {
        let mut live = lock(&self.live);
        live.next += 1;
        let id = live.next;
        live.connections.insert(id, connection.clone());
        if !Arc::ptr_eq(settings, &self.settings()) {
            // It was half-way in when the policy changed.
            self.send_away_unless_welcome(connection);
        }
        if let Some(until) = *self.drained_by.borrow() {
            // It was half-way in when the drain began.
            let within = until.saturating_duration_since(Instant::now());
            let connection = connection.clone();
            tokio::spawn(async move { connection.drain(within).await });
        }
        Registered { shared: Arc::clone(self), id }
    }
}

/// A connection's place in the table, which it leaves however it ends.
pub(super) struct Registered {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.shared.live).connections.remove(&self.id);
    }
}
