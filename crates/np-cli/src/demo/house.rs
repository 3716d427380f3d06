//! The demo's server, its methods, and the places where it listens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use np_facade::{
    Address, CallContext, CallError, Client, Error, Identity, Message, MessageStream, Policy, PublicKey, Router,
    Server, ServerBuilder,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::failure::Failure;

/// A request of the typed calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) item: String,
    pub(crate) count: i64,
    pub(crate) cents: i64,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) text: String,
    pub(crate) total: i64,
}

/// What the receiver of a file says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSeen {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// The bodies that reached the handler of `demo.keep`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Bytes>>>);

impl Kept {
    /// How many bodies reached the handler.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn push(&self, body: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    }
}

/// The server and all that its clients need to know.
#[derive(Debug)]
pub(crate) struct House {
    server: Server,
    places: Vec<Place>,
    /// Removed, with the sockets in it, when the demo ends.
    _folder: TempDir,
}

/// One transport to the server, and who may use it.
#[derive(Debug)]
pub(crate) struct Place {
    /// `tcp`, `unix` or `mem`.
    pub(crate) transport: &'static str,
    /// The server's address with its key.
    pub(crate) address: Address,
    /// Where a relay in front of the server listens.
    pub(crate) relay: String,
    /// The server's key.
    pub(crate) server: PublicKey,
    /// The client that the server lets in.
    pub(crate) member: Identity,
    /// The file to send.
    pub(crate) file: PathBuf,
    /// What the server has kept.
    pub(crate) kept: Kept,
}

impl House {
    /// Starts a server with a fresh identity that lets in one fresh client identity.
    pub(crate) async fn start(file: PathBuf) -> Result<Self, Failure> {
        let failed = |error: Error| Failure::of("demo", error);
        let folder = TempDir::with_prefix("np-demo-").map_err(|error| {
            Failure::local(format!(
                "demo: cannot make a folder for its sockets: {error}; set TMPDIR to one that exists"
            ))
        })?;
        let socket = |name: &str| format!("unix:{}", escaped(&folder.path().join(name).to_string_lossy()));
        let second = if cfg!(unix) {
            ("unix", socket("server.sock"), socket("relay.sock"))
        } else {
            ("mem", "mem:np-demo".to_owned(), "mem:np-demo-relay".to_owned())
        };
        let tcp = || "tcp://127.0.0.1:0".to_owned();
        let transports = [("tcp", tcp(), tcp()), second];
        let identity = Identity::generate().map_err(failed)?;
        let member = Identity::generate().map_err(failed)?;
        let (key, kept) = (identity.public_key(), Kept::default());
        let mut builder = Server::builder(identity, Policy::allow_keys([member.public_key()]));
        for (_, address, _) in &transports {
            builder = builder.listen(address.clone());
        }
        let server = with_methods(builder, kept.clone()).start().await.map_err(failed)?;
        let places = transports.into_iter().zip(server.addresses()).map(|((transport, _, relay), address)| Place {
            transport,
            address: address.clone(),
            relay,
            server: key,
            member: member.clone(),
            file: file.clone(),
            kept: kept.clone(),
        });
        Ok(Self { places: places.collect(), server, _folder: folder })
    }

    /// Every transport.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Ends the server in order.
    pub(crate) async fn shut_down(self) {
        self.server.shutdown(Duration::from_millis(500)).await;
    }
}

impl Place {
    /// Connects a client that the server lets in.
    pub(crate) async fn client(&self) -> Result<Client, String> {
        self.client_with(Router::new()).await
    }

    /// As [`Place::client`], with methods that the server may call.
    pub(crate) async fn client_with(&self, router: Router) -> Result<Client, String> {
        let builder = Client::builder(self.address.to_string()).identity(self.member.clone());
        builder.router(router).connect().await.map_err(|error| error.to_string())
    }
}

/// A path as an address writes it.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F")
}

fn with_methods(builder: ServerBuilder, kept: Kept) -> ServerBuilder {
    builder
        .on("demo.whoami", |context, _| Ok(format!("{}", context.peer())))
        .on_typed("demo.order", |_, order: Order| {
            let total = order.cents.checked_mul(order.count).ok_or_else(|| CallError::failed("too much money"))?;
            Ok(Receipt { text: format!("{} × {}", order.count, order.item), total })
        })
        .on_typed_async("demo.ask-back", |context, question: u64| async move {
            let answer: u64 = context.call_as("demo.double", &question).await?;
            Ok((question, answer))
        })
        .on("demo.keep", move |_, body| {
            kept.push(body.clone());
            Ok(body)
        })
        .on_stream("demo.file", receive_file)
        .on_messages(answer_messages)
}

async fn receive_file(_: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    let (mut hash, mut bytes) = (Sha256::new(), 0u64);
    while let Some(chunk) = stream.recv().await {
        let chunk = chunk?;
        hash.update(&chunk);
        bytes = bytes.saturating_add(chunk.len() as u64);
    }
    stream.send_as(&FileSeen { bytes, sha256: hash.finalize().into() }).await?;
    stream.finish().await
}

async fn answer_messages(_: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    while let Some(message) = stream.recv().await {
        let answer = Message::read(&message?).respond();
        stream.send_as(&answer).await?;
    }
    stream.finish().await
}
