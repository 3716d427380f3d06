//! Exactly-once calls of a client: one number over as many attempts as it takes. What an attempt's end means for the call is
//! np-dispatch's to say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use np_dispatch::{AttemptEnd, Epoch, InstanceId, OnceClient, OnceNext, Reply};
use np_driver::{Connection, EntropyError, random_number};
use np_types::{CallError, Deadline, Outcome, Status, Time};
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::client::attempt::{Outgoing, deadline, pause};
use crate::client::pool::{Lease, Live, Pool};

/// The exactly-once calls of one client.
pub(crate) struct Once {
    calls: Mutex<OnceClient>,
    /// Rung when a call is over.
    freed: Notify,
}

/// The epoch that a connection's server gave, asked for by whoever needs it first.
#[derive(Default)]
pub(crate) struct EpochCell {
    known: Mutex<Option<Epoch>>,
    asking: tokio::sync::Mutex<()>,
}

impl EpochCell {
    async fn ask(&self, connection: &Connection, once: &Once, deadline: Deadline) -> Result<Epoch, CallError> {
        if let Some(epoch) = self.known() {
            return Ok(epoch);
        }
        let _asking = self.asking.lock().await;
        if let Some(epoch) = self.known() {
            return Ok(epoch);
        }
        let instance = once.lock().instance();
        let epoch = connection.once_epoch(instance, deadline).await?;
        *lock(&self.known) = Some(epoch);
        Ok(epoch)
    }

    fn known(&self) -> Option<Epoch> {
        *lock(&self.known)
    }

    /// The server has forgotten the client's instance.
    fn forget(&self, epoch: Epoch) {
        lock(&self.known).take_if(|known| *known == epoch);
    }
}

impl Once {
    /// Draws who the client is.
    pub(crate) fn new() -> Result<Self, EntropyError> {
        let instance = (u128::from(random_number()?) << 64 | u128::from(random_number()?)).to_be_bytes();
        Ok(Self { calls: Mutex::new(OnceClient::new(InstanceId::from_bytes(instance))), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, OnceClient> {
        lock(&self.calls)
    }

    /// Numbers a call, once there is room for it.
    async fn begin(&self, pool: &Pool, until: Time) -> Result<Numbered<'_>, CallError> {
        loop {
            let freed = self.freed.notified();
            let full = match self.lock().begin() {
                Ok(number) => return Ok(Numbered { once: self, number }),
                Err(full) => full,
            };
            let waited = timeout_at(pool.dialer.clock.instant(until), freed).await;
            waited.map_err(|_| CallError::not_processed(Status::DeadlineExceeded, full.to_string()))?;
        }
    }
}

/// A call that is given up where it is not over when this is dropped.
struct Numbered<'a> {
    once: &'a Once,
    number: u64,
}

impl Numbered<'_> {
    /// Tells an error to the caller, with what is known of the call and not of its last attempt.
    fn give_up(&self, error: CallError) -> CallError {
        let outcome = match self.once.lock().give_up(self.number) {
            Outcome::Answered => error.outcome,
            known => known,
        };
        CallError { outcome, ..error }
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        // Of a call that is over this changes nothing.
        self.once.lock().give_up(self.number);
        self.once.freed.notify_waiters();
    }
}

/// What follows from an attempt.
enum Next {
    /// The caller is told, with what is known of the call.
    Tell(CallError),
    /// Another attempt may be made.
    Again(CallError),
}

/// Makes attempts until the call is answered, or nobody can know whether it was done.
pub(crate) async fn settle_once(pool: &Pool, once: &Once, call: &Outgoing) -> Result<Reply, CallError> {
    let until = pool.dialer.clock.now() + call.patience(pool);
    let numbered = once.begin(pool, until).await?;
    let mut refusals = 0;
    // Where the last attempt went.
    let mut lane = 0;
    loop {
        let bound = once.lock().bound(numbered.number);
        let lease = pool.wait_by(until, |pool| pick(pool, bound, lane)).await;
        let lease = lease.map_err(|error| numbered.give_up(error))?;
        lane = lease.live.lane();
        let error = match attempt(pool, &numbered, &lease, call, until).await {
            Ok(reply) => {
                pool.budget.deposit();
                lease.live.station.succeeded();
                return Ok(reply);
            }
            Err(Next::Tell(error)) => return Err(numbered.give_up(error)),
            Err(Next::Again(error)) => error,
        };
        let live = Arc::clone(&lease.live);
        drop(lease);
        let bound = once.lock().bound(numbered.number).is_some();
        again(pool, &live, error, (until, bound), &mut refusals).await.map_err(|error| numbered.give_up(error))?;
    }
}

/// A connection for a call. Where an attempt may have arrived, it is one to the same server: one that is known to be, or
/// the one in the place of the lost one, when it comes.
fn pick(pool: &Pool, bound: Option<Epoch>, lane: usize) -> Option<Lease<'_>> {
    let Some(bound) = bound else {
        return pool.pick();
    };
    let mut standing = (0..pool.size()).filter_map(|lane| pool.standing(lane));
    let live = standing.find(|live| live.epoch.known() == Some(bound)).or_else(|| pool.standing(lane))?;
    Some(pool.lease(live))
}

async fn attempt(
    pool: &Pool,
    numbered: &Numbered<'_>,
    lease: &Lease<'_>,
    call: &Outgoing,
    until: Time,
) -> Result<Reply, Next> {
    let (once, number, live) = (numbered.once, numbered.number, &lease.live);
    let deadline = deadline(pool, lease, call, Some(until));
    let epoch = match live.epoch.ask(&live.connection, once, deadline).await {
        Ok(epoch) => epoch,
        // The question is no attempt of the call.
        Err(error) if error.status == Status::Unavailable => return Err(Next::Again(error)),
        Err(error) => return Err(Next::Tell(error)),
    };
    let header = once.lock().attempt(number, epoch);
    let header = header.map_err(|why| Next::Tell(CallError::unknown(Status::OutcomeUnknown, why.to_string())))?;
    let result = live.connection.call(call.request.clone().deadline(deadline).once(header)).await;
    let next = once.lock().ended(number, AttemptEnd::of(&result));
    result.map_err(|error| match (next, error.status) {
        (OnceNext::Retry { .. }, Status::OutcomeUnknown) => {
            live.epoch.forget(epoch);
            Next::Again(error)
        }
        (OnceNext::Retry { .. }, Status::Unavailable) => Next::Again(error),
        _ => Next::Tell(error),
    })
}

/// Waits until another attempt may be made, or gives the error that the caller is told.
async fn again(
    pool: &Pool,
    live: &Arc<Live>,
    mut error: CallError,
    (until, bound): (Time, bool),
    refusals: &mut u32,
) -> Result<(), CallError> {
    if error.cause.is_some() || !live.watch.takes_calls() {
        if pool.dialer.settings.keeping.auto_reconnect {
            // Whoever learns of it first takes it away, so that no attempt meets it again.
            pool.evict(live);
        }
        // Reconnecting has its delays, and an attempt is lost once per connection: no budget is needed to keep the peace.
        return if pool.has_other(live) { Ok(()) } else { Err(error) };
    }
    if error.status == Status::Unavailable {
        live.station.failed(pool.dialer.clock.now());
    }
    // A call that may have run is owed its answer, and there are no more of them than were in flight at the loss.
    if !bound && !pool.budget.take() {
        error.text.push_str("; not sent again, since retry_budget is used up");
        return Err(error);
    }
    pause(pool, until, refusals).await.map_err(|_| error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
