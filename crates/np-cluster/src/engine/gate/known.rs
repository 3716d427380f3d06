//! The nodes that the engine knows, or will in a moment, and how much it keeps for each. It must never know why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::NodeInfo;
use super::super::message::Id;
use crate::limits::{DIGEST_MAX, Limits};

/// For how many looks at the engine a node is counted that has not got there: by then the engine has seen its message.
const PATIENCE: u8 = 4;

/// The nodes by name.
pub(super) struct Known {
    limits: Limits,
    starts: BTreeMap<Arc<str>, Vec<Start>>,
    /// The latest start of each name that is not heard any more.
    retired: BTreeMap<Arc<str>, u64>,
    count: usize,
    digest: usize,
    bytes: usize,
}

struct Start {
    generation: u64,
    address: SocketAddr,
    keys: usize,
    bytes: usize,
    /// Looks left until the node must be in the engine; `None` once it was there.
    waiting: Option<u8>,
}

impl Start {
    fn is(&self, id: &Id<'_>) -> bool {
        (self.generation, self.address) == (id.generation, id.address)
    }
}

impl Known {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, starts: BTreeMap::new(), retired: BTreeMap::new(), count: 0, digest: 0, bytes: 0 }
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn contains(&self, id: &Id<'_>) -> bool {
        self.starts.get(id.name).is_some_and(|starts| starts.iter().any(|start| start.is(id)))
    }

    /// Where the nodes are reached.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.starts.values().flatten().map(|start| start.address).collect()
    }

    /// Takes a node up if there is room. One place is the node's own.
    pub(super) fn insert(&mut self, id: &Id<'_>) -> bool {
        if self.count + 1 >= self.limits.nodes || self.digest + id.digest_len() > DIGEST_MAX - 128 {
            return false;
        }
        self.push(id, 0, 0, Some(PATIENCE));
        true
    }

    fn push(&mut self, id: &Id<'_>, keys: usize, bytes: usize, waiting: Option<u8>) {
        let start = Start { generation: id.generation, address: id.address, keys, bytes, waiting };
        match self.starts.get_mut(id.name) {
            Some(starts) => starts.push(start),
            None => {
                self.starts.insert(id.name.into(), vec![start]);
            }
        }
        self.count += 1;
        self.digest += id.digest_len();
        self.bytes += bytes;
    }

    /// How many of a node's new entries there is room for, by their bytes. They count until the next look at the engine.
    pub(super) fn take(&mut self, id: &Id<'_>, entries: impl Iterator<Item = usize>) -> usize {
        let starts = self.starts.get_mut(id.name);
        let Some(start) = starts.and_then(|starts| starts.iter_mut().find(|start| start.is(id))) else {
            return 0;
        };
        let mut taken = 0;
        for bytes in entries {
            let fits = start.keys < self.limits.keys
                && start.bytes + bytes <= self.limits.bytes
                && self.bytes + bytes <= self.limits.total_bytes;
            if !fits {
                break;
            }
            start.keys += 1;
            start.bytes += bytes;
            self.bytes += bytes;
            taken += 1;
        }
        taken
    }

    /// Takes up what the engine keeps: nodes with their keys and bytes.
    pub(super) fn refresh(&mut self, kept: &[(NodeInfo, usize, usize)]) {
        let before = std::mem::take(&mut self.starts);
        (self.count, self.digest, self.bytes) = (0, 0, 0);
        for (node, keys, bytes) in kept {
            let id = Id { name: &node.id.name, generation: node.id.generation, address: node.id.address };
            self.push(&id, *keys, *bytes, None);
        }
        for (name, starts) in before {
            for start in starts {
                let id = Id { name: &name, generation: start.generation, address: start.address };
                let waiting = start.waiting.and_then(|left| left.checked_sub(1));
                if waiting.is_some() && !self.contains(&id) {
                    self.push(&id, start.keys, start.bytes, waiting);
                }
            }
        }
    }

    /// Ends a name with its latest start.
    pub(super) fn retire(&mut self, name: &Arc<str>) {
        let latest = self.starts.get(name).into_iter().flatten().map(|start| start.generation).max();
        // As many names as there are nodes: the oldest goes, and with it nothing that is still told of.
        if self.retired.len() >= self.limits.nodes {
            self.retired.pop_first();
        }
        self.retired.insert(Arc::clone(name), latest.unwrap_or_default());
    }

    pub(super) fn is_retired(&self, id: &Id<'_>) -> bool {
        self.retired.get(id.name).is_some_and(|latest| id.generation <= *latest)
    }
}
