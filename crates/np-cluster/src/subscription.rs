//! What happens to keys, told to those who asked. It must never wait for one of them.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits::EVENTS_MAX;
use crate::value::Value;

/// What happened to a key.
///
/// ```
/// # async fn example(cluster: &np_cluster::Cluster) -> Result<(), np_cluster::ClusterError> {
/// use np_cluster::KeyEvent;
/// let mut shards = cluster.subscribe("shard.").await?;
/// while let Some(event) = shards.next().await {
///     if let KeyEvent::Set { node, key, value } = event {
///         println!("{node} {key} {}", value.text);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEvent {
    /// A node has this value for a key. It may be told twice.
    Set {
        /// The node.
        node: String,
        /// The whole key.
        key: String,
        /// The value.
        value: Value,
    },
    /// A node has the key no more: it was deleted, or its time is over.
    Deleted {
        /// The node.
        node: String,
        /// The whole key.
        key: String,
    },
    /// All keys of a node are gone: it was forgotten or retired, or its state was replaced. In the last case those it has
    /// follow.
    Gone {
        /// The node.
        node: String,
    },
    /// More happened than fitted: take a snapshot.
    Missed,
}

/// The keys that begin in a certain way: those that are there when it is made, then what happens to them.
///
/// ```
/// # async fn example(cluster: &np_cluster::Cluster) -> Result<(), np_cluster::ClusterError> {
/// let mut all = cluster.subscribe("").await?;
/// let first = all.next().await;
/// # drop(first);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscription {
    initial: VecDeque<KeyEvent>,
    events: mpsc::Receiver<KeyEvent>,
}

impl Subscription {
    /// The next event; nothing once the node is no member any more. It may be dropped without loss.
    pub async fn next(&mut self) -> Option<KeyEvent> {
        match self.initial.pop_front() {
            Some(event) => Some(event),
            None => self.events.recv().await,
        }
    }
}

/// Those who asked.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Vec<Subscriber>);

#[derive(Debug)]
struct Subscriber {
    prefix: String,
    events: mpsc::Sender<KeyEvent>,
    missed: bool,
}

impl Subscribers {
    /// Adds one, with what is there already.
    pub(crate) fn add(&mut self, prefix: &str, initial: VecDeque<KeyEvent>) -> Subscription {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        self.0.push(Subscriber { prefix: prefix.to_owned(), events: sender, missed: false });
        Subscription { initial, events }
    }

    /// Tells those whom an event of this key concerns; without a key it concerns all.
    pub(crate) fn tell(&mut self, key: Option<&str>, event: &KeyEvent) {
        for one in &mut self.0 {
            if key.is_none_or(|key| key.starts_with(&one.prefix)) {
                one.tell(event);
            }
        }
    }

    /// Forgets those who have gone, and says to those who missed something that they did.
    pub(crate) fn tidy(&mut self) {
        self.0.retain_mut(|one| {
            if one.missed && one.events.try_send(KeyEvent::Missed).is_ok() {
                one.missed = false;
            }
            !one.events.is_closed()
        });
    }

    /// Whether nobody asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets all of them come to an end.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}

impl Subscriber {
    fn tell(&mut self, event: &KeyEvent) {
        if self.missed {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.events.try_send(event.clone()) {
            self.missed = true;
        }
    }
}
