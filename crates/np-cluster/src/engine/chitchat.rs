//! The engine at work: chitchat, pinned. No other file but the socket beside it knows one of its types.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, Deserializable as _, FailureDetectorConfig, Heartbeat,
    NodeState, VersionedValue, spawn_chitchat,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, watch};

use super::gate::Gate;
use super::socket::GossipTransport;
use super::{Engine, NodeId, NodeInfo, Store, Stored, Visit};
use crate::attributes::READY;
use crate::config::ClusterConfig;
use crate::links::{Inbox, Links};
use crate::observer::Cover;

/// The rounds of gossip and the state that they spread.
pub(crate) struct Gossip {
    handle: ChitchatHandle,
    state: Arc<Mutex<Chitchat>>,
}

impl Gossip {
    /// Starts the rounds over these links.
    pub(crate) async fn start(
        config: &ClusterConfig,
        own: &NodeId,
        gate: Arc<Gate>,
        links: Arc<dyn Links>,
        inbox: Inbox,
    ) -> Result<Self, String> {
        let (tell_state, engine) = watch::channel(None);
        let transport = GossipTransport::new(gate, links, inbox, engine);
        let settings = ChitchatConfig {
            chitchat_id: to_engine(own),
            cluster_id: config.cluster.clone(),
            gossip_interval: config.interval,
            listen_addr: config.advertise,
            seed_nodes: config.seeds.iter().map(ToString::to_string).collect(),
            failure_detector_config: detector(config),
            marked_for_deletion_grace_period: config.forget_after,
            catchup_callback: None,
            // The engine would copy the state of all live nodes for watchers of its own, which np has none of.
            extra_liveness_predicate: Some(Box::new(|_| false)),
        };
        let mut entries = config.attributes.entries();
        let cover = if config.keep_keys { Cover::default() } else { Cover::all(own) };
        // A start of a node that signs proves itself from the beginning: nothing that it says may be taken for made up.
        if !config.keep_keys || config.signing.is_some() {
            entries.push((READY.to_owned(), cover.told(own, &config.cluster, config.signing.as_ref())));
        }
        let handle = spawn_chitchat(settings, entries, &transport).await.map_err(|error| error.to_string())?;
        let state = handle.chitchat();
        tell_state.send_replace(Some(Arc::clone(&state)));
        Ok(Self { handle, state })
    }
}

/// The engine's own detector, derived from the interval. It decides alone whom the rounds speak to and when a node that is
/// gone is dropped: half of its grace lies before the node is told of no more.
fn detector(config: &ClusterConfig) -> FailureDetectorConfig {
    FailureDetectorConfig {
        phi_threshold: 8.0,
        sampling_window_size: 64,
        max_interval: config.interval.saturating_mul(10),
        initial_interval: config.interval,
        dead_node_grace_period: config.forget_after.saturating_mul(2).max(Duration::from_secs(1)),
    }
}

impl Engine for Gossip {
    fn visit<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, ()> {
        async move {
            let mut state = self.state.lock().await;
            visit(&mut State(&mut state));
        }
        .boxed()
    }

    fn gossip(&self, to: SocketAddr) {
        // It fails once the rounds have ended, when there is nobody to tell.
        let _ = self.handle.gossip(to);
    }

    fn stop(&self) {
        // It fails once the rounds have ended, which is what was asked for.
        let _ = self.handle.initiate_shutdown();
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        let watcher = self.handle.termination_watcher();
        async move {
            if let Err(error) = watcher.await {
                tracing::warn!(%error, "the rounds of gossip have ended");
            }
        }
        .boxed()
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The state while nothing else changes it.
pub(super) struct State<'a>(pub(super) &'a mut Chitchat);

impl State<'_> {
    fn node(&self, id: &NodeId) -> Option<&NodeState> {
        self.0.node_state(&to_engine(id))
    }
}

impl Store for State<'_> {
    fn nodes(&self) -> Vec<NodeInfo> {
        self.0.node_states().values().map(info).collect()
    }

    fn info(&self, id: &NodeId) -> Option<NodeInfo> {
        self.node(id).map(info)
    }

    fn get(&self, id: &NodeId, key: &str) -> Option<Stored<'_>> {
        self.node(id)?.get_versioned(key).map(stored)
    }

    fn each(&self, id: &NodeId, see: &mut dyn FnMut(&str, Stored<'_>)) {
        for (key, value) in self.node(id).into_iter().flat_map(NodeState::key_values_including_deleted) {
            see(key, stored(value));
        }
    }

    fn set(&mut self, key: &str, text: &str) {
        self.0.self_node_state().set(key, text);
    }

    fn delete(&mut self, key: &str) {
        self.0.self_node_state().delete(key);
    }

    fn outrun(&mut self, heartbeat: u64, version: u64) {
        let own = self.0.self_node_state();
        if let Ok(next) = Heartbeat::deserialize(&mut heartbeat.saturating_add(1).to_le_bytes().as_slice()) {
            // A heartbeat below its own changes nothing.
            let _ = own.try_set_heartbeat(next);
        }
        if own.max_version() >= version {
            return;
        }
        let mut keys: Vec<_> = own
            .key_values_including_deleted()
            .filter(|(_, value)| !value.is_deleted())
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
        keys.sort_by_key(|(_, value)| value.version);
        // Deletions up to this version are forgotten, so whoever has less, or made-up keys, takes all of them anew.
        let cleared = version.saturating_add(1);
        let mut last = cleared;
        for (_, value) in &mut keys {
            last = last.saturating_add(1);
            value.version = last;
        }
        let own = self.0.self_chitchat_id().clone();
        self.0.reset_node_state_if_update(&own, keys.into_iter(), last, cleared);
    }

    fn clear(&mut self, id: &NodeId) {
        let Some((version, cleared)) = self.node(id).map(|node| (node.max_version(), node.last_gc_version())) else {
            return;
        };
        // Nothing is known of it but that no deletion up to here is: so the others tell everything again, from the first version
        // on, once the node is heard again. Where the engine has cleared up to its version it takes one more for an update.
        let cleared = if version > cleared { version } else { cleared.saturating_add(1) };
        let none: [(String, VersionedValue); 0] = [];
        self.0.reset_node_state_if_update(&to_engine(id), none.into_iter(), 0, cleared);
    }
}

fn info(state: &NodeState) -> NodeInfo {
    NodeInfo {
        id: of_engine(state.chitchat_id()),
        heartbeat: state.heartbeat().into(),
        version: state.max_version(),
        cleared: state.last_gc_version(),
    }
}

fn stored(value: &VersionedValue) -> Stored<'_> {
    Stored { text: &value.value, version: value.version, deleted: value.is_deleted() }
}

fn to_engine(id: &NodeId) -> ChitchatId {
    ChitchatId::new(Arc::clone(&id.name), id.generation, id.address)
}

fn of_engine(id: &ChitchatId) -> NodeId {
    NodeId { name: Arc::clone(&id.node_id), generation: id.generation_id, address: id.gossip_advertise_addr }
}
