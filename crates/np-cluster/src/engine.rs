//! What np asks of an engine that spreads state by gossip, so that another can take its place.
//!
//! It owns the trait and its words. It must never know a type of the engine at work, which is behind [`chitchat`].

mod changes;
pub(crate) mod chitchat;
pub(crate) mod gate;
mod message;
mod socket;

#[cfg(any(test, feature = "simulation"))]
pub(crate) use self::socket::is_message;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::limits::{Limits, RESERVED_BYTES, RESERVED_KEYS};
use crate::shared::Size;

/// One start of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId {
    /// The node's name.
    pub(crate) name: Arc<str>,
    /// When it started, in milliseconds since 1970: of two starts of a name the later counts.
    pub(crate) generation: u64,
    /// Where others reach it.
    pub(crate) address: SocketAddr,
}

/// What is known of one start of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeInfo {
    /// Which.
    pub(crate) id: NodeId,
    /// Grows while the node lives.
    pub(crate) heartbeat: u64,
    /// Grows with each change of its keys.
    pub(crate) version: u64,
    /// Deletions up to this version are forgotten. Who knew less had the whole state replaced.
    pub(crate) cleared: u64,
}

/// How much is kept for a node: what it sets, and np's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its keys.
    pub(crate) keys: Size,
    /// Those that begin with `np.`, which have room of their own: a node at its limits can still say that it leaves.
    pub(crate) reserved: Size,
}

impl Kept {
    /// Puts an entry in the place of what was stored for its key.
    pub(crate) fn put(&mut self, reserved: bool, old: Option<usize>, new: usize) {
        let size = if reserved { &mut self.reserved } else { &mut self.keys };
        *size = size.after(old, new);
    }

    /// All of its bytes.
    pub(crate) const fn all_bytes(&self) -> usize {
        self.keys.bytes + self.reserved.bytes
    }

    /// Whether so much is taken up from a node.
    pub(crate) fn is_taken(&self, limits: &Limits) -> bool {
        self.keys.keys <= limits.keys
            && self.keys.bytes <= limits.bytes.saturating_mul(2)
            && self.reserved.keys <= RESERVED_KEYS
            && self.reserved.bytes <= RESERVED_BYTES
    }
}

/// What is kept for a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    /// The value with its envelope.
    pub(crate) text: &'a str,
    /// The node's version when it was set.
    pub(crate) version: u64,
    /// Whether the key is deleted.
    pub(crate) deleted: bool,
}

/// The state of all nodes, while nothing else changes it.
pub(crate) trait Store {
    /// Every start of every node.
    fn nodes(&self) -> Vec<NodeInfo>;
    /// One start of a node.
    fn info(&self, id: &NodeId) -> Option<NodeInfo>;
    /// What a node has for a key.
    fn get(&self, id: &NodeId, key: &str) -> Option<Stored<'_>>;
    /// Shows every key of a node in order, the deleted ones too.
    fn each(&self, id: &NodeId, see: &mut dyn FnMut(&str, Stored<'_>));
    /// Sets a key of this node's.
    fn set(&mut self, key: &str, text: &str);
    /// Deletes a key of this node's.
    fn delete(&mut self, key: &str);
    /// Goes on with a heartbeat and a version above these: others believe that this node has been there. Where the version was
    /// behind, all of its keys are told again, in the place of whatever is kept for it.
    fn outrun(&mut self, heartbeat: u64, version: u64);
    /// Drops what is known of another node's keys. They come again once it is heard again.
    fn clear(&mut self, id: &NodeId);
}

/// What is done with the state.
pub(crate) type Visit<'a> = Box<dyn FnOnce(&mut dyn Store) + Send + 'a>;

/// An engine at work.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Hands the state to `visit`; rounds of gossip wait meanwhile.
    fn visit<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, ()>;
    /// Gossips with a node at once, beside the rounds.
    fn gossip(&self, to: SocketAddr);
    /// Ends the rounds.
    fn stop(&self);
    /// Waits until the rounds have ended, for whatever reason.
    fn stopped(&self) -> BoxFuture<'static, ()>;
}

impl dyn Engine {
    /// Visits the state and brings back what was found.
    pub(crate) async fn with<R: Send>(&self, visit: impl FnOnce(&mut dyn Store) -> R + Send) -> Option<R> {
        let mut found = None;
        let slot = &mut found;
        self.visit(Box::new(move |store| *slot = Some(visit(store)))).await;
        found
    }
}
