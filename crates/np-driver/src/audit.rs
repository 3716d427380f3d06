//! What the audit log of a server or a client may hold of each kind of event, and the figures beside it. Must never know
//! who reads either.

use np_session::Side;
use np_types::{ConnectionError, Throttle};
use tokio::time::Instant;

use crate::clock::{Clock, unix_now};
use crate::telemetry::{Telemetry, limit_of, result_of};

/// How many events were left out before one; nothing where none was.
pub(crate) type Suppressed = Option<u64>;

/// Kinds of events that strangers or peers can cause as often as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The system gave no connection.
    Accept,
    /// A handshake came to nothing.
    Handshake,
    /// A place among the handshakes was not there, or taken away.
    Handshakes,
    /// A place among the connections was not there.
    Connections,
    /// A source has had its share.
    Source,
    /// A connection came about.
    Connected,
    /// A connection ended.
    Disconnected,
    /// A call was refused, or held back, for a limit.
    Call,
    /// A connection was cut.
    Cut,
}

/// One throttle for each kind, and where the kinds are counted.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) telemetry: Telemetry,
    clock: Clock,
    kinds: [Throttle; 9],
}

impl Audit {
    pub(crate) fn new(telemetry: Telemetry, clock: Clock) -> Self {
        Self { telemetry, clock, kinds: [const { Throttle::audit() }; 9] }
    }

    /// Whether one more event of the kind is written.
    pub(crate) fn admit(&self, kind: Kind) -> Option<Suppressed> {
        let throttle = self.kinds.get(kind as usize)?;
        let admitted = throttle.admit(self.clock.now());
        if admitted.is_none() {
            self.telemetry.suppressed();
        }
        admitted.map(|suppressed| (suppressed > 0).then_some(suppressed))
    }

    /// A handshake of a server came to nothing.
    pub(crate) fn no_connection(&self, peer: &str, error: &ConnectionError, began: Instant) {
        self.telemetry.shaken(Side::Responder, result_of(Err(error)), Some(began.elapsed()));
        if let Some(limit) = limit_of(error) {
            self.telemetry.refused(limit);
        }
        if let Some(suppressed) = self.admit(Kind::Handshake) {
            tracing::info!(target: "np::audit", peer, %error, suppressed, "no connection came of a handshake");
        }
    }

    /// What comes before a handshake of np came to nothing.
    pub(crate) fn no_link(&self, peer: &str, result: &'static str, why: &dyn std::fmt::Display) {
        self.telemetry.shaken(Side::Responder, result, None);
        if let Some(suppressed) = self.admit(Kind::Handshake) {
            tracing::info!(target: "np::audit", peer, suppressed, "no connection came of {why}");
        }
    }

    /// A peer was turned away for a limit of the server, or of its source, before it was known.
    pub(crate) fn turned_away(&self, kind: Kind, peer: &str, setting: &'static str, limit: u64) {
        self.telemetry.refused(setting);
        self.telemetry.shaken(Side::Responder, "refused", None);
        let by = if kind == Kind::Source { " by its source" } else { "" };
        if let Some(suppressed) = self.admit(kind) {
            tracing::warn!(target: "np::audit", peer, limit, suppressed, "refused: limit {setting} reached{by}");
        }
    }
}

/// Handlers of a whole process: one that panics may do so for each call.
static PANICS: Throttle = Throttle::audit();

/// Writes down that a handler panicked; its text is escaped by now.
pub(crate) fn panicked(shown: &str) {
    if let Some(suppressed) = PANICS.admit_at(unix_now()) {
        let suppressed = (suppressed > 0).then_some(suppressed);
        tracing::error!(target: "np::audit", panic = %shown, suppressed, "a handler panicked; its call failed");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Audit, Kind};
    use crate::clock::Clock;
    use crate::telemetry::Telemetry;

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_event_has_its_rate_and_says_how_many_were_left_out() {
        let audit = Audit::new(Telemetry::off(), Clock::start());
        let written = |kind| (0..300).filter(|_| audit.admit(kind).is_some()).count();
        assert_eq!((written(Kind::Accept), written(Kind::Cut)), (256, 256), "the first and the last kind");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(audit.admit(Kind::Cut), Some(Some(44)));
        assert_eq!(audit.admit(Kind::Cut), Some(None));
    }
}
