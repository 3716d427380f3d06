//! Handlers at work: polled once where the call arrived, kept while short, given a task of their own when long.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::FuturesUnordered;
use np_dispatch::{Answer, BoxFuture, Reply};
use np_session::StreamKey;
use np_types::{CallError, Status};
use tokio::task::JoinHandle;

use crate::audit;
use crate::call_limits::Permit;
use crate::compression::Sealed;
use crate::scope::Scope;

/// Handlers of one connection that share its task; past this many each gets a task of its own.
const SHARED: usize = 64;
/// Bytes of a panic's text that go to the log, escaped: it may hold what a peer sent.
const MAX_PANIC: usize = 1_024;

/// How a handler ended; a stream's handler gives an empty reply.
pub(crate) type Ending = Result<Sealed, CallError>;

/// What a handler was started with.
pub(crate) enum Start {
    /// Its own answer, which travels as it is.
    Plain(Answer),
    /// A future around it, which decompresses before it or compresses after it.
    Packed(BoxFuture<Ending>),
}

/// What is polled: two kinds, so that an answer that travels as it is needs no second box.
enum Work {
    Plain(BoxFuture<Result<Reply, CallError>>),
    Packed(BoxFuture<Ending>),
}

impl Future for Work {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        match &mut *self {
            Self::Plain(future) => future.as_mut().poll(cx).map(|reply| reply.map(Into::into)),
            Self::Packed(future) => future.as_mut().poll(cx),
        }
    }
}

/// The handlers of one connection that are not done.
#[derive(Default)]
pub(crate) struct Handlers {
    /// There once one went on: it takes room also when it is empty.
    running: Option<FuturesUnordered<Abortable<Running>>>,
}

struct Running {
    key: StreamKey,
    /// Taken only to be dropped.
    future: Option<Work>,
    /// Behind the future, so that a place is free only when the work has ended.
    permit: Option<Permit>,
    scope: Scope,
}

impl Drop for Running {
    fn drop(&mut self) {
        let future = self.future.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
            // A handler that panics while it is cancelled must not take the connection with it.
            panicked(&*panic);
        }
    }
}

impl Handlers {
    /// Takes a handler's answer: the ending if it is there after one poll, or the handle that stops it. The permit is taken
    /// only by a handler that goes on.
    pub(crate) fn start(
        &mut self,
        cx: &mut Context<'_>,
        key: StreamKey,
        own_task: bool,
        permit: &mut Option<Permit>,
        scope: Scope,
        start: impl FnOnce() -> Start,
    ) -> Result<Ending, AbortHandle> {
        let future = match catch_unwind(AssertUnwindSafe(|| scope.run(start))) {
            Ok(Start::Plain(Answer::Ready(ending))) => return Ok(ending.map(Into::into)),
            Ok(Start::Plain(Answer::Later(future))) => Work::Plain(future),
            Ok(Start::Packed(future)) => Work::Packed(future),
            Err(panic) => return Ok(Err(panicked(&*panic))),
        };
        let mut running = Running { key, future: Some(future), permit: permit.take(), scope };
        if own_task || self.running.as_ref().map_or(0, FuturesUnordered::len) >= SHARED {
            let (permit, scope) = (running.permit.take(), running.scope.clone());
            running.future = running.future.take().map(|mut future| {
                let work = async move {
                    let ending = poll_fn(|cx| scope.run(|| Pin::new(&mut future).poll(cx))).await;
                    drop(permit);
                    ending
                };
                Work::Packed(Box::pin(OwnTask(tokio::spawn(work))))
            });
        } else if let Poll::Ready((_, ending)) = Pin::new(&mut running).poll(cx) {
            *permit = running.permit.take();
            return Ok(ending);
        }
        let (abort, registration) = AbortHandle::new_pair();
        self.running.get_or_insert_default().push(Abortable::new(running, registration));
        Err(abort)
    }

    /// Gives back what only handlers need that go on, where there are none.
    pub(crate) fn rest(&mut self) {
        self.running.take_if(|running| running.is_empty());
    }

    /// The next handler that ended. Those that were stopped are dropped on the way.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<(StreamKey, Ending)>> {
        loop {
            let Some(running) = &mut self.running else {
                return Poll::Ready(None);
            };
            match running.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(ended))) => return Poll::Ready(Some(ended)),
                Poll::Ready(Some(Err(Aborted))) => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Future for Running {
    type Output = (StreamKey, Ending);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { key, future, scope, .. } = &mut *self;
        let key = *key;
        let Some(future) = future else {
            return Poll::Pending;
        };
        // A panic fails its call and nothing else: the future is never polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| scope.run(|| Pin::new(future).poll(cx))));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic)))).map(|ending| (key, ending))
    }
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> CallError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
    let shown = np_types::escape(text, MAX_PANIC);
    audit::panicked(&shown);
    // What a panic says is the server's own affair.
    CallError::answered(Status::Internal, "the handler panicked")
}

/// A handler on a task of its own; dropping this stops it.
struct OwnTask(JoinHandle<Ending>);

impl Future for OwnTask {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        Pin::new(&mut self.0).poll(cx).map(|joined| match joined {
            Ok(ending) => ending,
            Err(error) => Err(match error.try_into_panic() {
                Ok(panic) => panicked(&*panic),
                Err(_) => CallError::answered(Status::Cancelled, "the handler's task was stopped"),
            }),
        })
    }
}

impl Drop for OwnTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
