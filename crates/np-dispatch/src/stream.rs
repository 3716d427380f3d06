//! Streams of messages as a handler sees them: a source, a sink, and both as one. Must never know how credit is counted:
//! the driver's source releases it when a message is taken, its sink is ready when there is some.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use np_types::{CallError, Codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{decode, encode};

/// Where a stream's messages come from. The driver implements it.
pub trait MessageSource: Send {
    /// Takes the next message, which releases its credit. `None`: the peer finished its direction.
    ///
    /// After `None` or an error it is not polled again.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>>;
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
        Self { receiver: MessageReceiver { source: Some(source) }, sender: MessageSender { sink } }
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
            self.source = None;
        }
        Poll::Ready(message)
    }

    /// The next message, read as postcard. A message that does not decode is an error of that message alone; the
    /// stream goes on.
    pub async fn recv_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, CallError>> {
        Some(match self.recv().await? {
            Ok(body) => decode(Codec::Postcard, &body).map_err(Into::into),
            Err(error) => Err(error),
        })
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
        poll_fn(|cx| self.sink.poll_ready(cx)).await?;
        self.sink.start_send(message)
    }

    /// Sends a value as postcard.
    ///
    /// # Errors
    /// When the stream is over or the value cannot be written.
    pub async fn send_as<T: Serialize + Sync + ?Sized>(&mut self, value: &T) -> Result<(), CallError> {
        let message = encode(value)?;
        self.send(message).await
    }

    /// Waits until everything sent has left this process.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn flush(&mut self) -> Result<(), CallError> {
        poll_fn(|cx| self.sink.poll_flush(cx)).await
    }

    /// Ends this direction. The peer sees the end after every message sent before.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        poll_fn(|cx| self.sink.poll_finish(cx)).await
    }
}

impl fmt::Debug for MessageSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageSender(..)")
    }
}

#[cfg(test)]
mod tests;
