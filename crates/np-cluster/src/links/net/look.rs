//! Looks after members while their links stand: whether they are still allowed, and where they say. Must never open a link
//! itself.

use std::sync::Weak;
use std::time::Duration;

use np_facade::{CloseCode, PeerIdentity};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::Incoming;
use super::super::book::{Book, Stop};
use super::super::directory::{Bound, NodeKey};
use super::{Inner, count, lock};

/// How often the keys of members are looked at, whether they are still allowed.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after members: one whose key is no longer allowed is cut off, and its name set free.
pub(super) async fn after(inner: Weak<Inner>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        if inner.me().is_err() {
            return;
        }
        inner.look().await;
        // Those that are not where they say may be there later.
        let claims = inner.book().claims();
        claims.into_iter().for_each(|claim| inner.want(claim, None));
        inner.close_strangers();
    }
}

impl Inner {
    /// Looks once at every node that has proven a key: whether the key is allowed, and the name is its own.
    async fn look(&self) {
        *lock(&self.names) = self.settings.members.all_names();
        let all = |book: &Book| book.directory.all().map(|(key, bound)| (*key, bound.clone())).collect();
        let known: Vec<(NodeKey, Bound)> = all(&self.book());
        for (key, bound) in known {
            if !self.settings.members.still_allows(&bound.identity) {
                self.retire(key, &bound).await;
            } else if !self.listed(key, &bound.name).allows(&bound.name) {
                tracing::warn!(target: "np::cluster", node = bound.name, %key, "the list gives this name to another key now");
                self.book().retire(key, Stop::Renamed, Instant::now());
            }
        }
    }

    async fn retire(&self, key: NodeKey, known: &Bound) {
        let Some(bound) = self.book().retire(key, Stop::Retired, Instant::now()) else {
            return;
        };
        count(&self.counts.retired);
        // For the audit log.
        let _ = self.settings.members.decide(&known.identity);
        tracing::warn!(target: "np::cluster", node = bound.name, %key, "member retired: its key is no longer allowed");
        self.close_connections(|peer| *peer == known.identity);
        // Where the list names another key for it the node lives on, with what it has told.
        if !self.has_successor(key, &bound.name) {
            // Without an engine there is nothing to retire.
            let _ = self.inbox.send(Incoming::Retired { name: bound.name }).await;
        }
    }

    /// Whether the list gives a name to another key that is allowed.
    fn has_successor(&self, key: NodeKey, name: &str) -> bool {
        let members = &self.settings.members;
        let mut others = members.keys_named(name).into_iter().filter(|other| NodeKey::Noise(*other) != key);
        others.any(|other| members.still_allows(&PeerIdentity::Noise(other)))
    }

    /// Closes the connections of keys that were let in as members and are no longer allowed, links or not.
    fn close_strangers(&self) {
        let let_in = lock(&self.server).as_ref().and_then(|serving| serving.let_in.clone());
        if let Some(let_in) = let_in {
            self.close_connections(|peer| !let_in.still_allows(peer));
        }
    }

    fn close_connections(&self, of: impl Fn(&PeerIdentity) -> bool) {
        let Some(serving) = lock(&self.server).clone() else {
            return;
        };
        for connection in serving.server.connections() {
            if of(connection.peer()) {
                tokio::spawn(async move {
                    connection.close(CloseCode::NotAllowed, "this key is no longer allowed here").await;
                });
            }
        }
    }
}
