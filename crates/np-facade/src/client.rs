//! A client: one connection to one server, calls, streams and messages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{MessageReceiver, MessageSender, MessageStream, Reply, Router, decode, encode};
use np_driver::{Connection, ConnectorConfig, Request, connect};
use np_noise::{Pattern, Role};
use np_transport::{Address, SecurityMode};
use np_trust::Policy;
use np_types::{CallError, CloseCode, Codec, ConnectionError, Deadline, Limits, Metadata, MethodName, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::{Error, Identity, MESSAGES};

/// Builds a [`Client`].
#[derive(Debug)]
pub struct ClientBuilder {
    address: String,
    identity: Option<Identity>,
    policy: Option<Policy>,
    trusts_anyone: bool,
    pattern: Pattern,
    limits: Limits,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    deadline: Duration,
    router: Router,
}

impl ClientBuilder {
    /// Sets who this client is. Default: a fresh identity for this connection.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets which servers are accepted, in place of the keys that the address names.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self.trusts_anyone = false;
        self
    }

    /// Talks to whoever answers: nothing tells the server from an impostor who sits in between.
    ///
    /// For addresses without a key; with one, [`ClientBuilder::connect`] refuses the contradiction.
    #[must_use]
    pub fn danger_trust_anyone(mut self) -> Self {
        self.policy = Some(Policy::danger_trust_anyone());
        self.trusts_anyone = true;
        self
    }

    /// Sets the handshake pattern. Default XX; IK saves half a round trip and needs exactly one key in the address.
    #[must_use]
    pub const fn pattern(mut self, pattern: Pattern) -> Self {
        self.pattern = pattern;
        self
    }

    /// Sets what the connection may cost this side. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long a link may take to come about. Default 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long the handshake may take. Default 10 s.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the deadline of calls that name none. Default 30 s.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the methods that the server may call back. Default: none.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Connects, on the current tokio runtime. Nothing is retried.
    ///
    /// # Errors
    /// When the address is malformed, names no key, or other keys than the settings ask for, when a setting is out of
    /// its range, when nobody answers, or when either side refuses the other.
    pub async fn connect(self) -> Result<Client, Error> {
        let address: Address = self.address.parse()?;
        self.check_keys(&address)?;
        let policy = match self.policy {
            Some(policy) => policy,
            None if matches!(address.mode(), SecurityMode::Noise) && address.keys().is_empty() => {
                return Err(Error::NoServerKey { address: address.to_string() });
            }
            None => Policy::allow_keys(address.keys().iter().copied()),
        };
        let identity = match self.identity {
            Some(identity) => identity,
            None => Identity::generate()?,
        };
        let config = ConnectorConfig {
            pattern: self.pattern,
            server_key: address.keys().first().copied(),
            limits: self.limits,
            connect_timeout: self.connect_timeout,
            handshake_timeout: self.handshake_timeout,
            router: self.router,
            ..ConnectorConfig::new(identity.into_keys(), policy)
        };
        let connection = connect(&address, config).await?;
        Ok(Client { connection, deadline: self.deadline, messages: Arc::default() })
    }

    /// Refuses keys that would be ignored, and a choice that nobody made.
    fn check_keys(&self, address: &Address) -> Result<(), Error> {
        let count = address.keys().len();
        if self.trusts_anyone && count > 0 {
            return Err(Error::IgnoredKey { address: address.without_keys().to_string() });
        }
        if self.pattern.needs_remote_static(Role::Initiator) && count != 1 {
            let address = address.without_keys().to_string();
            return Err(Error::OneKey { pattern: self.pattern.name(), address, count });
        }
        Ok(())
    }
}

/// A client of one server. `Clone`, `Send` and `Sync`: clones share the connection.
///
/// When the last clone is dropped, the connection ends in order.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    deadline: Duration,
    messages: Arc<Messages>,
}

/// The two halves of the message-style stream, opened by whoever needs it first.
#[derive(Default)]
struct Messages {
    opened: Mutex<bool>,
    sender: Mutex<Option<MessageSender>>,
    receiver: Mutex<Option<MessageReceiver>>,
}

impl Client {
    /// Connects with default settings and a fresh identity to an address that names its server's key.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::builder(address).connect().await
    }

    /// Starts to build a client for an address, in the form that the server printed.
    #[must_use]
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            address: address.into(),
            identity: None,
            policy: None,
            trusts_anyone: false,
            pattern: Pattern::XX,
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            deadline: Deadline::DEFAULT,
            router: Router::new(),
        }
    }

    /// Calls a method with bytes and gives the reply's bytes. Dropping the future cancels the call.
    ///
    /// # Errors
    /// The method's own error, or why there is no answer; `outcome` says what is known about the work.
    pub async fn call(&self, method: &str, body: impl Into<Bytes>) -> Result<Bytes, CallError> {
        Ok(self.request(method).body(body).send().await?.body)
    }

    /// Calls a method over serde types, postcard on the wire.
    ///
    /// # Errors
    /// As [`Client::call`], and when the reply is not of the type.
    pub async fn call_as<Resp: DeserializeOwned>(
        &self,
        method: &str,
        request: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Resp, CallError> {
        let reply = self.request(method).codec(Codec::Postcard).body(encode(request)?).send().await?;
        Ok(decode(reply.codec, &reply.body)?)
    }

    /// Sends a message that has no answer; done when all of it was handed to the operating system.
    ///
    /// # Errors
    /// When it was not sent, or it is not known whether all of it was.
    pub async fn send_one_way(&self, method: &str, body: impl Into<Bytes>) -> Result<(), CallError> {
        let call = self.request(method).body(body);
        call.client.connection.send_one_way(call.into_request()?).await
    }

    /// Opens a stream of messages both ways.
    ///
    /// # Errors
    /// When it could not be opened.
    pub async fn open_stream(&self, method: &str) -> Result<MessageStream, CallError> {
        self.connection.open_stream(Request::new(name(method)?)).await
    }

    /// Starts a call with options.
    #[must_use]
    pub fn request<'a>(&'a self, method: &'a str) -> Call<'a> {
        Call {
            client: self,
            method,
            codec: Codec::Bytes,
            body: Bytes::new(),
            metadata: Metadata::new(),
            deadline: self.deadline,
        }
    }

    /// Sends a message on this connection's one ordered message stream, postcard on the wire.
    ///
    /// It is on its way when this returns. The end of the connection cancels the server's handler: have it answer what
    /// must not be lost, and wait for the answer before the client is closed or dropped.
    ///
    /// # Errors
    /// When the stream cannot be opened or has ended.
    pub async fn send<T: Serialize + Sync + ?Sized>(&self, message: &T) -> Result<(), CallError> {
        self.open_messages().await?;
        match &mut *self.messages.sender.lock().await {
            Some(sender) => sender.send_as(message).await,
            None => Err(no_messages()),
        }
    }

    /// Receives the next message of this connection's message stream; `None` when the server has ended it.
    ///
    /// # Errors
    /// When the stream cannot be opened, has failed, or the message is not of the type.
    pub async fn recv<T: DeserializeOwned>(&self) -> Result<Option<T>, CallError> {
        self.open_messages().await?;
        match &mut *self.messages.receiver.lock().await {
            Some(receiver) => receiver.recv_as().await.transpose(),
            None => Err(no_messages()),
        }
    }

    async fn open_messages(&self) -> Result<(), CallError> {
        let mut opened = self.messages.opened.lock().await;
        if !*opened {
            let (receiver, sender) = self.open_stream(MESSAGES).await?.split();
            *self.messages.sender.lock().await = Some(sender);
            *self.messages.receiver.lock().await = Some(receiver);
            *opened = true;
        }
        Ok(())
    }

    /// Asks the server for a sign of life and gives the time it took.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn ping(&self) -> Result<Duration, ConnectionError> {
        self.connection.ping().await
    }

    /// Ends the connection in order. Calls that are still open fail: wait for them first.
    pub async fn close(&self) -> ConnectionError {
        self.connection.close(CloseCode::Normal, "").await
    }

    /// Waits until the connection is over, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.connection.closed().await
    }

    /// The connection below.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// A call with options; [`Call::send`] makes it.
#[derive(Debug)]
pub struct Call<'a> {
    client: &'a Client,
    method: &'a str,
    codec: Codec,
    body: Bytes,
    metadata: Metadata,
    deadline: Duration,
}

impl Call<'_> {
    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Says how the body is to be read.
    #[must_use]
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the pairs beside the body.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets how long the answer may take.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Calls the method and waits for its answer.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn send(self) -> Result<Reply, CallError> {
        let connection = &self.client.connection;
        connection.call(self.into_request()?).await
    }

    fn into_request(self) -> Result<Request, CallError> {
        let deadline = self.client.connection.clock().deadline(self.deadline);
        let request = Request::new(name(self.method)?).codec(self.codec).body(self.body);
        Ok(request.metadata(self.metadata).deadline(deadline))
    }
}

fn name(method: &str) -> Result<MethodName, CallError> {
    MethodName::new(method).map_err(|error| CallError::not_processed(Status::InvalidArgument, error.to_string()))
}

fn no_messages() -> CallError {
    CallError::not_processed(Status::Unavailable, "the message stream is not open")
}
