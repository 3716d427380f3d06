//! The nodes that the engine knows, or will in a moment, and how much it keeps for each. It must never know why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::message::Id;
use super::super::{Kept, NodeInfo};
use crate::limits::{DIGEST_MAX, Limits};

/// For how many looks at the engine a node is counted that has not got there: by then the engine has seen its message.
const PATIENCE: u8 = 4;

/// The nodes by name, this one among them.
pub(super) struct Known {
    limits: Limits,
    starts: BTreeMap<Arc<str>, Vec<Start>>,
    count: usize,
    digest: usize,
    bytes: usize,
    /// Looks at the engine.
    looks: u32,
}

struct Start {
    generation: u64,
    address: SocketAddr,
    kept: Kept,
    /// Looks left until the node must be in the engine.
    waiting: u8,
    /// The look at which it was there.
    looked: u32,
}

impl Start {
    fn is(&self, id: &Id<'_>) -> bool {
        (self.generation, self.address) == (id.generation, id.address)
    }
}

/// What an entry does to the size of its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    /// Whether the key is one of np's own.
    pub(super) reserved: bool,
    /// The bytes that are stored for the key, if any are.
    pub(super) old: Option<usize>,
    /// Its bytes.
    pub(super) new: usize,
}

impl Known {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, starts: BTreeMap::new(), count: 0, digest: 0, bytes: 0, looks: 0 }
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, id: &Id<'_>) -> bool {
        self.starts.get(id.name).is_some_and(|starts| starts.iter().any(|start| start.is(id)))
    }

    /// Where the nodes are reached.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.starts.values().flatten().map(|start| start.address).collect()
    }

    /// Takes a node up if there is room.
    pub(super) fn insert(&mut self, id: &Id<'_>) -> bool {
        if self.count >= self.limits.nodes || self.digest + id.digest_len() > DIGEST_MAX - 128 {
            return false;
        }
        self.push(id);
        true
    }

    /// Takes a node up: this one, or one that the engine has.
    pub(super) fn push(&mut self, id: &Id<'_>) {
        let start = Start {
            generation: id.generation,
            address: id.address,
            kept: Kept::default(),
            waiting: PATIENCE,
            looked: self.looks,
        };
        match self.starts.get_mut(id.name) {
            Some(starts) => starts.push(start),
            None => {
                self.starts.insert(id.name.into(), vec![start]);
            }
        }
        self.count += 1;
        self.digest += id.digest_len();
    }

    /// How many of a node's entries there is room for, by what they weigh: as many from the first on as leave the node within
    /// the limits. With `anew` they take the place of all that is stored.
    pub(super) fn take(&mut self, id: &Id<'_>, anew: bool, entries: impl Iterator<Item = Weight>) -> usize {
        let starts = self.starts.get_mut(id.name);
        let Some(start) = starts.and_then(|starts| starts.iter_mut().find(|start| start.is(id))) else {
            return 0;
        };
        let others = self.bytes.saturating_sub(start.kept.all_bytes());
        let mut kept = if anew { Kept::default() } else { start.kept };
        let mut taken = 0;
        for (weight, count) in entries.zip(1..) {
            kept.put(weight.reserved, weight.old, weight.new);
            // Within a message a value may meet one that a later entry replaces.
            if kept.is_taken(&self.limits) && others + kept.all_bytes() <= self.limits.total_bytes {
                (start.kept, taken) = (kept, count);
            }
        }
        self.bytes = others + start.kept.all_bytes();
        taken
    }

    /// Takes up what the engine keeps: nodes with what they weigh. Tells whether another node is there, or one less.
    pub(super) fn refresh(&mut self, kept: &[(NodeInfo, Kept)]) -> bool {
        self.looks = self.looks.wrapping_add(1);
        let (looks, before) = (self.looks, self.count);
        let mut changed = false;
        for (node, kept) in kept {
            let id = Id { name: &node.id.name, generation: node.id.generation, address: node.id.address };
            if !self.contains(&id) {
                self.push(&id);
                changed = true;
            }
            let starts = self.starts.get_mut(id.name).into_iter().flatten();
            starts.filter(|start| start.is(&id)).for_each(|start| {
                (start.kept, start.waiting, start.looked) = (*kept, 0, looks);
            });
        }
        (self.count, self.digest, self.bytes) = (0, 0, 0);
        self.starts.retain(|name, starts| {
            starts.retain_mut(|start| {
                let stays = start.looked == looks || start.waiting > 0;
                start.waiting = start.waiting.saturating_sub(1);
                stays
            });
            for start in &*starts {
                let id = Id { name, generation: start.generation, address: start.address };
                self.count += 1;
                self.digest += id.digest_len();
                self.bytes += start.kept.all_bytes();
            }
            !starts.is_empty()
        });
        changed || self.count != before
    }
}
