//! The engine's socket over np's links: what goes out is queued and never waited for, what comes in passes the gate first.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable as _, Serializable as _};

use super::gate::Gate;
use crate::links::{Inbox, Incoming, Links};

/// Opens the one socket there is.
pub(super) struct GossipTransport {
    socket: Mutex<Option<GossipSocket>>,
}

impl GossipTransport {
    pub(super) fn new(gate: Arc<Gate>, links: Arc<dyn Links>, inbox: Inbox) -> Self {
        Self { socket: Mutex::new(Some(GossipSocket { gate, links, inbox })) }
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
}

impl GossipSocket {
    /// What of a message the engine may see: nothing of what is no message, or is not for it.
    fn admit(&self, incoming: Incoming) -> Option<(SocketAddr, ChitchatMessage)> {
        let (from, bytes) = match incoming {
            Incoming::Message { from, bytes } => (from, bytes),
            Incoming::Retired { name } => {
                self.gate.retire(&name);
                return None;
            }
        };
        let decoded = self.gate.incoming(from, &bytes).and_then(|allowed| {
            ChitchatMessage::deserialize(&mut allowed.as_slice()).map_err(|_| super::message::Garbage("the engine"))
        });
        match decoded {
            Ok(message) => Some((from, message)),
            Err(garbage) => {
                tracing::warn!(%from, why = garbage.0, "a member sent what is no gossip message, and is cut off");
                self.gate.count_garbage();
                self.links.refuse(from);
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

    /// Nothing is taken from the inbox but by the one await, so whoever drops this future loses no message. Messages are
    /// decoded here, one at a time.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let incoming = self.inbox.recv().await.context("the links have ended")?;
            if let Some(admitted) = self.admit(incoming) {
                return Ok(admitted);
            }
        }
    }
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

    /// Links that lead nowhere.
    struct Nowhere;

    impl Links for Nowhere {
        fn send(&self, _to: SocketAddr, _message: Bytes) {}

        fn refuse(&self, _from: SocketAddr) {}
    }

    #[tokio::test]
    async fn a_receive_that_is_dropped_loses_no_message() {
        let at = SocketAddr::from(([10, 0, 0, 1], 7400));
        let own = NodeId { name: "a".into(), generation: 1, address: at };
        let links: Arc<dyn Links> = Arc::new(Nowhere);
        let gate = Gate::new(own, "c", Clock::System, Limits::default(), Arc::clone(&links));
        let (sender, inbox) = mpsc::channel(8);
        let mut socket = GossipSocket { gate: Arc::new(gate), links, inbox };
        let message = |bytes: Vec<u8>| Incoming::Message { from: at, bytes: bytes.into() };
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
        drop(sender);
        assert!(socket.recv().await.is_err());
    }
}
