//! Calls under way: given to the connection's task at once, then waited for. What waits is small, since the future of a
//! call moves often. It must never know what a call is about.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use np_dispatch::{BoxFuture, Reply};
use np_session::{Answer, Encoding, OpenCall};
use np_types::{CallError, Deadline};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::Connection;
use crate::commands::{Command, Unanswered};

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
pub struct Pending<'a> {
    connection: &'a Connection,
    /// None once there is one.
    answer: Option<oneshot::Receiver<Result<Answer, Unanswered>>>,
    /// What comes before the answer: waiting for a place in the queue. Or why there is no answer.
    rare: Option<BoxFuture<Result<(), CallError>>>,
}

impl fmt::Debug for Pending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl<'a> Pending<'a> {
    /// Gives a call to the connection's task, or waits for a place in its queue when it is polled.
    pub(crate) fn begin(connection: &'a Connection, mut call: OpenCall, until: Until, nested: bool) -> Self {
        let relative = match until {
            Until::At(deadline) => {
                call.deadline = deadline;
                false
            }
            Until::Within(span) => {
                call.deadline = Deadline::after(np_types::Time::ZERO, span);
                true
            }
        };
        let (reply, answer) = oneshot::channel();
        let rare = match connection.sender().try_reserve() {
            Ok(place) => {
                place.send(Command::Call { call, nested, relative, reply });
                None
            }
            Err(TrySendError::Full(())) => {
                // It waits from now on, however long that takes.
                if relative {
                    call.deadline = call.deadline.from(connection.clock().now());
                }
                let command = Command::Call { call, nested, relative: false, reply };
                Some(connection.clone().send_later(command))
            }
            Err(TrySendError::Closed(())) => Some(connection.clone().gone()),
        };
        Self { connection, answer: Some(answer), rare }
    }
}

impl<'a> Pending<'a> {
    /// A call that could not be made.
    pub(crate) fn failed(connection: &'a Connection, error: CallError) -> Self {
        Self { connection, answer: None, rare: Some(Box::pin(std::future::ready(Err(error)))) }
    }
}

impl Future for Pending<'_> {
    type Output = Result<Reply, Unanswered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(rare) = &mut this.rare {
                let done = ready!(rare.as_mut().poll(cx));
                this.rare = None;
                if let Err(error) = done {
                    this.answer = None;
                    return Poll::Ready(Err(error.into()));
                }
            }
            let answered = match &mut this.answer {
                Some(answer) => ready!(Pin::new(answer).poll(cx)),
                None => return Poll::Pending,
            };
            this.answer = None;
            match answered {
                Ok(Ok(answer)) => return Poll::Ready(this.connection.unpacked(answer).map_err(Into::into)),
                Ok(Err(unanswered)) => return Poll::Ready(Err(unanswered)),
                // The task is gone with the command unread: nothing of it was sent.
                Err(_) => this.rare = Some(this.connection.clone().gone()),
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let (Some(answer), None) = (&mut self.answer, &self.rare) {
            answer.close();
            self.connection.cancel();
        }
    }
}

impl Connection {
    /// The reply that an answer holds. The call was answered, whatever can be read of it.
    fn unpacked(&self, answer: Answer) -> Result<Reply, CallError> {
        let Answer { codec, encoding, metadata, body } = answer;
        let body = match encoding {
            Encoding::Plain => body,
            _ => self.info().bodies.unpack(encoding, body).map(|whole| whole.body)?,
        };
        Ok(Reply { codec, metadata, body })
    }

    /// Waits for a place in the queue.
    fn send_later(self, command: Command) -> BoxFuture<Result<(), CallError>> {
        Box::pin(async move {
            match self.sender().send(command).await {
                Ok(()) => Ok(()),
                Err(_) => Err(self.ended().await),
            }
        })
    }

    /// Why nothing can be sent.
    fn gone(self) -> BoxFuture<Result<(), CallError>> {
        Box::pin(async move { Err(self.ended().await) })
    }
}
