//! Streams of values: the same streams, with the codec applied to each message. Must never know a transport.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use np_types::CallError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{MessageReceiver, MessageSender, MessageStream};
use crate::encode_as;

/// A stream of values both ways: a [`Stream`] of `In` and a [`Sink`] of `Out`, in the codec that the stream was opened
/// with. [`MessageStream::typed`] makes it.
///
/// A message that does not decode is an error of that message alone; the stream goes on.
///
/// ```
/// use std::pin::Pin;
/// use np_dispatch::{MessageStream, TypedStream};
/// use np_types::CallError;
///
/// async fn double(stream: MessageStream) -> Result<(), CallError> {
///     let mut numbers: TypedStream<u32, u64> = stream.typed();
///     while let Some(number) = numbers.recv().await {
///         numbers.send(&(u64::from(number?) * 2)).await?;
///     }
///     Ok(())
/// }
/// ```
pub struct TypedStream<In, Out> {
    receiver: TypedReceiver<In>,
    sender: TypedSender<Out>,
}

/// The receiving half of a stream of values: a [`Stream`] of `In`.
///
/// ```
/// use np_dispatch::{MessageReceiver, TypedReceiver};
///
/// async fn sum(receiver: MessageReceiver) -> Result<u64, np_types::CallError> {
///     let mut numbers: TypedReceiver<u64> = receiver.typed();
///     let mut sum = 0u64;
///     while let Some(number) = numbers.recv().await {
///         sum = sum.saturating_add(number?);
///     }
///     Ok(sum)
/// }
/// ```
pub struct TypedReceiver<In> {
    receiver: MessageReceiver,
    values: PhantomData<fn() -> In>,
}

/// The sending half of a stream of values: a [`Sink`] of `Out`.
///
/// ```
/// use np_dispatch::{MessageSender, TypedSender};
///
/// async fn count(sender: MessageSender) -> Result<(), np_types::CallError> {
///     let mut numbers: TypedSender<u64> = sender.typed();
///     for number in 0..10 {
///         numbers.send(&number).await?;
///     }
///     numbers.finish().await
/// }
/// ```
pub struct TypedSender<Out> {
    sender: MessageSender,
    values: PhantomData<fn(Out)>,
}

impl<In, Out> TypedStream<In, Out> {
    pub(super) fn new(stream: MessageStream) -> Self {
        let (receiver, sender) = stream.split();
        Self { receiver: TypedReceiver::new(receiver), sender: TypedSender::new(sender) }
    }

    /// The stream of bytes below: for its trailers, or to cancel it.
    #[must_use]
    pub fn into_inner(self) -> MessageStream {
        MessageStream::unsplit(self.receiver.receiver, self.sender.sender)
    }

    /// Both halves, each to be used by a task of its own.
    #[must_use]
    pub fn split(self) -> (TypedReceiver<In>, TypedSender<Out>) {
        (self.receiver, self.sender)
    }

    /// The next value; `None` once the peer finished, and after the stream's error.
    pub async fn recv(&mut self) -> Option<Result<In, CallError>>
    where
        In: DeserializeOwned,
    {
        self.receiver.recv().await
    }

    /// Sends a value.
    ///
    /// # Errors
    /// When the stream is over or the value cannot be written.
    pub async fn send(&mut self, value: &Out) -> Result<(), CallError>
    where
        Out: Serialize + Sync,
    {
        self.sender.send(value).await
    }

    /// Ends this side's direction; the peer may still send.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        self.sender.sender.finish().await
    }
}

impl<In> TypedReceiver<In> {
    pub(super) const fn new(receiver: MessageReceiver) -> Self {
        Self { receiver, values: PhantomData }
    }

    /// The half of bytes below.
    #[must_use]
    pub fn into_inner(self) -> MessageReceiver {
        self.receiver
    }

    /// The next value; see [`TypedStream::recv`].
    pub async fn recv(&mut self) -> Option<Result<In, CallError>>
    where
        In: DeserializeOwned,
    {
        self.receiver.recv_as().await
    }
}

impl<Out> TypedSender<Out> {
    pub(super) const fn new(sender: MessageSender) -> Self {
        Self { sender, values: PhantomData }
    }

    /// The half of bytes below.
    #[must_use]
    pub fn into_inner(self) -> MessageSender {
        self.sender
    }

    /// Sends a value.
    ///
    /// # Errors
    /// When the stream is over or the value cannot be written.
    pub async fn send(&mut self, value: &Out) -> Result<(), CallError>
    where
        Out: Serialize + Sync,
    {
        self.sender.send_as(value).await
    }

    /// Ends this side's direction; the peer may still send.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        self.sender.finish().await
    }
}

impl<In: DeserializeOwned> Stream for TypedReceiver<In> {
    type Item = Result<In, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().receiver.poll_recv_as(cx)
    }
}

impl<In: DeserializeOwned> FusedStream for TypedReceiver<In> {
    fn is_terminated(&self) -> bool {
        self.receiver.is_ended()
    }
}

impl<Out: Serialize> Sink<Out> for TypedSender<Out> {
    type Error = CallError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.get_mut().sender.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, value: Out) -> Result<(), CallError> {
        let sender = &mut self.get_mut().sender;
        let message = encode_as(sender.codec, &value)?;
        sender.start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.get_mut().sender.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.get_mut().sender.poll_finish(cx)
    }
}

impl<In: DeserializeOwned, Out> Stream for TypedStream<In, Out> {
    type Item = Result<In, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().receiver.receiver.poll_recv_as(cx)
    }
}

impl<In: DeserializeOwned, Out> FusedStream for TypedStream<In, Out> {
    fn is_terminated(&self) -> bool {
        self.receiver.receiver.is_ended()
    }
}

impl<In, Out: Serialize> Sink<Out> for TypedStream<In, Out> {
    type Error = CallError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Pin::new(&mut self.get_mut().sender).poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, value: Out) -> Result<(), CallError> {
        Pin::new(&mut self.get_mut().sender).start_send(value)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Pin::new(&mut self.get_mut().sender).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Pin::new(&mut self.get_mut().sender).poll_close(cx)
    }
}

impl<In, Out> fmt::Debug for TypedStream<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedStream").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

impl<In> fmt::Debug for TypedReceiver<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedReceiver").field(&self.receiver).finish()
    }
}

impl<Out> fmt::Debug for TypedSender<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedSender(..)")
    }
}
