//! A unary call of a client, as a future of its own: the first attempt on a connection that stands is made here, without a
//! future around a future, since each of them moves the reply once more. All else is boxed.

use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use np_dispatch::Reply;
use np_driver::{Connection, Pending, Unanswered, Until};
use np_types::{CallError, Deadline};

use crate::client::attempt::{Outgoing, Unary, again, pool_time, settle_from};
use crate::client::once::{Once, settle_once};
use crate::client::pool::{Lease, Pool};

impl Borrow<Connection> for Lease<'_> {
    fn borrow(&self) -> &Connection {
        &self.live.connection
    }
}

/// Gives the whole reply.
pub(crate) struct Sending<'a> {
    pool: &'a Pool,
    once: Option<&'a Once>,
    /// None once it was given away.
    call: Option<Result<Outgoing, CallError>>,
    state: State<'a>,
}

/// Gives the reply's body.
pub(crate) struct SendingBody<'a>(pub(crate) Sending<'a>);

enum State<'a> {
    New,
    /// The first attempt.
    First(Pending<Lease<'a>>),
    /// Whatever comes after it, or in its place.
    Rare(Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send + 'a>>),
}

impl<'a> Sending<'a> {
    /// Nothing is sent before it is polled; `once` where it is to run exactly once.
    pub(crate) const fn new(pool: &'a Pool, once: Option<&'a Once>, call: Result<Outgoing, CallError>) -> Self {
        Self { pool, once, call: Some(call), state: State::New }
    }

    /// Polls it, and takes what is wanted of the reply where that is.
    #[inline]
    fn poll_with<T>(&mut self, cx: &mut Context<'_>, take: impl FnOnce(Reply) -> T) -> Poll<Result<T, CallError>> {
        if let State::New = self.state
            && let Err(error) = self.start()
        {
            return Poll::Ready(Err(error));
        }
        if let State::First(pending) = &mut self.state {
            match ready!(Pin::new(&mut *pending).poll(cx)) {
                Ok(reply) => {
                    self.pool.budget.deposit();
                    pending.connection().live.station.succeeded();
                    return Poll::Ready(Ok(take(reply)));
                }
                Err(unanswered) => self.go_on(unanswered),
            }
        }
        match &mut self.state {
            State::Rare(rest) => rest.as_mut().poll(cx).map(|reply| reply.map(take)),
            State::New | State::First(_) => Poll::Pending,
        }
    }

    #[inline]
    fn start(&mut self) -> Result<(), CallError> {
        if let (None, Some(Ok(call))) = (self.once, &self.call)
            && let Some(lease) = self.pool.pick()
        {
            // The connection counts from when it learns of it.
            let until = call.within.map_or(Until::At(Deadline::NONE), Until::Within);
            self.state = State::First(Pending::of(lease, &call.request, until));
            return Ok(());
        }
        self.start_rare()
    }

    #[cold]
    fn start_rare(&mut self) -> Result<(), CallError> {
        let Some(call) = self.call.take().transpose()? else {
            return Ok(());
        };
        let pool = self.pool;
        self.state = State::Rare(match self.once {
            Some(once) => Box::pin(async move { settle_once(pool, once, &call).await }),
            None => Box::pin(async move { settle_from::<Unary>(pool, &call, None, 0).await.map(|(reply, _)| reply) }),
        });
        Ok(())
    }

    /// The first attempt failed.
    #[cold]
    fn go_on(&mut self, unanswered: Unanswered) {
        let State::First(pending) = std::mem::replace(&mut self.state, State::New) else {
            return;
        };
        let Some(Ok(call)) = self.call.take() else {
            return;
        };
        let pool = self.pool;
        let live = Arc::clone(&pending.connection().live);
        drop(pending);
        self.state = State::Rare(Box::pin(async move {
            let until = pool_time(pool, &live, unanswered.deadline, call.patience(pool));
            let mut refusals = 0;
            again(pool, &live, &call, unanswered.error, until, &mut refusals).await?;
            settle_from::<Unary>(pool, &call, Some(until), refusals).await.map(|(reply, _)| reply)
        }));
    }
}

impl Future for Sending<'_> {
    type Output = Result<Reply, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_with(cx, |reply| reply)
    }
}

impl Future for SendingBody<'_> {
    type Output = Result<Bytes, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_with(cx, |reply| reply.body)
    }
}
