//! A circuit breaker: an address that fails again and again is left alone for a time.
//!
//! Pure: the time is an argument. It must never know what was tried at the address.

use std::time::Duration;

use np_types::Time;

/// How many of the last results of an address are remembered.
const REMEMBERED: u32 = 20;

/// When an address is left alone, and for how long: see [`ClientBuilder::circuit_breaker`].
///
/// ```
/// use std::time::Duration;
/// use np_facade::CircuitBreaker;
/// let breaker = CircuitBreaker { open_for: Duration::from_secs(2), ..CircuitBreaker::default() };
/// assert_eq!(breaker.failures_in_a_row, 5);
/// ```
///
/// [`ClientBuilder::circuit_breaker`]: crate::ClientBuilder::circuit_breaker
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Failures without a success between them that open it, at least 1. Default 5.
    pub failures_in_a_row: u32,
    /// Failures among the last 20 results that open it, 1 to 20. Default 10.
    pub failures_of_twenty: u32,
    /// How long it stays open before one probe goes through. Default 10 s.
    pub open_for: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failures_in_a_row: 5, failures_of_twenty: REMEMBERED / 2, open_for: Duration::from_secs(10) }
    }
}

/// The breaker of one address.
///
/// ```text
///           enough failures             open_for is over, and somebody asks
///   closed -----------------> open -----------------------------------------> half open
///     ^                        ^                                               |    |
///     |                        '------------------ the probe failed -----------'    |
///     '---------------------------------------- the probe succeeded ----------------'
/// ```
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: CircuitBreaker,
    state: State,
    in_a_row: u32,
    /// The last results, the newest in the lowest bit; a failure is a one. What has not been yet counts as a success.
    results: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Time,
    },
    /// A probe is on its way; when it has not been heard of at that time, another may go.
    HalfOpen {
        until: Time,
    },
}

impl Breaker {
    pub(crate) const fn new(settings: CircuitBreaker) -> Self {
        Self { settings, state: State::Closed, in_a_row: 0, results: 0 }
    }

    /// Whether the address may be used at `now`. Once the time is over that is answered with yes once: for the probe.
    pub(crate) fn allows(&mut self, now: Time) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } | State::HalfOpen { until } if until <= now => {
                self.state = State::HalfOpen { until: now + self.settings.open_for };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// Something worked at the address.
    pub(crate) const fn succeeded(&mut self) {
        match self.state {
            State::Closed => {
                self.in_a_row = 0;
                self.results = (self.results << 1) & MASK;
            }
            State::HalfOpen { .. } => {
                self.state = State::Closed;
                self.in_a_row = 0;
                self.results = 0;
            }
            // The late answer to what was tried before.
            State::Open { .. } => {}
        }
    }

    /// Something failed at the address.
    pub(crate) fn failed(&mut self, now: Time) {
        let open = State::Open { until: now + self.settings.open_for };
        match self.state {
            State::Closed => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.results = ((self.results << 1) | 1) & MASK;
                let row = self.in_a_row >= self.settings.failures_in_a_row;
                if row || self.results.count_ones() >= self.settings.failures_of_twenty {
                    self.state = open;
                }
            }
            State::HalfOpen { .. } => self.state = open,
            State::Open { .. } => {}
        }
    }

    /// Whether it is not closed, so that it must be asked before the address is used.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Whether a success would change anything.
    pub(crate) const fn remembers(&self) -> bool {
        self.results != 0 || self.is_open()
    }
}

const MASK: u32 = (1 << REMEMBERED) - 1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::Time;

    use super::{Breaker, CircuitBreaker};

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_fifth_failure_in_a_row_opens_it() {
        let mut breaker = Breaker::new(CircuitBreaker::default());
        for _ in 0..4 {
            breaker.failed(at(0));
        }
        breaker.succeeded();
        for _ in 0..4 {
            breaker.failed(at(0));
            assert!(breaker.allows(at(0)) && !breaker.is_open());
        }
        breaker.failed(at(0));
        assert!(breaker.is_open() && !breaker.allows(at(9)));
    }

    #[test]
    fn ten_failures_of_the_last_twenty_open_it() {
        let mut breaker = Breaker::new(CircuitBreaker::default());
        for turn in 0..10 {
            assert!(!breaker.is_open(), "{turn}");
            breaker.succeeded();
            breaker.failed(at(0));
        }
        assert!(breaker.is_open());
        // Results that are longer ago than twenty count no more.
        let mut breaker = Breaker::new(CircuitBreaker::default());
        for _ in 0..1_000 {
            breaker.failed(at(0));
            breaker.succeeded();
            breaker.succeeded();
        }
        assert!(!breaker.is_open() && breaker.remembers());
        (0..20).for_each(|_| breaker.succeeded());
        assert!(!breaker.remembers());
    }

    #[test]
    fn one_probe_goes_through_and_its_result_decides() {
        let mut breaker = Breaker::new(CircuitBreaker::default());
        (0..5).for_each(|_| breaker.failed(at(0)));
        breaker.succeeded();
        assert!(breaker.is_open(), "the late answer to an earlier call closes nothing");
        assert!(!breaker.allows(at(9)));
        assert!(breaker.allows(at(10)), "half open");
        assert!(!breaker.allows(at(10)), "one probe at a time");
        breaker.failed(at(11));
        assert!(!breaker.allows(at(20)) && breaker.allows(at(21)), "open again, for as long");
        breaker.succeeded();
        assert!(!breaker.is_open() && !breaker.remembers() && breaker.allows(at(21)));
    }

    #[test]
    fn a_probe_that_is_never_heard_of_again_makes_room_for_another() {
        let mut breaker = Breaker::new(CircuitBreaker::default());
        (0..5).for_each(|_| breaker.failed(at(0)));
        assert!(breaker.allows(at(10)) && !breaker.allows(at(19)) && breaker.allows(at(20)));
    }

    #[test]
    fn its_settings_are_kept() {
        let settings = CircuitBreaker { failures_in_a_row: 2, failures_of_twenty: 3, open_for: Duration::from_secs(1) };
        let mut row = Breaker::new(settings);
        row.failed(at(0));
        assert!(!row.is_open());
        row.failed(at(0));
        assert!(!row.allows(at(0)) && row.allows(at(1)));
        let mut rate = Breaker::new(settings);
        for _ in 0..3 {
            assert!(!rate.is_open());
            rate.failed(at(0));
            rate.succeeded();
        }
        assert!(rate.is_open());
    }
}
