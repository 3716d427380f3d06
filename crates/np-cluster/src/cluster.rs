//! A node's place in a cluster: members, and the state that each of them tells the others.
//!
//! It owns the handle that users hold. It must never know which engine is at work, nor how messages travel.

mod control;
mod join;
pub(crate) mod keys;
pub(crate) mod resolver;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::attributes::LEFT;
use crate::config::ClusterConfig;
use crate::engine::chitchat::Gossip;
use crate::engine::gate::Gate;
use crate::engine::{Engine, NodeId};
use crate::error::ClusterError;
use crate::links::{Inbox, Links};
use crate::member::{Member, MemberState, Row, Table, Watch};
use crate::observer::Observer;
use crate::shared::Shared;
use crate::stats::ClusterStats;

/// Members that have to know of a leave before the node goes.
const WITNESSES: usize = 3;
/// Intervals that a node waits for them.
const FAREWELL: u32 = 3;

/// A node's place in a cluster. Clones are the same place; the node is gone when the last one is dropped, and the others see
/// it fail then: [`Self::leave`] tells them.
///
/// Each node writes its own keys and no others, and all nodes have all keys after a few rounds of gossip. It is neither a
/// lock service nor a database: two nodes may see different states at the same time.
///
/// ```
/// # async fn example(cluster: np_cluster::Cluster) -> Result<(), np_cluster::ClusterError> {
/// cluster.set("shard.7", "primary").await?;
/// for (node, value) in cluster.get_all("shard.7").await {
///     println!("{node} {}", value.text);
/// }
/// cluster.leave().await
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    tables: watch::Receiver<Table>,
    observer: JoinHandle<()>,
    /// What takes the links, where they are those of a server.
    server: OnceLock<np_facade::Server>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.observer.abort();
        self.shared.engine.stop();
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("node", &self.inner.shared.own).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the node over links that are there.
    pub(crate) async fn start(
        config: ClusterConfig,
        links: Arc<dyn Links>,
        inbox: Inbox,
    ) -> Result<Self, ClusterError> {
        config.check()?;
        let own =
            NodeId { name: config.name.as_str().into(), generation: config.clock.now(), address: config.advertise };
        let gate = Gate::new(own.clone(), &config.cluster, config.clock, config.limits, Arc::clone(&links));
        let gate = Arc::new(gate);
        let engine = Gossip::start(&config, &own, Arc::clone(&gate), Arc::clone(&links), inbox).await;
        let engine: Arc<dyn Engine> = Arc::new(engine.map_err(ClusterError::Start)?);
        let first = first_table(&config, &own, links.key_of(&own.name));
        let shared = Arc::new(Shared::new(&config, own, engine, gate, links));
        let (sender, tables) = watch::channel(first);
        let observer = tokio::spawn(Observer::new(Arc::clone(&shared), sender).run());
        Ok(Self { inner: Arc::new(Inner { shared, tables, observer, server: OnceLock::new() }) })
    }

    /// The name of this node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.shared.own.name
    }

    /// The members by name, this node among them.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.inner.tables.borrow().values().map(|row| row.member.clone()).collect()
    }

    /// Tells what happens to members, from those that are there on.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.inner.tables.clone())
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        self.inner.shared.gate.stats()
    }

    /// Tells the others that this node leaves, and ends.
    ///
    /// It waits until three members know it, or all if there are fewer, for three intervals at most.
    ///
    /// # Errors
    /// When the node is no member any more.
    pub async fn leave(&self) -> Result<(), ClusterError> {
        let shared = &self.inner.shared;
        let version = self.write(|store| {
            store.set(LEFT, "1");
            Ok(store.nodes().into_iter().find(|info| info.id == shared.own).map_or(0, |info| info.version))
        });
        let version = version.await?;
        let others: Vec<_> = self.members().into_iter().filter(|member| member.name != self.name()).collect();
        let live: Vec<_> = others.iter().filter(|member| member.state == MemberState::Live).collect();
        let wanted = live.len().min(WITNESSES);
        let look = shared.interval / 10;
        for at in 0..FAREWELL * 10 {
            if shared.gate.have(version) >= wanted {
                break;
            }
            // Twice in an interval beside the rounds, and not always to the same ones.
            if at % 5 == 0 {
                let from = usize::try_from(at).unwrap_or_default();
                live.iter().cycle().skip(from).take(wanted).for_each(|member| shared.engine.gossip(member.address));
            }
            tokio::time::sleep(look).await;
        }
        self.stop().await;
        Ok(())
    }

    async fn stop(&self) {
        let shared = &self.inner.shared;
        let stopped = shared.engine.stopped();
        shared.engine.stop();
        // The rounds end at their next turn; one that hangs is cut when the last handle is dropped.
        let _ = tokio::time::timeout(Duration::from_secs(1), stopped).await;
        shared.running.store(false, Ordering::Release);
    }
}

/// The node itself, before anything was looked at.
fn first_table(config: &ClusterConfig, own: &NodeId, key: Option<String>) -> Table {
    let member = Member {
        name: config.name.clone(),
        state: MemberState::Live,
        address: own.address,
        key,
        attributes: config.attributes.clone(),
        generation: own.generation,
    };
    let row = Row { member, id: own.clone(), earlier: Vec::new() };
    Arc::new(std::iter::once((Arc::clone(&own.name), row)).collect())
}
