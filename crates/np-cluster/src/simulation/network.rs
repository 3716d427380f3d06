//! The wires: who is attached, who is cut off from whom, and how long a message takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Random;
use crate::links::{Inbox, Incoming, Links, NodeKey};

/// Messages that wait at a node before more are dropped.
const QUEUE: usize = 1_024;

/// What a node has sent, lost messages included.
///
/// ```
/// assert_eq!(np_cluster::simulation::Traffic::default().bytes, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Their bytes, without those that links add.
    pub bytes: u64,
}

/// The wires between the nodes.
#[derive(Debug)]
pub(super) struct Network(Mutex<Wires>);

#[derive(Debug)]
struct Wires {
    nodes: BTreeMap<SocketAddr, mpsc::Sender<Incoming>>,
    traffic: BTreeMap<SocketAddr, Traffic>,
    apart: BTreeSet<SocketAddr>,
    cut: HashMap<(SocketAddr, NodeKey), usize>,
    keys: BTreeMap<String, [u8; 32]>,
    /// Who is at an address, as its link has proven.
    names: BTreeMap<SocketAddr, String>,
    /// Names that a node does not allow: its messages are not taken.
    strangers: BTreeSet<(SocketAddr, String)>,
    loss: f64,
    delay: (Duration, Duration),
    random: Random,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Wires {
            nodes: BTreeMap::new(),
            traffic: BTreeMap::new(),
            apart: BTreeSet::new(),
            cut: HashMap::new(),
            keys: BTreeMap::new(),
            names: BTreeMap::new(),
            strangers: BTreeSet::new(),
            loss: 0.0,
            delay: (Duration::from_millis(1), Duration::from_millis(20)),
            random: Random::new(seed),
        }))
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn attach(self: &Arc<Self>, at: SocketAddr, name: &str) -> (Arc<dyn Links>, Inbox) {
        let (sender, inbox) = mpsc::channel(QUEUE);
        let mut wires = self.wires();
        wires.nodes.insert(at, sender.clone());
        wires.names.insert(at, name.to_owned());
        drop(wires);
        (Arc::new(Wire { network: Arc::clone(self), at, attached: sender }), inbox)
    }

    pub(super) fn detach(&self, at: SocketAddr) {
        self.wires().nodes.remove(&at);
    }

    pub(super) fn lose(&self, percent: f64) {
        self.wires().loss = percent / 100.0;
    }

    pub(super) fn delay(&self, least: Duration, most: Duration) {
        self.wires().delay = (least, most.max(least));
    }

    pub(super) fn part(&self, apart: &[SocketAddr]) {
        self.wires().apart = apart.iter().copied().collect();
    }

    pub(super) fn traffic(&self, at: SocketAddr) -> Traffic {
        self.wires().traffic.get(&at).copied().unwrap_or_default()
    }

    pub(super) fn cut_off(&self, by: SocketAddr, from: SocketAddr) -> usize {
        self.wires().cut.get(&(by, key_at(from))).copied().unwrap_or_default()
    }

    pub(super) fn trust(&self, name: &str, key: [u8; 32]) {
        self.wires().keys.insert(name.to_owned(), key);
    }

    pub(super) async fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.hand(to, Incoming::Message { from, sender: key_at(from), bytes: bytes.into() }).await;
    }

    pub(super) async fn retire(&self, at: SocketAddr, name: &str) {
        self.wires().strangers.insert((at, name.to_owned()));
        self.hand(at, Incoming::Retired { name: name.to_owned() }).await;
    }

    pub(super) fn allow(&self, at: SocketAddr, name: &str) {
        self.wires().strangers.remove(&(at, name.to_owned()));
    }

    async fn hand(&self, to: SocketAddr, incoming: Incoming) {
        let node = self.wires().nodes.get(&to).cloned();
        if let Some(node) = node {
            // It fails when the node has ended, and then there is nobody to hand it to.
            let _ = node.send(incoming).await;
        }
    }

    /// Who gets a message, and after which time; nobody if it is lost.
    fn route(&self, from: &Wire, to: SocketAddr, len: usize) -> Option<(mpsc::Sender<Incoming>, Duration)> {
        let mut wires = self.wires();
        // Who was killed sends nothing, nor does an earlier node at the same address.
        if !wires.nodes.get(&from.at)?.same_channel(&from.attached) {
            return None;
        }
        let traffic = wires.traffic.entry(from.at).or_default();
        traffic.messages += 1;
        traffic.bytes += len as u64;
        let is_stranger = |name: &String| wires.strangers.contains(&(to, name.clone()));
        if !wires.strangers.is_empty() && wires.names.get(&from.at).is_some_and(is_stranger) {
            return None;
        }
        let parted = wires.apart.contains(&from.at) != wires.apart.contains(&to);
        if parted || wires.cut.contains_key(&(to, key_at(from.at))) || wires.random.chance() < wires.loss {
            return None;
        }
        let (least, most) = wires.delay;
        let after = least + (most - least).mul_f64(wires.random.chance());
        Some((wires.nodes.get(&to)?.clone(), after))
    }
}

/// The key of the node at an address: here each has its own.
fn key_at(at: SocketAddr) -> NodeKey {
    let mut key = [0; 32];
    key.iter_mut().zip(at.to_string().bytes()).for_each(|(slot, byte)| *slot = byte);
    NodeKey::Noise(np_facade::PublicKey::from_bytes(key))
}

/// A node's end of the wires.
struct Wire {
    network: Arc<Network>,
    at: SocketAddr,
    attached: mpsc::Sender<Incoming>,
}

impl Links for Wire {
    fn send(&self, to: SocketAddr, message: Bytes) {
        let Some((node, after)) = self.network.route(self, to, message.len()) else {
            return;
        };
        let incoming = Incoming::Message { from: self.at, sender: key_at(self.at), bytes: message };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = node.try_send(incoming);
        });
    }

    fn refuse(&self, sender: NodeKey) {
        *self.network.wires().cut.entry((self.at, sender)).or_default() += 1;
    }

    fn name_at(&self, at: SocketAddr) -> Option<String> {
        let wires = self.network.wires();
        wires.names.get(&at).filter(|name| !wires.strangers.contains(&(self.at, (*name).clone()))).cloned()
    }

    fn verify_key(&self, name: &str) -> Option<[u8; 32]> {
        self.network.wires().keys.get(name).copied()
    }
}
