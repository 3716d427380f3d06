//! network-protocol, np's predecessor, with the secure connection that its `Client` and daemon speak.
//!
//! Its client sends or receives, one at a time, and its replies carry no id, so a task owns it and matches them by
//! their order. A socket of it waits for acknowledgements (no `TCP_NODELAY`), which its set-up shows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use network_protocol::config::{ClientConfig, ServerConfig};
use network_protocol::protocol::dispatcher::Dispatcher;
use network_protocol::protocol::message::Message;
use network_protocol::service::{client, daemon};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::Failure;
use crate::peer::{Connection, Dialer, Peer, Place, Served};

const COMMAND: &str = "echo";

/// Bytes without an answer above which no further message is sent: both sides write without reading meanwhile.
const AHEAD: usize = 128 << 10;

/// The peer.
pub(crate) struct Predecessor;

/// The peer, before a connection.
pub(crate) struct PredecessorDialer(String);

impl Peer for Predecessor {
    type Dialer = PredecessorDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        // It does not tell which port it was given, so a free one is looked for.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let dispatcher = Arc::new(Dispatcher::new());
        dispatcher.register(COMMAND, |message| Ok(message.clone()))?;
        // Its queues stop each other for good when more calls wait than they hold.
        let config = ServerConfig {
            address: address.clone(),
            max_connections: 10_000,
            backpressure_limit: 1_024,
            ..ServerConfig::default()
        };
        let daemon = daemon::start_daemon_no_signals(config, dispatcher).await?;
        while TcpStream::connect(&address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Served { place: Place { address, trust: Vec::new() }, keep: Box::new(daemon) })
    }

    fn dialer(&self, place: &Place) -> Result<PredecessorDialer, Failure> {
        Ok(PredecessorDialer(place.address.clone()))
    }
}

type Call = (Bytes, oneshot::Sender<Vec<u8>>);

/// A handle to the task that owns a client.
#[derive(Clone, Debug)]
pub(crate) struct Handle(mpsc::Sender<Call>);

impl Dialer for PredecessorDialer {
    type Connection = Handle;

    async fn dial(&self) -> Result<Handle, Failure> {
        let config = ClientConfig { address: self.0.clone(), ..ClientConfig::default() };
        let client = client::Client::connect_with_config(config).await?;
        let (calls, taken) = mpsc::channel(1_024);
        tokio::spawn(run(client, taken));
        Ok(Handle(calls))
    }
}

impl Connection for Handle {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        let (reply, answer) = oneshot::channel();
        self.0.send((body, reply)).await?;
        Ok(answer.await?.into())
    }

    async fn close(self) {}
}

async fn run(mut client: client::Client, mut calls: mpsc::Receiver<Call>) -> Result<(), Failure> {
    let (mut waiting, mut ahead) = (VecDeque::new(), 0);
    loop {
        tokio::select! {
            call = calls.recv(), if ahead < AHEAD => {
                let Some((body, reply)) = call else { break };
                ahead += body.len();
                waiting.push_back(reply);
                client.send(Message::Custom { command: COMMAND.to_owned(), payload: body.into() }).await?;
            }
            message = client.recv(), if !waiting.is_empty() => {
                if let Message::Custom { payload, .. } = message?
                    && let Some(reply) = waiting.pop_front()
                {
                    ahead -= payload.len();
                    let _ = reply.send(payload);
                }
            }
        }
    }
    Ok(client.send(Message::Disconnect).await?)
}
