//! What keeps one connection of a pool: with its end a task begins, which makes another. While it stands there is none.

use std::io;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use np_driver::{ConnectionWatch, random_number};
use np_transport::Address;
use np_types::{CloseCode, ConnectionError, Time};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::client::backoff::Backoff;
use crate::client::events::ClientEvent;
use crate::client::pool::{Live, Pool};
use crate::client::station::{Blow, Station};

/// Keeps the connection in one place of the pool until the client is over: the one that stands there already, or one that
/// is made now.
pub(crate) fn keep(pool: &Arc<Pool>, lane: usize) {
    let keeper = Keeper { lane, backoff: Backoff::new(pool.dialer.settings.keeping.backoff), left: None };
    match pool.standing(lane) {
        Some(live) => keeper.stand_by(pool, Kept::of(&live)),
        None => drop(tokio::spawn(keeper.work(Arc::clone(pool), Task::Begin))),
    }
}

/// What a keeper begins with.
enum Task {
    /// A place that is empty from the start, which does not wait for its first attempt.
    Begin,
    /// A connection that takes no new calls: the code of its server's go-away, or why it is over.
    Replace(Kept, Result<CloseCode, ConnectionError>),
}

/// What a keeper knows of a connection that stands. It keeps none alive: that is for the pool and for calls.
pub(crate) struct Kept {
    watch: ConnectionWatch,
    station: Arc<Station>,
    since: Time,
}

impl Kept {
    pub(crate) fn of(live: &Live) -> Self {
        Self { watch: live.watch.clone(), station: Arc::clone(&live.station), since: live.since }
    }
}

struct Keeper {
    lane: usize,
    backoff: Backoff,
    /// The address of the connection that was lost.
    left: Option<Address>,
}

impl Keeper {
    /// Begins to work once the connection takes no new calls, if the client is not over by then.
    fn stand_by(self, pool: &Arc<Pool>, kept: Kept) {
        let (pool, runtime, watch) = (Arc::downgrade(pool), Handle::current(), kept.watch.clone());
        watch.then(move |news| {
            if let Some(pool) = pool.upgrade()
                && !pool.is_closed()
            {
                runtime.spawn(self.work(pool, Task::Replace(kept, news)));
            }
        });
    }

    /// Works until a connection stands, the client is over, or nothing is to be tried any more.
    async fn work(mut self, pool: Arc<Pool>, task: Task) {
        let done = tokio::select! {
            biased;
            _ = pool.closed() => None,
            done = self.run(&pool, task) => Some(done),
        };
        match done {
            Some(ControlFlow::Continue(kept)) if !pool.is_closed() => self.stand_by(&pool, kept),
            // One may have come about in the moment in which the client ended.
            None | Some(ControlFlow::Continue(_)) => pool.clear(self.lane),
            Some(ControlFlow::Break(reason)) => {
                pool.clear(self.lane);
                pool.give_up(reason);
            }
        }
    }

    /// Gives the next connection, or why nothing is to be tried any more.
    async fn run(&mut self, pool: &Pool, task: Task) -> ControlFlow<ConnectionError, Kept> {
        let mut next = match task {
            Task::Replace(kept, news) => Err(self.take_out(pool, kept, news).await),
            Task::Begin => {
                let first = self.attempt(pool).await;
                pool.has_come();
                first
            }
        };
        loop {
            let reason = match next {
                Ok(kept) => return ControlFlow::Continue(kept),
                Err(Blow::Final(reason)) => return ControlFlow::Break(reason),
                Err(Blow::Passing(reason) | Blow::Unproven(reason)) => reason,
            };
            if !pool.dialer.settings.keeping.auto_reconnect {
                return ControlFlow::Break(reason);
            }
            let Some(pause) = self.backoff.pause(random_number().unwrap_or(u64::MAX)) else {
                return ControlFlow::Break(gave_up(&reason));
            };
            pool.lost(&reason);
            let (connection, attempt, delay) = (self.lane, pause.attempt, pause.delay);
            pool.teller.tell(&ClientEvent::Reconnecting { connection, attempt, delay, reason });
            sleep(delay).await;
            next = self.attempt(pool).await;
            pool.dialer.settings.telemetry.reconnected(next.is_ok());
        }
    }

    /// A resolver or a policy of the program's own that panics costs an attempt, and not the client.
    async fn attempt(&self, pool: &Pool) -> Result<Kept, Blow> {
        let round = pool.dialer.round(self.lane, self.left.as_ref());
        let (station, connection) = AssertUnwindSafe(round).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))?;
        Ok(pool.stand(self.lane, station, connection))
    }

    /// Takes a connection out of the pool that takes no new calls.
    async fn take_out(&mut self, pool: &Pool, kept: Kept, news: Result<CloseCode, ConnectionError>) -> Blow {
        let Kept { watch, station, since } = kept;
        let dialer = &pool.dialer;
        let error = match news {
            Err(error) => error,
            Ok(code) => {
                let (connection, address) = (self.lane, station.label.clone());
                pool.teller.tell(&ClientEvent::Draining { connection, address });
                if dialer.settings.keeping.auto_reconnect {
                    let text = "it takes no new calls".to_owned();
                    ConnectionError::ClosedByPeer { code, text, in_clear: false }
                } else {
                    // There will be no other: calls hear from this one that it drains.
                    watch.closed().await
                }
            }
        };
        pool.clear(self.lane);
        let now = dialer.clock.now();
        if watch.has_stood() {
            self.backoff.stood(now.since(since));
        }
        // Where it is final another address may still take this client: the next round tells.
        let reason = station.fell(Blow::of_end(error), now);
        self.left = Some(station.address.clone());
        Blow::Passing(reason)
    }
}

fn panicked() -> Blow {
    let text = "a resolver or a policy panicked".to_owned();
    Blow::Passing(ConnectionError::Io { what: "connect again".to_owned(), text, kind: io::ErrorKind::Other })
}

fn gave_up(last: &ConnectionError) -> ConnectionError {
    let text = format!("max_reconnect_attempts is reached; the last one: {last}");
    ConnectionError::Io { what: "gave up connecting again".to_owned(), text, kind: io::ErrorKind::NotConnected }
}
