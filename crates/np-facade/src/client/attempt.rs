//! One call over as many attempts as it takes: the one place where an attempt is made and its outcome is judged.

use std::sync::Arc;
use std::time::Duration;

use np_dispatch::{MessageStream, Reply};
use np_driver::{Connection, Request, Unanswered, Until, random_number};
use np_types::{CallError, Deadline, Outcome, Status, Time};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout_at};

use crate::client::backoff::within_upper_half;
use crate::client::pool::{Lease, Live, Pool};

/// The longest pauses before a call that a server refused is sent to it again.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is sent, and how: all that an attempt is made of.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) request: Request,
    /// How long it may take in all; none: for ever.
    pub(crate) within: Option<Duration>,
    /// Whether it does no harm when it is done twice.
    pub(crate) idempotent: bool,
}

impl Outgoing {
    /// How long it waits for a connection.
    pub(crate) fn patience(&self, pool: &Pool) -> Duration {
        self.within.unwrap_or(pool.dialer.settings.deadline)
    }
}

/// What an attempt does with a connection.
pub(crate) trait Operation {
    /// What comes of it.
    type Output;

    /// Makes one attempt.
    fn attempt(
        connection: &Connection,
        request: &Request,
        until: Until,
    ) -> impl Future<Output = Result<Self::Output, Unanswered>> + Send;
}

/// Waits for an answer.
#[derive(Debug)]
pub(crate) struct Unary;

impl Operation for Unary {
    type Output = Reply;

    fn attempt(
        connection: &Connection,
        request: &Request,
        until: Until,
    ) -> impl Future<Output = Result<Reply, Unanswered>> + Send {
        connection.begin(request, until)
    }
}

/// Waits until all of it was handed over.
#[derive(Debug)]
pub(crate) struct OneWay;

impl Operation for OneWay {
    type Output = ();

    async fn attempt(connection: &Connection, request: &Request, until: Until) -> Result<(), Unanswered> {
        let deadline = counted(connection, until);
        let sent = connection.send_one_way(request.clone().deadline(deadline)).await;
        sent.map_err(|error| unanswered(error, deadline))
    }
}

/// Opens a stream. What happens to one that is open is told by the stream.
#[derive(Debug)]
pub(crate) struct OpenStream;

impl Operation for OpenStream {
    type Output = MessageStream;

    async fn attempt(connection: &Connection, request: &Request, until: Until) -> Result<MessageStream, Unanswered> {
        let deadline = counted(connection, until);
        let opened = connection.open_stream(request.clone().deadline(deadline)).await;
        opened.map_err(|error| unanswered(error, deadline))
    }
}

fn counted(connection: &Connection, until: Until) -> Deadline {
    match until {
        Until::At(deadline) => deadline,
        Until::Within(span) => connection.clock().deadline(span),
    }
}

fn unanswered(error: CallError, deadline: Deadline) -> Unanswered {
    let mut unanswered = Unanswered::from(error);
    unanswered.deadline = Some(deadline);
    unanswered
}

/// What is to be done about an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is told to the caller.
    Tell,
    /// Another one is safe, and goes elsewhere: the connection takes no more calls.
    Elsewhere,
    /// Another one is allowed, and costs one of the retry budget.
    Again,
}

/// Makes attempts until one of them settles the call; gives its result and the connection that it was on.
pub(crate) async fn settle<'a, O: Operation>(
    pool: &'a Pool,
    call: &Outgoing,
) -> Result<(O::Output, Lease<'a>), CallError> {
    settle_from::<O>(pool, call, None, 0).await
}

/// Goes on with attempts: until when is known once it matters, since the first one on a connection that stands reads no
/// clock for it.
pub(crate) async fn settle_from<'a, O: Operation>(
    pool: &'a Pool,
    call: &Outgoing,
    mut until: Option<Time>,
    mut refusals: u32,
) -> Result<(O::Output, Lease<'a>), CallError> {
    loop {
        let lease = match pool.pick() {
            Some(lease) => lease,
            // Boxed, as all that is rare here: what every call carries along stays small.
            None => {
                let until = *until.get_or_insert_with(|| pool.dialer.clock.now() + call.patience(pool));
                Box::pin(pool.wait(until)).await?
            }
        };
        let by = match (call.within, until) {
            // The first attempt: the connection counts from when it learns of it.
            (Some(within), None) => Until::Within(within),
            _ => Until::At(deadline(pool, &lease, call, until)),
        };
        match O::attempt(&lease.live.connection, &call.request, by).await {
            Ok(output) => {
                pool.budget.deposit();
                lease.live.station.succeeded();
                return Ok((output, lease));
            }
            Err(Unanswered { error, deadline, .. }) => {
                let live = Arc::clone(&lease.live);
                let until = *until.get_or_insert_with(|| pool_time(pool, &live, deadline, call.patience(pool)));
                drop(lease);
                Box::pin(again(pool, &live, call, error, until, &mut refusals)).await?;
            }
        }
    }
}

/// The deadline of the next attempt, on its connection's clock.
pub(crate) fn deadline(pool: &Pool, lease: &Lease<'_>, call: &Outgoing, until: Option<Time>) -> Deadline {
    match (call.within, until) {
        (None, _) => Deadline::NONE,
        (Some(within), None) => lease.live.connection.clock().deadline(within),
        (Some(_), Some(until)) => lease.live.connection.clock().deadline(until.since(pool.dialer.clock.now())),
    }
}

/// When a call is over whose first attempt failed, on the clock of the pool.
/// One that its connection has not counted has only just begun.
pub(crate) fn pool_time(pool: &Pool, live: &Live, deadline: Option<Deadline>, patience: Duration) -> Time {
    let left = deadline.and_then(|deadline| deadline.remaining(live.connection.clock().now()));
    pool.dialer.clock.now() + left.unwrap_or(patience)
}

/// Waits until another attempt may be made, or gives the error that the caller is told.
pub(crate) async fn again(
    pool: &Pool,
    live: &Arc<Live>,
    call: &Outgoing,
    mut error: CallError,
    until: Time,
    refusals: &mut u32,
) -> Result<(), CallError> {
    let lost = error.cause.is_some() || !live.watch.takes_calls();
    if lost && pool.dialer.settings.keeping.auto_reconnect {
        // Whoever learns of it first takes it away, so that no attempt meets it again.
        pool.evict(live);
    }
    match judge(&error, lost, || {
        call.idempotent || pool.dialer.settings.keeping.is_idempotent(call.request.method().as_str())
    }) {
        Verdict::Tell => return Err(error),
        // Without auto_reconnect no other will come, and it is as well that the caller hears why.
        Verdict::Elsewhere if pool.has_other(live) => return Ok(()),
        Verdict::Elsewhere => return Err(error),
        Verdict::Again => {}
    }
    if !lost {
        live.station.failed(pool.dialer.clock.now());
    }
    if !pool.budget.take() {
        error.text.push_str("; not sent again, since retry_budget is used up");
        return Err(error);
    }
    if lost {
        return if pool.has_other(live) { Ok(()) } else { Err(error) };
    }
    pause(pool, until, refusals).await.map_err(|_| error)
}

/// Waits before a call is sent again that was refused so often.
pub(crate) async fn pause(pool: &Pool, until: Time, refusals: &mut u32) -> Result<(), Elapsed> {
    let ceiling = FIRST_PAUSE.saturating_mul(1 << (*refusals).min(16)).min(LONGEST_PAUSE);
    *refusals = refusals.saturating_add(1);
    let pause = sleep(within_upper_half(ceiling, random_number().unwrap_or(u64::MAX)));
    timeout_at(pool.dialer.clock.instant(until), pause).await
}

fn judge(error: &CallError, lost: bool, idempotent: impl FnOnce() -> bool) -> Verdict {
    match (error.outcome, error.status) {
        (Outcome::NotProcessed, Status::Unavailable) if lost => Verdict::Elsewhere,
        (Outcome::NotProcessed, Status::Unavailable) => Verdict::Again,
        (Outcome::Unknown, Status::Unavailable) if idempotent() => Verdict::Again,
        _ => Verdict::Tell,
    }
}

#[cfg(test)]
mod tests {
    use np_types::{CallError, Status};

    use super::{Verdict, judge};

    #[test]
    fn only_what_is_safe_or_declared_to_be_is_sent_again() {
        let unavailable = || CallError::not_processed(Status::Unavailable, "");
        assert_eq!(judge(&unavailable(), true, || false), Verdict::Elsewhere);
        assert_eq!(judge(&unavailable(), false, || false), Verdict::Again);
        let unknown = CallError::unknown(Status::Unavailable, "");
        for lost in [true, false] {
            assert_eq!(judge(&unknown, lost, || false), Verdict::Tell);
            assert_eq!(judge(&unknown, lost, || true), Verdict::Again);
        }
        for error in [
            CallError::failed("no"),
            CallError::answered(Status::Unavailable, ""),
            CallError::not_processed(Status::InvalidArgument, ""),
            CallError::not_processed(Status::LimitReached, ""),
            CallError::not_processed(Status::DeadlineExceeded, ""),
            CallError::unknown(Status::DeadlineExceeded, ""),
        ] {
            assert_eq!(judge(&error, true, || true), Verdict::Tell, "{error}");
        }
    }
}
