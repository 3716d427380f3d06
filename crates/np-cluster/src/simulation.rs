//! A network in memory and in tokio's time, for tests and for measuring: latency, loss, partitions and sudden ends.
//!
//! It owns the wires between simulated nodes. Loss and latency come from a seed; whom the engine speaks to in a round does not,
//! since the engine draws it by itself: two runs are alike, not the same.

mod measure;
mod model;
mod network;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::ClusterConfig;
use crate::error::ClusterError;

pub use self::measure::{Figures, Plan, measure};
pub use self::model::{Watched, watch};
use self::network::Network;
pub use self::network::Traffic;

/// The time of day at which every simulation starts: 2026-01-01.
const START: u64 = 1_767_225_600_000;

/// A simulated network, on a runtime whose clock may be halted (`start_paused`).
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
/// # runtime.expect("a runtime").block_on(async {
/// use std::time::Duration;
/// let simulation = np_cluster::simulation::Simulation::new(7);
/// let _a = simulation.join(simulation.config(0)).await?;
/// let b = simulation.join(simulation.config(1)).await?;
/// tokio::time::sleep(Duration::from_secs(3)).await;
/// assert_eq!(b.members().len(), 2);
/// # Ok::<(), np_cluster::ClusterError>(())
/// # }).expect("two members");
/// ```
#[derive(Debug, Clone)]
pub struct Simulation {
    network: Arc<Network>,
    clock: Clock,
}

/// A message of gossip as a node reads it.
///
/// ```
/// let read = np_cluster::simulation::read_message(&[0x53, 0xb0, 0, 3])?;
/// assert_eq!((read.written.len(), read.nodes, read.entries), (4, 0, 0));
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// What the engine is given where nothing of it is left out: the same without compression.
    pub written: Vec<u8>,
    /// The nodes that it names, in its digest and in its changes.
    pub nodes: usize,
    /// The keys that it sets or deletes.
    pub entries: usize,
}

/// Reads any bytes as a node reads the message of a member: for fuzzing.
///
/// # Errors
/// When they are no message, with the reason.
pub fn read_message(bytes: &[u8]) -> Result<Reading, &'static str> {
    read(bytes, crate::limits::MESSAGE_MAX)
}

impl Reading {
    /// Reads what was written, which may be longer than a message. The engine has to take it, too.
    ///
    /// # Errors
    /// When what was written is no message, or none to the engine, with the reason.
    pub fn again(&self) -> Result<Self, &'static str> {
        if !crate::engine::is_message(&self.written) {
            return Err("the engine does not take it");
        }
        read(&self.written, usize::MAX)
    }
}

fn read(bytes: &[u8], most: usize) -> Result<Reading, &'static str> {
    let read = crate::engine::gate::reread(bytes, most).map_err(|garbage| garbage.0)?;
    Ok(Reading { written: read.written, nodes: read.nodes, entries: read.entries })
}

/// Numbers from a seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 up to 1.
    fn chance(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Takes one out of some.
    fn take<T>(&mut self, some: &mut Vec<T>) -> Option<T> {
        let at = (self.chance() * some.len() as f64) as usize;
        (at < some.len()).then(|| some.swap_remove(at))
    }
}

impl Simulation {
    /// A network without nodes, loss or partition, whose messages take 1 to 20 ms.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let clock = Clock::Virtual { base: START, at: Instant::now() };
        Self { network: Arc::new(Network::new(seed)), clock }
    }

    /// The address of the node with this number.
    #[must_use]
    pub fn address(number: usize) -> SocketAddr {
        let [.., high, low] = number.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 7400))
    }

    /// The settings of the node with this number: `node-N`, with node 0 and node 1 as seeds.
    #[must_use]
    pub fn config(&self, number: usize) -> ClusterConfig {
        ClusterConfig::new(format!("node-{number}"), "simulated", Self::address(number))
            .seeds([Self::address(0), Self::address(1)])
            .clock(self.clock)
    }

    /// Starts a node. A node that was at its address before has ended.
    ///
    /// # Errors
    /// As a cluster's.
    pub async fn join(&self, config: ClusterConfig) -> Result<Cluster, ClusterError> {
        let (links, inbox) = self.network.attach(config.advertise, &config.name);
        Cluster::start(config, links, inbox).await
    }

    /// Ends a node as `kill -9` does: nothing of it is sent or heard any more.
    pub fn kill(&self, node: SocketAddr) {
        self.network.detach(node);
    }

    /// Loses so many of a hundred messages.
    pub fn lose(&self, percent: f64) {
        self.network.lose(percent);
    }

    /// Sets how long a message takes: between these two.
    pub fn delay(&self, least: Duration, most: Duration) {
        self.network.delay(least, most);
    }

    /// Cuts the network between these nodes and all others.
    pub fn part(&self, apart: &[SocketAddr]) {
        self.network.part(apart);
    }

    /// Heals the network.
    pub fn heal(&self) {
        self.network.part(&[]);
    }

    /// What a node has sent.
    #[must_use]
    pub fn traffic(&self, node: SocketAddr) -> Traffic {
        self.network.traffic(node)
    }

    /// Hands bytes to `to` as if the member at `from` had sent them.
    pub async fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.network.inject(from, to, bytes).await;
    }

    /// How often `by` has cut off `from`.
    #[must_use]
    pub fn cut_off(&self, by: SocketAddr, from: SocketAddr) -> usize {
        self.network.cut_off(by, from)
    }

    /// Tells a node that the key of a name is not allowed any more: nothing comes from there.
    pub async fn retire(&self, at: SocketAddr, name: &str) {
        self.network.retire(at, name).await;
    }

    /// Lets the key of a name in again at a node.
    pub fn allow(&self, at: SocketAddr, name: &str) {
        self.network.allow(at, name);
    }

    /// Names the public half of the key by which a node signs, to all nodes.
    pub fn trust(&self, name: &str, verify_key: [u8; 32]) {
        self.network.trust(name, verify_key);
    }
}
