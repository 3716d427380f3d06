//! How connections of an acceptor are ended together. Must never decide when.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Roster;
use crate::commands::lock;

impl Roster {
    /// Drains every connection, also those that a handshake in progress still brings, and waits for their end; of several
    /// times that are given the shortest counts. For a drain of the acceptor that takes too long: it does not listen then.
    pub async fn drain(&self, within: Duration) {
        let (connections, within) = {
            let mut live = lock(&self.0.live);
            let within = live.draining.map_or(within, |other| other.min(within));
            live.draining = Some(within);
            (live.connections.values().cloned().collect::<Vec<_>>(), within)
        };
        let mut drains = JoinSet::new();
        for connection in connections {
            drains.spawn(async move { connection.drain(within).await });
        }
        while drains.join_next().await.is_some() {}
    }
}
