//! The task that keeps one connection of a pool: it waits for its end, and makes another.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use np_driver::{ConnectionWatch, random_number};
use np_transport::Address;
use np_types::{ConnectionError, Time};
use tokio::time::sleep;

use crate::client::backoff::Backoff;
use crate::client::events::ClientEvent;
use crate::client::pool::{Live, Pool};
use crate::client::station::{Blow, Station};

/// Keeps the connection in one place of the pool until the client is over. `first` is the one that stands there already.
pub(crate) async fn keep(pool: Arc<Pool>, lane: usize, first: Option<Kept>) {
    let backoff = Backoff::new(pool.dialer.settings.keeping.backoff);
    let mut keeper = Keeper { pool: &pool, lane, backoff, left: None };
    let over = tokio::select! {
        biased;
        _ = pool.closed() => None,
        reason = keeper.run(first) => Some(reason),
    };
    // One may have come about in the moment in which the client ended.
    pool.clear(lane);
    if let Some(reason) = over {
        pool.give_up(reason);
    }
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

struct Keeper<'a> {
    pool: &'a Pool,
    lane: usize,
    backoff: Backoff,
    /// The address of the connection that was lost.
    left: Option<Address>,
}

impl Keeper<'_> {
    /// Runs until nothing is to be tried any more, and says why.
    async fn run(&mut self, first: Option<Kept>) -> ConnectionError {
        // A place that is empty from the start does not wait for its first attempt.
        let mut next = match first {
            Some(kept) => Ok(kept),
            None => {
                let first = self.attempt().await;
                self.pool.has_come();
                first
            }
        };
        loop {
            let blow = match next {
                Ok(kept) => self.watch(kept).await,
                Err(blow) => blow,
            };
            let reason = match blow {
                Blow::Final(reason) => return reason,
                Blow::Passing(reason) | Blow::Unproven(reason) => reason,
            };
            if !self.pool.dialer.settings.keeping.auto_reconnect {
                return reason;
            }
            let Some(pause) = self.backoff.pause(random_number().unwrap_or(u64::MAX)) else {
                return gave_up(&reason);
            };
            self.pool.lost(&reason);
            let (connection, attempt, delay) = (self.lane, pause.attempt, pause.delay);
            self.pool.teller.tell(&ClientEvent::Reconnecting { connection, attempt, delay, reason });
            sleep(delay).await;
            next = self.attempt().await;
            self.pool.dialer.settings.telemetry.reconnected(next.is_ok());
        }
    }

    /// A resolver or a policy of the program's own that panics costs an attempt, and not the client.
    async fn attempt(&self) -> Result<Kept, Blow> {
        let round = self.pool.dialer.round(self.lane, self.left.as_ref());
        let (station, connection) = AssertUnwindSafe(round).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))?;
        Ok(self.pool.stand(self.lane, station, connection))
    }

    /// Waits until the connection takes no new calls, and takes it out of the pool.
    async fn watch(&mut self, Kept { watch, station, since }: Kept) -> Blow {
        let dialer = &self.pool.dialer;
        let error = match watch.draining().await {
            Err(error) => error,
            Ok(code) => {
                let (connection, address) = (self.lane, station.label.clone());
                self.pool.teller.tell(&ClientEvent::Draining { connection, address });
                if dialer.settings.keeping.auto_reconnect {
                    let text = "it takes no new calls".to_owned();
                    ConnectionError::ClosedByPeer { code, text, in_clear: false }
                } else {
                    // There will be no other: calls hear from this one that it drains.
                    watch.closed().await
                }
            }
        };
        self.pool.clear(self.lane);
        let now = dialer.clock.now();
        self.backoff.stood(now.since(since));
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
