//! What the connections of a server hold together, and which of them stop reading at its limit.
//!
//! Credit bounds each connection by itself; this bounds all of them. Whoever holds little goes on, so that a few who fill
//! the memory stop themselves and nobody else. So does whoever has messages half-way in or answers on their way, since
//! only the peer makes that memory free again. It must never know what is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_types::Time;

/// A connection of which the application holds no more than this, in bytes, always reads on.
const FREE: usize = 64 << 10;
/// How soon a connection that has stopped looks again.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a connection that has stopped tells its peer that it lives: well within the usual heartbeat.
const SHOWS_LIFE: Duration = Duration::from_secs(5);

/// The memory of all connections of a server.
#[derive(Debug)]
pub(crate) struct Memory {
    /// `usize::MAX` for no limit.
    most: AtomicUsize,
    used: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most.unwrap_or(usize::MAX)), used: AtomicUsize::new(0) })
    }

    /// Sets how much there may be. What connections hold is counted as they next read.
    pub(crate) fn set(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Release);
    }

    /// What is held, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The share of one more connection.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { all: Some(Arc::clone(self)), ..Share::default() }
    }
}

/// What one connection holds of it; nothing is counted where there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Share {
    all: Option<Arc<Memory>>,
    held: usize,
    /// Since when the connection does not read.
    since: Option<Time>,
    /// When the peer was told last that this side lives.
    shown: Time,
}

impl Share {
    /// Whether there is a limit, or something is left to be taken back of what was counted while there was one.
    pub(crate) fn counts(&self) -> bool {
        let is_limited = |all: &Arc<Memory>| all.most.load(Ordering::Acquire) != usize::MAX;
        self.held > 0 || self.is_stopped() || self.all.as_ref().is_some_and(is_limited)
    }

    /// Notes what the connection holds now, and what of it the application has; gives whether it may read on.
    pub(crate) fn note(&mut self, now: Time, held: usize, taken: usize) -> bool {
        let Some(all) = &self.all else {
            return true;
        };
        if held >= self.held {
            all.used.fetch_add(held - self.held, Ordering::AcqRel);
        } else {
            all.used.fetch_sub(self.held - held, Ordering::AcqRel);
        }
        self.held = held;
        let reads = taken <= FREE || all.used.load(Ordering::Acquire) <= all.most.load(Ordering::Acquire);
        if reads {
            self.since = None;
        } else if self.since.is_none() {
            (self.since, self.shown) = (Some(now), now);
        }
        reads
    }

    /// Whether it is time to tell the peer that this side lives, though it does not read.
    pub(crate) fn shows_life(&mut self, now: Time) -> bool {
        let due = self.since.is_some() && now.since(self.shown) >= SHOWS_LIFE;
        if due {
            self.shown = now;
        }
        due
    }

    pub(crate) const fn is_stopped(&self) -> bool {
        self.since.is_some()
    }

    /// When to look again, where the connection does not read.
    pub(crate) fn due(&self, now: Time) -> Option<Time> {
        self.since.map(|_| now + AGAIN)
    }

    /// Whether it has not read for as long as that.
    pub(crate) fn stopped_for(&self, now: Time, span: Duration) -> bool {
        self.since.is_some_and(|since| now.since(since) >= span)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.note(Time::ZERO, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::Time;

    use super::{FREE, Memory, Share};

    #[test]
    fn those_who_hold_much_stop_at_the_limit_and_go_on_below_it() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut one, mut other) = (memory.share(), memory.share());
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert!(one.note(at(0), 10 * FREE, 10 * FREE) && one.due(at(0)).is_none());
        assert!(other.note(at(0), FREE, FREE), "a little is always free");
        assert!(!one.note(at(1), 10 * FREE, 10 * FREE) && one.due(at(1)).is_some() && one.is_stopped());
        assert!(!other.note(at(1), FREE + 1, FREE + 1));
        assert!(other.note(at(1), 5 * FREE, FREE), "the rest of messages makes room");
        assert!(!one.note(at(3), 10 * FREE, 10 * FREE) && one.stopped_for(at(3), Duration::from_secs(2)));
        assert!(!one.stopped_for(at(3), Duration::from_secs(3)));
        drop(other);
        assert!(one.note(at(4), 10 * FREE, 10 * FREE) && !one.stopped_for(at(9), Duration::ZERO));
        drop(one);
        assert!(memory.share().note(at(5), 10 * FREE, 10 * FREE), "what is gone holds nothing");
        assert!(Share::default().note(at(0), usize::MAX, usize::MAX));
    }

    #[test]
    fn a_limit_that_changes_counts_for_those_who_are_there() {
        let memory = Memory::new(None);
        let mut one = memory.share();
        assert!(!one.counts(), "nothing is counted");
        memory.set(Some(FREE));
        assert!(one.counts() && !one.note(Time::ZERO, 2 * FREE, 2 * FREE));
        memory.set(Some(2 * FREE));
        assert!(one.note(Time::ZERO, 2 * FREE, 2 * FREE));
        memory.set(Some(FREE));
        assert!(!one.note(Time::ZERO, 2 * FREE, 2 * FREE));
        memory.set(None);
        assert!(one.counts() && one.note(Time::ZERO, 2 * FREE, 2 * FREE) && !one.is_stopped());
        assert!(one.counts() && one.note(Time::ZERO, 0, 0) && !one.counts());
    }
}
