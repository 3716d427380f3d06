//! Streams of messages as a handler sees them: a source, a sink, and both as one. Must never know how credit is counted:
//! the driver's source releases it when a message is taken, its sink is ready when there is some.

mod futures;
mod typed;

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use np_types::{CallError, Codec, Metadata, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use typed::{TypedReceiver, TypedSender, TypedStream};

use crate::{decode, encode_as};

/// Where a stream's messages come from. The driver implements it.
pub trait MessageSource: Send {
    /// Takes the next message, which releases its credit. `None`: the peer finished its direction.
    ///
    /// After `None` or an error it is not polled again.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>>;

    /// The pairs with which the peer ended the stream; asked once, after `None` or an error.
    fn take_trailers(&mut self) -> Option<Metadata> {
        None
    }

    /// Ends the stream both ways for a reason, of which the peer is told the status.
    fn cancel(&mut self, reason: CallError);
}

/// Where a stream's messages go. The driver implements it.
pub trait MessageSink: Send {
    /// Ready when there is credit for one more message. Reserves nothing: being ready and then not sending is fine.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>>;

    /// Hands a message over, after `poll_ready` was ready. It goes out by itself; no flush is needed for that.
    ///
    /// # Errors
    /// When the stream is over or this direction is finished.
    fn start_send(&mut self, message: Bytes) -> Result<(), CallError>;

    /// Ready when everything handed over has left this process.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>>;

    /// Ends this direction after what was handed over. Finishing twice is no error.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>>;

    /// Sets the pairs with which the stream will end.
    ///
    /// # Errors
    /// When this side opened the stream: its end is the peer's.
    fn set_trailers(&mut self, trailers: Metadata) -> Result<(), CallError>;

    /// Ends the stream both ways for a reason, of which the peer is told the status.
    fn cancel(&mut self, reason: CallError);

    /// The longest message that the peer takes, in bytes.
    fn max_message(&self) -> usize {
        usize::MAX
    }
}

/// A stream of messages both ways, in order each way. Dropping it unfinished cancels the stream.
///
/// ```
/// use np_dispatch::MessageStream;
/// use np_types::CallError;
///
/// async fn add_up(mut stream: MessageStream) -> Result<(), CallError> {
///     let mut sum = 0u64;
///     while let Some(number) = stream.recv_as::<u64>().await {
///         sum = sum.saturating_add(number?);
///         stream.send_as(&sum).await?;
///     }
///     stream.finish().await
/// }
/// ```
#[derive(Debug)]
pub struct MessageStream {
    receiver: MessageReceiver,
    sender: MessageSender,
}

impl MessageStream {
    /// Joins a source and a sink.
    #[must_use]
    pub fn new(source: Box<dyn MessageSource>, sink: Box<dyn MessageSink>) -> Self {
        let codec = Codec::Postcard;
        let receiver = MessageReceiver { source: Some(source), codec, trailers: None };
        Self { receiver, sender: MessageSender { sink, codec } }
    }

    /// Sets the codec of typed messages to that of the stream's opening. One that says bytes leaves it at postcard.
    #[must_use]
    pub const fn with_codec(mut self, codec: Codec) -> Self {
        if !matches!(codec, Codec::Bytes) {
            self.receiver.codec = codec;
            self.sender.codec = codec;
        }
        self
    }

    /// The codec of typed messages: what the stream was opened with, or postcard.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.receiver.codec
    }

    /// The next message; see [`MessageReceiver::recv`].
    pub async fn recv(&mut self) -> Option<Result<Bytes, CallError>> {
        self.receiver.recv().await
    }

    /// The next message as a value; see [`MessageReceiver::recv_as`].
    pub async fn recv_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, CallError>> {
        self.receiver.recv_as().await
    }

    /// Sends a message; see [`MessageSender::send`].
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), CallError> {
        self.sender.send(message).await
    }

    /// Sends a value; see [`MessageSender::send_as`].
    ///
    /// # Errors
    /// When the stream is over or the value cannot be written.
    pub async fn send_as<T: Serialize + Sync + ?Sized>(&mut self, value: &T) -> Result<(), CallError> {
        self.sender.send_as(value).await
    }

    /// Waits until everything sent has left this process.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn flush(&mut self) -> Result<(), CallError> {
        self.sender.flush().await
    }

    /// Ends this side's direction; the peer may still send.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        self.sender.finish().await
    }

    /// Sets the pairs with which the stream ends, beside its status; see [`MessageSender::set_trailers`].
    ///
    /// # Errors
    /// When this side opened the stream.
    pub fn set_trailers(&mut self, trailers: Metadata) -> Result<(), CallError> {
        self.sender.set_trailers(trailers)
    }

    /// The pairs with which the peer ended the stream; see [`MessageReceiver::trailers`].
    #[must_use]
    pub const fn trailers(&self) -> Option<&Metadata> {
        self.receiver.trailers()
    }

    /// Ends the stream both ways and says why; see [`MessageSender::cancel`].
    pub fn cancel(self, status: Status, text: &str) {
        self.sender.cancel(status, text);
    }

    /// The stream with values in place of bytes: a [`Stream`](futures_core::Stream) of `In` and a
    /// [`Sink`](futures_sink::Sink) of `Out`.
    #[must_use]
    pub fn typed<In, Out>(self) -> TypedStream<In, Out> {
        TypedStream::new(self)
    }

    /// Both halves, each to be used by a task of its own.
    #[must_use]
    pub fn split(self) -> (MessageReceiver, MessageSender) {
        (self.receiver, self.sender)
    }

    /// The two halves of one stream, together again.
    #[must_use]
    pub const fn unsplit(receiver: MessageReceiver, sender: MessageSender) -> Self {
        Self { receiver, sender }
    }
}

/// The receiving half of a stream.
pub struct MessageReceiver {
    /// `None` once the source ended: an ended source is not polled again.
    source: Option<Box<dyn MessageSource>>,
    codec: Codec,
    trailers: Option<Metadata>,
}

impl MessageReceiver {
    /// The next message; `None` once the peer finished, and after an error.
    ///
    /// Safe to cancel: a message is taken only when it is returned.
    pub async fn recv(&mut self) -> Option<Result<Bytes, CallError>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The poll form of [`Self::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let message = ready!(source.poll_message(cx));
        if !matches!(message, Some(Ok(_))) {
            self.trailers = source.take_trailers();
            self.source = None;
        }
        Poll::Ready(message)
    }

    /// The next message, read in the stream's codec. A message that does not decode is an error of that message alone;
    /// the stream goes on.
    pub async fn recv_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, CallError>> {
        poll_fn(|cx| self.poll_recv_as(cx)).await
    }

    /// The poll form of [`Self::recv_as`].
    pub fn poll_recv_as<T: DeserializeOwned>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, CallError>>> {
        let message = ready!(self.poll_recv(cx));
        Poll::Ready(message.map(|body| decode(self.codec, &body?).map_err(Into::into)))
    }

    /// The pairs with which the callee ended the stream, for the side that opened it: there once [`Self::recv`] gave
    /// `None`, or the error of a callee that sent some beside it. `None` before that, and for the callee.
    ///
    /// ```
    /// # async fn example(mut receiver: np_dispatch::MessageReceiver) -> Result<(), np_types::CallError> {
    /// while let Some(message) = receiver.recv().await {
    ///     println!("{} bytes", message?.len());
    /// }
    /// let rows = receiver.trailers().and_then(|trailers| trailers.value("rows"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn trailers(&self) -> Option<&Metadata> {
        self.trailers.as_ref()
    }

    /// Whether the messages have ended, well or with an error.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.source.is_none()
    }

    /// Ends the stream both ways and says why; see [`MessageSender::cancel`]. A stream whose messages have ended is
    /// left alone.
    pub fn cancel(self, status: Status, text: &str) {
        if let Some(mut source) = self.source {
            source.cancel(CallError::answered(status, text));
        }
    }

    /// The half with values in place of bytes: a [`Stream`](futures_core::Stream) of `In`.
    #[must_use]
    pub fn typed<In>(self) -> TypedReceiver<In> {
        TypedReceiver::new(self)
    }
}

impl fmt::Debug for MessageReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReceiver").field("ended", &self.source.is_none()).finish()
    }
}

/// The sending half of a stream.
pub struct MessageSender {
    sink: Box<dyn MessageSink>,
    codec: Codec,
}

impl MessageSender {
    /// Waits for credit, then hands a message over. It goes out by itself, without [`Self::flush`].
    ///
    /// Safe to cancel: the message is handed over wholly or not at all.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), CallError> {
        let message = message.into();
        poll_fn(|cx| self.poll_ready(cx)).await?;
        self.start_send(message)
    }

    /// Sends a value in the stream's codec.
    ///
    /// # Errors
    /// When the stream is over or the value cannot be written.
    pub async fn send_as<T: Serialize + Sync + ?Sized>(&mut self, value: &T) -> Result<(), CallError> {
        let message = encode_as(self.codec, value)?;
        self.send(message).await
    }

    /// Waits until everything sent has left this process.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn flush(&mut self) -> Result<(), CallError> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends this direction. The peer sees the end after every message sent before; for the callee of a stream, the end
    /// goes out when its handler is done.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Sets the pairs with which the stream ends, beside its status, well or not; the last ones set count. The caller
    /// reads them with [`MessageReceiver::trailers`].
    ///
    /// # Errors
    /// When this side opened the stream: its end is the callee's.
    ///
    /// ```
    /// use np_types::Metadata;
    /// let handler = np_dispatch::stream(|_ctx, mut stream| async move {
    ///     let mut rows = 0u32;
    ///     while let Some(row) = stream.recv().await {
    ///         row?;
    ///         rows += 1;
    ///     }
    ///     let mut trailers = Metadata::new();
    ///     let _ = trailers.insert("rows", rows.to_string().as_bytes());
    ///     stream.set_trailers(trailers)
    /// });
    /// ```
    pub fn set_trailers(&mut self, trailers: Metadata) -> Result<(), CallError> {
        self.sink.set_trailers(trailers)
    }

    /// Ends the stream both ways at once and says why, instead of with [`Status::Cancelled`] as a drop does. What was
    /// handed over and has not left may be lost; the other half of this side ends with the same reason.
    ///
    /// Of the side that opened the stream, the peer is told the status alone, and drops the handler. Of the callee, the
    /// peer is told status and text, and the handler's future is dropped: one that can simply return its error should.
    ///
    /// ```
    /// use np_types::Status;
    /// # async fn example(stream: np_dispatch::MessageStream) {
    /// stream.cancel(Status::LimitReached, "enough rows");
    /// # }
    /// ```
    pub fn cancel(mut self, status: Status, text: &str) {
        self.sink.cancel(CallError::answered(status, text));
    }

    /// The poll form of waiting for credit: ready when [`Self::start_send`] may be called once.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.sink.poll_ready(cx)
    }

    /// Hands a message over, after [`Self::poll_ready`] was ready.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn start_send(&mut self, message: Bytes) -> Result<(), CallError> {
        self.sink.start_send(message)
    }

    /// The poll form of [`Self::flush`].
    ///
    /// # Errors
    /// When the stream is over.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.sink.poll_flush(cx)
    }

    /// The poll form of [`Self::finish`].
    ///
    /// # Errors
    /// When the stream is over.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.sink.poll_finish(cx)
    }

    /// The longest message that the peer takes, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.sink.max_message()
    }

    /// The half with values in place of bytes: a [`Sink`](futures_sink::Sink) of `Out`.
    #[must_use]
    pub fn typed<Out>(self) -> TypedSender<Out> {
        TypedSender::new(self)
    }
}

impl fmt::Debug for MessageSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageSender(..)")
    }
}

#[cfg(test)]
mod tests;
