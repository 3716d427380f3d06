//! Calls under way: given to the connection's task at once, then waited for. What waits is small, since the future of a
//! call moves often. It must never know what a call is about.

use std::borrow::Borrow;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use np_dispatch::{BoxFuture, Reply};
use np_session::{Answer, Encoding, OpenCall};
use np_types::{CallError, Deadline};
use tokio::sync::oneshot;

use crate::commands::{Command, Unanswered};
use crate::connection::{Connection, Request};
use crate::queue::Refused;

/// When a call has to be over.
///
/// ```
/// use np_driver::Until;
/// use std::time::Duration;
/// assert_ne!(Until::Within(Duration::from_secs(1)), Until::At(np_types::Deadline::NONE));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At a point of [`Connection::clock`], or never.
    At(Deadline),
    /// So long after the connection's task learns of it, which is at once unless its queue is full. No clock is read for it:
    /// the task has the time.
    Within(Duration),
}

/// A call that was given to its connection; made by [`Connection::begin`]. Dropping it cancels the call.
pub struct Pending<C: Borrow<Connection>> {
    connection: C,
    /// None once there is one.
    answer: Option<oneshot::Receiver<Result<Answer, Unanswered>>>,
    /// What comes before the answer: waiting for a place in the queue. Or why there is no answer.
    rare: Option<BoxFuture<Result<(), CallError>>>,
}

impl<C: Borrow<Connection>> fmt::Debug for Pending<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("connection", self.connection.borrow()).finish_non_exhaustive()
    }
}

impl<C: Borrow<Connection>> Pending<C> {
    /// As [`Connection::begin`], with whatever holds the connection.
    ///
    /// ```no_run
    /// # async fn run(connection: np_driver::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// use np_driver::{Pending, Request, Until};
    /// use std::time::Duration;
    /// let request = Request::new("np.echo".parse()?).body("hi");
    /// let pending: Pending<np_driver::Connection> = Pending::of(connection, &request, Until::Within(Duration::from_secs(1)));
    /// let reply = pending.await.map_err(np_types::CallError::from)?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn of(connection: C, request: &Request, until: Until) -> Self {
        if request.is_plain(connection.borrow()) {
            return Self::begin_with(connection, until, false, request.plain_call());
        }
        let (answer, rare) = parts_of(connection.borrow(), request, until);
        Self { connection, answer, rare }
    }

    /// As [`Self::of`], with a request that nobody needs any more.
    ///
    /// ```no_run
    /// # async fn run(connection: np_driver::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// use np_driver::{Pending, Request, Until};
    /// use std::time::Duration;
    /// let request = Request::new("np.echo".parse()?).body("hi");
    /// let pending = Pending::of_owned(&connection, request, Until::Within(Duration::from_secs(1)));
    /// let reply = pending.await.map_err(np_types::CallError::from)?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn of_owned(connection: C, request: Request, until: Until) -> Self {
        if request.is_plain(connection.borrow()) {
            return Self::begin_with(connection, until, false, request.into_plain_call());
        }
        let (answer, rare) = parts_of(connection.borrow(), &request, until);
        Self { connection, answer, rare }
    }

    /// What holds the connection.
    #[must_use]
    pub const fn connection(&self) -> &C {
        &self.connection
    }

    /// Gives a call to the connection's task, or waits for a place in its queue when it is polled.
    #[inline]
    pub(crate) fn begin(connection: C, call: OpenCall, until: Until, nested: bool) -> Self {
        Self::begin_with(connection, until, nested, |deadline| OpenCall { deadline, ..call })
    }

    /// As [`Self::begin`], with a call that is made where it is to stand.
    #[inline]
    fn begin_with(connection: C, until: Until, nested: bool, call: impl FnOnce(Deadline) -> OpenCall) -> Self {
        let (deadline, relative) = match until {
            Until::At(deadline) => (deadline, false),
            Until::Within(span) => (Deadline::after(np_types::Time::ZERO, span), true),
        };
        let (reply, answer) = oneshot::channel();
        let make = move || Command::Call { call: call(deadline), nested, relative, reply };
        let rare = match connection.borrow().bell().put(make) {
            Ok(()) => None,
            Err(Refused::Full(make)) => Some(connection.borrow().clone().send_later(make())),
            Err(Refused::Closed(_)) => Some(connection.borrow().clone().gone()),
        };
        Self { connection, answer: Some(answer), rare }
    }
}

/// What [`Pending`] has beside its connection.
type Parts = (Option<oneshot::Receiver<Result<Answer, Unanswered>>>, Option<BoxFuture<Result<(), CallError>>>);

/// A call that is not plain. Given as parts: a whole that is written here in one way and by its caller in another would be moved.
#[cold]
fn parts_of(connection: &Connection, request: &Request, until: Until) -> Parts {
    match request.call(connection) {
        Ok(call) => {
            let mut pending = Pending::begin(connection, call, until, false);
            // What is dropped without an answer to wait for cancels nothing.
            (pending.answer.take(), pending.rare.take())
        }
        Err(error) => (None, Some(Box::pin(std::future::ready(Err(error))))),
    }
}

impl<C: Borrow<Connection> + Unpin> Future for Pending<C> {
    type Output = Result<Reply, Unanswered>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if this.rare.is_some()
                && let Err(error) = ready!(this.poll_rare(cx))
            {
                return Poll::Ready(Err(error.into()));
            }
            let answered = match &mut this.answer {
                Some(answer) => ready!(Pin::new(answer).poll(cx)),
                None => return Poll::Pending,
            };
            this.answer = None;
            match answered {
                Ok(Ok(answer)) => return Poll::Ready(this.connection.borrow().unpacked(answer).map_err(Into::into)),
                Ok(Err(unanswered)) => return Poll::Ready(Err(unanswered)),
                // The task is gone with the command unread: nothing of it was sent.
                Err(_) => this.rare = Some(this.connection.borrow().clone().gone()),
            }
        }
    }
}

impl<C: Borrow<Connection>> Pending<C> {
    #[cold]
    fn poll_rare(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let done = match &mut self.rare {
            Some(rare) => ready!(rare.as_mut().poll(cx)),
            None => Ok(()),
        };
        self.rare = None;
        if done.is_err() {
            self.answer = None;
        }
        Poll::Ready(done)
    }
}

impl<C: Borrow<Connection>> Drop for Pending<C> {
    fn drop(&mut self) {
        if let (Some(answer), None) = (&mut self.answer, &self.rare) {
            answer.close();
            self.connection.borrow().cancel();
        }
    }
}

impl Connection {
    /// The reply that an answer holds. The call was answered, whatever can be read of it.
    #[inline]
    fn unpacked(&self, answer: Answer) -> Result<Reply, CallError> {
        let Answer { codec, encoding, metadata, body } = answer;
        let body = match encoding {
            Encoding::Plain => body,
            _ => self.info().bodies.unpack(encoding, body).map(|whole| whole.body)?,
        };
        Ok(Reply { codec, metadata, body })
    }

    /// Waits for a place in the queue, however long that takes: a deadline counts from now on.
    #[cold]
    fn send_later(self, mut command: Command) -> BoxFuture<Result<(), CallError>> {
        command.count_from(|| self.clock().now());
        Box::pin(async move { if self.bell().put_later(command).await { Ok(()) } else { Err(self.ended().await) } })
    }

    /// Why nothing can be sent.
    fn gone(self) -> BoxFuture<Result<(), CallError>> {
        Box::pin(async move { Err(self.ended().await) })
    }
}
