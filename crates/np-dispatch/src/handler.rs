//! The forms a handler can have, and what it answers. Must never know who polls it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use np_types::{CallError, Codec, Metadata, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{BoxFuture, CallContext, CodecError, MessageStream, decode_borrowed, encode, encode_as};

/// A successful answer.
///
/// ```
/// use np_dispatch::Reply;
/// use np_types::Codec;
/// assert_eq!(Reply::from("hello").codec, Codec::Bytes);
/// assert_eq!(Reply::typed(&7u32)?.decode::<u32>().ok(), Some(7));
/// # Ok::<(), np_dispatch::CodecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// How `body` is encoded.
    pub codec: Codec,
    /// Pairs that travel beside the body.
    pub metadata: Metadata,
    /// The answer itself.
    pub body: Bytes,
}

impl Reply {
    /// A body in a codec, without metadata.
    #[must_use]
    pub fn new(codec: Codec, body: Bytes) -> Self {
        Self { codec, metadata: Metadata::default(), body }
    }

    /// A value as postcard.
    ///
    /// # Errors
    /// When the value cannot be written.
    pub fn typed<T: Serialize + ?Sized>(value: &T) -> Result<Self, CodecError> {
        encode(value).map(|body| Self::new(Codec::Postcard, body))
    }

    /// A value in a codec: see [`encode_as`].
    ///
    /// # Errors
    /// When the value cannot be written, or the codec is none of typed values.
    pub fn typed_as<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Result<Self, CodecError> {
        encode_as(codec, value).map(|body| Self::new(codec, body))
    }

    /// Reads the body as a value, in the codec that it names; for the side that called.
    ///
    /// # Errors
    /// [`Status::Internal`] when the reply is in a codec that this side does not read, not of this type, or too long:
    /// the call itself was answered.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        self.decode_borrowed()
    }

    /// As [`Reply::decode`], for values that borrow text and bytes from the body.
    ///
    /// # Errors
    /// As [`Reply::decode`].
    ///
    /// ```
    /// let reply = np_dispatch::Reply::typed("ada")?;
    /// let name: &str = reply.decode_borrowed()?;
    /// assert_eq!(name, "ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode_borrowed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, CallError> {
        decode_borrowed(self.codec, &self.body)
            .map_err(|error| CallError::answered(Status::Internal, format!("the reply cannot be read: {error}")))
    }
}

macro_rules! reply_from {
    ($($source:ty => $make:expr;)*) => {$(
        impl From<$source> for Reply {
            fn from(body: $source) -> Self {
                let make: fn($source) -> Bytes = $make;
                Self::new(Codec::Bytes, make(body))
            }
        }
    )*};
}

reply_from! {
    Bytes => |body| body;
    Vec<u8> => Bytes::from;
    String => Bytes::from;
    &'static str => Bytes::from;
    &'static [u8] => Bytes::from;
    () => |()| Bytes::new();
}

/// What a handler gives back: the answer, or a future of it.
///
/// A plain handler answers with [`Answer::Ready`], which costs no allocation and no task.
pub enum Answer {
    /// The answer is there.
    Ready(Result<Reply, CallError>),
    /// The answer comes later. Dropping the future cancels the work.
    Later(BoxFuture<Result<Reply, CallError>>),
}

impl Answer {
    /// The answer, waited for.
    ///
    /// # Errors
    /// What the handler answers.
    ///
    /// ```
    /// # async fn example(answer: np_dispatch::Answer) -> Result<(), np_types::CallError> {
    /// let reply = answer.wait().await?;
    /// # Ok(()) }
    /// ```
    pub async fn wait(self) -> Result<Reply, CallError> {
        match self {
            Self::Ready(result) => result,
            Self::Later(future) => future.await,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(result) => f.debug_tuple("Ready").field(result).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// Answers unary calls and takes one-way messages (whose answer nobody reads).
///
/// A handler must not block; it may panic, which fails its call alone. The functions of this crate ([`bytes`](bytes()),
/// [`typed`] and their async forms) make one out of a closure; implementing the trait is for handlers with state.
///
/// ```
/// use bytes::Bytes;
/// use np_dispatch::{Answer, CallContext, Handler};
///
/// struct Greeter { greeting: &'static str }
///
/// impl Handler for Greeter {
///     fn call(&self, _context: CallContext, _body: Bytes) -> Answer {
///         Answer::Ready(Ok(self.greeting.into()))
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Starts, and perhaps finishes, the work of one call.
    fn call(&self, context: CallContext, body: Bytes) -> Answer;
}

impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn call(&self, context: CallContext, body: Bytes) -> Answer {
        (**self).call(context, body)
    }
}

/// Takes streams: calls on which both sides send messages until each has finished its direction.
///
/// [`stream`] makes one out of a closure.
pub trait StreamHandler: Send + Sync + 'static {
    /// Works on one stream. The result ends the stream with that status; dropping the future cancels it.
    fn open(&self, context: CallContext, stream: MessageStream) -> BoxFuture<Result<(), CallError>>;
}

impl<H: StreamHandler + ?Sized> StreamHandler for Arc<H> {
    fn open(&self, context: CallContext, stream: MessageStream) -> BoxFuture<Result<(), CallError>> {
        (**self).open(context, stream)
    }
}

/// A handler on bytes that answers at once.
///
/// In this and the other closures an application's own errors become a [`CallError`] by `?`, where they have a
/// `From` for it.
///
/// ```
/// let handler = np_dispatch::bytes(|_ctx, body| Ok(body.to_ascii_uppercase()));
/// ```
pub fn bytes<F, R>(handler: F) -> impl Handler
where
    F: Fn(CallContext, Bytes) -> Result<R, CallError> + Send + Sync + 'static,
    R: Into<Reply> + 'static,
{
    FromFn(move |context, body| Answer::Ready(handler(context, body).map(Into::into)))
}

/// A handler on bytes that answers later.
///
/// ```
/// let handler = np_dispatch::bytes_async(|ctx, body| async move {
///     let reply = ctx.call("np.echo".parse().map_err(|_| np_types::CallError::failed("name"))?,
///         ctx.codec(), body, Default::default(), ctx.deadline()).await?;
///     Ok(reply)
/// });
/// ```
pub fn bytes_async<F, Fut, R>(handler: F) -> impl Handler
where
    F: Fn(CallContext, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, CallError>> + Send + 'static,
    R: Into<Reply> + 'static,
{
    FromFn(move |context, body| {
        let future = handler(context, body);
        Answer::Later(Box::pin(async move { future.await.map(Into::into) }))
    })
}

/// A handler on values that answers at once, in the codec of its request: postcard, or what the features add.
///
/// A body in a codec of none of these is answered with [`Status::UnsupportedCodec`]; one that does not decode, or has bytes left
/// over, with [`Status::InvalidArgument`]. The closure does not run then.
///
/// ```
/// let handler = np_dispatch::typed(|_ctx, (a, b): (u32, u32)| Ok(u64::from(a) + u64::from(b)));
/// ```
pub fn typed<F, Req, Resp>(handler: F) -> impl Handler
where
    F: Fn(CallContext, Req) -> Result<Resp, CallError> + Send + Sync + 'static,
    Req: DeserializeOwned + 'static,
    Resp: Serialize + 'static,
{
    FromFn(move |context: CallContext, body: Bytes| {
        let codec = context.codec();
        let answer = request(&context, &body).and_then(|value| handler(context, value));
        Answer::Ready(answer.and_then(|value| typed_reply(codec, &value)))
    })
}

/// A handler on values that answers later; otherwise as [`typed`].
///
/// ```
/// let handler = np_dispatch::typed_async(|ctx, name: String| async move {
///     let age: u32 = ctx.call_as("age-of", &name).await?;
///     Ok(format!("{name} is {age}"))
/// });
/// ```
pub fn typed_async<F, Fut, Req, Resp>(handler: F) -> impl Handler
where
    F: Fn(CallContext, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, CallError>> + Send + 'static,
    Req: DeserializeOwned + 'static,
    Resp: Serialize + 'static,
{
    FromFn(move |context: CallContext, body: Bytes| match request(&context, &body) {
        Ok(value) => {
            let codec = context.codec();
            let future = handler(context, value);
            Answer::Later(Box::pin(async move { future.await.and_then(|value| typed_reply(codec, &value)) }))
        }
        Err(error) => Answer::Ready(Err(error)),
    })
}

/// A handler of streams.
///
/// ```
/// let handler = np_dispatch::stream(|_ctx, mut stream| async move {
///     while let Some(message) = stream.recv().await {
///         stream.send(message?).await?;
///     }
///     stream.finish().await
/// });
/// ```
pub fn stream<F, Fut>(handler: F) -> impl StreamHandler
where
    F: Fn(CallContext, MessageStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), CallError>> + Send + 'static,
{
    FromStreamFn(handler)
}

fn request<T: DeserializeOwned>(context: &CallContext, body: &[u8]) -> Result<T, CallError> {
    context.decode(body).map_err(Into::into)
}

fn typed_reply<T: Serialize>(codec: Codec, value: &T) -> Result<Reply, CallError> {
    Reply::typed_as(codec, value).map_err(Into::into)
}

struct FromFn<F>(F);

impl<F> Handler for FromFn<F>
where
    F: Fn(CallContext, Bytes) -> Answer + Send + Sync + 'static,
{
    fn call(&self, context: CallContext, body: Bytes) -> Answer {
        (self.0)(context, body)
    }
}

struct FromStreamFn<F>(F);

impl<F, Fut> StreamHandler for FromStreamFn<F>
where
    F: Fn(CallContext, MessageStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), CallError>> + Send + 'static,
{
    fn open(&self, context: CallContext, stream: MessageStream) -> BoxFuture<Result<(), CallError>> {
        Box::pin((self.0)(context, stream))
    }
}

#[cfg(test)]
mod tests;
