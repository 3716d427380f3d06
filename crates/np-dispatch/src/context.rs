//! What a handler is told about its call, and the way back to the peer. Must never read a clock: deadlines are points
//! on the driver's clock that pass through.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use np_types::{CallError, Codec, Deadline, LocalPeer, Metadata, MethodName, PeerIdentity, Status, TraceContext};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{CodecError, Epoch, InstanceId, Reply, decode_borrowed, encode};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Sends calls to the peer of one connection. The driver implements it.
pub trait Caller: Send + Sync {
    /// Calls a method of the peer. Dropping the future cancels the call.
    fn call(
        &self,
        method: MethodName,
        codec: Codec,
        body: Bytes,
        metadata: Metadata,
        deadline: Deadline,
    ) -> BoxFuture<Result<Reply, CallError>>;
}

/// Remembers the exactly-once calls of a server's clients. The driver implements it, around an
/// [`OnceWindow`](crate::OnceWindow).
pub trait OnceKeeper: Send + Sync {
    /// The epoch of an instance of this peer, for which room is made where it is new.
    ///
    /// # Errors
    /// When there is no room.
    fn open(&self, peer: &PeerIdentity, instance: InstanceId) -> Result<Epoch, CallError>;
}

/// What all calls of one connection share.
///
/// ```
/// use np_dispatch::PeerInfo;
/// use np_types::PeerIdentity;
/// let peer = PeerInfo::new(PeerIdentity::Anonymous, "mem:test", [0; 32]);
/// assert_eq!(peer.address(), "mem:test");
/// ```
pub struct PeerInfo {
    identity: PeerIdentity,
    address: Box<str>,
    local: Option<LocalPeer>,
    binding: [u8; 32],
    caller: Option<Box<dyn Caller>>,
    once: Option<Arc<dyn OnceKeeper>>,
}

impl PeerInfo {
    /// Describes a peer to which no calls can be made.
    #[must_use]
    pub fn new(identity: PeerIdentity, address: impl Into<Box<str>>, binding: [u8; 32]) -> Self {
        Self { identity, address: address.into(), local: None, binding, caller: None, once: None }
    }

    /// Adds the way back. A `caller` must not own the connection, or handlers would keep it alive.
    #[must_use]
    pub fn with_caller(mut self, caller: impl Caller + 'static) -> Self {
        self.caller = Some(Box::new(caller));
        self
    }

    /// Adds what remembers exactly-once calls, where this side offers that: `np.once` asks it.
    #[must_use]
    pub fn with_once(mut self, once: Option<Arc<dyn OnceKeeper>>) -> Self {
        self.once = once;
        self
    }

    /// Adds the process at the other end, as the operating system tells it.
    #[must_use]
    pub fn with_local(mut self, local: Option<LocalPeer>) -> Self {
        self.local = local;
        self
    }

    /// The process at the other end, where the operating system tells it: Unix sockets, in every security mode. Only in
    /// the mode `local` is it the peer's identity.
    ///
    /// ```
    /// # use np_dispatch::PeerInfo;
    /// # use np_types::{LocalPeer, PeerIdentity};
    /// let local = LocalPeer { user: "1000".to_owned(), group: Some("100".to_owned()), process: Some(4711) };
    /// let peer = PeerInfo::new(PeerIdentity::Anonymous, "unix", [0; 32]).with_local(Some(local));
    /// assert_eq!(peer.local().map(|local| local.user.as_str()), Some("1000"));
    /// ```
    #[must_use]
    pub const fn local(&self) -> Option<&LocalPeer> {
        self.local.as_ref()
    }

    /// Who the peer has proven to be.
    #[must_use]
    pub const fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// Where the peer connects from, as text for logs.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The channel binding: 32 bytes that both ends derive from the handshake, unique to this connection.
    #[must_use]
    pub const fn binding(&self) -> &[u8; 32] {
        &self.binding
    }

    /// What remembers exactly-once calls, where this side offers that.
    pub(crate) fn once(&self) -> Option<&dyn OnceKeeper> {
        self.once.as_deref()
    }

    /// The way back to the peer, where there is one.
    #[must_use]
    pub fn caller(&self) -> Option<&dyn Caller> {
        self.caller.as_deref()
    }
}

impl fmt::Debug for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerInfo")
            .field("identity", &self.identity)
            .field("address", &self.address)
            .field("caller", &self.caller.is_some())
            .finish_non_exhaustive()
    }
}

/// What a handler is told about its call. Cheap to make and to clone: a call without metadata allocates nothing for it.
///
/// ```
/// use std::sync::Arc;
/// use np_dispatch::{CallContext, PeerInfo};
/// use np_types::{Codec, Deadline, Metadata, PeerIdentity};
///
/// let peer = Arc::new(PeerInfo::new(PeerIdentity::Anonymous, "mem:test", [0; 32]));
/// let ctx = CallContext::new("sum".parse()?, peer, Codec::Postcard, Metadata::default(), Deadline::NONE);
/// assert_eq!(ctx.method().as_str(), "sum");
/// assert_eq!(ctx.peer(), &PeerIdentity::Anonymous);
/// # Ok::<(), np_types::MethodNameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CallContext {
    method: MethodName,
    peer: Arc<PeerInfo>,
    metadata: Metadata,
    deadline: Deadline,
    codec: Codec,
}

impl CallContext {
    /// Puts a context together; the driver does it per call, tests of handlers may too.
    #[must_use]
    pub const fn new(
        method: MethodName,
        peer: Arc<PeerInfo>,
        codec: Codec,
        metadata: Metadata,
        deadline: Deadline,
    ) -> Self {
        Self { method, peer, metadata, deadline, codec }
    }

    /// The name that was called.
    #[must_use]
    pub const fn method(&self) -> &MethodName {
        &self.method
    }

    /// Who the caller has proven to be.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        self.peer.identity()
    }

    /// Where the caller connects from, as text for logs.
    #[must_use]
    pub fn peer_address(&self) -> &str {
        self.peer.address()
    }

    /// The process that the caller is, where the operating system tells it: see [`PeerInfo::local`].
    #[must_use]
    pub fn local(&self) -> Option<&LocalPeer> {
        self.peer.local()
    }

    /// The connection's channel binding.
    #[must_use]
    pub fn binding(&self) -> &[u8; 32] {
        self.peer.binding()
    }

    /// What all calls of this connection share.
    #[must_use]
    pub const fn connection(&self) -> &Arc<PeerInfo> {
        &self.peer
    }

    /// The pairs that came with the call.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The trace that the call belongs to, if its caller said so in W3C's form. Calls that the handler makes belong to it by
    /// themselves, over this connection or another, as long as they are made in the handler's own future: what it spawns
    /// has to take this along.
    ///
    /// ```
    /// let handler = np_dispatch::bytes(|ctx, _| Ok(ctx.trace().map_or_else(String::new, |trace| trace.to_string())));
    /// ```
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::of(&self.metadata)
    }

    /// When the call must be over, on the driver's clock.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// How the request's body is encoded.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Reads the request's body, or a part of it, in the call's codec; the value may borrow text and bytes from it.
    ///
    /// # Errors
    /// As [`decode`](crate::decode); `?` makes it the handler's answer.
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Order<'a> { item: &'a str, count: u32 }
    ///
    /// // The order borrows from the body, and nothing is copied.
    /// let handler = np_dispatch::bytes(|ctx, body| {
    ///     let order: Order<'_> = ctx.decode(&body)?;
    ///     Ok(ctx.reply(&format!("{} x {}", order.count, order.item))?)
    /// });
    /// ```
    pub fn decode<'a, T: Deserialize<'a>>(&self, body: &'a [u8]) -> Result<T, CodecError> {
        decode_borrowed(self.codec, body)
    }

    /// Writes an answer in the call's codec, as typed handlers do.
    ///
    /// # Errors
    /// As [`encode_as`](crate::encode_as); `?` makes it the handler's answer.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Reply, CodecError> {
        Reply::typed_as(self.codec, value)
    }

    /// The way back to the peer as it is, without this call's deadline; [`Self::call`] inherits it.
    #[must_use]
    pub fn caller(&self) -> Option<&dyn Caller> {
        self.peer.caller()
    }

    /// Calls a method of the peer over the same connection.
    ///
    /// The nested call gets the earlier of `deadline` and this call's own. Dropping the future cancels it.
    ///
    /// # Errors
    /// What the peer answers; [`Status::Unavailable`], not processed, if this connection has no way back.
    pub fn call(
        &self,
        method: MethodName,
        codec: Codec,
        body: Bytes,
        metadata: Metadata,
        deadline: Deadline,
    ) -> BoxFuture<Result<Reply, CallError>> {
        match self.caller() {
            Some(caller) => caller.call(method, codec, body, metadata, deadline.earlier(self.deadline)),
            None => Box::pin(ready(Err(CallError::not_processed(
                Status::Unavailable,
                "this connection takes no calls back to the peer",
            )))),
        }
    }

    /// Calls a method of the peer with a typed value, under this call's deadline.
    ///
    /// # Errors
    /// As [`Self::call`]; also when `method` is no name, or the request or the reply does not go through the codec.
    pub async fn call_as<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &(impl Serialize + Sync + ?Sized),
    ) -> Result<T, CallError> {
        let unsent = |text: String| CallError::not_processed(Status::InvalidArgument, text);
        let method = MethodName::new(method).map_err(|error| unsent(error.to_string()))?;
        let body = encode(request).map_err(|error| unsent(error.to_string()))?;
        let (codec, metadata) = (Codec::Postcard, Metadata::default());
        self.call(method, codec, body, metadata, self.deadline).await?.decode()
    }
}

#[cfg(test)]
mod tests;
