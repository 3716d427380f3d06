//! A handle to a connection: what an application calls, and what the connection task answers.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{
    BoxFuture, Caller, CodecError, Epoch, InstanceId, MessageStream, OnceHeader, OnceKeeper, PeerInfo, Reply,
    encode_as, reserved_key,
};
use np_session::{Encoding, OpenCall, OpenKind, Priority};
use np_transport::TlsInfo;
use np_types::{
    CallError, CloseCode, Codec, ConnectionError, Deadline, LocalPeer, Metadata, MethodName, PeerIdentity, Status,
};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::audit::Audit;
use crate::call_limits::CallPlaces;
use crate::clock::Clock;
use crate::commands::{Command, Control, Doorbell, Keeper};
use crate::compression::Bodies;
use crate::fate::{ConnectionWatch, Fate};
use crate::once::OnceCalls;
use crate::pending::{Pending, Until};
use crate::queue::Refused;
use crate::scope;

/// A message to send: a call's request, a one-way message, or what opens a stream.
///
/// ```
/// use np_driver::Request;
/// let request = Request::new("np.echo".parse()?).body("hello");
/// # Ok::<(), np_types::MethodNameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    method: MethodName,
    codec: Codec,
    body: Bytes,
    metadata: Metadata,
    deadline: Option<Deadline>,
    compress: Option<bool>,
    priority: Priority,
    once: Option<Box<OnceHeader>>,
    traced: bool,
}

impl Request {
    /// A request with an empty body and the default deadline of 30 s.
    #[must_use]
    pub const fn new(method: MethodName) -> Self {
        Self {
            method,
            codec: Codec::Bytes,
            body: Bytes::new(),
            metadata: EMPTY,
            deadline: None,
            compress: None,
            priority: Priority::Interactive,
            once: None,
            traced: false,
        }
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value, and says that it is to be read in that codec.
    ///
    /// # Errors
    /// When the value cannot be written, or the codec is none of typed values: see [`np_dispatch::encode_as`].
    ///
    /// ```
    /// use np_driver::Request;
    /// use np_types::Codec;
    /// let request = Request::new("sum".parse()?).value(Codec::Postcard, &(1u32, 2u32))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value<T: Serialize + ?Sized>(self, codec: Codec, value: &T) -> Result<Self, CodecError> {
        Ok(self.codec(codec).body(encode_as(codec, value)?))
    }

    /// Says how the body is to be read.
    #[must_use]
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the pairs beside the body. Keys that begin with `np-` are refused, but for that of a
    /// [`Schema`](np_dispatch::Schema).
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets the deadline; [`Deadline::NONE`] waits for ever. Times are those of [`Connection::clock`].
    #[must_use]
    pub const fn deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Says whether the body is compressed, where the peer reads that and it is worth it; else the default of the
    /// connection's [`Compression`](crate::Compression) stands. For a stream it says so of the messages of this side.
    #[must_use]
    pub const fn compress(mut self, compress: bool) -> Self {
        self.compress = Some(compress);
        self
    }

    /// Sets who goes first among what this side has to send: interactive, unless it is said here. Nothing of it travels.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Begins a trace with this call, unless the handler that makes it belongs to one already, or the metadata name one. A
    /// call that a handler makes belongs to the handler's trace without this.
    ///
    /// The trace travels in the metadata `traceparent`, in the form of W3C's Trace Context; see
    /// [`TraceContext`](np_types::TraceContext). Without randomness, or room in the metadata, the call has none.
    ///
    /// ```
    /// use np_driver::Request;
    /// let request = Request::new("np.echo".parse()?).traced();
    /// # Ok::<(), np_types::MethodNameError>(())
    /// ```
    #[must_use]
    pub const fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// Makes the request an attempt of an exactly-once call: [`OnceClient::attempt`](np_dispatch::OnceClient::attempt)
    /// gives what it says, under an epoch of [`Connection::once_epoch`]. It takes one pair of the metadata.
    ///
    /// ```
    /// use np_dispatch::{Epoch, InstanceId, OnceClient};
    /// let mut calls = OnceClient::new(InstanceId::from_bytes([7; 16]));
    /// let number = calls.begin()?;
    /// let header = calls.attempt(number, Epoch::from_bytes([1; 16]))?;
    /// let request = np_driver::Request::new("order".parse()?).once(header);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn once(mut self, header: OnceHeader) -> Self {
        self.once = Some(Box::new(header));
        self
    }

    /// The method that is called.
    ///
    /// ```
    /// let request = np_driver::Request::new("np.echo".parse()?);
    /// assert_eq!(request.method().as_str(), "np.echo");
    /// # Ok::<(), np_types::MethodNameError>(())
    /// ```
    #[must_use]
    pub const fn method(&self) -> &MethodName {
        &self.method
    }

    /// The call that the session of a connection is asked to make, but for its deadline. A clone of the body costs no bytes.
    #[inline]
    pub(crate) fn call(&self, connection: &Connection) -> Result<OpenCall, CallError> {
        let (metadata, body) = (self.metadata.clone(), self.body.clone());
        let mut call = self.opening(OpenKind::Request, Deadline::NONE, metadata, body)?;
        connection.info.bodies.pack_call(&mut call, self.compress);
        Ok(call)
    }

    /// Whether nothing of it has to be looked at, and nothing added: so are most calls.
    #[inline]
    pub(crate) fn is_plain(&self, connection: &Connection) -> bool {
        self.is_bare() && !scope::is_inside() && !connection.info.bodies.tries(self.compress, self.body.len())
    }

    #[inline]
    const fn is_bare(&self) -> bool {
        self.once.is_none() && !self.traced && self.metadata.is_empty()
    }

    /// As [`Self::call`], of one that is plain.
    #[inline]
    pub(crate) fn plain_call(&self) -> impl FnOnce(Deadline) -> OpenCall {
        let body = self.body.clone();
        move |deadline| self.as_it_is(OpenKind::Request, deadline, Metadata::new(), body)
    }

    /// As [`Self::plain_call`], where the request is not needed again. Its parts are taken one by one, since with a method of the
    /// request all of it would be moved along; a test holds that both make the same call.
    #[inline]
    pub(crate) fn into_plain_call(self) -> impl FnOnce(Deadline) -> OpenCall {
        let Self { method, codec, body, priority, .. } = self;
        move |deadline| OpenCall {
            kind: OpenKind::Request,
            method,
            codec,
            encoding: Encoding::Plain,
            metadata: Metadata::new(),
            deadline,
            priority,
            body,
        }
    }

    #[inline]
    fn as_it_is(&self, kind: OpenKind, deadline: Deadline, metadata: Metadata, body: Bytes) -> OpenCall {
        OpenCall {
            kind,
            method: self.method.clone(),
            codec: self.codec,
            encoding: Encoding::Plain,
            metadata,
            deadline,
            priority: self.priority,
            body,
        }
    }

    /// What the session is asked to open.
    fn open(mut self, kind: OpenKind, clock: Clock) -> Result<OpenCall, CallError> {
        let default = || match kind {
            OpenKind::Request | OpenKind::OneWay => clock.deadline(Deadline::DEFAULT),
            OpenKind::Stream => Deadline::NONE,
        };
        let deadline = self.deadline.unwrap_or_else(default);
        let (metadata, body) = (std::mem::take(&mut self.metadata), std::mem::take(&mut self.body));
        self.opening(kind, deadline, metadata, body)
    }

    /// Checks what only np may say, and says it.
    fn opening(
        &self,
        kind: OpenKind,
        deadline: Deadline,
        mut metadata: Metadata,
        body: Bytes,
    ) -> Result<OpenCall, CallError> {
        let unsent = |text: String| CallError::not_processed(Status::InvalidArgument, text);
        if let Some(key) = reserved_key(&metadata) {
            return Err(unsent(format!("the metadata key `{key}` is np's own: no key of yours may begin with `np-`")));
        }
        match (&self.once, kind) {
            (None, _) => {}
            (Some(header), OpenKind::Request) => {
                header.put_in(&mut metadata).map_err(|error| unsent(error.to_string()))?;
            }
            (Some(_), _) => return Err(unsent("only calls run exactly once".to_owned())),
        }
        scope::carry(&mut metadata, self.traced);
        Ok(self.as_it_is(kind, deadline, metadata, body))
    }
}

const EMPTY: Metadata = Metadata::new();

/// A handle to one connection. Cheap to clone, `Send` and `Sync`.
///
/// When the last handle of the side that connected is dropped, the connection ends in order; the accepting side keeps
/// its connections until the peer, or a drain, ends them.
#[derive(Clone)]
pub struct Connection {
    /// Of the side that connected.
    keeper: Option<Arc<Keeper>>,
    bell: Arc<Doorbell>,
    info: Arc<ConnectionInfo>,
    fate: Arc<Fate>,
}

/// What a connection's handle and its handlers know about it.
pub(crate) struct ConnectionInfo {
    pub(crate) clock: Clock,
    pub(crate) peer: PeerIdentity,
    pub(crate) address: Box<str>,
    pub(crate) local: Option<Box<LocalPeer>>,
    pub(crate) tls: Option<Box<TlsInfo>>,
    pub(crate) binding: [u8; 32],
    pub(crate) bodies: Bodies,
    pub(crate) places: CallPlaces,
    /// What this side remembers of exactly-once calls.
    pub(crate) once: Option<Arc<OnceCalls>>,
    pub(crate) progress_timeout: Duration,
    /// The longest message of a stream that is put together, in bytes.
    pub(crate) max_message: u32,
    /// Bytes of streams' messages that are put together without credit, in bytes.
    pub(crate) reassembly_budget: u32,
    pub(crate) audit: Arc<Audit>,
}

impl Connection {
    pub(crate) const fn new(
        keeper: Option<Arc<Keeper>>,
        bell: Arc<Doorbell>,
        info: Arc<ConnectionInfo>,
        fate: Arc<Fate>,
    ) -> Self {
        Self { keeper, bell, info, fate }
    }

    /// Whether the peer's first record has come.
    pub(crate) fn has_stood(&self) -> bool {
        self.fate.has_stood()
    }

    /// Tells the task of the connection that whoever made it has it, where the task waits for that.
    pub(crate) fn take_up(&self) {
        if !self.has_stood() {
            self.bell.take_up();
        }
    }

    /// Calls a method of the peer and waits for its answer. Dropping the future cancels the call.
    ///
    /// # Errors
    /// The peer's answer where it is an error, or why there is none; [`CallError::outcome`] says what is known about
    /// the work.
    pub fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.call_from(request, false)
    }

    /// Gives a call to the connection at once, with another deadline and a request that stays the caller's: for whoever may
    /// have to make it again. A clone of the body costs no bytes.
    ///
    /// ```no_run
    /// # async fn run(connection: np_driver::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// use np_driver::{Request, Until};
    /// use std::time::Duration;
    /// let request = Request::new("np.echo".parse()?).body("hi");
    /// let reply = connection.begin(&request, Until::Within(Duration::from_secs(1))).await;
    /// let reply = reply.map_err(np_types::CallError::from)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn begin(&self, request: &Request, until: Until) -> Pending<&Self> {
        Pending::of(self, request, until)
    }

    async fn call_from(&self, request: Request, nested: bool) -> Result<Reply, CallError> {
        let pending = {
            let until = request.deadline.map_or(Until::Within(Deadline::DEFAULT), Until::At);
            Pending::begin(self, request.call(self)?, until, nested)
        };
        Ok(pending.await?)
    }

    /// Sends a message that has no answer; done when all of it was handed to the operating system.
    ///
    /// # Errors
    /// When it was not sent, or it is not known whether all of it was.
    pub async fn send_one_way(&self, request: Request) -> Result<(), CallError> {
        let compress = request.compress;
        let mut call = request.open(OpenKind::OneWay, self.info.clock)?;
        self.info.bodies.pack_call(&mut call, compress);
        let (sent, answer) = oneshot::channel();
        self.send(Command::OneWay { call, sent }).await?;
        self.wait(answer).await
    }

    /// Opens a stream of messages both ways; done when its opening was sealed. Its body must be empty.
    ///
    /// # Errors
    /// When it could not be opened.
    pub async fn open_stream(&self, request: Request) -> Result<MessageStream, CallError> {
        let compress = request.compress;
        let call = request.open(OpenKind::Stream, self.info.clock)?;
        let (opened, answer) = oneshot::channel();
        self.send(Command::Stream { call, compress, opened }).await?;
        self.wait(answer).await
    }

    /// Asks the peer for the epoch of an instance, under which exactly-once calls are sent on this connection
    /// ([`Request::once`]). To be asked on each connection, and again where an attempt was not remembered.
    ///
    /// # Errors
    /// [`Status::UnknownMethod`] when the peer offers no such calls, [`Status::LimitReached`] when it has no room for the
    /// instance, and as [`Connection::call`].
    pub async fn once_epoch(&self, instance: InstanceId, deadline: Deadline) -> Result<Epoch, CallError> {
        let wrong = || CallError::answered(Status::InvalidArgument, "the peer's answer to `np.once` is no epoch");
        let method = MethodName::new("np.once").map_err(|_| wrong())?;
        let request = Request::new(method).body(instance.to_bytes().to_vec()).deadline(deadline);
        let epoch = self.call(request).await?.body;
        Ok(Epoch::from_bytes(<[u8; 16]>::try_from(&epoch[..]).map_err(|_| wrong())?))
    }

    /// Asks the peer for a sign of life and gives the time it took.
    ///
    /// # Errors
    /// When the connection ended first.
    pub async fn ping(&self) -> Result<Duration, ConnectionError> {
        let (answered, answer) = oneshot::channel();
        self.bell.ask(Control::Ping { answered });
        if let Ok(time) = answer.await {
            return Ok(time);
        }
        Err(self.closed().await)
    }

    /// Renews the key of this direction with its next record.
    #[expect(clippy::unused_async, reason = "it may have to wait one day, as its neighbours do")]
    pub async fn update_key(&self) {
        // A connection that is over has no key to renew.
        self.bell.ask(Control::UpdateKey);
    }

    /// Takes back every call, one-way message and stream of this side that has not begun to leave: each fails at once, as
    /// not processed. What has begun goes on, and new calls may be made.
    #[expect(clippy::unused_async, reason = "it may have to wait one day, as its neighbours do")]
    pub async fn withdraw(&self) {
        // A connection that is over has nothing that waits.
        self.bell.ask(Control::Withdraw);
    }

    /// Accepts no new calls, lets the open ones finish, and ends the connection; at the latest after `within`.
    pub async fn drain(&self, within: Duration) -> ConnectionError {
        self.bell.ask(Control::Drain { within });
        self.closed().await
    }

    /// Ends the connection in order. Open calls fail; wait for them first where they matter.
    pub async fn close(&self, code: CloseCode, text: &str) -> ConnectionError {
        self.bell.ask(Control::Close { code, text: text.to_owned() });
        self.closed().await
    }

    /// Waits until the connection is over, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.watch().closed().await
    }

    /// Watches how the connection goes, without keeping it alive.
    #[must_use]
    pub fn watch(&self) -> ConnectionWatch {
        ConnectionWatch::new(Arc::clone(&self.fate))
    }

    /// Why the connection ended, if it has.
    #[must_use]
    pub fn error(&self) -> Option<ConnectionError> {
        self.fate.error()
    }

    /// Who the peer has proven to be.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.info.peer
    }

    /// The peer's address, for logs.
    #[must_use]
    pub fn peer_address(&self) -> &str {
        &self.info.address
    }

    /// The process at the other end, where the operating system says it, whatever the security mode: Unix sockets.
    #[must_use]
    pub fn local(&self) -> Option<&LocalPeer> {
        self.info.local.as_deref()
    }

    /// What TLS has agreed on, where the connection runs inside TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.info.tls.as_deref()
    }

    /// The channel binding: unique to this connection and the same on both ends.
    #[must_use]
    pub fn binding(&self) -> &[u8; 32] {
        &self.info.binding
    }

    /// The clock of this connection's deadlines.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.info.clock
    }

    pub(crate) const fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    pub(crate) fn bell(&self) -> &Doorbell {
        &self.bell
    }

    /// A caller has gone.
    pub(crate) fn cancel(&self) {
        self.bell.cancel();
    }

    async fn send(&self, command: Command) -> Result<(), CallError> {
        let sent = match self.bell.put(move || command) {
            Ok(()) => true,
            Err(Refused::Closed(_)) => false,
            // Boxed, since there mostly is a place.
            Err(Refused::Full(make)) => Box::pin(self.bell.put_later(make())).await,
        };
        if sent { Ok(()) } else { Err(self.ended().await) }
    }

    /// What a call is told whose connection was over before it was sent.
    pub(crate) async fn ended(&self) -> CallError {
        let lost = CallError::not_processed(Status::Unavailable, "the connection has ended");
        lost.because(self.closed().await)
    }

    /// Waits for a command's answer; going away before it came cancels the call.
    async fn wait<T>(&self, answer: oneshot::Receiver<Result<T, CallError>>) -> Result<T, CallError> {
        let mut guard = CancelOnDrop { bell: &self.bell, armed: true, answer };
        let answered = (&mut guard.answer).await;
        guard.armed = false;
        match answered {
            Ok(result) => result,
            // The task is gone with the command unread: nothing of it was sent.
            Err(_) => Err(Box::pin(self.ended()).await),
        }
    }

    /// A way back to the peer that does not keep the connection alive.
    pub(crate) fn way_back(&self) -> WayBack {
        WayBack::of(self.keeper.as_ref())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.info.peer)
            .field("address", &self.info.address)
            .finish_non_exhaustive()
    }
}

struct CancelOnDrop<'a, T> {
    bell: &'a Doorbell,
    armed: bool,
    answer: oneshot::Receiver<T>,
}

impl<T> Drop for CancelOnDrop<'_, T> {
    fn drop(&mut self) {
        if self.armed {
            self.answer.close();
            self.bell.cancel();
        }
    }
}

/// Whether there is a way back to the peer, for whoever does not keep the connection: on the side that connected while
/// somebody does.
#[derive(Clone)]
pub(crate) struct WayBack(Option<Weak<Keeper>>);

impl WayBack {
    fn of(keeper: Option<&Arc<Keeper>>) -> Self {
        Self(keeper.map(Arc::downgrade))
    }

    /// What a handle is made with; None where nobody holds the connection any more.
    fn keeper(&self) -> Option<Option<Arc<Keeper>>> {
        match &self.0 {
            Some(keeper) => keeper.upgrade().map(Some),
            None => Some(None),
        }
    }
}

/// Calls back to the peer from a handler.
pub(crate) struct WeakCaller {
    pub(crate) way_back: WayBack,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) fate: Arc<Fate>,
}

impl WeakCaller {
    /// What handlers know of the peer, with this way back.
    pub(crate) fn peer_info(self) -> PeerInfo {
        let info = &self.info;
        PeerInfo::new(info.peer.clone(), &*info.address, info.binding)
            .with_local(info.local.as_deref().cloned())
            .with_once(info.once.clone().map(|once| once as Arc<dyn OnceKeeper>))
            .with_caller(self)
    }
}

impl Caller for WeakCaller {
    fn call(
        &self,
        method: MethodName,
        codec: Codec,
        body: Bytes,
        metadata: Metadata,
        deadline: Deadline,
    ) -> BoxFuture<Result<Reply, CallError>> {
        let Some(keeper) = self.way_back.keeper() else {
            let gone = CallError::not_processed(Status::Unavailable, "the connection has ended, or nobody holds it");
            return Box::pin(std::future::ready(Err(gone)));
        };
        let connection =
            Connection::new(keeper, Arc::clone(&self.bell), Arc::clone(&self.info), Arc::clone(&self.fate));
        let request = Request::new(method).codec(codec).body(body).metadata(metadata).deadline(deadline);
        Box::pin(async move { connection.call_from(request, true).await })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use np_dispatch::{Epoch, InstanceId, OnceClient};
    use np_session::{OpenKind, Priority};
    use np_types::{Codec, Deadline, Metadata, Outcome, Status, Time};

    use super::{Request, WayBack};
    use crate::Clock;
    use crate::commands::{Doorbell, Keeper};

    #[test]
    fn a_plain_request_makes_the_same_call_either_way() {
        let request = || {
            let request = Request::new("m".parse().unwrap()).codec(Codec::Json).body("body");
            request.priority(Priority::Bulk).compress(false)
        };
        let deadline = Deadline::after(Time::ZERO, Duration::from_secs(3));
        let plain = request().plain_call()(deadline);
        let (metadata, body) = (Metadata::new(), Bytes::from("body"));
        let other = request().opening(OpenKind::Request, deadline, metadata.clone(), body).unwrap();
        assert_eq!(format!("{plain:?}"), format!("{other:?}"));
        assert_eq!(format!("{plain:?}"), format!("{:?}", request().into_plain_call()(deadline)));
        // Whatever has to be looked at, or adds something, is not plain.
        assert!(request().metadata(metadata).is_bare());
        let mut metadata = Metadata::new();
        metadata.insert("key", b"value").unwrap();
        let header = OnceClient::new(InstanceId::from_bytes([7; 16]));
        let (mut calls, epoch) = (header, Epoch::from_bytes([1; 16]));
        let number = calls.begin().unwrap();
        let once = request().once(calls.attempt(number, epoch).unwrap());
        for other in [request().metadata(metadata), request().traced(), once] {
            assert!(!other.is_bare(), "{other:?}");
        }
    }

    #[test]
    fn only_the_connecting_sides_handles_keep_the_connection() {
        let bell = Arc::<Doorbell>::default();
        let keeper = Keeper::of(&bell);
        let way_back = WayBack::of(Some(&keeper));
        assert!(matches!(way_back.keeper(), Some(Some(_))));
        assert!(!bell.has_left());
        drop(keeper);
        assert!(way_back.keeper().is_none() && bell.has_left());
        assert!(matches!(WayBack::of(None).keeper(), Some(None)), "the other side's connections keep themselves");
    }

    #[test]
    fn keys_of_np_are_refused_by_name_but_for_that_of_a_schema() {
        let with = |key: &str| {
            let mut metadata = Metadata::new();
            metadata.insert(key, b"").unwrap();
            Request::new("m".parse().unwrap()).metadata(metadata).open(OpenKind::Request, Clock::start())
        };
        for key in ["np-once", "np-later"] {
            let error = with(key).unwrap_err();
            assert_eq!((error.status, error.outcome), (Status::InvalidArgument, Outcome::NotProcessed));
            assert!(error.text.contains(key), "{error}");
        }
        for key in ["np-schema", "np", "traceparent"] {
            with(key).unwrap();
        }
    }

    #[test]
    fn the_priority_of_a_request_reaches_the_session() {
        let request = || Request::new("m".parse().unwrap());
        let opened = |request: Request| request.open(OpenKind::Stream, Clock::start()).unwrap().priority;
        assert_eq!(opened(request()), Priority::Interactive);
        assert_eq!(opened(request().priority(Priority::Bulk)), Priority::Bulk);
    }
}
