//! What a cluster's handle and its observer share, and how a key of a member is looked up.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::attributes::RESERVED;
use crate::clock::Clock;
use crate::engine::gate::Gate;
use crate::engine::{Engine, NodeId, Store, Stored};
use crate::limits::Limits;
use crate::links::Links;
use crate::member::Row;
use crate::signing::SigningKey;
use crate::subscription::Subscribers;
use crate::value::{Envelope, Place, Value};

/// One node's part in a cluster.
pub(crate) struct Shared {
    pub(crate) own: NodeId,
    pub(crate) cluster: String,
    pub(crate) interval: Duration,
    pub(crate) forget_after: Duration,
    pub(crate) keep_keys: bool,
    pub(crate) limits: Limits,
    /// What signs the values of this node, where something does.
    pub(crate) signing: Option<SigningKey>,
    pub(crate) clock: Clock,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) links: Arc<dyn Links>,
    subscribers: Mutex<Subscribers>,
    size: Mutex<Size>,
    /// Whether the rounds go on.
    pub(crate) running: AtomicBool,
}

/// How much a node keeps under its own name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) keys: usize,
    pub(crate) bytes: usize,
}

impl Size {
    /// The size once an entry has taken the place of another.
    pub(crate) const fn after(self, old: Option<usize>, new: usize) -> Self {
        let (key, gone) = match old {
            Some(bytes) => (0, bytes),
            None => (1, 0),
        };
        Self { keys: self.keys + key, bytes: (self.bytes + new).saturating_sub(gone) }
    }

    /// Whether it is within the limits.
    pub(crate) const fn fits(self, limits: &Limits) -> bool {
        self.keys <= limits.keys && self.bytes <= limits.bytes
    }
}

impl Shared {
    /// Puts the parts together; nobody has asked for anything yet.
    pub(crate) fn new(
        config: &crate::config::ClusterConfig,
        own: NodeId,
        engine: Arc<dyn Engine>,
        gate: Arc<Gate>,
        links: Arc<dyn Links>,
    ) -> Self {
        Self {
            own,
            cluster: config.cluster.clone(),
            interval: config.interval,
            forget_after: config.forget_after,
            keep_keys: config.keep_keys,
            limits: config.limits,
            signing: config.signing.clone(),
            clock: config.clock,
            engine,
            gate,
            links,
            subscribers: Mutex::default(),
            size: Mutex::default(),
            running: AtomicBool::new(true),
        }
    }

    pub(crate) fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a member has for a key, as users see it.
    pub(crate) fn value(&self, store: &dyn Store, row: &Row, key: &str, now: u64) -> Option<Value> {
        let stored = find(store, &row.id, &row.earlier, key)?;
        self.open(&row.member.name, key, stored, now)
    }

    /// A stored entry as users see it; nothing if it is deleted, over, or np's own.
    pub(crate) fn open(&self, node: &str, key: &str, stored: Stored<'_>, now: u64) -> Option<Value> {
        if stored.deleted || key.starts_with(RESERVED) {
            return None;
        }
        let envelope = Envelope::read(stored.text).filter(|envelope| !envelope.is_over(now))?;
        let verify = envelope.signed.and_then(|_| self.links.verify_key(node));
        Some(envelope.value(Place { cluster: &self.cluster, node, key }, stored.version, verify))
    }
}

/// An earlier start of a node, of whose keys the later ones have not taken over all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// The start.
    pub(crate) id: NodeId,
    /// What was set up to this version is taken over, or gone since.
    pub(crate) after: u64,
}

/// What a node's latest start has for a key, deleted or not, else what the start before had, and so on: the latest first.
pub(crate) fn find<'a>(store: &'a dyn Store, id: &NodeId, earlier: &[Earlier], key: &str) -> Option<Stored<'a>> {
    let left = |start: &Earlier| store.get(&start.id, key).filter(|stored| stored.version > start.after);
    store.get(id, key).or_else(|| earlier.iter().find_map(left))
}
