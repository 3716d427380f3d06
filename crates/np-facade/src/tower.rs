//! np and `tower`, with the feature `tower`: a [`Client`] is a service of [`CallRequest`]s, and services are handlers
//! ([`service`], [`HandlerService`]), so that tower's timeouts, limits, retries and the rest go round both sides.
//!
//! Give [`service`]'s handler to [`ServerBuilder::method`](crate::ServerBuilder::method); the example
//! `13_tower_middleware` shows both sides.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
pub use np_dispatch::tower::{BoxError, HandlerService, ServiceCall, call_error, service, service_with};
use np_dispatch::{BoxFuture, Reply};
use np_types::{CallError, Codec, Metadata};
use tower_service::Service;

use crate::Client;

/// A call that a [`Client`] is to make, as a service takes it. Cloning it is cheap.
///
/// ```
/// use np_facade::tower::CallRequest;
/// use std::time::Duration;
/// let request = CallRequest::new("np.echo").body("hello").deadline(Duration::from_secs(1));
/// ```
#[derive(Debug, Clone)]
pub struct CallRequest {
    method: Box<str>,
    body: Bytes,
    codec: Codec,
    metadata: Metadata,
    deadline: Option<Duration>,
}

impl CallRequest {
    /// A call of a method with an empty body and the client's deadline.
    #[must_use]
    pub fn new(method: &str) -> Self {
        let (body, metadata) = (Bytes::new(), Metadata::default());
        Self { method: method.into(), body, codec: Codec::Bytes, metadata, deadline: None }
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Says how the body is to be read. Default: bytes.
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

    /// Sets how long the answer may take, which the server learns. A timeout of tower's cancels the call when it is over, but
    /// the server does not know of it before.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// Always ready: what holds calls up is the connection's credit, and limits that layers set.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use np_facade::{prelude::*, tower::CallRequest};
/// use tower::{Service as _, ServiceExt as _};
/// let server = Server::builder(Identity::generate()?, Policy::anyone()).listen("mem:service").start().await?;
/// let mut client = Client::connect(&server.addresses()[0].to_string()).await?;
/// let reply = client.ready().await?.call(CallRequest::new("np.echo").body("hello")).await?;
/// assert_eq!(reply.body, "hello");
/// # Ok(())
/// # }
/// ```
impl Service<CallRequest> for Client {
    type Response = Reply;
    type Error = CallError;
    type Future = BoxFuture<Result<Reply, CallError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CallRequest) -> Self::Future {
        let client = self.clone();
        Box::pin(async move {
            let CallRequest { method, body, codec, metadata, deadline } = request;
            let call = client.request(&method).codec(codec).body(body).metadata(metadata);
            match deadline {
                Some(deadline) => call.deadline(deadline).send().await,
                None => call.send().await,
            }
        })
    }
}
