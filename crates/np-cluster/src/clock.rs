//! What time it is, for ends of life and for the order of a node's starts. It must never be asked how long something took.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day: the system's, or one that goes with tokio's clock, which a simulation may halt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The system's.
    System,
    /// So many milliseconds at that instant.
    #[cfg(any(test, feature = "simulation"))]
    Virtual {
        /// Milliseconds since 1970 at `at`.
        base: u64,
        /// When the clock was set.
        at: tokio::time::Instant,
    },
}

impl Clock {
    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System => millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            #[cfg(any(test, feature = "simulation"))]
            Self::Virtual { base, at } => base.saturating_add(millis(at.elapsed())),
        }
    }
}

/// A span in milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A time of day from milliseconds since 1970.
pub(crate) fn time_of(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}
