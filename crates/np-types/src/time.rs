//! Points in time that the caller supplies; nothing here reads a clock.

use std::ops::Add;
use std::time::Duration;

/// A point on the caller's monotonic clock, in nanoseconds since an origin that the caller chose.
///
/// The driver takes the origin at its start; a simulator starts at zero and jumps. 64 bits hold 584 years.
///
/// ```
/// use np_types::Time;
/// use std::time::Duration;
/// let start = Time::from_nanos(0);
/// let later = start + Duration::from_millis(5);
/// assert_eq!(later.since(start), Duration::from_millis(5));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// Makes a point in time from nanoseconds since the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the end of the clock.
    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// When a call must be over, on the caller's own clock; travels as remaining time.
///
/// Remaining time and not a date is what crosses the wire, so two peers' clocks need not agree.
///
/// ```
/// use np_types::{Deadline, Time};
/// use std::time::Duration;
/// let now = Time::ZERO;
/// let deadline = Deadline::after(now, Duration::from_secs(30));
/// assert_eq!(deadline.remaining(now), Some(Duration::from_secs(30)));
/// assert!(!deadline.passed(now));
/// assert_eq!(Deadline::NONE.remaining(now), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadline(Option<Time>);

impl Deadline {
    /// The deadline of a unary call whose caller names none: 30 seconds, a constant of protocol version 1.
    pub const DEFAULT: Duration = Duration::from_secs(30);
    /// No deadline; streams are watched by their idle gap instead.
    pub const NONE: Self = Self(None);

    /// A deadline at a point in time.
    #[must_use]
    pub const fn at(time: Time) -> Self {
        Self(Some(time))
    }

    /// A deadline `span` after `now`.
    #[must_use]
    pub fn after(now: Time, span: Duration) -> Self {
        Self(Some(now + span))
    }

    /// The point in time, if there is one.
    #[must_use]
    pub const fn time(self) -> Option<Time> {
        self.0
    }

    /// What is left of it at `now`; `None` if there is no deadline, zero if it has passed.
    #[must_use]
    pub fn remaining(self, now: Time) -> Option<Duration> {
        self.0.map(|at| at.since(now))
    }

    /// Whether the deadline has been reached at `now`.
    #[must_use]
    pub fn passed(self, now: Time) -> bool {
        self.0.is_some_and(|at| at <= now)
    }

    /// The same span after `now` that this one has from the clock's origin: of a deadline that was a span until now.
    ///
    /// ```
    /// use np_types::{Deadline, Time};
    /// use std::time::Duration;
    /// let span = Deadline::after(Time::ZERO, Duration::from_secs(1));
    /// let now = Time::from_nanos(5);
    /// assert_eq!(span.from(now).remaining(now), Some(Duration::from_secs(1)));
    /// assert_eq!(Deadline::NONE.from(now), Deadline::NONE);
    /// ```
    #[must_use]
    pub fn from(self, now: Time) -> Self {
        Self(self.0.map(|span| Time(now.0.saturating_add(span.0))))
    }

    /// The earlier of two deadlines: a nested call inherits its parent's.
    ///
    /// ```
    /// use np_types::{Deadline, Time};
    /// let parent = Deadline::at(Time::from_nanos(5));
    /// assert_eq!(Deadline::NONE.earlier(parent), parent);
    /// ```
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (one, None) | (None, one) => Self(one),
        }
    }
}

/// Milliseconds since 1970-01-01 UTC, as a peer's preface carries them.
///
/// ```
/// use np_types::UnixMillis;
/// let (mine, theirs) = (UnixMillis(10_000), UnixMillis(4_900));
/// assert_eq!(mine.skew(theirs).as_millis(), 5_100);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The distance between two wall clocks, whichever is ahead.
    #[must_use]
    pub const fn skew(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}
