//! How often one kind of event is written to a log, and how many were not. Must never read a clock: the time is an
//! argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Time;

/// Lets events of one kind through, up to a number at once and a number per second, and counts the others, so that
/// strangers cannot fill a disk with the log of their refusals.
///
/// It takes no lock. A clock that was set back begins anew.
///
/// ```
/// use np_types::{Throttle, Time};
/// use std::time::Duration;
/// let throttle = Throttle::new(2, 1);
/// let start = Time::from_nanos(5_000_000_000);
/// assert_eq!([throttle.admit(start), throttle.admit(start)], [Some(0), Some(0)]);
/// assert_eq!(throttle.admit(start), None);
/// // A second later one more is let through, and says how many were not.
/// assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(1));
/// ```
#[derive(Debug)]
pub struct Throttle {
    /// Nanoseconds that one event takes of what comes back with time.
    interval: u64,
    /// Nanoseconds that may be taken ahead.
    ahead: u64,
    /// Up to when the events that were let through have taken the time.
    taken: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    /// A throttle for `burst` events at once, and `per_second` in the long run; both are at least 1.
    #[must_use]
    pub const fn new(burst: u32, per_second: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        let interval = 1_000_000_000 / per_second as u64;
        let burst = if burst == 0 { 1 } else { burst as u64 };
        let (taken, suppressed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { interval, ahead: interval.saturating_mul(burst), taken, suppressed }
    }

    /// What each kind of event of np's audit log has: 256 at once, 64 a second.
    #[must_use]
    pub const fn audit() -> Self {
        Self::new(256, 64)
    }

    /// Whether an event at this time is written; then how many before it were not.
    #[must_use]
    pub fn admit(&self, now: Time) -> Option<u64> {
        let now = now.as_nanos();
        let next = |taken: u64| {
            let most = now.saturating_add(self.ahead);
            // More than could be taken ahead: the clock was set back.
            let from = if taken > most { now } else { taken.max(now) };
            Some(from.saturating_add(self.interval)).filter(|next| *next <= most)
        };
        match self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => Some(self.suppressed.swap(0, Ordering::AcqRel)),
            Err(_) => {
                self.suppressed.fetch_add(1, Ordering::AcqRel);
                None
            }
        }
    }

    /// As [`Self::admit`], on the system's clock: the log of a rule goes by the same.
    ///
    /// ```
    /// use np_types::{Throttle, UnixMillis};
    /// assert_eq!(Throttle::audit().admit_at(UnixMillis(1_700_000_000_000)), Some(0));
    /// ```
    #[must_use]
    pub fn admit_at(&self, now: crate::UnixMillis) -> Option<u64> {
        self.admit(Time::ZERO + Duration::from_millis(now.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Throttle;
    use crate::Time;

    #[test]
    fn a_burst_at_n_and_n_plus_1_then_a_rate_and_the_count_of_the_rest() {
        let throttle = Throttle::audit();
        let start = Time::from_nanos(7_000_000_000);
        assert!((0..256).all(|_| throttle.admit(start) == Some(0)));
        assert!((0..1_000).all(|_| throttle.admit(start).is_none()));
        // The next is told how many were left out, and the one behind it that none was.
        let later = start + Duration::from_secs(1);
        assert_eq!(throttle.admit(later), Some(1_000));
        assert_eq!((0..100).filter(|_| throttle.admit(later).is_some()).count(), 63);
        // After a rest the whole burst is there again, and no more than that.
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..1_000).filter(|_| throttle.admit(much_later).is_some()).count(), 256);
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let throttle = Throttle::new(2, 1);
        let start = Time::from_nanos(1_000_000_000_000);
        assert!(throttle.admit(start).is_some());
        assert_eq!(throttle.admit(Time::from_nanos(5_000_000_000)), Some(0));
    }
}
