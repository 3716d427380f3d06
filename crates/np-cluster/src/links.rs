//! The seam between the engine and the links: how gossip messages travel, and whom they come from.
//!
//! It owns the trait and its two messages. It must never know the engine's types, nor a type of the facade.

mod announcement;
mod book;
mod directory;
mod net;
mod queue;

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::mpsc;

pub(crate) use directory::NodeKey;
pub use net::LinkStats;
pub(crate) use net::{METHOD, Net, Serving, Settings, server_limits};

/// Moves gossip messages between members over links that prove who is at the other end.
pub(crate) trait Links: Send + Sync + 'static {
    /// Puts a message in the queue of the member at `to` and opens a link to it where there is none.
    ///
    /// It never waits: a message that finds the queue full is dropped and counted. Gossip says it again.
    fn send(&self, to: SocketAddr, message: Bytes);

    /// Cuts off the member with this key and counts it: it sent what is no gossip message.
    fn refuse(&self, sender: NodeKey);

    /// The text of the public key that is bound to a name; nothing for a node that no link has been opened with.
    fn key_of(&self, _name: &str) -> Option<String> {
        None
    }

    /// The name that is bound to the key of the member at this address. A name that was retired is heard again once its node
    /// speaks from there.
    fn name_at(&self, _at: SocketAddr) -> Option<String> {
        None
    }

    /// Whether a node of this name may be one of the cluster, before a member is believed that it is: `false` where the list
    /// of allowed keys names every node, and none of them so.
    fn admits(&self, _name: &str) -> bool {
        true
    }

    /// What has been counted.
    fn stats(&self) -> LinkStats {
        LinkStats::default()
    }

    /// The public half of the Ed25519 key by which a node signs its values, where the list of allowed keys names one.
    fn verify_key(&self, _name: &str) -> Option<[u8; 32]> {
        None
    }
}

/// What the links hand to the engine, through a bounded channel.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message of a member.
    Message {
        /// Where an answer goes: the address at which the member has answered to its key, or a mark that stands for its link.
        from: SocketAddr,
        /// The key that the link has proven. Whatever the address leads to by now, this one sent the message.
        sender: NodeKey,
        /// The message, at most as long as the links allow.
        bytes: Bytes,
    },
    /// A member whose key is no longer allowed, while nobody else has its name: its state is to be retired.
    Retired {
        /// The name that was bound to the key.
        name: String,
    },
}

/// The receiving end of what the links hand over.
pub(crate) type Inbox = mpsc::Receiver<Incoming>;

#[cfg(test)]
mod tests;
