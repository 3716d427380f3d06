//! A client: one connection to one server, calls, streams and messages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{CodecError, MessageReceiver, MessageSender, MessageStream, Reply, Schema, encode_as};
use np_driver::{Connection, Priority, Request};
use np_types::{CallError, CloseCode, Codec, ConnectionError, Deadline, Metadata, MethodName, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::{ClientBuilder, Error, MESSAGES};

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
    pub(crate) fn over(connection: Connection, deadline: Duration) -> Self {
        Self { connection, deadline, messages: Arc::default() }
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
        ClientBuilder::new(address.into())
    }

    /// Calls a method with bytes and gives the reply's bytes. Dropping the future cancels the call.
    ///
    /// # Errors
    /// The method's own error, or why there is no answer; `outcome` says what is known about the work.
    pub async fn call(&self, method: &str, body: impl Into<Bytes>) -> Result<Bytes, CallError> {
        Ok(self.request(method).body(body).send().await?.body)
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
            priority: Priority::Interactive,
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
    priority: Priority,
}

impl Call<'_> {
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

    /// Calls the method and waits for its answer.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn send(self) -> Result<Reply, CallError> {
        let connection = &self.client.connection;
        connection.call(self.into_request()?).await
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
        let connection = &self.client.connection;
        connection.send_one_way(self.into_request()?).await
    }

    /// Opens a stream of messages both ways, whose values travel in the call's codec. The body must be empty.
    ///
    /// # Errors
    /// When it could not be opened. What the method says to the opening is told by the stream itself.
    pub async fn open_stream(self) -> Result<MessageStream, CallError> {
        let (client, deadline) = (self.client, self.deadline);
        let request = self.into_request()?;
        // A stream lasts as long as its sides want, unless somebody said otherwise.
        let deadline = deadline.map_or(Deadline::NONE, |within| client.connection.clock().deadline(within));
        client.connection.open_stream(request.deadline(deadline)).await
    }

    fn into_request(mut self) -> Result<Request, CallError> {
        if let Some(schema) = self.schema {
            schema.expect_in(&mut self.metadata).map_err(|error| unsent(error.to_string()))?;
        }
        let deadline = self.deadline.unwrap_or(self.client.deadline);
        let request = Request::new(name(self.method)?).codec(self.codec.unwrap_or_default()).body(self.body);
        let request = request
            .priority(self.priority)
            .metadata(self.metadata)
            .deadline(self.client.connection.clock().deadline(deadline));
        Ok(match self.compress {
            Some(compress) => request.compress(compress),
            None => request,
        })
    }
}

fn name(method: &str) -> Result<MethodName, CallError> {
    MethodName::new(method).map_err(|error| unsent(error.to_string()))
}

fn unsent(text: String) -> CallError {
    CallError::not_processed(Status::InvalidArgument, text)
}

fn no_messages() -> CallError {
    CallError::not_processed(Status::Unavailable, "the message stream is not open")
}
