//! What of the messages may pass: the bounds on what members can make this node keep, and who may be spoken for.
//!
//! It owns the figures of what is known. It must never decode a message itself, nor know a type of the engine.

mod known;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use self::known::Known;
pub(crate) use super::changes::is_key;
use super::changes::{self, BLOCK, Change, Excess};
use super::message::{Digested, Garbage, Id, Kind, Message, VERSION_MAX};
use super::{NodeId, NodeInfo};
use crate::clock::{Clock, millis};
use crate::limits::{AHEAD_MAX, DECODED_MAX, Limits, MESSAGE_MAX};
use crate::links::Links;
use crate::stats::ClusterStats;

/// Between the links and the engine.
pub(crate) struct Gate {
    own: NodeId,
    cluster: String,
    clock: Clock,
    links: Arc<dyn Links>,
    state: Mutex<State>,
}

struct State {
    known: Known,
    /// Names whose key was taken off the list: what they said up to their latest start is not heard any more.
    retired: BTreeSet<Arc<str>>,
    /// Names that were retired since somebody asked.
    newly_retired: Vec<Arc<str>>,
    /// When members were last heard themselves, and which version of this node's state they had.
    peers: std::collections::BTreeMap<SocketAddr, Peer>,
    /// The versions that members have of this node's earlier starts.
    earlier: std::collections::BTreeMap<u64, u64>,
    /// When a member first told what it knows.
    first_told: Option<Instant>,
    stats: ClusterStats,
}

#[derive(Clone, Copy)]
struct Peer {
    heard: Instant,
    has: u64,
}

/// What members have told about this node.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// When a member first told what it knows.
    pub(crate) first: Option<Instant>,
    /// The latest of this node's earlier starts that members know something of, and its version there.
    pub(crate) earlier: Vec<(u64, u64)>,
}

impl Gate {
    pub(crate) fn new(own: NodeId, cluster: &str, clock: Clock, limits: Limits, links: Arc<dyn Links>) -> Self {
        let state = State {
            known: Known::new(limits),
            retired: BTreeSet::new(),
            newly_retired: Vec::new(),
            peers: std::collections::BTreeMap::new(),
            earlier: std::collections::BTreeMap::new(),
            first_told: None,
            stats: ClusterStats::default(),
        };
        Self { own, cluster: cluster.to_owned(), clock, links, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the engine may see of a message, in the engine's form and without compression.
    pub(crate) fn incoming(&self, from: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, Garbage> {
        if bytes.len() > MESSAGE_MAX {
            return Err(Garbage("more than 64 KiB"));
        }
        let mut message = Message::read(bytes)?;
        let has_changes = message.kind.has_changes();
        let unfolded =
            if has_changes { changes::unfold(message.blocks, DECODED_MAX, Excess::Refuse)? } else { Vec::new() };
        let mut changes = changes::read(&unfolded, Excess::Refuse)?;
        let mut state = self.state();
        let state = &mut *state;
        state.stats.messages += 1;
        if message.kind == Kind::BadCluster || (message.kind == Kind::Syn && message.cluster != self.cluster) {
            // The engine answers, and takes nothing of it.
            state.stats.wrong_cluster += 1;
            message.digest.clear();
            return Ok(message.write(&[]));
        }
        self.note_peer(state, from, &message);
        message.digest.retain(|digested| self.admit_node(state, digested));
        self.admit_changes(state, &mut changes);
        let blocks = if has_changes { changes::write(&changes, false) } else { Vec::new() };
        Ok(message.write(&blocks))
    }

    fn note_peer(&self, state: &mut State, from: SocketAddr, message: &Message<'_>) {
        let has = message.digest.iter().find(|digested| digested.id.is(&self.own)).map(|digested| digested.version);
        let now = Instant::now();
        if message.kind == Kind::SynAck {
            state.first_told.get_or_insert(now);
        }
        let most = state.known.limits().nodes;
        let room = state.peers.len() < most;
        if room || state.peers.contains_key(&from) {
            let peer = state.peers.entry(from).or_insert(Peer { heard: now, has: 0 });
            *peer = Peer { heard: now, has: has.unwrap_or(peer.has) };
        }
    }

    /// Whether a node that a member tells of is one.
    fn admit_node(&self, state: &mut State, digested: &Digested<'_>) -> bool {
        let id = &digested.id;
        if id.is(&self.own) {
            return true;
        }
        if id.name == &*self.own.name {
            if id.generation >= self.own.generation {
                // Only this node can tell of its own later start, and it does not: another runs under its name, or a
                // member lies.
                state.stats.impersonations += 1;
                return false;
            }
            state.note_earlier(id.generation, digested.version);
        }
        if state.is_retired(id) {
            return false;
        }
        if digested.version > VERSION_MAX {
            state.stats.over_limit += 1;
            return false;
        }
        if state.known.contains(id) {
            return true;
        }
        let ahead = self.clock.now().saturating_add(millis(AHEAD_MAX));
        let welcome = id.generation <= ahead && self.links.admits(id.name);
        if !(welcome && state.known.insert(id)) {
            state.stats.over_limit += 1;
            return false;
        }
        true
    }

    /// Leaves of the changes what others may say, within the limits.
    fn admit_changes(&self, state: &mut State, changes: &mut Vec<Change<'_>>) {
        changes.retain(|change| {
            let own = change.id.name == &*self.own.name && change.id.generation >= self.own.generation;
            let readable = change.highest() <= VERSION_MAX;
            state.stats.over_limit += u64::from(!readable);
            !own && readable && !state.is_retired(&change.id) && state.known.contains(&change.id)
        });
        for change in changes {
            let fits =
                state.known.take(&change.id, change.entries.iter().map(|entry| entry.key.len() + entry.text.len()));
            if fits < change.entries.len() {
                state.stats.over_limit += 1;
                change.entries.truncate(fits);
            }
        }
    }

    /// A message of the engine's, as it may go out: no longer than a receiver takes, and nothing of retired nodes.
    pub(crate) fn outgoing(&self, bytes: Vec<u8>) -> Option<Bytes> {
        if !Kind::of(&bytes)?.has_changes() {
            return (bytes.len() <= MESSAGE_MAX).then(|| Bytes::from(bytes));
        }
        let message = Message::read(&bytes).ok()?;
        let small = changes::count_blocks(message.blocks).ok()? <= DECODED_MAX / BLOCK;
        let state = self.state();
        if small && state.retired.is_empty() {
            return (bytes.len() <= MESSAGE_MAX).then(|| Bytes::from(bytes));
        }
        let unfolded = changes::unfold(message.blocks, DECODED_MAX, Excess::Cut).ok()?;
        let mut kept = changes::read(&unfolded, Excess::Cut).ok()?;
        kept.retain(|change| !state.is_retired(&change.id));
        drop(state);
        let written = message.write(&changes::write(&kept, true));
        (written.len() <= MESSAGE_MAX).then(|| Bytes::from(written))
    }

    /// Hears no more of a name up to its latest start, and of later ones only once the links have bound the name again.
    pub(crate) fn retire(&self, name: &str) {
        let mut state = self.state();
        let name: Arc<str> = name.into();
        state.known.retire(&name);
        state.retired.insert(Arc::clone(&name));
        state.newly_retired.push(name);
    }

    /// The names that were retired since the last time.
    pub(crate) fn take_retired(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.state().newly_retired)
    }

    /// Whether nothing is heard of a node any more.
    pub(crate) fn is_retired(&self, id: &NodeId) -> bool {
        let state = self.state();
        state.is_retired(&Id { name: &id.name, generation: id.generation, address: id.address })
    }

    /// Takes up what the engine really keeps, and lets retired names in again that the links have bound anew.
    pub(crate) fn refresh(&self, kept: &[(NodeInfo, usize, usize)]) {
        let mut state = self.state();
        state.known.refresh(kept);
        let bound: Vec<Arc<str>> =
            state.retired.iter().filter(|name| self.links.key_of(name).is_some()).map(Arc::clone).collect();
        bound.iter().for_each(|name| {
            state.retired.remove(name);
        });
        let addresses = state.known.addresses();
        state.peers.retain(|at, _| addresses.contains(at));
    }

    /// When a member was last heard itself.
    pub(crate) fn heard(&self, at: SocketAddr) -> Option<Instant> {
        self.state().peers.get(&at).map(|peer| peer.heard)
    }

    /// How many members have this version of this node's state.
    pub(crate) fn have(&self, version: u64) -> usize {
        self.state().peers.values().filter(|peer| peer.has >= version).count()
    }

    /// What members have told about this node.
    pub(crate) fn told(&self) -> Told {
        let state = self.state();
        Told { first: state.first_told, earlier: state.earlier.iter().map(|(start, at)| (*start, *at)).collect() }
    }

    /// Counts a message that was none.
    pub(crate) fn count_garbage(&self) {
        self.state().stats.refused += 1;
    }

    /// What has been counted.
    pub(crate) fn stats(&self) -> ClusterStats {
        self.state().stats
    }
}

impl State {
    fn is_retired(&self, id: &Id<'_>) -> bool {
        self.known.is_retired(id) || self.retired.contains(id.name)
    }

    /// The latest few are enough: an earlier one was taken over by a later.
    fn note_earlier(&mut self, generation: u64, version: u64) {
        let known = self.earlier.entry(generation).or_default();
        *known = version.max(*known);
        if self.earlier.len() > 8 {
            self.earlier.pop_first();
        }
    }
}
