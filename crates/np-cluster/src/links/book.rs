//! What stands between this node and the others: links, attempts, and who is kept out. Must never do I/O nor read a clock.

mod place;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::{CallError, PeerIdentity, Status};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::place::At;
use self::place::{is_mark, mark};
use super::announcement::Announcement;
use super::directory::{Bound, Directory, Lie, Listed, NodeKey, Proof, Unbound};
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

/// How long an address is remembered that leads back to this node, and how many such.
const OWN: Duration = Duration::from_secs(60);
const MAX_OWN: usize = 64;

/// Why a link ends from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another link to the same member takes its place.
    Replaced,
    /// The member sent what is no gossip.
    Garbage,
    /// The member's key is no longer allowed.
    Retired,
    /// The list gives the member's name to another key.
    Renamed,
    /// Another node answered at the address that the member announced.
    Elsewhere,
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
    Unbound(#[from] Unbound),
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
            Self::Unbound(Unbound::Full) => Status::LimitReached,
            Self::Said(_) => Status::InvalidArgument,
            _ => Status::PermissionDenied,
        };
        CallError::answered(status, self.to_string())
    }

    /// Whether somebody said what is not so.
    pub(crate) const fn is_lie(&self) -> bool {
        matches!(self, Self::Unbound(Unbound::Lie(_)) | Self::Said(_))
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
    pub(crate) at: At,
    pub(crate) queue: Arc<Queue>,
    /// The address that the member announced, where it has not answered there yet.
    pub(crate) claim: Option<SocketAddr>,
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

/// What it means that a key was proven at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// There is a link to that key already.
    pub(crate) linked: bool,
    /// So many others had announced the address, and were cut off.
    pub(crate) liars: u64,
}

#[derive(Debug)]
struct Link {
    id: u64,
    key: NodeKey,
    at: At,
    /// The address that the member announced.
    claim: SocketAddr,
    instance: [u8; 16],
    dialed: bool,
    since: Instant,
    stop: oneshot::Sender<Stop>,
}

#[derive(Debug, Default)]
struct Peer {
    queue: Arc<Queue>,
    link: Option<Link>,
    /// Which key was proven here last.
    holder: Option<NodeKey>,
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
    /// Addresses that led to nodes which announced others, by where the links to them are; as long as those stand.
    aliases: HashMap<SocketAddr, SocketAddr>,
    banned: HashMap<NodeKey, Instant>,
    /// Addresses that led back to this node, and when.
    own: HashMap<SocketAddr, Instant>,
    me: Option<Announcement>,
    next: u64,
}

impl Book {
    /// Begins: from now on links come about.
    pub(crate) fn open(&mut self, me: Announcement) {
        self.directory.set_own(me.name.clone(), me.address);
        self.me = Some(me);
    }

    /// What this node says of itself, while it takes part.
    pub(crate) const fn me(&self) -> Option<&Announcement> {
        self.me.as_ref()
    }

    /// Takes a message for an address, or the wish for a link to it alone.
    pub(crate) fn want(&mut self, to: SocketAddr, message: Option<Bytes>, now: Instant) -> Want {
        let to = self.aliases.get(&to).copied().unwrap_or(to);
        if self.leads_back(to, now) {
            return Want::Own;
        }
        let kept_out = self.peers.get(&to).and_then(|peer| peer.holder).is_some_and(|key| self.is_banned(key, now));
        let unknown_mark = is_mark(to) && !self.peers.contains_key(&to);
        if self.me.is_none() || kept_out || unknown_mark || !self.make_room(to, now) {
            return Want::Lost;
        }
        let peer = self.peers.entry(to).or_default();
        peer.used = Some(now);
        let linked = peer.link.is_some();
        if !linked && !peer.dialing && peer.not_before.is_some_and(|then| then > now) {
            return self.want_by_claim(to, message);
        }
        let queued = message.is_none_or(|message| peer.queue.push(message));
        if !linked && !peer.dialing {
            peer.dialing = true;
            return Want::Dial(to);
        }
        if queued { Want::Waits } else { Want::Lost }
    }

    /// Hands a message for an address that nobody answers at to the node that says it is there: it may be reached by the link
    /// that it made alone.
    fn want_by_claim(&self, to: SocketAddr, message: Option<Bytes>) -> Want {
        let claims = |peer: &&Peer| peer.link.as_ref().is_some_and(|link| link.claim == to);
        let taken =
            self.peers.values().find(claims).zip(message).is_some_and(|(peer, message)| peer.queue.push(message));
        if taken { Want::Waits } else { Want::Lost }
    }

    /// Whether there is room for what is known of an address; forgets what nobody wants any more.
    fn make_room(&mut self, to: SocketAddr, now: Instant) -> bool {
        if self.peers.contains_key(&to) || self.peers.len() < MAX_PEERS {
            return true;
        }
        let wanted = |peer: &Peer| peer.used.is_some_and(|used| now.saturating_duration_since(used) < FORGET);
        self.peers.retain(|_, peer| peer.link.is_some() || peer.dialing || wanted(peer));
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
            dialed.into_iter().for_each(|to| self.is_own(to, now));
            return Err(Refused::Itself);
        }
        if said.cluster != me.cluster {
            return Err(Refused::Cluster { own: me.cluster.clone(), said: said.cluster.clone() });
        }
        if is_mark(said.address) {
            return Err(Refused::Said(format!(
                "{} is no address that a node is reached at; set --advertise",
                said.address
            )));
        }
        let own_goes_first = me.name < said.name;
        if self.is_banned(key, now) {
            return Err(Refused::KeptOut);
        }
        self.bind(newcomer, now)?;
        if let Some((at, old)) = self.link_of(key) {
            let same_run = old.instance == said.instance;
            if same_run && old.dialed != dialed.is_some() && old.dialed == own_goes_first {
                return Err(Refused::Duplicate);
            }
            self.stop(at, Stop::Replaced, now);
        }
        Ok(self.insert(newcomer, now))
    }

    fn bind(&mut self, newcomer: &Newcomer<'_>, now: Instant) -> Result<(), Unbound> {
        let Newcomer { key, identity, said, listed, dialed } = newcomer;
        // Whoever answers at an address is at it. Of what others say of it nothing counts while that one is linked.
        let there = self.peers.get(&said.address).filter(|_| *dialed != Some(said.address));
        if let Some(link) = there.and_then(|peer| peer.link.as_ref()).filter(|link| link.key != *key) {
            let holder = self.directory.name_of(link.key).unwrap_or_default().to_owned();
            return Err(Lie::AddressTaken { address: said.address, holder }.into());
        }
        let proof = Proof { key: *key, identity, said, listed };
        let linked: HashSet<NodeKey> = self.peers.values().filter_map(|peer| Some(peer.link.as_ref()?.key)).collect();
        self.directory.bind(&proof, |key| linked.contains(key), now)
    }

    fn insert(&mut self, newcomer: &Newcomer<'_>, now: Instant) -> (Registered, oneshot::Receiver<Stop>) {
        let Newcomer { key, said, dialed, .. } = *newcomer;
        self.next = self.next.wrapping_add(1);
        let (id, claim) = (self.next, said.address);
        let answered = self.peers.get(&claim).is_some_and(|peer| peer.holder == Some(key));
        let place = dialed.unwrap_or_else(|| if answered { claim } else { mark(id) });
        let (at, (sender, stop)) = (At::new(place), oneshot::channel());
        // One that stood there had another key, and is not there any more.
        self.stop(place, Stop::Replaced, now);
        // No address is refused here: there is one link to a key, and so many keys are known.
        let peer = self.peers.entry(place).or_default();
        (peer.used, peer.holder) = (Some(now), Some(key));
        let dialed = dialed.is_some();
        let link = Link { id, key, at: at.clone(), claim, instance: said.instance, dialed, since: now, stop: sender };
        peer.link = Some(link);
        let queue = Arc::clone(&peer.queue);
        (Registered { id, key, at, queue, claim: (place != claim).then_some(claim) }, stop)
    }

    /// Notes that a key was proven at an address which this node has dialed: the key has it now, whoever announces it.
    pub(crate) fn reached(&mut self, to: SocketAddr, key: NodeKey, now: Instant) -> Reached {
        let claims = |link: &&Link| link.claim == to && link.key != key;
        let liars: Vec<SocketAddr> = self.links_so(claims).map(|link| link.at.get()).collect();
        liars.iter().for_each(|at| self.stop(*at, Stop::Elsewhere, now));
        self.peers.entry(to).or_default().holder = Some(key);
        let found = self.link_of(key).map(|(at, link)| (at, link.claim == to));
        if let Some((at, announced)) = found.filter(|(at, _)| *at != to) {
            if announced { self.promote(at, to) } else { self.alias(to, at) }
        }
        Reached { linked: found.is_some(), liars: liars.len() as u64 }
    }

    /// Addresses of linked members at which they have not answered.
    pub(crate) fn claims(&self) -> Vec<SocketAddr> {
        self.links_so(|link| link.claim != link.at.get()).map(|link| link.claim).collect()
    }

    /// Moves a link to the address that its member announced, and has answered at.
    fn promote(&mut self, from: SocketAddr, to: SocketAddr) {
        let Some(mut peer) = self.peers.remove(&from) else {
            return;
        };
        if let Some(link) = &peer.link {
            link.at.set(to);
        }
        self.aliases.values_mut().filter(|at| **at == from).for_each(|at| *at = to);
        if !is_mark(from) {
            self.aliases.insert(from, to);
        }
        if let Some(old) = self.peers.remove(&to) {
            (peer.dialing, peer.failures) = (old.dialing, old.failures);
            pass_on(&old.queue, &peer.queue);
        }
        self.peers.insert(to, peer);
    }

    /// Lets an address lead to a link for as long as it stands. What waited goes there, too.
    fn alias(&mut self, from: SocketAddr, to: SocketAddr) {
        self.aliases.insert(from, to);
        if let (Some(old), Some(peer)) = (self.peers.remove(&from), self.peers.get(&to)) {
            pass_on(&old.queue, &peer.queue);
        }
    }

    fn links_so<'a>(&'a self, held: impl Fn(&&Link) -> bool + 'a) -> impl Iterator<Item = &'a Link> {
        self.peers.values().filter_map(|peer| peer.link.as_ref()).filter(held)
    }

    fn link_of(&self, key: NodeKey) -> Option<(SocketAddr, &Link)> {
        self.links_so(move |link| link.key == key).map(|link| (link.at.get(), link)).next()
    }

    fn stop(&mut self, at: SocketAddr, why: Stop, now: Instant) {
        if let Some(link) = self.unlink(at, now, |_| true) {
            // A task that is gone has ended its link.
            let _ = link.stop.send(why);
        }
    }

    /// Takes a link out, and with it what is known by it alone.
    fn unlink(&mut self, at: SocketAddr, now: Instant, which: impl Fn(&Link) -> bool) -> Option<Link> {
        let link = self.peers.get_mut(&at)?.link.take_if(|link| which(link))?;
        self.aliases.retain(|_, to| *to != at);
        if is_mark(at) {
            self.peers.remove(&at);
        }
        self.directory.ended(link.key, now);
        Some(link)
    }

    /// A link is over. Whoever is sent to next is reached by a new one, after a pause where the link did not stand.
    pub(crate) fn ended(&mut self, link: &Registered, now: Instant, random: u64) {
        let at = link.at.get();
        let Some(old) = self.unlink(at, now, |standing| standing.id == link.id) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&at) {
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
            peer.rest(now, random);
            for message in peer.queue.drain() {
                self.want_by_claim(to, Some(message));
            }
        }
    }

    /// An address leads back to this node.
    pub(crate) fn is_own(&mut self, to: SocketAddr, now: Instant) {
        if self.own.len() >= MAX_OWN
            && let Some(oldest) = self.own.iter().min_by_key(|(_, since)| **since).map(|(at, _)| *at)
        {
            self.own.remove(&oldest);
        }
        self.own.insert(to, now);
    }

    /// Whether an address is that of this node, or led back to it a short time ago.
    fn leads_back(&self, to: SocketAddr, now: Instant) -> bool {
        let of_late = |since: &Instant| now.saturating_duration_since(*since) < OWN;
        self.me.as_ref().is_some_and(|me| me.address == to) || self.own.get(&to).is_some_and(of_late)
    }

    /// The name of the member that has answered at an address, or whose link has this mark.
    pub(crate) fn name_at(&self, at: SocketAddr) -> Option<String> {
        self.directory.name_of(self.peers.get(&at)?.holder?).map(ToOwned::to_owned)
    }

    /// Whether a key is kept out.
    pub(crate) fn is_banned(&self, key: NodeKey, now: Instant) -> bool {
        self.banned.get(&key).is_some_and(|until| *until > now)
    }

    /// Cuts a member off and keeps it out for a while.
    pub(crate) fn ban(&mut self, key: NodeKey, now: Instant) {
        self.banned.retain(|_, until| *until > now);
        if self.banned.len() < MAX_PEERS {
            self.banned.insert(key, now + BAN);
        }
        if let Some((at, _)) = self.link_of(key) {
            self.stop(at, Stop::Garbage, now);
        }
    }

    /// Cuts a member off that may not be the node any more which it is, and frees its name.
    pub(crate) fn retire(&mut self, key: NodeKey, why: Stop, now: Instant) -> Option<Bound> {
        if let Some((at, _)) = self.link_of(key) {
            self.stop(at, why, now);
        }
        let bound = self.directory.retire(key)?;
        self.peers.retain(|_, peer| peer.holder != Some(key) || peer.dialing);
        Some(bound)
    }

    /// Ends every link, and lets none come about any more.
    pub(crate) fn close(&mut self, now: Instant) {
        self.me = None;
        let all: Vec<SocketAddr> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|at| self.stop(at, Stop::Closed, now));
        self.peers.clear();
    }

    /// How many links stand.
    pub(crate) fn links(&self) -> usize {
        self.peers.values().filter(|peer| peer.link.is_some()).count()
    }
}

/// What has room in the other queue goes there.
fn pass_on(from: &Queue, to: &Queue) {
    from.drain().into_iter().for_each(|message| {
        let _ = to.push(message);
    });
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
