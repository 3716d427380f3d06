//! A client: connections to one service that are kept, calls, streams and messages over them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{CodecError, MessageStream, Reply, Schema, encode_as};
use np_driver::{Connection, Priority, Request};
use np_types::{CallError, CloseCode, Codec, ConnectionError, Metadata, MethodName, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::attempt::{OneWay, OpenStream, Outgoing, settle};
use crate::client::dialer::Dialer;
use crate::client::events::ClientEvents;
use crate::client::keeper::keep;
use crate::client::messages::Messages;
use crate::client::once::Once;
use crate::client::pool::{Live, Pool};
use crate::client::resolver::Resolver;
use crate::client::sending::{Plain, Sending, SendingBody, WithOptions};
use crate::{ClientBuilder, Error, MESSAGES};

pub(crate) mod attempt;
pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod budget;
pub(crate) mod dialer;
pub(crate) mod events;
mod first_call;
pub(crate) mod keeper;
pub(crate) mod keeping;
pub(crate) mod messages;
pub(crate) mod once;
pub(crate) mod pool;
pub(crate) mod resolver;
pub(crate) mod sending;
pub(crate) mod station;

/// A client of one service. `Clone`, `Send` and `Sync`: clones share its connections.
///
/// A connection that is lost is made again, and calls wait for it: see [`ClientBuilder::auto_reconnect`]. When the last
/// clone is dropped, the connections end in order.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// What clones share. The tasks that make connections hold the pool alone, so that the last clone ends them.
pub(crate) struct Inner {
    pool: Arc<Pool>,
    messages: Messages,
    once: Once,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.close(ConnectionError::ClosedHere(CloseCode::Normal));
    }
}

impl Client {
    /// A client over a pool whose first connection stands; on the current runtime the others are made, and lost ones again.
    pub(crate) fn over(pool: Pool, once: Once) -> Self {
        let pool = Arc::new(pool);
        for lane in 0..pool.size() {
            keep(&pool, lane);
        }
        Self { inner: Arc::new(Inner { pool, messages: Messages::default(), once }) }
    }

    fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.inner.pool.dialer
    }

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
        ClientBuilder::new().address(address)
    }

    /// Starts to build a client whose addresses a resolver gives, anew at each attempt to connect.
    #[must_use]
    pub fn resolved_by(resolver: impl Resolver) -> ClientBuilder {
        ClientBuilder::new().resolver(resolver)
    }

    /// Calls a method with bytes and gives the reply's bytes. Dropping the future cancels the call.
    ///
    /// # Errors
    /// The method's own error, or why there is no answer; `outcome` says what is known about the work.
    pub fn call<'a>(
        &'a self,
        method: &'a str,
        body: impl Into<Bytes>,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send {
        SendingBody(Sending::new(Plain { inner: &self.inner, method, body: body.into() }))
    }

    /// Calls a method over serde types, postcard on the wire; [`Call::send_as`] has other codecs.
    ///
    /// # Errors
    /// As [`Client::call`], and when the reply is not of the type.
    pub async fn call_as<Resp: DeserializeOwned>(
        &self,
        method: &str,
        request: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Resp, CallError> {
        self.request(method).send_as(request).await
    }

    /// Sends a message that has no answer; done when all of it was handed to the operating system.
    ///
    /// # Errors
    /// When it was not sent, or it is not known whether all of it was.
    pub async fn send_one_way(&self, method: &str, body: impl Into<Bytes>) -> Result<(), CallError> {
        self.request(method).body(body).send_one_way().await
    }

    /// Opens a stream of messages both ways; [`Call::open_stream`] has options.
    ///
    /// # Errors
    /// When it could not be opened.
    pub async fn open_stream(&self, method: &str) -> Result<MessageStream, CallError> {
        self.request(method).open_stream().await
    }

    /// Starts a call, one-way message or stream with options.
    #[must_use]
    pub fn request<'a>(&'a self, method: &'a str) -> Call<'a> {
        Call {
            client: self,
            method,
            codec: None,
            body: Bytes::new(),
            metadata: Metadata::new(),
            schema: None,
            deadline: None,
            compress: None,
            traced: false,
            priority: Priority::Interactive,
            idempotent: false,
            exactly_once: false,
        }
    }

    /// Sends a message on this client's one ordered message stream, postcard on the wire.
    ///
    /// It is on its way when this returns. The end of the connection cancels the server's handler: have it answer what
    /// must not be lost, and wait for the answer before the client is closed or dropped. When the connection is lost, the
    /// stream fails for whoever uses it first, since messages may be lost with it; whoever uses it next opens another.
    ///
    /// # Errors
    /// When the stream cannot be opened, has ended, or was lost with its connection.
    pub async fn send<T: Serialize + Sync + ?Sized>(&self, message: &T) -> Result<(), CallError> {
        self.inner.messages.open(|| self.open_messages()).await?;
        self.inner.messages.send(message).await
    }

    /// Receives the next message of this client's message stream; `None` when the server has ended it.
    ///
    /// # Errors
    /// When the stream cannot be opened, has failed, was lost with its connection, or the message is not of the type.
    pub async fn recv<T: DeserializeOwned>(&self) -> Result<Option<T>, CallError> {
        self.inner.messages.open(|| self.open_messages()).await?;
        self.inner.messages.recv().await
    }

    async fn open_messages(&self) -> Result<(MessageStream, Arc<Live>), CallError> {
        let opening = self.request(MESSAGES).into_stream()?;
        let (stream, lease) = settle::<OpenStream>(&self.inner.pool, &opening).await?;
        Ok((stream, Arc::clone(&lease.live)))
    }

    /// Asks the server of the newest connection for a sign of life and gives the time it took.
    ///
    /// # Errors
    /// When that connection has ended; it does not wait for another.
    pub async fn ping(&self) -> Result<Duration, ConnectionError> {
        self.inner.pool.newest().connection.ping().await
    }

    /// What becomes of the connections from now on; the first events tell which of them stand.
    ///
    /// ```no_run
    /// # async fn run(client: np_facade::Client) {
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     println!("{event:?}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> ClientEvents {
        self.inner.pool.teller.subscribe()
    }

    /// Ends the client and its connections in order. Calls that are still open fail: wait for them first.
    pub async fn close(&self) -> ConnectionError {
        let pool = &self.inner.pool;
        let standing = pool.close(ConnectionError::ClosedHere(CloseCode::Normal));
        // The newest may be out of the pool, since its server drains.
        for live in standing.into_iter().chain([pool.newest()]) {
            live.connection.close(CloseCode::Normal, "").await;
        }
        pool.closed().await
    }

    /// Waits until the client is over, and says why: it was closed, its server refuses it for good, or nothing is tried
    /// any more ([`ClientBuilder::auto_reconnect`], [`ClientBuilder::max_reconnect_attempts`]). A connection that is lost
    /// and made again is no end; [`Client::events`] tells of it.
    pub async fn closed(&self) -> ConnectionError {
        self.inner.pool.closed().await
    }

    /// The newest connection, whether it stands or not. Calls on it are on their own: none waits, and none is sent again.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.inner.pool.newest().connection.clone()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connection", &self.inner.pool.newest().connection).finish_non_exhaustive()
    }
}

/// A call, one-way message or stream with options; made by [`Call::send`], [`Call::send_as`], [`Call::send_one_way`] or
/// [`Call::open_stream`].
///
/// ```
/// # async fn example(client: np_facade::Client) -> Result<(), np_facade::CallError> {
/// use std::time::Duration;
/// use np_facade::Codec;
/// // JSON needs the feature `json`.
/// let call = client.request("orders.count").codec(Codec::Json).schema("orders/3").deadline(Duration::from_secs(5));
/// let count: u64 = call.send_as(&("apples", 2024)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Call<'a> {
    client: &'a Client,
    method: &'a str,
    codec: Option<Codec>,
    body: Bytes,
    metadata: Metadata,
    schema: Option<Schema>,
    deadline: Option<Duration>,
    compress: Option<bool>,
    traced: bool,
    priority: Priority,
    idempotent: bool,
    exactly_once: bool,
}

impl<'a> Call<'a> {
    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Says how the body, or a stream's messages, are to be read. Default: bytes, and postcard for values.
    #[must_use]
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Sets the pairs beside the body.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Expects that the method names the same text in its [`MethodOptions::schema`](crate::MethodOptions::schema); else
    /// the answer is [`Status::SchemaMismatch`]. It takes one pair of the metadata.
    #[must_use]
    pub fn schema(mut self, text: &str) -> Self {
        self.schema = Some(Schema::of(text));
        self
    }

    /// Sets how long the answer, or the whole stream, may take. Default: the client's deadline for a call, none for a
    /// stream.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Lets interactive calls and streams of this side go first: for transfers and backups. Bulk keeps an eighth of the
    /// bytes. Messages larger than the server's stream window are bulk by themselves.
    ///
    /// ```no_run
    /// # async fn run(client: np_facade::Client) -> Result<(), np_facade::CallError> {
    /// let backup = client.request("backup").bulk().open_stream().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn bulk(mut self) -> Self {
        self.priority = Priority::Bulk;
        self
    }

    /// Says whether the body is compressed, where the server reads that and it is worth it; else the client's default
    /// stands. Keep secrets and text of strangers out of one body: its size tells about both.
    ///
    /// ```no_run
    /// # async fn run(client: np_facade::Client, report: String) -> Result<(), np_facade::CallError> {
    /// client.request("archive").body(report).compress(true).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn compress(mut self, compress: bool) -> Self {
        self.compress = Some(compress);
        self
    }

    /// Begins a trace with this call, in W3C's form, unless the handler that makes it belongs to one already: the calls
    /// that its handler makes belong to it too. It takes one pair of the metadata, of 66 bytes, where there is room.
    ///
    /// ```no_run
    /// # async fn run(client: np_facade::Client) -> Result<(), np_facade::CallError> {
    /// client.request("orders.list").traced().send().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// Declares that the call does no harm when it is done twice, so that it is sent again when its connection is lost and
    /// nobody knows whether it was done. [`ClientBuilder::idempotent_methods`] declares it of all calls of a method.
    ///
    /// ```no_run
    /// # async fn run(client: np_facade::Client) -> Result<(), np_facade::CallError> {
    /// let stock = client.request("stock.count").body("apples").idempotent().send().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Sends the call again when its connection is lost, and has it run once all the same: the server remembers its reply
    /// ([`ServerBuilder::exactly_once`](crate::ServerBuilder::exactly_once)). [`ClientBuilder::exactly_once`] does so with
    /// every call. A server that started again, or remembers no more, makes it *outcome unknown*; see
    /// `docs/EXACTLY_ONCE.md`. For calls alone, not for one-way messages and streams.
    ///
    /// ```no_run
    /// # async fn run(client: np_facade::Client) -> Result<(), np_facade::CallError> {
    /// let receipt = client.request("order").body("apples").exactly_once().send().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn exactly_once(mut self) -> Self {
        self.exactly_once = true;
        self
    }

    /// Calls the method and waits for its answer. Nothing is sent before the future is polled; the trace that the call
    /// belongs to is the one in which it is made.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn send(self) -> impl Future<Output = Result<Reply, CallError>> + Send {
        let Inner { pool, once, .. } = &*self.client.inner;
        let exactly_once = self.exactly_once || pool.dialer.settings.keeping.exactly_once;
        let once = exactly_once.then_some(once);
        Sending::new(WithOptions { pool, once, call: self.into_outgoing() })
    }

    /// Calls the method with a value in place of the body, in the call's codec, and reads the answer's.
    ///
    /// # Errors
    /// As [`Client::call`]; also when the value cannot be written, or the reply is not of the type.
    pub async fn send_as<Resp: DeserializeOwned>(
        self,
        value: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Resp, CallError> {
        let codec = self.codec.unwrap_or(Codec::Postcard);
        let body = encode_as(codec, value).map_err(|error| match error {
            CodecError::Unsupported(_) => CallError::not_processed(Status::UnsupportedCodec, error.to_string()),
            _ => unsent(error.to_string()),
        })?;
        self.codec(codec).body(body).send().await?.decode()
    }

    /// Sends the body as a message that has no answer; done when all of it was handed to the operating system.
    ///
    /// # Errors
    /// As [`Client::send_one_way`].
    pub async fn send_one_way(self) -> Result<(), CallError> {
        let client = self.client;
        settle::<OneWay>(&client.inner.pool, &self.into_outgoing()?).await?;
        Ok(())
    }

    /// Opens a stream of messages both ways, whose values travel in the call's codec. The body must be empty.
    ///
    /// # Errors
    /// When it could not be opened. What the method says to the opening is told by the stream itself.
    pub async fn open_stream(self) -> Result<MessageStream, CallError> {
        let client = self.client;
        let (stream, _) = settle::<OpenStream>(&client.inner.pool, &self.into_stream()?).await?;
        Ok(stream)
    }

    fn into_stream(self) -> Result<Outgoing, CallError> {
        // A stream lasts as long as its sides want, unless somebody said otherwise.
        let within = self.deadline;
        Ok(Outgoing { within, ..self.into_outgoing()? })
    }

    fn into_outgoing(mut self) -> Result<Outgoing, CallError> {
        if let Some(schema) = self.schema {
            schema.expect_in(&mut self.metadata).map_err(|error| unsent(error.to_string()))?;
        }
        if self.traced {
            np_driver::begin_trace(&mut self.metadata);
        }
        let patience = self.deadline.unwrap_or(self.client.inner.pool.dialer.settings.deadline);
        let request = Request::new(name(self.method)?)
            .codec(self.codec.unwrap_or_default())
            .body(self.body)
            .metadata(self.metadata)
            .priority(self.priority);
        let request = match self.compress {
            Some(compress) => request.compress(compress),
            None => request,
        };
        Ok(Outgoing { request, within: Some(patience), idempotent: self.idempotent })
    }
}

#[inline]
fn name(method: &str) -> Result<MethodName, CallError> {
    MethodName::new(method).map_err(|error| unsent(error.to_string()))
}

#[cold]
fn unsent(text: String) -> CallError {
    CallError::not_processed(Status::InvalidArgument, text)
}
