//! The connections of a client, and which of them a call takes. Must never connect by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use np_driver::{Clock, Connection, ConnectionWatch};
use np_types::{CallError, CloseCode, ConnectionError, Status, Time};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::client::budget::RetryBudget;
use crate::client::dialer::Dialer;
use crate::client::events::{ClientEvent, Teller};
use crate::client::keeper::Kept;
use crate::client::keeping::Balance;
use crate::client::once::EpochCell;
use crate::client::station::Station;

/// The most connections of one client, whatever a resolver names.
const MAX_LANES: usize = 1_024;

/// A connection that stands.
pub(crate) struct Live {
    pub(crate) connection: Connection,
    pub(crate) watch: ConnectionWatch,
    pub(crate) station: Arc<Station>,
    pub(crate) since: Time,
    pub(crate) epoch: EpochCell,
    lane: usize,
}

/// A place of the pool, with the connection that stands there.
#[derive(Default)]
struct Lane {
    live: ArcSwapOption<Live>,
    /// Counted where it decides.
    in_flight: AtomicUsize,
}

/// What all calls of a client share. A call on a connection that stands takes no lock here.
pub(crate) struct Pool {
    pub(crate) dialer: Dialer,
    pub(crate) teller: Teller,
    pub(crate) budget: RetryBudget,
    lanes: Box<[Lane]>,
    turn: AtomicUsize,
    /// The newest connection, whether or not it stands.
    newest: ArcSwap<Live>,
    state: watch::Sender<State>,
    /// Places whose keepers have not given up.
    kept: AtomicUsize,
}

/// What those who wait for a connection look at.
#[derive(Debug, Default)]
struct State {
    /// Why the last connection ended, or was not made.
    lost: Option<ConnectionError>,
    /// Why the client is over.
    closed: Option<ConnectionError>,
    /// Places whose first connection is being made.
    coming: usize,
}

/// A connection for one call.
pub(crate) struct Lease<'a> {
    pub(crate) live: Arc<Live>,
    counted: Option<&'a AtomicUsize>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(in_flight) = self.counted {
            in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Live {
    fn new(lane: usize, station: Arc<Station>, connection: Connection, clock: Clock) -> Arc<Self> {
        let watch = connection.watch();
        Arc::new(Self { connection, watch, station, since: clock.now(), epoch: EpochCell::default(), lane })
    }
}

impl Live {
    /// The place that it stands in, or stood in.
    pub(crate) const fn lane(&self) -> usize {
        self.lane
    }
}

impl Pool {
    /// A pool for so many addresses, with its first connection in the place of the address that answered.
    pub(crate) fn new(dialer: Dialer, addresses: usize, answered: usize, first: (Arc<Station>, Connection)) -> Self {
        let keeping = &dialer.settings.keeping;
        let (spread, each) = (keeping.balance != Balance::FailOver, keeping.pool_size);
        let lanes = if spread { addresses.saturating_mul(each).min(MAX_LANES) } else { each };
        let lane = if spread { answered.min(lanes.saturating_sub(1)) } else { 0 };
        let budget = RetryBudget::new(keeping.retry_budget);
        let live = Live::new(lane, first.0, first.1, dialer.clock);
        let pool = Self {
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            newest: ArcSwap::new(Arc::clone(&live)),
            teller: Teller::default(),
            turn: AtomicUsize::new(0),
            state: watch::Sender::new(State { coming: lanes.saturating_sub(1), ..State::default() }),
            kept: AtomicUsize::new(lanes),
            budget,
            dialer,
        };
        pool.put(live);
        pool
    }

    /// How many connections there are to be.
    pub(crate) const fn size(&self) -> usize {
        self.lanes.len()
    }

    /// The connection that stands in a place.
    pub(crate) fn standing(&self, lane: usize) -> Option<Arc<Live>> {
        self.lanes.get(lane)?.live.load_full()
    }

    /// The newest connection of those that stand, or that stood last.
    pub(crate) fn newest(&self) -> Arc<Live> {
        self.newest.load_full()
    }

    /// A connection that stands, for one call; the one place where balance is kept.
    pub(crate) fn pick(&self) -> Option<Lease<'_>> {
        match &*self.lanes {
            [only] => Some(Lease { live: only.live.load_full()?, counted: None }),
            several if self.dialer.settings.keeping.balance == Balance::LeastInFlight => self.least_busy(several),
            several => self.next_in_turn(several),
        }
    }

    fn next_in_turn(&self, lanes: &[Lane]) -> Option<Lease<'_>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % lanes.len().max(1);
        let (before, after) = lanes.split_at_checked(start)?;
        let mut closed_off = None;
        for lane in after.iter().chain(before) {
            let Some(live) = lane.live.load_full() else {
                continue;
            };
            if live.station.allows(|| self.dialer.clock.now()) {
                return Some(Lease { live, counted: None });
            }
            closed_off.get_or_insert(live);
        }
        // Where every breaker is open, one is as good as another.
        closed_off.map(|live| Lease { live, counted: None })
    }

    fn least_busy<'a>(&self, lanes: &'a [Lane]) -> Option<Lease<'a>> {
        let standing = || lanes.iter().filter_map(|lane| Some((lane, lane.live.load_full()?)));
        let busy = |(lane, _): &(&Lane, Arc<Live>)| lane.in_flight.load(Ordering::Relaxed);
        let allowed = standing().filter(|(_, live)| live.station.allows(|| self.dialer.clock.now())).min_by_key(busy);
        let (lane, live) = allowed.or_else(|| standing().min_by_key(busy))?;
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Lease { live, counted: Some(&lane.in_flight) })
    }

    /// A connection that was chosen without regard to balance.
    pub(crate) const fn lease(&self, live: Arc<Live>) -> Lease<'_> {
        Lease { live, counted: None }
    }

    /// As [`Self::pick`], waiting for a connection until then.
    pub(crate) async fn wait(&self, until: Time) -> Result<Lease<'_>, CallError> {
        self.wait_by(until, Self::pick).await
    }

    /// As [`Self::wait`], for a connection that `pick` takes.
    pub(crate) async fn wait_by<'a>(
        &'a self,
        until: Time,
        pick: impl Fn(&'a Self) -> Option<Lease<'a>>,
    ) -> Result<Lease<'a>, CallError> {
        let mut state = self.state.subscribe();
        loop {
            // Looked at before the pick: a connection that comes in between is picked, and not given up.
            let refusal = self.nothing_comes(&state.borrow_and_update());
            if let Some(lease) = pick(self) {
                return Ok(lease);
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            if timeout_at(self.dialer.clock.instant(until), state.changed()).await.is_err() {
                let text = "no connection came about before the deadline; check the server, or allow more time";
                return Err(because(Status::DeadlineExceeded, text, state.borrow().lost.clone()));
            }
        }
    }

    /// Why it is no use to wait for a connection, if so.
    fn nothing_comes(&self, state: &State) -> Option<CallError> {
        if let Some(closed) = &state.closed {
            return Some(because(Status::Unavailable, "the client is closed", Some(closed.clone())));
        }
        let text = "the connection has ended, and auto_reconnect is off";
        let over = !self.dialer.settings.keeping.auto_reconnect && state.coming == 0;
        over.then(|| because(Status::Unavailable, text, state.lost.clone()))
    }

    /// The first connection of one more place has been made, or could not be.
    pub(crate) fn has_come(&self) {
        self.state.send_modify(|state| state.coming = state.coming.saturating_sub(1));
    }

    /// Puts a new connection into its place.
    pub(crate) fn stand(&self, lane: usize, station: Arc<Station>, connection: Connection) -> Kept {
        let live = Live::new(lane, station, connection, self.dialer.clock);
        let kept = Kept::of(&live);
        self.put(live);
        kept
    }

    fn put(&self, live: Arc<Live>) {
        let Some(lane) = self.lanes.get(live.lane) else {
            return;
        };
        let event = ClientEvent::Connected { connection: live.lane, address: live.station.label.clone() };
        self.newest.store(Arc::clone(&live));
        lane.live.store(Some(live));
        self.state.send_modify(|state| state.lost = None);
        self.teller.tell(&event);
    }

    /// Takes a connection out of its place, so that no new call goes there; the calls in flight keep it.
    pub(crate) fn evict(&self, gone: &Arc<Live>) {
        if let Some(lane) = self.lanes.get(gone.lane) {
            lane.live.compare_and_swap(gone, None);
        }
    }

    /// Whether another connection than this one takes calls, or is to come.
    pub(crate) fn has_other(&self, gone: &Arc<Live>) -> bool {
        self.dialer.settings.keeping.auto_reconnect || {
            self.evict(gone);
            // In this order: what comes stands before it is counted off.
            let comes = self.state.borrow().coming > 0;
            comes || self.pick().is_some()
        }
    }

    /// Empties a place.
    pub(crate) fn clear(&self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.live.store(None);
        }
    }

    /// Tells those who wait why there is no connection.
    pub(crate) fn lost(&self, reason: &ConnectionError) {
        self.state.send_modify(|state| state.lost = Some(reason.clone()));
    }

    /// A keeper has given its place up; with the last of them the client is over.
    pub(crate) fn give_up(&self, reason: ConnectionError) {
        if self.kept.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close(reason);
        }
    }

    /// Ends the client: no call, keeper or event follows. Gives the connections that stood.
    pub(crate) fn close(&self, reason: ConnectionError) -> Vec<Arc<Live>> {
        let mut first = false;
        self.state.send_modify(|state| {
            first = state.closed.is_none();
            state.closed.get_or_insert_with(|| reason.clone());
        });
        if first {
            self.teller.tell(&ClientEvent::Closed { reason });
        }
        self.lanes.iter().filter_map(|lane| lane.live.swap(None)).collect()
    }

    /// Whether the client is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.borrow().closed.is_some()
    }

    /// Waits until the client is over, and says why.
    pub(crate) async fn closed(&self) -> ConnectionError {
        let mut state = self.state.subscribe();
        let told = state.wait_for(|state| state.closed.is_some()).await;
        let reason = told.ok().and_then(|state| state.closed.clone());
        reason.unwrap_or(ConnectionError::ClosedHere(CloseCode::Internal))
    }
}

fn because(status: Status, text: &str, cause: Option<ConnectionError>) -> CallError {
    let error = CallError::not_processed(status, text);
    match cause {
        Some(cause) => error.because(cause),
        None => error,
    }
}
