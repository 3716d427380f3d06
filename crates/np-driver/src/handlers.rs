//! Handlers at work: polled once where the call arrived, kept while short, given a task of their own when long.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use np_dispatch::{BoxFuture, Reply};
use np_session::StreamKey;
use np_types::{CallError, Status};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use crate::at_work::AtWork;
use crate::audit;
use crate::call_limits::Permit;
use crate::compression::Sealed;
use crate::scope::Scope;

/// Bytes of a panic's text that go to the log, escaped: it may hold what a peer sent.
const MAX_PANIC: usize = 1_024;

/// How a handler ended; a stream's handler gives an empty reply.
pub(crate) type Ending = Result<Sealed, CallError>;

/// What is polled: two kinds, so that an answer that travels as it is needs no second box.
pub(crate) enum Later {
    /// The handler's own future.
    Plain(BoxFuture<Result<Reply, CallError>>),
    /// A future around it, which decompresses before it or compresses after it.
    Packed(BoxFuture<Ending>),
}

/// Lets a handler begin, in its scope. Where it panics its call fails, and nothing else.
#[inline]
pub(crate) fn begin<T>(scope: &Scope, handler: impl FnOnce() -> T) -> Result<T, CallError> {
    catch_unwind(AssertUnwindSafe(|| scope.run(handler))).map_err(|panic| panicked(&*panic))
}

impl Future for Later {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        match &mut *self {
            Self::Plain(future) => future.as_mut().poll(cx).map(|reply| reply.map(Into::into)),
            Self::Packed(future) => future.as_mut().poll(cx),
        }
    }
}

/// The handlers of one connection that are not done. Those that find a place share the connection's task; past that each
/// gets a task of its own.
#[derive(Default)]
pub(crate) struct Handlers {
    /// There once one had a future, since it takes room also when it is empty.
    shared: Option<Box<AtWork<Running>>>,
    /// Where tasks of their own tell how they ended, and how many are to.
    apart: Option<(UnboundedSender<Ended>, UnboundedReceiver<Ended>)>,
    tasks: usize,
}

type Ended = (StreamKey, Ending);

/// Where a handler is at work, for whoever has to stop it.
pub(crate) enum Place {
    /// A place in the connection's own task.
    Shared(usize),
    /// A task of its own.
    Apart(AbortHandle),
}

struct Running {
    key: StreamKey,
    /// Taken only to be dropped.
    future: Option<Later>,
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
    /// Takes what a handler does after it was called: the ending if it is there after one poll, or where it goes on. The
    /// permit is taken only by a handler that goes on.
    pub(crate) fn start(
        &mut self,
        cx: &Context<'_>,
        key: StreamKey,
        own_task: bool,
        permit: &mut Option<Permit>,
        scope: Scope,
        future: Later,
    ) -> Result<Ending, Place> {
        let running = Running { key, future: Some(future), permit: permit.take(), scope };
        if own_task || self.shared.as_ref().is_some_and(|shared| shared.is_full()) {
            return Err(Place::Apart(self.spawn(running)));
        }
        match self.shared.get_or_insert_with(|| Box::new(AtWork::new())).enter(cx.waker(), running) {
            Ok(Done { ending, permit: spare, .. }) => {
                *permit = spare;
                Ok(ending)
            }
            Err(at) => Err(Place::Shared(at)),
        }
    }

    fn spawn(&mut self, running: Running) -> AbortHandle {
        let (told, _) = self.apart.get_or_insert_with(unbounded_channel);
        self.tasks += 1;
        let key = running.key;
        tokio::spawn(Apart { key, running: Some(running), told: told.clone() }).abort_handle()
    }

    /// Stops a handler. What one does while it is dropped is its own affair.
    pub(crate) fn stop(&mut self, key: StreamKey, place: &Place) {
        match place {
            Place::Apart(task) => task.abort(),
            Place::Shared(at) => {
                drop(self.shared.as_mut().and_then(|shared| shared.leave(*at, |running| running.key == key)));
            }
        }
    }

    /// Whether there are none.
    pub(crate) fn are_none(&self) -> bool {
        self.tasks == 0 && self.shared.as_ref().is_none_or(|shared| shared.is_empty())
    }

    /// Gives back what only handlers need that go on, where there are none.
    pub(crate) fn rest(&mut self) {
        self.shared.take_if(|shared| shared.is_empty());
        self.apart.take_if(|_| self.tasks == 0);
    }

    /// The next handler that ended.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<(StreamKey, Ending)> {
        if let Some(shared) = &mut self.shared
            && let Poll::Ready(Done { key, ending, .. }) = shared.poll_next(cx.waker())
        {
            return Poll::Ready((key, ending));
        }
        if let Some((_, tasks)) = &mut self.apart
            && let Poll::Ready(Some(ended)) = tasks.poll_recv(cx)
        {
            self.tasks = self.tasks.saturating_sub(1);
            return Poll::Ready(ended);
        }
        Poll::Pending
    }
}

/// A handler's end, with the place that it does not need any more.
struct Done {
    key: StreamKey,
    ending: Ending,
    permit: Option<Permit>,
}

impl Future for Running {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { key, future: Some(future), scope, permit } = &mut *self else {
            return Poll::Pending;
        };
        // A panic fails its call and nothing else: the future is never polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| scope.run(|| Pin::new(future).poll(cx))));
        let ending = ready!(polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic)))));
        Poll::Ready(Done { key: *key, ending, permit: permit.take() })
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

/// A handler on a task of its own, which tells how it ended, and that it was stopped.
struct Apart {
    key: StreamKey,
    running: Option<Running>,
    told: UnboundedSender<Ended>,
}

impl Apart {
    fn tell(&self, ending: Ending) {
        // The connection may be over.
        let _ = self.told.send((self.key, ending));
    }
}

impl Future for Apart {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(());
        };
        let Done { ending, permit, .. } = ready!(Pin::new(running).poll(cx));
        // The work is gone, and its place is free, before anybody learns of its end.
        self.running = None;
        drop(permit);
        self.tell(ending);
        Poll::Ready(())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if self.running.take().is_some() {
            self.tell(Err(CallError::answered(Status::Cancelled, "the handler's task was stopped")));
        }
    }
}
