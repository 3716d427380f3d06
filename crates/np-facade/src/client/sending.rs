//! A unary call of a client, as a future of its own: the first attempt on a connection that stands is made here, without a
//! future around a future, since each of them moves the reply once more. All else is boxed.

use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use np_dispatch::Reply;
use np_driver::{Connection, Pending, Request, Unanswered, Until};
use np_types::{CallError, Deadline};

use crate::client::attempt::{Outgoing, Unary, again, pool_time, settle_from};
use crate::client::once::{Once, settle_once};
use crate::client::pool::{Lease, Pool};
use crate::client::{Inner, name};

impl Borrow<Connection> for Lease<'_> {
    fn borrow(&self) -> &Connection {
        &self.live.connection
    }
}

/// What is called: all that a call carries along before its first attempt, since a future is moved, and a small one costs less.
pub(crate) trait Asked<'a>: Unpin + Send + 'a {
    /// The connections, and what makes the call run exactly once, if it is to.
    fn inner(&self) -> (&'a Pool, Option<&'a Once>);

    /// Makes the first attempt; none where there is no connection, or it cannot be made, of which [`Self::outgoing`] tells. What is
    /// wrong with a call is found before a connection is picked, since that may be one that is tried with a single call.
    fn begin(&self, pool: &'a Pool) -> Option<Pending<Lease<'a>>>;

    /// All that attempts are made of.
    fn outgoing(self) -> Result<Outgoing, CallError>;
}

/// A call of bytes without options, as it was made.
pub(crate) struct Plain<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) method: &'a str,
    pub(crate) body: Bytes,
}

impl Plain<'_> {
    #[inline]
    fn request(&self) -> Result<Request, CallError> {
        Ok(Request::new(name(self.method)?).body(self.body.clone()))
    }
}

impl<'a> Asked<'a> for Plain<'a> {
    #[inline]
    fn inner(&self) -> (&'a Pool, Option<&'a Once>) {
        let Inner { pool, once, .. } = self.inner;
        (pool, pool.dialer.settings.keeping.exactly_once.then_some(once))
    }

    #[inline]
    fn begin(&self, pool: &'a Pool) -> Option<Pending<Lease<'a>>> {
        let request = self.request().ok()?;
        // The connection counts from when it learns of it.
        let until = Until::Within(pool.dialer.settings.deadline);
        Some(Pending::of_owned(pool.pick()?, request, until))
    }

    fn outgoing(self) -> Result<Outgoing, CallError> {
        let within = Some(self.inner.pool.dialer.settings.deadline);
        Ok(Outgoing { request: self.request()?, within, idempotent: false })
    }
}

/// A call with options, once they were looked at.
pub(crate) struct WithOptions<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) once: Option<&'a Once>,
    pub(crate) call: Result<Outgoing, CallError>,
}

impl<'a> Asked<'a> for WithOptions<'a> {
    fn inner(&self) -> (&'a Pool, Option<&'a Once>) {
        (self.pool, self.once)
    }

    fn begin(&self, pool: &'a Pool) -> Option<Pending<Lease<'a>>> {
        let call = self.call.as_ref().ok()?;
        // The connection counts from when it learns of it.
        let until = call.within.map_or(Until::At(Deadline::NONE), Until::Within);
        Some(Pending::of(pool.pick()?, &call.request, until))
    }

    fn outgoing(self) -> Result<Outgoing, CallError> {
        self.call
    }
}

/// Gives the whole reply.
pub(crate) struct Sending<'a, A> {
    /// None once it was given away.
    asked: Option<A>,
    state: State<'a>,
}

/// Gives the reply's body.
pub(crate) struct SendingBody<'a, A>(pub(crate) Sending<'a, A>);

enum State<'a> {
    New,
    /// The first attempt.
    First(Pending<Lease<'a>>),
    /// Whatever comes after it, or in its place.
    Rare(Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send + 'a>>),
}

impl<'a, A: Asked<'a>> Sending<'a, A> {
    /// Nothing is sent before it is polled.
    pub(crate) const fn new(asked: A) -> Self {
        Self { asked: Some(asked), state: State::New }
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
                    if let Some(asked) = &self.asked {
                        asked.inner().0.budget.deposit();
                    }
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
        if let Some(asked) = &self.asked
            && let (pool, None) = asked.inner()
            && let Some(pending) = asked.begin(pool)
        {
            self.state = State::First(pending);
            return Ok(());
        }
        self.start_rare()
    }

    #[cold]
    fn start_rare(&mut self) -> Result<(), CallError> {
        let Some(asked) = self.asked.take() else {
            return Ok(());
        };
        let (pool, once) = asked.inner();
        let call = asked.outgoing()?;
        self.state = State::Rare(match once {
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
        let Some(asked) = self.asked.take() else {
            return;
        };
        let (pool, _) = asked.inner();
        let live = Arc::clone(&pending.connection().live);
        drop(pending);
        let call = asked.outgoing();
        self.state = State::Rare(Box::pin(async move {
            let call = call?;
            let until = pool_time(pool, &live, unanswered.deadline, call.patience(pool));
            let mut refusals = 0;
            again(pool, &live, &call, unanswered.error, until, &mut refusals).await?;
            settle_from::<Unary>(pool, &call, Some(until), refusals).await.map(|(reply, _)| reply)
        }));
    }
}

impl<'a, A: Asked<'a>> Future for Sending<'a, A> {
    type Output = Result<Reply, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_with(cx, |reply| reply)
    }
}

impl<'a, A: Asked<'a>> Future for SendingBody<'a, A> {
    type Output = Result<Bytes, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_with(cx, |reply| reply.body)
    }
}
