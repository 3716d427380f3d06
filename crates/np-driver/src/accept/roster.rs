//! How connections of an acceptor are ended together, and the acceptor with them. Must never decide when.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Acceptor, Roster};
use crate::clock::after;
use crate::commands::lock;

impl Roster {
    /// Drains every connection, also those that a handshake in progress still brings, and waits for their end; of several
    /// points in time that are given the first counts, also for exactly-once calls of peers that are gone. For a drain of
    /// the acceptor that takes too long: it does not listen then.
    pub async fn drain(&self, within: Duration) {
        let end = after(Instant::now(), within);
        let connections = {
            let live = lock(&self.0.live);
            self.0.drained_by.send_if_modified(|until| {
                let sooner = until.is_none_or(|until| end < until);
                if sooner {
                    *until = Some(end);
                }
                sooner
            });
            live.connections.values().cloned().collect::<Vec<_>>()
        };
        let mut drains = JoinSet::new();
        for connection in connections {
            drains.spawn(async move { connection.drain(within).await });
        }
        while drains.join_next().await.is_some() {}
    }
}

impl Acceptor {
    /// Stops listening, tells every peer to go away, lets open calls finish, exactly-once calls also of peers that are
    /// gone, and ends what is left after `within`, or at the end of a shorter [`Roster::drain`] that comes meanwhile.
    pub async fn drain(&mut self, within: Duration) {
        self.stop.send_replace(true);
        let roster = self.roster();
        self.shared.audit.telemetry.draining();
        let connections = roster.connections().len();
        tracing::info!(target: "np::audit", connections, ?within, "drain began");
        let all = async {
            roster.drain(within).await;
            while self.loops.join_next().await.is_some() {}
        };
        // The connections cut themselves after `within`; the farewell takes at most a second more.
        let _ = timeout(within.saturating_add(Duration::from_secs(2)), all).await;
        let cut = self.roster().connections().len();
        self.loops.shutdown().await;
        if let Some(once) = &self.shared.once {
            once.finish(self.shared.drained_by.subscribe()).await;
        }
        tracing::info!(target: "np::audit", cut, "drain ended");
    }
}
