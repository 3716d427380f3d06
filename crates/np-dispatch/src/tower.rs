//! Handlers as `tower` services, and services as handlers: with the feature `tower`. Must never know a middleware.
//!
//! A handler becomes a service ([`HandlerService`]), layers go round it, and the whole becomes a handler again
//! ([`service`]):
//!
//! ```
//! use np_dispatch::tower::{HandlerService, service};
//! let shout = np_dispatch::bytes(|_ctx, body| Ok(body.to_ascii_uppercase()));
//! // Layers of tower would stand around this service.
//! let handler = service(HandlerService::new(shout));
//! # let _ = handler;
//! ```

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use np_types::CallError;
use tower_service::Service;

use crate::{Answer, BoxFuture, CallContext, Handler, Reply};

/// Any error of a service.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// One call, as a service of the serving side takes it.
///
/// ```
/// # fn example(context: np_dispatch::CallContext) {
/// let call = np_dispatch::tower::ServiceCall { context, body: "hello".into() };
/// assert_eq!(call.body, "hello");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServiceCall {
    /// What is known about the call.
    pub context: CallContext,
    /// The request's body.
    pub body: Bytes,
}

/// A handler as a service, for layers to go round it. Always ready; clones share the handler.
///
/// ```
/// use np_dispatch::tower::HandlerService;
/// let service = HandlerService::new(np_dispatch::bytes(|_ctx, body| Ok(body)));
/// let other = service.clone();
/// # let _ = other;
/// ```
pub struct HandlerService<H>(Arc<H>);

impl<H: Handler> HandlerService<H> {
    /// Wraps a handler.
    pub fn new(handler: H) -> Self {
        Self(Arc::new(handler))
    }
}

impl<H> Clone for HandlerService<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> fmt::Debug for HandlerService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerService(..)")
    }
}

impl<H: Handler> Service<ServiceCall> for HandlerService<H> {
    type Response = Reply;
    type Error = CallError;
    type Future = BoxFuture<Result<Reply, CallError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ServiceCall { context, body }: ServiceCall) -> Self::Future {
        // The handler starts when the future is first polled: a layer may never get so far.
        let handler = Arc::clone(&self.0);
        Box::pin(async move { handler.call(context, body).wait().await })
    }
}

/// A handler out of a service: each call goes to a clone of it, once that is ready. The caller's deadline, or its going
/// away, drops the service's future.
///
/// An error that is no [`CallError`] becomes one by [`call_error`]; [`service_with`] has a say in that.
pub fn service<S>(service: S) -> impl Handler
where
    S: Service<ServiceCall, Response = Reply> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    service_with(service, call_error)
}

/// As [`service`()], with the answers that errors of layers become: a timeout, a full queue.
///
/// ```
/// use np_dispatch::tower::{HandlerService, call_error, service_with};
/// use np_types::{CallError, Status};
/// let stack = HandlerService::new(np_dispatch::bytes(|_ctx, body| Ok(body)));
/// let handler = service_with(stack, |error| match error.to_string().as_str() {
///     "service overloaded" => CallError::answered(Status::LimitReached, "too many calls"),
///     _ => call_error(error),
/// });
/// # let _ = handler;
/// ```
pub fn service_with<S, E>(service: S, to_answer: E) -> impl Handler
where
    S: Service<ServiceCall, Response = Reply> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    E: Fn(BoxError) -> CallError + Send + Sync + 'static,
{
    ServiceHandler { service: Mutex::new(service), to_answer: Arc::new(to_answer) }
}

/// The error as a handler's answer: as it is where it is a [`CallError`], else `failed` with its text, which the caller reads.
///
/// ```
/// use np_dispatch::tower::call_error;
/// use np_types::{CallError, Status};
/// let own = CallError::answered(Status::PermissionDenied, "not for you");
/// assert_eq!(call_error(own.clone().into()), own);
/// assert_eq!(call_error("request timed out".into()).status, Status::Failed);
/// ```
#[must_use]
pub fn call_error(error: BoxError) -> CallError {
    match error.downcast::<CallError>() {
        Ok(own) => *own,
        Err(other) => CallError::failed(other.to_string()),
    }
}

/// A lock, so that a service need not be `Sync`; it is held for as long as a clone takes.
struct ServiceHandler<S, E> {
    service: Mutex<S>,
    to_answer: Arc<E>,
}

impl<S, E> Handler for ServiceHandler<S, E>
where
    S: Service<ServiceCall, Response = Reply> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    E: Fn(BoxError) -> CallError + Send + Sync + 'static,
{
    fn call(&self, context: CallContext, body: Bytes) -> Answer {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let to_answer = Arc::clone(&self.to_answer);
        Answer::Later(Box::pin(async move {
            let done = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(ServiceCall { context, body }).await
            };
            done.await.map_err(|error| to_answer(error.into()))
        }))
    }
}

#[cfg(test)]
mod tests;
