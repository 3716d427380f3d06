//! What np asks of an engine that spreads state by gossip, so that another can take its place.
//!
//! It owns the trait and its words. It must never know a type of the engine at work, which is behind [`chitchat`].

mod changes;
pub(crate) mod chitchat;
pub(crate) mod gate;
mod message;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

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
    /// What a node has for a key.
    fn get(&self, id: &NodeId, key: &str) -> Option<Stored<'_>>;
    /// Shows every key of a node in order, the deleted ones too.
    fn each(&self, id: &NodeId, see: &mut dyn FnMut(&str, Stored<'_>));
    /// Sets a key of this node's.
    fn set(&mut self, key: &str, text: &str);
    /// Deletes a key of this node's.
    fn delete(&mut self, key: &str);
    /// Drops what is known of another node's keys.
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
