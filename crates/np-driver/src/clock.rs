//! The one place where clocks are read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use np_types::{Deadline, Time, UnixMillis};
use tokio::time::Instant;

/// A monotonic clock with an origin, so that the rooms below see numbers and not instants.
///
/// It is tokio's clock: tests that pause tokio's time pause this one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let clock = np_driver::Clock::start();
/// let then = clock.now();
/// assert!(clock.now() >= then);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// A clock whose origin was a while ago.
    pub(crate) const fn since(origin: Instant) -> Self {
        Self { origin }
    }

    /// The time since the origin.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// The tokio instant of a time.
    #[must_use]
    pub fn instant(&self, at: Time) -> Instant {
        after(self.origin, at.since(Time::ZERO))
    }

    /// The time of an instant of tokio's; one before the origin is the origin.
    pub(crate) fn time(&self, at: Instant) -> Time {
        Time::ZERO + at.saturating_duration_since(self.origin)
    }

    /// The deadline `span` from now.
    #[must_use]
    pub fn deadline(&self, span: Duration) -> Deadline {
        Deadline::after(self.now(), span)
    }
}

/// The instant `span` after another. A span that no clock can count is as good as a century.
pub(crate) fn after(start: Instant, span: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    start.checked_add(span.min(CENTURY)).unwrap_or(start)
}

/// The wall clock, for the preface. A clock before 1970 counts as 1970 and is refused as skew.
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
