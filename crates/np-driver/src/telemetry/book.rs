//! The calls of one connection that are open, for figures and spans: when each began, and how it ended. Must never know
//! what a call carries.

use np_session::{OpenKind, Side, StreamKey};
use np_types::{CloseCode, ConnectionError, Metadata, MethodName, Status, Time, TraceContext};
use tracing::field::{Empty, display};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

use super::{Telemetry, limit_of, result_of};
use crate::export;

/// Who opened a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The peer.
    In,
    /// This side.
    Out,
}

/// What is open on one connection, and the connection itself. With neither figures nor spans it holds nothing.
pub(crate) struct Book {
    telemetry: Telemetry,
    side: Side,
    open: Vec<Option<Entry>>,
    stands: bool,
    is_over: bool,
}

struct Entry {
    key: StreamKey,
    way: Way,
    kind: OpenKind,
    since: Time,
    span: Span,
}

impl Book {
    /// Of a connection that has come about, or of one whose peer has yet to decide on this side.
    pub(crate) fn new(telemetry: Telemetry, side: Side, stands: bool) -> Self {
        let mut book = Self { telemetry, side, open: Vec::new(), stands: false, is_over: false };
        if stands {
            book.stand();
        }
        book
    }

    /// Of a connection that stood before, and was counted then.
    pub(crate) const fn of_standing(telemetry: Telemetry, side: Side) -> Self {
        Self { telemetry, side, open: Vec::new(), stands: true, is_over: false }
    }

    /// Whether the connection stands, and nothing is open on it.
    pub(crate) fn is_blank(&self) -> bool {
        self.stands && !self.is_over && self.open.iter().all(Option::is_none)
    }

    /// What a blank one is made of anew.
    pub(crate) fn into_telemetry(self) -> Telemetry {
        self.telemetry
    }

    fn stand(&mut self) {
        self.stands = true;
        if let Some(meters) = &self.telemetry.0 {
            let meters = meters.side(self.side);
            meters.opened.increment(1);
            meters.open.increment(1.0);
        }
    }

    /// The peer has taken this side up, of a connection that was made without waiting for it.
    pub(crate) fn taken_up(&mut self, now: Time) {
        self.shaken(result_of(Ok(())), now);
        self.stand();
    }

    /// The clock of the connection began with its handshake.
    fn shaken(&self, result: &'static str, now: Time) {
        self.telemetry.shaken(self.side, result, Some(now.since(Time::ZERO)));
    }

    /// The span of a call that is about to begin; one that says nothing where nobody listens.
    #[inline]
    pub(crate) fn span(&self, way: Way, method: &MethodName, metadata: &Metadata) -> Span {
        // Asked here, since most calls are made where nobody listens.
        if Level::DEBUG <= LevelFilter::current() { Self::new_span(way, method, metadata) } else { Span::none() }
    }

    fn new_span(way: Way, method: &MethodName, metadata: &Metadata) -> Span {
        let direction = match way {
            Way::In => "in",
            Way::Out => "out",
        };
        let span = tracing::debug_span!(
            target: "np::call", "call", direction, %method, trace = Empty, status = Empty,
            otel.kind = Empty, otel.name = Empty,
        );
        if !span.is_disabled()
            && let Some(trace) = export::begin(&span, way, method, TraceContext::of(metadata))
        {
            span.record("trace", display(trace));
        }
        span
    }

    /// A call, one-way message or stream has begun.
    #[inline]
    pub(crate) fn began(&mut self, key: StreamKey, way: Way, kind: OpenKind, span: &Span, now: Time) {
        if self.telemetry.is_on() || !span.is_disabled() {
            self.enter(key, way, kind, span.clone(), now);
        }
    }

    fn enter(&mut self, key: StreamKey, way: Way, kind: OpenKind, span: Span, now: Time) {
        let at = key.slot();
        if self.open.len() <= at {
            self.open.resize_with(at + 1, || None);
        }
        let entry = Entry { key, way, kind, since: now, span };
        let before = self.open.get_mut(at).and_then(|place| place.replace(entry));
        if let Some(entry) = before {
            self.close(&entry, Status::Cancelled, now);
        }
        if let Some(meters) = &self.telemetry.0 {
            meters.way(way).began(kind);
        }
    }

    /// It has ended, unless it had before.
    #[inline]
    pub(crate) fn ended(&mut self, key: StreamKey, status: Status, now: Time) {
        if !self.open.is_empty() {
            self.leave(key, status, now);
        }
    }

    fn leave(&mut self, key: StreamKey, status: Status, now: Time) {
        let place = self.open.get_mut(key.slot());
        if let Some(entry) = place.and_then(|place| place.take_if(|entry| entry.key == key)) {
            self.close(&entry, status, now);
        }
    }

    /// Gives its memory back, where nothing is open.
    pub(crate) fn rest(&mut self) {
        if self.open.iter().all(Option::is_none) {
            self.open = Vec::new();
        }
    }

    /// A call of this side ended before it began.
    pub(crate) fn failed(&self, kind: OpenKind, status: Status, span: &Span) {
        note(span, status);
        if let Some(meters) = &self.telemetry.0 {
            let meters = meters.way(Way::Out);
            meters.began(kind);
            meters.ended(kind, status, std::time::Duration::ZERO);
        }
    }

    fn close(&self, entry: &Entry, status: Status, now: Time) {
        note(&entry.span, status);
        if let Some(meters) = &self.telemetry.0 {
            meters.way(entry.way).ended(entry.kind, status, now.since(entry.since));
        }
    }

    pub(crate) fn bytes(&self, way: Way, count: usize) {
        if let Some(meters) = &self.telemetry.0 {
            meters.way(way).bytes.increment(count as u64);
        }
    }

    /// A call, or the connection, was refused or cut for a limit.
    pub(crate) fn refused(&self, limit: &'static str) {
        self.telemetry.refused(limit);
    }

    /// The connection is over, and so is what was open: calls of this side without an answer, those of the peer without
    /// anybody who waits for one. One that has not stood was no connection yet to the peer.
    pub(crate) fn over(&mut self, error: &ConnectionError, now: Time) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        for entry in std::mem::take(&mut self.open).into_iter().flatten() {
            let status = match entry.way {
                Way::In => Status::Cancelled,
                Way::Out => Status::Unavailable,
            };
            self.close(&entry, status, now);
        }
        if let Some(limit) = limit_of(error) {
            self.telemetry.refused(limit);
        }
        if !self.stands {
            return self.did_not_stand(error, now);
        }
        if let Some(meters) = &self.telemetry.0 {
            meters.ends.get(error.code()).increment(1);
            meters.side(self.side).open.decrement(1.0);
        }
    }

    /// It was no connection yet, and its handshake ends here; one that this side gave up is not counted, as no attempt is
    /// that nobody waits for.
    fn did_not_stand(&self, error: &ConnectionError, now: Time) {
        match error {
            ConnectionError::ClosedHere(CloseCode::HandshakeTimeout) => self.shaken("timeout", now),
            ConnectionError::ClosedHere(_) => {}
            _ => self.shaken(result_of(Err(error)), now),
        }
    }
}

/// Notes how a call ended in its span.
fn note(span: &Span, status: Status) {
    if !span.is_disabled() {
        span.record("status", status.name());
        export::end(span, status);
    }
}
