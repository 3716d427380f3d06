//! Clusters on a simulated network in virtual time.

mod abuse;
mod faults;
mod growth;
mod keys;
mod restarts;
mod settings;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::simulation::Simulation;
use crate::{Cluster, MemberState};

/// The nodes 0 up to a number, with their network. Node 0 has no other to ask.
struct World {
    net: Simulation,
    nodes: Vec<Cluster>,
}

impl World {
    /// Starts nodes within a tenth of a second of each other.
    async fn new(count: usize) -> Self {
        let net = Simulation::new(count as u64);
        let mut nodes = Vec::new();
        for number in 0..count {
            nodes.push(net.join(net.config(number)).await.unwrap());
            sleep(Duration::from_millis(100) / count as u32).await;
        }
        Self { net, nodes }
    }

    /// Starts nodes and waits until all see all.
    async fn met(count: usize) -> Self {
        let world = Self::new(count).await;
        within(Duration::from_secs(5), || world.nodes.iter().all(|node| live(node) == count)).await;
        world
    }

    fn node(&self, number: usize) -> &Cluster {
        &self.nodes[number]
    }
}

fn at(number: usize) -> SocketAddr {
    Simulation::address(number)
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

fn live(node: &Cluster) -> usize {
    node.members().iter().filter(|member| member.state == MemberState::Live).count()
}

fn state(node: &Cluster, number: usize) -> Option<MemberState> {
    node.members().into_iter().find(|member| member.name == name(number)).map(|member| member.state)
}

/// Waits for something and tells how long it took; panics past the limit.
async fn within(limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "not within {limit:?}");
        sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

/// Waits until every node has a value for a key of another.
async fn all_have(nodes: &[Cluster], owner: &str, key: &str, text: &str, limit: Duration) -> Duration {
    let started = Instant::now();
    for node in nodes {
        while node.get(owner, key).await.is_none_or(|value| value.text != text) {
            assert!(started.elapsed() < limit, "{} lacks {key} of {owner} after {limit:?}", node.name());
            sleep(Duration::from_millis(20)).await;
        }
    }
    started.elapsed()
}
