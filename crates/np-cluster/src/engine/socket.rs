//! The engine's socket over np's links: what goes out is queued and never waited for, what comes in passes the gate first.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{Chitchat, ChitchatMessage, Deserializable as _, Serializable as _};
use tokio::sync::watch;

use super::chitchat::State;
use super::gate::Gate;
use crate::links::{Inbox, Incoming, Links};

/// The engine's state, once it is at work.
type Engine = Option<Arc<tokio::sync::Mutex<Chitchat>>>;

/// Opens the one socket there is.
pub(super) struct GossipTransport {
    socket: Mutex<Option<GossipSocket>>,
}

impl GossipTransport {
    pub(super) fn new(gate: Arc<Gate>, links: Arc<dyn Links>, inbox: Inbox, engine: watch::Receiver<Engine>) -> Self {
        Self { socket: Mutex::new(Some(GossipSocket { gate, links, inbox, engine, waiting: None })) }
    }
}

#[async_trait]
impl Transport for GossipTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Box::new(socket.ok_or_else(|| anyhow!("the links are in use"))?))
    }
}

struct GossipSocket {
    gate: Arc<Gate>,
    links: Arc<dyn Links>,
    inbox: Inbox,
    engine: watch::Receiver<Engine>,
    /// What was taken from the inbox and not looked at yet.
    waiting: Option<Incoming>,
}

impl GossipSocket {
    /// What of a message the engine may see: nothing of what is no message, or is not for it.
    fn admit(&self, incoming: Incoming, engine: &mut Chitchat) -> Option<(SocketAddr, ChitchatMessage)> {
        let (from, sender, bytes) = match incoming {
            Incoming::Message { from, sender, bytes } => (from, sender, bytes),
            Incoming::Retired { name } => {
                self.gate.retire(&name);
                return None;
            }
        };
        let decoded = self.gate.incoming(from, &bytes, &State(engine)).and_then(|allowed| {
            ChitchatMessage::deserialize(&mut allowed.as_slice()).map_err(|_| super::message::Garbage("the engine"))
        });
        match decoded {
            Ok(message) => Some((from, message)),
            Err(garbage) => {
                tracing::warn!(%sender, why = garbage.0, "a member sent what is no gossip message, and is cut off");
                self.gate.count_garbage();
                self.links.refuse(sender);
                None
            }
        }
    }
}

#[async_trait]
impl Socket for GossipSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        if let Some(bytes) = self.gate.outgoing(message.serialize_to_vec()) {
            self.links.send(to, bytes);
        }
        Ok(())
    }

    /// What was taken from the inbox waits in the socket while the engine is busy, so whoever drops this future loses no
    /// message. Messages are decoded here, one at a time, and beside what the engine keeps.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            if self.waiting.is_none() {
                self.waiting = Some(self.inbox.recv().await.context("the links have ended")?);
            }
            let engine = self.engine.wait_for(Option::is_some).await.context("the engine has ended")?.clone();
            let Some(engine) = engine else { continue };
            let mut engine = engine.lock().await;
            let admitted = self.waiting.take().and_then(|incoming| self.admit(incoming, &mut engine));
            if let Some(admitted) = admitted {
                return Ok(admitted);
            }
        }
    }
}

/// Whether the engine takes these bytes for a message.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn is_message(bytes: &[u8]) -> bool {
    ChitchatMessage::deserialize(&mut &*bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::Clock;
    use crate::engine::NodeId;
    use crate::limits::Limits;
    use crate::links::NodeKey;

    /// Links that lead nowhere.
    struct Nowhere;

    impl Links for Nowhere {
        fn send(&self, _to: SocketAddr, _message: Bytes) {}

        fn refuse(&self, _sender: NodeKey) {}
    }

    /// A message of each kind, as the engine writes it: an engine with another codec fails here, before it meets a cluster. The
    /// changes are compressed by zstd, of which another version may write other bytes; their reader has to stay the same.
    const ENCODINGS: [&str; 4] = [
        "53b00000020006006e6f64652d3100a8da769b010000040a000001e81c2c0100000000000002000000000000007011010000\
         00000006006e6f64652d3200a8da769b0100000620010db8000000000000000000000001e81c2c0100000000000002000000\
         000000007011010000000000040073686f70",
        "53b00001020006006e6f64652d3100a8da769b010000040a000001e81c2c0100000000000002000000000000007011010000\
         00000006006e6f64652d3200a8da769b0100000620010db8000000000000000000000001e81c2c0100000000000002000000\
         00000000701101000000000001680028b52ffd208ffd0200b244111e9045e90fbe3be53799bb7b5e0e45f67d53ff3fc11065\
         9d940b7f134e640affffa0fe89a88149173edd5b5e1d9d84d8abc9a62433f6605504fa6c7da307208d1cd99e1b0f0a00200b\
         e485a1b1a9de8327557817601fe4050676006300",
        "53b0000201680028b52ffd208ffd0200b244111e9045e90fbe3be53799bb7b5e0e45f67d53ff3fc110659d940b7f134e640a\
         ffffa0fe89a88149173edd5b5e1d9d84d8abc9a62433f6605504fa6c7da307208d1cd99e1b0f0a00200be485a1b1a9de8327\
         557817601fe4050676006300",
        "53b00003",
    ];

    #[test]
    fn every_kind_of_message_has_the_bytes_that_it_always_had() {
        for text in ENCODINGS {
            let bytes: Vec<u8> =
                (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
            let message = ChitchatMessage::deserialize(&mut bytes.as_slice()).unwrap();
            assert_eq!(message.serialize_to_vec(), bytes, "{message:?}");
            // np's own reader understands the same.
            let read = super::super::gate::reread(&bytes, bytes.len()).unwrap();
            let written = ChitchatMessage::deserialize(&mut read.written.as_slice()).unwrap();
            // The engine notes how long the changes were, which without compression are longer.
            let parts =
                |message: &ChitchatMessage| format!("{message:?}").split("serialized_len").next().map(str::to_owned);
            assert_eq!(parts(&written), parts(&message));
        }
    }

    fn engine(own: &NodeId, at: SocketAddr) -> Arc<tokio::sync::Mutex<Chitchat>> {
        let config = chitchat::ChitchatConfig {
            chitchat_id: chitchat::ChitchatId::new(Arc::clone(&own.name), own.generation, own.address),
            cluster_id: "c".to_owned(),
            gossip_interval: std::time::Duration::from_secs(1),
            listen_addr: at,
            seed_nodes: Vec::new(),
            failure_detector_config: chitchat::FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: std::time::Duration::from_secs(60),
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let (_seeds, seeds) = watch::channel(std::collections::HashSet::new());
        Arc::new(tokio::sync::Mutex::new(Chitchat::with_chitchat_id_and_seeds(config, seeds, Vec::new())))
    }

    #[tokio::test]
    async fn a_receive_that_is_dropped_loses_no_message() {
        let at = SocketAddr::from(([10, 0, 0, 1], 7400));
        let own = NodeId { name: "a".into(), generation: 1, address: at };
        let links: Arc<dyn Links> = Arc::new(Nowhere);
        let engine = engine(&own, at);
        let gate = Gate::new(own, "c", Clock::System, Limits::default(), Arc::clone(&links));
        let (sender, inbox) = mpsc::channel(8);
        let (_tell, told) = watch::channel(Some(Arc::clone(&engine)));
        let mut socket = GossipSocket { gate: Arc::new(gate), links, inbox, engine: told, waiting: None };
        let key = NodeKey::Noise(np_facade::PublicKey::from_bytes([1; 32]));
        let message = |bytes: Vec<u8>| Incoming::Message { from: at, sender: key, bytes: bytes.into() };
        let genuine = ChitchatMessage::BadCluster.serialize_to_vec();
        for round in 0..100 {
            // Dropped where it waits, with nothing there, and behind a message that was refused.
            if round % 2 == 1 {
                sender.send(message(vec![round])).await.unwrap();
            }
            assert!(socket.recv().now_or_never().is_none());
            sender.send(message(genuine.clone())).await.unwrap();
            assert_eq!(socket.recv().now_or_never().unwrap().unwrap(), (at, ChitchatMessage::BadCluster));
        }
        assert_eq!(socket.gate.stats().refused, 50);
        // Dropped where it waits for the engine.
        let busy = engine.lock().await;
        sender.send(message(genuine.clone())).await.unwrap();
        assert!(socket.recv().now_or_never().is_none());
        drop(busy);
        assert_eq!(socket.recv().now_or_never().unwrap().unwrap(), (at, ChitchatMessage::BadCluster));
        drop(sender);
        assert!(socket.recv().await.is_err());
    }
}
