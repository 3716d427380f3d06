//! Figures about connections and calls, for whoever listens to the `metrics` facade. Must never know who that is, nor let
//! text that a peer chose become a label.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use np_session::{OpenKind, Side};
use np_types::{Blame, CloseCode, ConnectionError, LimitName, Status};

mod book;
mod names;

pub(crate) use book::{Book, Way};
use names::{ENDS, LIMITS, RESULTS, STATUSES};

/// Where a server or a client counts what it does: with the recorder of the `metrics` crate, or nowhere.
///
/// Each figure is registered once, when this is made, and counting is an addition behind a pointer: a call formats,
/// locks and allocates nothing for it. The names are stable and stand in `docs/OBSERVABILITY.md`; their labels are words
/// of np's own.
///
/// ```
/// use np_driver::Telemetry;
/// assert!(!Telemetry::off().is_on());
/// // Install a recorder first: metrics::set_global_recorder(..)
/// assert!(Telemetry::recording().is_on());
/// ```
#[derive(Clone, Default)]
pub struct Telemetry(Option<Arc<Meters>>, Option<Arc<Hits>>);

/// How often each limit was reached at one server, which tells it by itself.
struct Hits(Box<[AtomicU64]>);

/// The figures of one side of all its connections, ready to be added to.
struct Meters {
    server: SideMeters,
    client: SideMeters,
    incoming: WayMeters,
    outgoing: WayMeters,
    refusals: Labelled,
    ends: Labelled,
    drains: Counter,
    suppressed: Counter,
    reconnects: Counter,
    reconnect_failures: Counter,
}

struct SideMeters {
    open: Gauge,
    opened: Counter,
    handshakes: Labelled,
    handshake_time: Histogram,
}

struct WayMeters {
    bytes: Counter,
    calls: Labelled,
    calls_open: Gauge,
    call_time: Histogram,
    one_way: Labelled,
    streams: Labelled,
    streams_open: Gauge,
}

/// A counter for each word that a label may be; the last is for all others.
struct Labelled {
    words: &'static [&'static str],
    counters: Box<[Counter]>,
}

impl Hits {
    fn count(&self, limit: &str) {
        let at = LIMITS.iter().position(|word| *word == limit).unwrap_or(LIMITS.len());
        if let Some(count) = self.0.get(at) {
            // A figure that nothing waits for.
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Telemetry {
    /// Counts nowhere: the default of servers and clients.
    #[must_use]
    pub const fn off() -> Self {
        Self(None, None)
    }

    /// Counts with the recorder that is installed in the `metrics` crate now; one that is installed later gets nothing.
    #[must_use]
    pub fn recording() -> Self {
        names::describe();
        let meters = Meters {
            server: SideMeters::new("server"),
            client: SideMeters::new("client"),
            incoming: WayMeters::new("in"),
            outgoing: WayMeters::new("out"),
            refusals: Labelled::new(LIMITS, |limit| metrics::counter!("np_refusals_total", "limit" => limit)),
            ends: Labelled::new(ENDS, |code| metrics::counter!("np_disconnects_total", "code" => code)),
            drains: metrics::counter!("np_drains_total"),
            suppressed: metrics::counter!("np_audit_suppressed_total"),
            reconnects: metrics::counter!("np_reconnects_total", "result" => "connected"),
            reconnect_failures: metrics::counter!("np_reconnects_total", "result" => "failed"),
        };
        Self(Some(Arc::new(meters)), None)
    }

    /// Whether anything is counted.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A client tried to replace a connection that was lost: whether it got one.
    ///
    /// ```
    /// np_driver::Telemetry::off().reconnected(true);
    /// ```
    pub fn reconnected(&self, connected: bool) {
        if let Some(meters) = &self.0 {
            if connected { &meters.reconnects } else { &meters.reconnect_failures }.increment(1);
        }
    }

    /// A peer, or a call of one, was refused or cut for a limit.
    pub(crate) fn refused(&self, limit: &'static str) {
        if let Some(meters) = &self.0 {
            meters.refusals.get(limit).increment(1);
        }
        if let Some(hits) = &self.1 {
            hits.count(limit);
        }
    }

    /// The same, with a count of its own of how often each limit is reached.
    pub(crate) fn with_hits(self) -> Self {
        let hits = LIMITS.iter().chain(&["other"]).map(|_| AtomicU64::new(0)).collect();
        Self(self.0, Some(Arc::new(Hits(hits))))
    }

    /// The limits that were reached, and how often.
    pub(crate) fn hits(&self) -> Vec<(&'static str, u64)> {
        let words = LIMITS.iter().chain(&["other"]).copied();
        let counts = self.1.iter().flat_map(|hits| hits.0.iter()).map(|count| count.load(Ordering::Relaxed));
        words.zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn draining(&self) {
        if let Some(meters) = &self.0 {
            meters.drains.increment(1);
        }
    }

    /// Events of the audit log were left out.
    pub(crate) fn suppressed(&self) {
        if let Some(meters) = &self.0 {
            meters.suppressed.increment(1);
        }
    }

    /// A handshake is over.
    pub(crate) fn shaken(&self, side: Side, result: &'static str, took: Option<Duration>) {
        if let Some(meters) = &self.0 {
            let meters = meters.side(side);
            meters.handshakes.get(result).increment(1);
            if let Some(took) = took {
                meters.handshake_time.record(took);
            }
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Telemetry(recording)" } else { "Telemetry(off)" })
    }
}

impl Meters {
    const fn side(&self, side: Side) -> &SideMeters {
        match side {
            Side::Responder => &self.server,
            Side::Initiator => &self.client,
        }
    }

    const fn way(&self, way: Way) -> &WayMeters {
        match way {
            Way::In => &self.incoming,
            Way::Out => &self.outgoing,
        }
    }
}

impl SideMeters {
    fn new(side: &'static str) -> Self {
        Self {
            open: metrics::gauge!("np_connections", "side" => side),
            opened: metrics::counter!("np_connections_total", "side" => side),
            handshakes: Labelled::new(
                RESULTS,
                |result| metrics::counter!("np_handshakes_total", "side" => side, "result" => result),
            ),
            handshake_time: metrics::histogram!("np_handshake_seconds", "side" => side),
        }
    }
}

impl WayMeters {
    fn new(way: &'static str) -> Self {
        Self {
            bytes: metrics::counter!("np_bytes_total", "direction" => way),
            calls: Labelled::new(
                STATUSES,
                |status| metrics::counter!("np_calls_total", "direction" => way, "status" => status),
            ),
            calls_open: metrics::gauge!("np_calls_in_flight", "direction" => way),
            call_time: metrics::histogram!("np_call_seconds", "direction" => way),
            one_way: Labelled::new(
                STATUSES,
                |status| metrics::counter!("np_one_way_total", "direction" => way, "status" => status),
            ),
            streams: Labelled::new(
                STATUSES,
                |status| metrics::counter!("np_streams_total", "direction" => way, "status" => status),
            ),
            streams_open: metrics::gauge!("np_streams_open", "direction" => way),
        }
    }

    fn began(&self, kind: OpenKind) {
        match kind {
            OpenKind::Request => self.calls_open.increment(1.0),
            OpenKind::Stream => self.streams_open.increment(1.0),
            OpenKind::OneWay => {}
        }
    }

    fn ended(&self, kind: OpenKind, status: Status, took: Duration) {
        match kind {
            OpenKind::Request => {
                self.calls_open.decrement(1.0);
                self.calls.get(status.name()).increment(1);
                self.call_time.record(took);
            }
            OpenKind::Stream => {
                self.streams_open.decrement(1.0);
                self.streams.get(status.name()).increment(1);
            }
            OpenKind::OneWay => self.one_way.get(status.name()).increment(1),
        }
    }
}

impl Labelled {
    fn new(words: &'static [&'static str], register: impl Fn(&'static str) -> Counter) -> Self {
        Self { words, counters: words.iter().chain(&["other"]).map(|word| register(word)).collect() }
    }

    fn get(&self, word: &'static str) -> &Counter {
        let at = self.words.iter().position(|known| *known == word).unwrap_or(self.words.len());
        self.counters.get(at).unwrap_or(&NOWHERE)
    }
}

/// For a table without a row, which there is none of.
static NOWHERE: Counter = Counter::noop();

/// What became of a handshake, in one word.
pub(crate) fn result_of(result: Result<(), &ConnectionError>) -> &'static str {
    let Err(error) = result else {
        return "accepted";
    };
    match (error, error.blame()) {
        (ConnectionError::Timeout { .. }, _) => "timeout",
        (_, Blame::Refused | Blame::Limit | Blame::Closed) => "refused",
        _ => "failed",
    }
}

/// The name of the limit that ended a connection or a handshake, if one did.
pub(crate) const fn limit_of(error: &ConnectionError) -> Option<&'static str> {
    match error {
        ConnectionError::Limit(hit) => Some(LimitName::name(hit.limit)),
        ConnectionError::Timeout { code: CloseCode::HandshakeTimeout, .. } => Some("handshake_timeout"),
        ConnectionError::Refused { code: CloseCode::ReplayGuardFull, .. } => Some("replay_capacity"),
        _ => None,
    }
}
