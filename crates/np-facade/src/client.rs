//! A client: one connection to one server, calls, streams and messages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{MessageReceiver, MessageSender, MessageStream, Reply, decode, encode};
use np_driver::{Connection, Request};
use np_types::{CallError, CloseCode, Codec, ConnectionError, Metadata, MethodName, Status};
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
            compress: None,
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
    compress: Option<bool>,
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

    fn into_request(self) -> Result<Request, CallError> {
        let deadline = self.client.connection.clock().deadline(self.deadline);
        let request = Request::new(name(self.method)?).codec(self.codec).body(self.body);
        let request = request.metadata(self.metadata).deadline(deadline);
        Ok(match self.compress {
            Some(compress) => request.compress(compress),
            None => request,
        })
    }
}

fn name(method: &str) -> Result<MethodName, CallError> {
    MethodName::new(method).map_err(|error| CallError::not_processed(Status::InvalidArgument, error.to_string()))
}

fn no_messages() -> CallError {
    CallError::not_processed(Status::Unavailable, "the message stream is not open")
}
