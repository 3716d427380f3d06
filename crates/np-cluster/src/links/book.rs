//! What stands between this node and the others: links, attempts, and who is kept out. Must never do I/O nor read a clock.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::{CallError, PeerIdentity, Status};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::announcement::Announcement;
use super::directory::{Bound, Directory, Lie, Listed, NodeKey, Proof};
use super::queue::Queue;

/// The most addresses that are known at once, whatever members tell of others.
pub(crate) const MAX_PEERS: usize = 1_024;

/// How long a member is kept out that sent what is no gossip.
pub(crate) const BAN: Duration = Duration::from_secs(30);

/// The pauses between attempts at one address: each up to twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A link that stood for so long begins anew with the first pause.
const STEADY: Duration = Duration::from_secs(1);

/// How long an address is remembered that nobody wants.
const FORGET: Duration = Duration::from_secs(60);

/// Why a link ends from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another link to the same member takes its place.
    Replaced,
    /// The member sent what is no gossip.
    Garbage,
    /// The member's key is no longer allowed.
    Retired,
    /// This node leaves.
    Closed,
}

/// Why a link does not come about. The text is for the peer and for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("a member of a cluster proves a key of np or a certificate, and this peer has neither")]
    Keyless,
    #[error("this peer is not a member of the cluster: its key is not allowed")]
    NotAllowed,
    #[error("this peer sent what is no gossip, and is kept out for up to {} s", BAN.as_secs())]
    KeptOut,
    #[error("{0}")]
    Said(String),
    #[error("this node belongs to the cluster `{own}`, and the peer to `{said}`; check the addresses of the seeds")]
    Cluster { own: String, said: String },
    #[error("{0}")]
    Lie(#[from] Lie),
    #[error("this is the node itself")]
    Itself,
    #[error("there is a link to this node already")]
    Duplicate,
    #[error("this node is not in its cluster yet, or has left it")]
    Closed,
}

impl Refused {
    /// What the peer is told.
    pub(crate) fn told(&self) -> CallError {
        let status = match self {
            Self::Duplicate | Self::Closed | Self::Itself => Status::Unavailable,
            Self::Said(_) => Status::InvalidArgument,
            _ => Status::PermissionDenied,
        };
        CallError::answered(status, self.to_string())
    }

    /// Whether somebody said what is not so.
    pub(crate) const fn is_lie(&self) -> bool {
        matches!(self, Self::Lie(_) | Self::Said(_))
    }
}

/// Who has come, and how.
#[derive(Debug)]
pub(crate) struct Newcomer<'a> {
    pub(crate) key: NodeKey,
    pub(crate) identity: &'a PeerIdentity,
    pub(crate) said: &'a Announcement,
    pub(crate) listed: Listed,
    /// The address at which this node reached it; none where it came by itself.
    pub(crate) dialed: Option<SocketAddr>,
}

/// A link that stands, for the task that serves it.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) id: u64,
    pub(crate) key: NodeKey,
    /// The address that the member announced.
    pub(crate) at: SocketAddr,
    pub(crate) queue: Arc<Queue>,
}

/// What is to be done about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// It waits for a link that stands or is being made.
    Waits,
    /// A link must be made to this address.
    Dial(SocketAddr),
    /// It is for this node itself.
    Own,
    /// It is lost.
    Lost,
}

#[derive(Debug)]
struct Link {
    id: u64,
    key: NodeKey,
    instance: [u8; 16],
    dialed: bool,
    since: Instant,
    stop: oneshot::Sender<Stop>,
}

#[derive(Debug, Default)]
struct Peer {
    queue: Arc<Queue>,
    link: Option<Link>,
    dialing: bool,
    failures: u32,
    /// No attempt before this.
    not_before: Option<Instant>,
    used: Option<Instant>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) directory: Directory,
    peers: HashMap<SocketAddr, Peer>,
    /// Where nodes are that announce another address than they were reached at.
    aliases: HashMap<SocketAddr, SocketAddr>,
    banned: HashMap<NodeKey, Instant>,
    /// Addresses that lead back to this node.
    own: HashSet<SocketAddr>,
    me: Option<Announcement>,
    next: u64,
}

impl Book {
    /// Begins: from now on links come about.
    pub(crate) fn open(&mut self, me: Announcement) {
        self.directory.set_own(me.name.clone(), me.address);
        self.own.insert(me.address);
        self.me = Some(me);
    }

    /// What this node says of itself, while it takes part.
    pub(crate) const fn me(&self) -> Option<&Announcement> {
        self.me.as_ref()
    }

    /// Takes a message for an address, or the wish for a link to it alone.
    pub(crate) fn want(&mut self, to: SocketAddr, message: Option<Bytes>, now: Instant) -> Want {
        let to = self.aliases.get(&to).copied().unwrap_or(to);
        if self.own.contains(&to) {
            return Want::Own;
        }
        let kept_out = self.directory.key_at(to).is_some_and(|key| self.is_banned(key, now));
        if self.me.is_none() || kept_out || !self.make_room(to, now) {
            return Want::Lost;
        }
        let peer = self.peers.entry(to).or_default();
        peer.used = Some(now);
        let linked = peer.link.is_some();
        if !linked && !peer.dialing && peer.not_before.is_some_and(|then| then > now) {
            return Want::Lost;
        }
        let queued = message.is_none_or(|message| peer.queue.push(message));
        if !linked && !peer.dialing {
            peer.dialing = true;
            return Want::Dial(to);
        }
        if queued { Want::Waits } else { Want::Lost }
    }

    /// Whether there is room for what is known of an address; forgets what nobody wants any more.
    fn make_room(&mut self, to: SocketAddr, now: Instant) -> bool {
        if self.peers.contains_key(&to) || self.peers.len() < MAX_PEERS {
            return true;
        }
        let wanted = |peer: &Peer| peer.used.is_some_and(|used| now.saturating_duration_since(used) < FORGET);
        self.peers.retain(|_, peer| peer.link.is_some() || peer.dialing || wanted(peer));
        self.aliases.retain(|_, to| self.peers.contains_key(to));
        self.peers.len() < MAX_PEERS
    }

    /// Lets a node in that has proven a key, and makes its link the one to it.
    pub(crate) fn register(
        &mut self,
        newcomer: &Newcomer<'_>,
        now: Instant,
    ) -> Result<(Registered, oneshot::Receiver<Stop>), Refused> {
        let Newcomer { key, said, dialed, .. } = *newcomer;
        let me = self.me.as_ref().ok_or(Refused::Closed)?;
        if said.instance == me.instance {
            self.own.extend(dialed);
            return Err(Refused::Itself);
        }
        if said.cluster != me.cluster {
            return Err(Refused::Cluster { own: me.cluster.clone(), said: said.cluster.clone() });
        }
        let own_goes_first = me.name < said.name;
        if self.is_banned(key, now) {
            return Err(Refused::KeptOut);
        }
        self.bind(newcomer)?;
        if let Some((at, old)) = self.link_of(key) {
            let same_run = old.instance == said.instance;
            if same_run && old.dialed != dialed.is_some() && old.dialed == own_goes_first {
                return Err(Refused::Duplicate);
            }
            self.stop(at, Stop::Replaced);
        }
        if !self.make_room(said.address, now) {
            return Err(Refused::Closed);
        }
        Ok(self.insert(newcomer, now))
    }

    fn bind(&mut self, newcomer: &Newcomer<'_>) -> Result<(), Lie> {
        let Newcomer { key, identity, said, listed, dialed } = newcomer;
        let dialed = *dialed == Some(said.address);
        let proof = Proof { key: *key, identity, said, listed, dialed };
        let linked: HashSet<NodeKey> = self.peers.values().filter_map(|peer| Some(peer.link.as_ref()?.key)).collect();
        self.directory.bind(&proof, |key| linked.contains(key))
    }

    fn insert(&mut self, newcomer: &Newcomer<'_>, now: Instant) -> (Registered, oneshot::Receiver<Stop>) {
        let Newcomer { key, said, dialed, .. } = *newcomer;
        self.next = self.next.wrapping_add(1);
        let (id, at) = (self.next, said.address);
        let (sender, stop) = oneshot::channel();
        let aliased = dialed.filter(|to| *to != at);
        // What waited for the address that was dialed goes where the node is.
        let waited = aliased.and_then(|to| Some(self.peers.remove(&to)?.queue.drain())).unwrap_or_default();
        if let Some(to) = aliased {
            self.aliases.insert(to, at);
        }
        let peer = self.peers.entry(at).or_default();
        waited.into_iter().for_each(|message| {
            let _ = peer.queue.push(message);
        });
        peer.used = Some(now);
        let dialed = dialed.is_some();
        // One that stood there had another key, and is not there any more.
        if let Some(old) =
            peer.link.replace(Link { id, key, instance: said.instance, dialed, since: now, stop: sender })
        {
            let _ = old.stop.send(Stop::Replaced);
        }
        (Registered { id, key, at, queue: Arc::clone(&peer.queue) }, stop)
    }

    fn link_of(&self, key: NodeKey) -> Option<(SocketAddr, &Link)> {
        self.peers.iter().find_map(|(at, peer)| Some((*at, peer.link.as_ref().filter(|link| link.key == key)?)))
    }

    fn stop(&mut self, at: SocketAddr, why: Stop) {
        if let Some(link) = self.peers.get_mut(&at).and_then(|peer| peer.link.take()) {
            // A task that is gone has ended its link.
            let _ = link.stop.send(why);
        }
    }

    /// A link is over. Whoever is sent to next is reached by a new one, after a pause where the link did not stand.
    pub(crate) fn ended(&mut self, link: &Registered, now: Instant, random: u64) {
        let Some(peer) = self.peers.get_mut(&link.at) else {
            return;
        };
        if let Some(old) = peer.link.take_if(|standing| standing.id == link.id) {
            peer.failures = if now.saturating_duration_since(old.since) >= STEADY { 0 } else { peer.failures };
            peer.rest(now, random);
        }
    }

    /// An attempt is over, whatever came of it.
    pub(crate) fn attempted(&mut self, to: SocketAddr, failed: bool, now: Instant, random: u64) {
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        peer.dialing = false;
        if failed && peer.link.is_none() {
            peer.queue.drain();
            peer.rest(now, random);
        }
    }

    /// An address leads back to this node.
    pub(crate) fn is_own(&mut self, to: SocketAddr) {
        self.own.insert(to);
    }

    /// The key of the member at an address.
    pub(crate) fn key_at(&self, at: SocketAddr) -> Option<NodeKey> {
        self.directory.key_at(self.aliases.get(&at).copied().unwrap_or(at))
    }

    /// Whether a key is kept out.
    pub(crate) fn is_banned(&self, key: NodeKey, now: Instant) -> bool {
        self.banned.get(&key).is_some_and(|until| *until > now)
    }

    /// Cuts a member off and keeps it out for a while.
    pub(crate) fn ban(&mut self, key: NodeKey, now: Instant) {
        self.banned.retain(|_, until| *until > now);
        self.banned.insert(key, now + BAN);
        if let Some((at, _)) = self.link_of(key) {
            self.stop(at, Stop::Garbage);
        }
    }

    /// Cuts a member off whose key is no longer allowed, and frees its name.
    pub(crate) fn retire(&mut self, key: NodeKey) -> Option<Bound> {
        if let Some((at, _)) = self.link_of(key) {
            self.stop(at, Stop::Retired);
        }
        let bound = self.directory.retire(key)?;
        if let Some(peer) = bound.address.and_then(|at| self.peers.remove(&at)) {
            peer.queue.drain();
        }
        Some(bound)
    }

    /// Ends every link, and lets none come about any more.
    pub(crate) fn close(&mut self) {
        self.me = None;
        let all: Vec<SocketAddr> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|at| self.stop(at, Stop::Closed));
        self.peers.clear();
    }

    /// How many links stand.
    pub(crate) fn links(&self) -> usize {
        self.peers.values().filter(|peer| peer.link.is_some()).count()
    }
}

impl Peer {
    /// Sets when the next attempt may be made: in the upper half of a span that doubles with each failure.
    fn rest(&mut self, now: Instant, random: u64) {
        let span = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let share = f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        self.not_before = Some(now + span.mul_f64(0.5 + share / 2.0));
    }
}

#[cfg(test)]
mod tests;
