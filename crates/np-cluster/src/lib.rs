//! Membership and shared state over np's own links.
//!
//! This crate owns the member list, failure detection and replicated key/value state, on an existing engine none of whose
//! types are public. It must never know a byte of the wire: it speaks through the facade.
//!
//! Each node writes its own keys and no others; all nodes have all keys after a few rounds of gossip. `docs/CLUSTER.md` tells
//! what that is good for and what it is not.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod attributes;
mod clock;
mod cluster;
mod config;
mod detector;
mod engine;
mod error;
mod limits;
mod links;
mod member;
mod observer;
mod peering;
mod remote;
mod shared;
mod signing;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod stats;
mod subscription;
#[cfg(test)]
mod tests;
mod value;

pub use attributes::Attributes;
pub use cluster::Cluster;
pub use cluster::keys::Snapshot;
pub use cluster::resolver::ClusterResolver;
pub use config::ClusterConfig;
pub use error::ClusterError;
pub use limits::{ADDRESSES_MAX, ATTRIBUTE_MAX, ENTRY_MAX, INTERVAL_FLOOR, KEY_MAX, Limits, NAME_MAX};
pub use links::LinkStats;
pub use member::{Event, Member, MemberState, Watch};
pub use peering::Peering;
pub use remote::{ClusterClient, Entry, MemberTables};
pub use signing::SigningKey;
pub use stats::ClusterStats;
pub use subscription::{KeyEvent, Subscription};
pub use value::{Signature, Value};
