//! What becomes of a client's connections, told to whoever asked: bounded, and never waited for.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use np_types::ConnectionError;
use tokio::sync::mpsc;

/// Events that wait for one consumer; what comes beyond them is counted and not kept.
const KEPT: usize = 64;

/// What became of one of a client's connections. The number of a connection is its place in the pool, from 0.
///
/// ```
/// use np_facade::ClientEvent;
/// fn show(event: &ClientEvent) -> String {
///     match event {
///         ClientEvent::Connected { address, .. } => format!("connected to {address}"),
///         ClientEvent::Reconnecting { attempt, delay, .. } => format!("attempt {attempt} in {delay:?}"),
///         other => format!("{other:?}"),
///     }
/// }
/// assert_eq!(show(&ClientEvent::Missed { events: 3 }), "Missed { events: 3 }");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A connection stands.
    Connected {
        /// Which of the pool.
        connection: usize,
        /// Its server's address, without keys.
        address: String,
    },
    /// A connection is gone or was not made; another attempt follows.
    Reconnecting {
        /// Which of the pool.
        connection: usize,
        /// The attempt that follows, from 1; those in a row are counted.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
        /// Why the last one ended.
        reason: ConnectionError,
    },
    /// The server takes no new calls on a connection; those that it accepted are answered there.
    Draining {
        /// Which of the pool.
        connection: usize,
        /// Its server's address, without keys.
        address: String,
    },
    /// The client is over: closed, refused for good, or out of attempts. No event follows.
    Closed {
        /// Why.
        reason: ConnectionError,
    },
    /// The consumer was too slow for so many events, which are lost; they came before the event that follows.
    Missed {
        /// How many.
        events: u64,
    },
}

impl ClientEvent {
    /// A name for logs and metrics.
    ///
    /// ```
    /// assert_eq!(np_facade::ClientEvent::Missed { events: 1 }.name(), "missed");
    /// ```
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Reconnecting { .. } => "reconnecting",
            Self::Draining { .. } => "draining",
            Self::Closed { .. } => "closed",
            Self::Missed { .. } => "missed",
        }
    }
}

/// The events of a client, from now on; made by [`Client::events`](crate::Client::events). A `Stream`.
///
/// # Limits
/// 64 events wait for their consumer; the number of those that found no room comes as [`ClientEvent::Missed`].
pub struct ClientEvents {
    queue: mpsc::Receiver<ClientEvent>,
    missed: Arc<Mutex<u64>>,
}

impl ClientEvents {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        match self.queue.poll_recv(cx) {
            // The last of them found no room.
            Poll::Ready(None) => Poll::Ready(match std::mem::take(&mut *lock(&self.missed)) {
                0 => None,
                events => Some(ClientEvent::Missed { events }),
            }),
            other => other,
        }
    }
}

impl Stream for ClientEvents {
    type Item = ClientEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl fmt::Debug for ClientEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEvents").field("missed", &*lock(&self.missed)).finish_non_exhaustive()
    }
}

/// Where a client's events are told.
#[derive(Default)]
pub(crate) struct Teller(Mutex<Audience>);

#[derive(Default)]
struct Audience {
    consumers: Vec<Consumer>,
    /// What a new consumer is told first: where connections stand.
    standing: BTreeMap<usize, String>,
    closed: Option<ConnectionError>,
}

struct Consumer {
    queue: mpsc::Sender<ClientEvent>,
    missed: Arc<Mutex<u64>>,
}

impl Teller {
    /// A new consumer; it is told first what stands now.
    pub(crate) fn subscribe(&self) -> ClientEvents {
        let (sender, queue) = mpsc::channel(KEPT);
        let consumer = Consumer { queue: sender, missed: Arc::default() };
        let missed = Arc::clone(&consumer.missed);
        let mut audience = lock(&self.0);
        for (connection, address) in &audience.standing {
            consumer.tell(&ClientEvent::Connected { connection: *connection, address: address.clone() });
        }
        match &audience.closed {
            Some(reason) => consumer.tell(&ClientEvent::Closed { reason: reason.clone() }),
            None => audience.consumers.push(consumer),
        }
        ClientEvents { queue, missed }
    }

    /// Tells everybody. After [`ClientEvent::Closed`] nothing is told any more.
    pub(crate) fn tell(&self, event: &ClientEvent) {
        let mut audience = lock(&self.0);
        if audience.closed.is_some() {
            return;
        }
        tracing::debug!(target: "np::client", name = event.name(), ?event, "a client's connection");
        match event {
            ClientEvent::Connected { connection, address } => {
                audience.standing.insert(*connection, address.clone());
            }
            ClientEvent::Reconnecting { connection, .. } | ClientEvent::Draining { connection, .. } => {
                audience.standing.remove(connection);
            }
            ClientEvent::Closed { reason } => {
                audience.closed = Some(reason.clone());
                audience.standing.clear();
            }
            ClientEvent::Missed { .. } => {}
        }
        audience.consumers.retain(|consumer| !consumer.queue.is_closed());
        audience.consumers.iter().for_each(|consumer| consumer.tell(event));
        if audience.closed.is_some() {
            audience.consumers.clear();
        }
    }
}

impl Consumer {
    fn tell(&self, event: &ClientEvent) {
        let mut missed = lock(&self.missed);
        if *missed > 0 && self.queue.try_send(ClientEvent::Missed { events: *missed }).is_ok() {
            *missed = 0;
        }
        if *missed > 0 || self.queue.try_send(event.clone()).is_err() {
            *missed = missed.saturating_add(1);
        }
    }
}

/// A lock whose holder panicked still guards valid data here: every critical section is a few assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use np_types::{CloseCode, ConnectionError};

    use super::{ClientEvent, ClientEvents, KEPT, Teller};

    fn draining(connection: usize) -> ClientEvent {
        ClientEvent::Draining { connection, address: "mem:x".to_owned() }
    }

    fn closed() -> ClientEvent {
        ClientEvent::Closed { reason: ConnectionError::ClosedHere(CloseCode::Normal) }
    }

    async fn rest(mut events: ClientEvents) -> Vec<ClientEvent> {
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event);
        }
        all
    }

    #[tokio::test]
    async fn a_slow_consumer_is_told_how_many_it_missed_and_where() {
        let teller = Teller::default();
        let mut slow = teller.subscribe();
        (0..KEPT + 10).for_each(|number| teller.tell(&draining(number)));
        for number in 0..KEPT {
            assert_eq!(slow.next().await, Some(draining(number)));
        }
        teller.tell(&draining(1_000));
        teller.tell(&closed());
        let rest = rest(slow).await;
        assert_eq!(rest, [ClientEvent::Missed { events: 10 }, draining(1_000), closed()]);
    }

    #[tokio::test]
    async fn what_was_missed_at_the_very_end_is_told_too() {
        let teller = Teller::default();
        let slow = teller.subscribe();
        (0..KEPT).for_each(|number| teller.tell(&draining(number)));
        teller.tell(&closed());
        let rest = rest(slow).await;
        assert_eq!((rest.len(), rest.last()), (KEPT + 1, Some(&ClientEvent::Missed { events: 1 })));
    }

    #[tokio::test]
    async fn a_new_consumer_is_told_first_what_stands() {
        let teller = Teller::default();
        let connected = |connection| ClientEvent::Connected { connection, address: "mem:x".to_owned() };
        teller.tell(&connected(0));
        teller.tell(&connected(1));
        teller.tell(&draining(0));
        let events = teller.subscribe();
        teller.tell(&closed());
        teller.tell(&connected(0));
        assert_eq!(rest(events).await, [connected(1), closed()]);
        assert_eq!(rest(teller.subscribe()).await, [closed()]);
    }
}
