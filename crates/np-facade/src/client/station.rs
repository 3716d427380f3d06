//! One address of a client: whether it is worth a try. Must never connect by itself.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use np_driver::ConnectError;
use np_transport::{Address, Failure};
use np_types::{CloseCode, CodeClass, ConnectionError, Misbehaved, Time};

use crate::Error;
use crate::client::breaker::{Breaker, CircuitBreaker};

/// Refusals in a row that anybody on the way could have made, after which an address counts as refused. The server
/// behind it may have another key for good, or somebody may have stood in between for a moment.
pub(crate) const UNPROVEN_REFUSALS: u32 = 10;

/// What is known about an address.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) address: Address,
    /// The address without keys.
    pub(crate) label: String,
    breaker: Option<Mutex<Breaker>>,
    /// Whether the breaker must be asked; what a call reads.
    open: AtomicBool,
    /// Whether the breaker has a failure to forget; what a call that succeeded reads.
    remembers: AtomicBool,
    refusals: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    unproven: u32,
    last: Option<ConnectionError>,
}

impl Station {
    pub(crate) fn new(address: Address, breaker: Option<CircuitBreaker>) -> Self {
        Self {
            label: address.without_keys().to_string(),
            address,
            breaker: breaker.map(|settings| Mutex::new(Breaker::new(settings))),
            open: AtomicBool::new(false),
            remembers: AtomicBool::new(false),
            refusals: Mutex::default(),
        }
    }

    /// Whether its breaker lets something through at `now`.
    pub(crate) fn allows(&self, now: impl FnOnce() -> Time) -> bool {
        !self.open.load(Ordering::Relaxed) || self.ask(|breaker| breaker.allows(now())).unwrap_or(true)
    }

    /// Something worked there. Costs a load while nothing has failed lately.
    pub(crate) fn succeeded(&self) {
        if self.remembers.load(Ordering::Relaxed) {
            self.ask(Breaker::succeeded);
        }
    }

    /// Something failed there.
    pub(crate) fn failed(&self, now: Time) {
        self.ask(|breaker| breaker.failed(now));
    }

    /// Why nothing is tried there any more, if so.
    pub(crate) fn refusal(&self) -> Option<ConnectionError> {
        self.refusals().last.clone()
    }

    /// Forgets that it was refused: one side has changed its mind about who the other is.
    pub(crate) fn forgive(&self) {
        *self.refusals() = Refusals::default();
    }

    /// No connection came about, or one that stood is over; gives why, as events tell it.
    pub(crate) fn fell(&self, blow: Blow, now: Time) -> ConnectionError {
        let mut refusals = self.refusals();
        let error = match blow {
            Blow::Passing(error) => {
                refusals.unproven = 0;
                error
            }
            Blow::Unproven(error) => {
                refusals.unproven = refusals.unproven.saturating_add(1);
                if refusals.unproven >= UNPROVEN_REFUSALS {
                    refusals.last = Some(error.clone());
                }
                error
            }
            Blow::Final(error) => {
                refusals.last = Some(error.clone());
                error
            }
        };
        drop(refusals);
        if !is_orderly(&error) {
            self.failed(now);
        }
        error
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let mut breaker = self.breaker.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = question(&mut breaker);
        self.open.store(breaker.is_open(), Ordering::Relaxed);
        self.remembers.store(breaker.remembers(), Ordering::Relaxed);
        Some(answer)
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the end of a connection, or of an attempt, says about trying again.
#[derive(Debug)]
pub(crate) enum Blow {
    /// Trying again may help.
    Passing(ConnectionError),
    /// Somebody was refused, by bytes that nobody signed: it may be so for good, or an impostor may have sent them.
    Unproven(ConnectionError),
    /// Trying again cannot help: the server has refused this client and has proven that it is the server, or a setting
    /// is wrong.
    Final(ConnectionError),
}

impl Blow {
    /// Weighs why no connection came about.
    pub(crate) fn of_attempt(error: Error) -> Self {
        match error {
            Error::Connect(ConnectError::Handshake { error, .. }) => Self::of_handshake(error),
            Error::Connect(ConnectError::Transport(error)) => match error.failure() {
                Failure::Usage => Self::Final(told(io::ErrorKind::InvalidInput, &error)),
                Failure::Authentication => Self::Unproven(told(io::ErrorKind::PermissionDenied, &error)),
                _ => Self::Passing(told(io::ErrorKind::NotConnected, &error)),
            },
            Error::Connect(error @ ConnectError::Timeout { .. }) => {
                Self::Passing(told(io::ErrorKind::TimedOut, &error))
            }
            Error::Connect(error @ ConnectError::Entropy(_)) => Self::Passing(told(io::ErrorKind::Other, &error)),
            error @ Error::Resolve(_) => Self::Passing(told(io::ErrorKind::NotFound, &error)),
            error => Self::Final(told(io::ErrorKind::InvalidInput, &error)),
        }
    }

    fn of_handshake(error: ConnectionError) -> Self {
        let unproven = match &error {
            ConnectionError::Misuse(_) => return Self::Final(error),
            // A clock is set, and another first flight is not a copy.
            ConnectionError::ClosedByPeer { code: CloseCode::ClockSkew | CloseCode::Replay, .. } => false,
            ConnectionError::ClosedByPeer { code, in_clear: true, .. } => {
                matches!(code.class(), CodeClass::Authentication | CodeClass::Protocol)
            }
            ConnectionError::Refused { .. } | ConnectionError::Tls(_) | ConnectionError::Incompatible(_) => true,
            ConnectionError::Misbehaved(Misbehaved::Handshake | Misbehaved::PreSharedKey) => true,
            _ => return Self::of_end(error),
        };
        if unproven { Self::Unproven(error) } else { Self::Passing(error) }
    }

    /// Weighs why a connection ended that stood.
    pub(crate) const fn of_end(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. } => Self::Final(error),
            _ => Self::Passing(error),
        }
    }
}

fn told(kind: io::ErrorKind, error: &dyn std::error::Error) -> ConnectionError {
    ConnectionError::Io { what: "no connection".to_owned(), text: error.to_string(), kind }
}

fn is_orderly(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ClosedByPeer { code, .. } if code.class() == CodeClass::Orderly)
}

#[cfg(test)]
mod tests {
    use np_driver::ConnectError;
    use np_types::{CloseCode, ConnectionError, Time};

    use super::{Blow, Station, UNPROVEN_REFUSALS};
    use crate::Error;

    fn closed(code: CloseCode, in_clear: bool) -> ConnectionError {
        ConnectionError::ClosedByPeer { code, text: String::new(), in_clear }
    }

    fn attempt(error: ConnectionError) -> Blow {
        Blow::of_attempt(Error::Connect(ConnectError::Handshake { address: "mem:x".to_owned(), error }))
    }

    fn station() -> Station {
        Station::new("mem:x".parse().unwrap(), None)
    }

    #[test]
    fn a_refusal_of_the_proven_server_is_final() {
        let station = station();
        station.fell(attempt(closed(CloseCode::NotAllowed, false)), Time::ZERO);
        assert_eq!(station.refusal(), Some(closed(CloseCode::NotAllowed, false)));
        // So is a key that is withdrawn while the connection stands.
        assert!(matches!(Blow::of_end(closed(CloseCode::NotAllowed, false)), Blow::Final(_)));
    }

    #[test]
    fn a_refusal_that_nobody_signed_is_final_after_ten_in_a_row() {
        for error in [
            closed(CloseCode::NotAllowed, true),
            closed(CloseCode::Version, true),
            ConnectionError::Refused { code: CloseCode::NotAllowed, reason: "another key".to_owned() },
            ConnectionError::Tls("unknown authority".to_owned()),
        ] {
            let station = station();
            let strike = || station.fell(attempt(error.clone()), Time::ZERO);
            (1..UNPROVEN_REFUSALS).for_each(|_| drop(strike()));
            assert_eq!(station.refusal(), None);
            station.fell(attempt(closed(CloseCode::ConnectionLimit, true)), Time::ZERO);
            (1..UNPROVEN_REFUSALS).for_each(|_| drop(strike()));
            assert_eq!(station.refusal(), None, "they must be in a row");
            strike();
            assert_eq!(station.refusal(), Some(error.clone()));
        }
    }

    #[test]
    fn what_may_pass_is_tried_for_ever() {
        let station = station();
        for error in [
            closed(CloseCode::ConnectionLimit, false),
            closed(CloseCode::HandshakeLimit, true),
            closed(CloseCode::ClockSkew, true),
            closed(CloseCode::Replay, true),
            closed(CloseCode::Drained, false),
            closed(CloseCode::Authentication, false),
            ConnectionError::Misbehaved(np_types::Misbehaved::Truncated),
            ConnectionError::io("read", &std::io::ErrorKind::ConnectionReset.into()),
        ] {
            for _ in 0..100 {
                station.fell(attempt(error.clone()), Time::ZERO);
            }
            assert_eq!(station.refusal(), None, "{error}");
        }
    }
}
