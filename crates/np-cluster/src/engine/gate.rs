//! What of the messages may pass: the bounds on what members can make this node keep, and who may be spoken for.
//!
//! It owns the figures of what is known. It must never decode a message itself, nor know a type of the engine.

mod known;
mod retired;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use self::known::{Known, Weight, Word};
use self::retired::Retired;
pub(crate) use super::changes::is_key;
use super::changes::{self, Change, Excess};
use super::message::{Digested, Garbage, Id, Kind, Message};
use super::{Kept, NodeId, NodeInfo, Store};
use crate::attributes::RESERVED;
use crate::clock::{Clock, millis};
use crate::limits::{AHEAD_MAX, BLOCKS_MAX, COUNTS_A_MILLISECOND, DECODED_MAX, Limits, MESSAGE_MAX};
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
    /// Names whose key was taken off the list.
    retired: Retired,
    /// Names that were retired since somebody asked.
    newly_retired: Vec<Arc<str>>,
    /// When members were last heard themselves, and which version of this node's state they had.
    peers: BTreeMap<SocketAddr, Peer>,
    /// What members have told of this node that is not so: a heartbeat and a version that it has not reached.
    overtaken: Overtaken,
    /// When a member first told what it knows.
    first_told: Option<Instant>,
    stats: ClusterStats,
}

struct Peer {
    heard: Instant,
    has: u64,
    /// Whose link it is, by name and start: others have been at the address, and may be again.
    who: Option<(String, u64)>,
}

/// How far members believe this node to be that is not there; 0 where they do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Overtaken {
    /// A heartbeat.
    pub(crate) heartbeat: u64,
    /// A version.
    pub(crate) version: u64,
}

impl Gate {
    pub(crate) fn new(own: NodeId, cluster: &str, clock: Clock, limits: Limits, links: Arc<dyn Links>) -> Self {
        let mut known = Known::new(limits);
        known.push(&Id::of(&own));
        let state = State {
            known,
            retired: Retired::new(limits.nodes),
            newly_retired: Vec::new(),
            peers: BTreeMap::new(),
            overtaken: Overtaken::default(),
            first_told: None,
            stats: ClusterStats::default(),
        };
        Self { own, cluster: cluster.to_owned(), clock, links, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the engine may see of a message, in the engine's form and without compression. What is stored stays as it is
    /// until the engine has seen it.
    pub(crate) fn incoming(&self, from: SocketAddr, bytes: &[u8], store: &dyn Store) -> Result<Vec<u8>, Garbage> {
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
        let own_word = self.note_peer(state, from, &message);
        self.note_overtaken(state, &message, store);
        let now = self.clock.now();
        message.digest.retain_mut(|digested| self.admit_node(state, digested, &own_word, now));
        self.admit_changes(state, &mut changes, store, now);
        let blocks = if has_changes { changes::write(&changes, false) } else { Vec::new() };
        Ok(message.write(&blocks))
    }

    /// Notes that a member has spoken, and tells which start of it that is, where its message says so.
    fn note_peer(&self, state: &mut State, from: SocketAddr, message: &Message<'_>) -> Option<NodeId> {
        let has = message.digest.iter().find(|digested| digested.id.is(&self.own)).map(|digested| digested.version);
        let now = Instant::now();
        if message.kind == Kind::SynAck {
            state.first_told.get_or_insert(now);
        }
        let most = state.known.limits().nodes;
        let room = state.peers.len() < most;
        // What a node is now, it says itself: its last start, of those that it tells of its own name.
        let name = self.links.name_at(from);
        let own_words = message.digest.iter().filter(|digested| name.as_deref() == Some(digested.id.name));
        let own_word = own_words.max_by_key(|digested| digested.id.generation);
        if room || state.peers.contains_key(&from) {
            let peer = state.peers.entry(from).or_insert(Peer { heard: now, has: 0, who: None });
            (peer.heard, peer.has) = (now, has.unwrap_or(peer.has));
            if let Some(digested) = own_word {
                peer.who = Some((digested.id.name.to_owned(), digested.id.generation));
            }
        }
        // Of a name that was retired, others tell what it once was.
        if let Some(digested) = own_word.filter(|_| !state.retired.is_empty()) {
            state.retired.bring_back(&digested.id);
        }
        own_word.map(|Digested { id, .. }| NodeId {
            name: id.name.into(),
            generation: id.generation,
            address: id.address,
        })
    }

    /// Whether somebody has made up more of this node than there is.
    fn note_overtaken(&self, state: &mut State, message: &Message<'_>, store: &dyn Store) {
        let told = message.digest.iter().find(|digested| digested.id.is(&self.own));
        let Some((told, own)) = told.zip(store.info(&self.own)) else {
            return;
        };
        let most = most_counted(self.own.generation, self.clock.now());
        let beyond = |told: u64, own: u64| if told > own && told <= most { told } else { 0 };
        let overtaken = Overtaken {
            heartbeat: beyond(told.heartbeat, own.heartbeat).max(state.overtaken.heartbeat),
            version: beyond(told.version.max(told.cleared), own.version).max(state.overtaken.version),
        };
        if overtaken != state.overtaken {
            state.overtaken = overtaken;
            state.stats.impersonations += 1;
        }
    }

    /// Whether a node that a member tells of is one. What it cannot have counted up to since it started is cut.
    fn admit_node(&self, state: &mut State, digested: &mut Digested<'_>, own_word: &Option<NodeId>, now: u64) -> bool {
        let id = &digested.id;
        if id.is(&self.own) {
            return true;
        }
        if id.name == &*self.own.name && id.generation >= self.own.generation {
            // Only this node can tell of its own later start, and it does not: another runs under its name, or a
            // member lies.
            state.stats.impersonations += 1;
            return false;
        }
        if state.retired.contains(id) {
            return false;
        }
        let most = most_counted(id.generation, now);
        if digested.version.max(digested.cleared) > most || digested.heartbeat > most {
            state.stats.over_limit += 1;
            digested.heartbeat = digested.heartbeat.min(most);
            digested.version = digested.version.min(most);
            digested.cleared = digested.cleared.min(most);
        }
        let word = match own_word {
            Some(own_word) if id.is(own_word) => Word::Own,
            _ if id.name == &*self.own.name => Word::OfThis,
            _ => Word::Another,
        };
        if state.known.contains(id) {
            state.known.prove(id, word, Instant::now());
            return true;
        }
        let ahead = now.saturating_add(millis(AHEAD_MAX));
        let welcome = id.generation <= ahead && self.links.admits(id.name);
        if !(welcome && state.known.insert(id, word, Instant::now())) {
            state.stats.over_limit += 1;
            return false;
        }
        true
    }

    /// Leaves of the changes what others may say, within the limits.
    fn admit_changes(&self, state: &mut State, changes: &mut Vec<Change<'_>>, store: &dyn Store, now: u64) {
        changes.retain_mut(|change| {
            let own = change.id.name == &*self.own.name && change.id.generation >= self.own.generation;
            let counted = change.highest() <= most_counted(change.id.generation, now);
            state.stats.over_limit += u64::from(!counted);
            if own || !counted || state.retired.contains(&change.id) || !state.known.contains(&change.id) {
                return false;
            }
            let fits = take(state, change, store);
            let all = fits == change.entries.len();
            state.stats.over_limit += u64::from(!all);
            change.entries.truncate(fits);
            // Of a change whose every entry is left out, the rest would take away what is stored.
            all || fits > 0
        });
    }

    /// A message of the engine's, as it may go out: no longer than a receiver takes, and nothing of retired nodes.
    pub(crate) fn outgoing(&self, bytes: Vec<u8>) -> Option<Bytes> {
        let has_changes = Kind::of(&bytes)?.has_changes();
        let state = self.state();
        let message = if has_changes || !state.retired.is_empty() { Message::read(&bytes).ok() } else { None };
        let Some(mut message) = message else {
            return (!has_changes && bytes.len() <= MESSAGE_MAX).then(|| Bytes::from(bytes));
        };
        message.digest.retain(|digested| !state.retired.contains(&digested.id));
        if !has_changes {
            return Some(Bytes::from(message.write(&[])));
        }
        let small = changes::count_blocks(message.blocks).ok()? <= BLOCKS_MAX;
        if small && state.retired.is_empty() {
            return (bytes.len() <= MESSAGE_MAX).then(|| Bytes::from(bytes));
        }
        let unfolded = changes::unfold(message.blocks, DECODED_MAX, Excess::Cut).ok()?;
        let mut kept = changes::read(&unfolded, Excess::Cut).ok()?;
        kept.retain(|change| !state.retired.contains(&change.id));
        drop(state);
        let written = message.write(&changes::write(&kept, true));
        (written.len() <= MESSAGE_MAX).then(|| Bytes::from(written))
    }

    /// Hears no more of a name, until its node says over a link that has proven the name which start of it is there.
    pub(crate) fn retire(&self, name: &str) {
        let mut state = self.state();
        let name: Arc<str> = name.into();
        state.retired.insert(&name);
        state.newly_retired.push(name);
    }

    /// The names that were retired since the last time.
    pub(crate) fn take_retired(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.state().newly_retired)
    }

    /// What members have told of this node that is not so, since the last time.
    pub(crate) fn take_overtaken(&self) -> Overtaken {
        std::mem::take(&mut self.state().overtaken)
    }

    /// Whether nothing is heard of a node any more.
    pub(crate) fn is_retired(&self, id: &NodeId) -> bool {
        self.state().retired.contains(&Id::of(id))
    }

    /// Takes up what the engine really keeps.
    pub(crate) fn refresh(&self, kept: &[(NodeInfo, Kept)]) {
        let mut state = self.state();
        let changed = state.known.refresh(kept);
        if changed || state.peers.len() > state.known.count() {
            let addresses = state.known.addresses();
            state.peers.retain(|at, _| addresses.contains(at));
        }
    }

    /// When this start of a node was last heard itself.
    pub(crate) fn heard(&self, id: &NodeId) -> Option<Instant> {
        let state = self.state();
        let peer = state.peers.get(&id.address)?;
        let same = |(name, start): &(String, u64)| **name == *id.name && *start == id.generation;
        peer.who.as_ref().is_none_or(same).then_some(peer.heard)
    }

    /// How many members have this version of this node's state.
    pub(crate) fn have(&self, version: u64) -> usize {
        self.state().peers.values().filter(|peer| peer.has >= version).count()
    }

    /// When a member first told what it knows.
    pub(crate) fn first_told(&self) -> Option<Instant> {
        self.state().first_told
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

/// A message as its reader understands it.
#[cfg(any(test, feature = "simulation"))]
pub(crate) struct Reading {
    /// The same in the engine's form, without compression.
    pub(crate) written: Vec<u8>,
    /// The nodes that it names.
    pub(crate) nodes: usize,
    /// The entries of its changes.
    pub(crate) entries: usize,
}

/// Reads a message as the gate does, and writes it again; nothing of it is judged.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn reread(bytes: &[u8], most: usize) -> Result<Reading, Garbage> {
    if bytes.len() > most {
        return Err(Garbage("more than 64 KiB"));
    }
    let message = Message::read(bytes)?;
    let has_changes = message.kind.has_changes();
    let unfolded = if has_changes { changes::unfold(message.blocks, DECODED_MAX, Excess::Refuse)? } else { Vec::new() };
    let changes = changes::read(&unfolded, Excess::Refuse)?;
    let blocks = if has_changes { changes::write(&changes, false) } else { Vec::new() };
    let entries = changes.iter().map(|change| change.entries.len()).sum();
    Ok(Reading { written: message.write(&blocks), nodes: message.digest.len() + changes.len(), entries })
}

/// The highest heartbeat and version that a node can have: it counts up so often since it started, by a clock that may differ.
fn most_counted(generation: u64, now: u64) -> u64 {
    let ahead = millis(AHEAD_MAX);
    now.saturating_add(ahead).saturating_sub(generation).max(ahead).saturating_mul(COUNTS_A_MILLISECOND)
}

/// How many entries of a change there is room for.
fn take(state: &mut State, change: &Change<'_>, store: &dyn Store) -> usize {
    let id = NodeId { name: change.id.name.into(), generation: change.id.generation, address: change.id.address };
    let (version, cleared) = store.info(&id).map_or((0, 0), |info| (info.version, info.cleared));
    // The engine drops what it has when it has missed deletions.
    let anew = change.starts_anew(version, cleared);
    let weights = change.entries.iter().map(|entry| {
        let new = entry.key.len() + entry.text.len();
        let stored = || store.get(&id, entry.key).map(|stored| entry.key.len() + stored.text.len());
        // What the engine has already it does not take again.
        let old = if anew { None } else { stored().or_else(|| (entry.version <= version).then_some(0)) };
        let new = if !anew && entry.version <= version { old.unwrap_or_default() } else { new };
        Weight { reserved: entry.key.starts_with(RESERVED), old, new }
    });
    state.known.take(&change.id, anew, weights)
}

#[cfg(test)]
mod tests;
