//! The demo's server, its methods, and the places where it listens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use np_facade::{
    Address, CallContext, CallError, Client, Error, Identity, Message, MessageStream, Policy, Psk, Psks, PublicKey,
    Router, Server, ServerBuilder, psk_id, random_psk,
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

/// The servers and all that its clients need to know.
#[derive(Debug)]
pub(crate) struct House {
    server: Server,
    guarded: Server,
    places: Vec<Place>,
    /// Removed, with the sockets in it, when the demo ends.
    _folder: TempDir,
}

/// One transport to the server, and who may use it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `tcp`, `unix` or `mem`.
    pub(crate) transport: &'static str,
    /// The server's address with its key.
    pub(crate) address: Address,
    /// A second server with the same key, whose clients must hold the pre-shared key, with its key.
    pub(crate) guarded: Address,
    /// That pre-shared key.
    pub(crate) psk: Psk,
    /// Where nobody listens yet.
    pub(crate) spare: String,
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
            ("unix", ["server", "relay", "guarded", "spare"].map(|name| socket(&format!("{name}.sock"))))
        } else {
            ("mem", ["", "-relay", "-guarded", "-spare"].map(|name| format!("mem:np-demo{name}")))
        };
        let transports = [("tcp", [(); 4].map(|()| "tcp://127.0.0.1:0".to_owned())), second];
        let identity = Identity::generate().map_err(failed)?;
        let member = Identity::generate().map_err(failed)?;
        let (key, kept) = (identity.public_key(), Kept::default());
        let psk = random_psk().map_err(|error| failed(error.into()))?;
        let (policy, id) = (Policy::allow_keys([member.public_key()]), psk_id(&psk));
        let by_psk = Policy::allow_psk(&id).map_err(|error| failed(error.into()))?;
        let mut builder = Server::builder(identity.clone(), policy.clone());
        let mut strict = Server::builder(identity, policy.or(by_psk));
        strict = strict.psks(Psks::new().with_id(&id, psk.clone()).map_err(|error| failed(error.into()))?);
        for (_, [address, _, guarded, _]) in &transports {
            builder = builder.listen(address.clone());
            strict = strict.listen(guarded.clone());
        }
        let server = with_methods(builder, kept.clone()).start().await.map_err(failed)?;
        let guarded = with_methods(strict, Kept::default()).start().await.map_err(failed)?;
        let listening = server.addresses().iter().zip(guarded.addresses());
        let places = transports.into_iter().zip(listening).map(|((transport, [_, relay, _, spare]), at)| Place {
            transport,
            address: at.0.clone(),
            guarded: at.1.clone(),
            psk: psk.clone(),
            spare,
            relay,
            server: key,
            member: member.clone(),
            file: file.clone(),
            kept: kept.clone(),
        });
        Ok(Self { places: places.collect(), server, guarded, _folder: folder })
    }

    /// Every transport.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Ends the server in order.
    pub(crate) async fn shut_down(self) {
        let within = Duration::from_millis(500);
        tokio::join!(self.server.shutdown(within), self.guarded.shutdown(within));
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
        .on_stream("demo.unread", |_, unread| async move {
            std::future::pending::<()>().await;
            drop(unread);
            Ok(())
        })
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
