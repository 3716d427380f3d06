//! What the connections of a server hold together, and which of them stop reading at its limit.
//!
//! Credit bounds each connection by itself; this bounds all of them, by two rules. What applications have and have not done
//! with they make free: at the limit those connections are not read whose applications hold much. What is half-way in, and
//! answers on their way, only the peer makes free, by moving on: it may come to half of the limit. Beyond that no large
//! message is granted, who holds much gets no call taken, and who holds much and does not move it is cut, so that peers who
//! keep memory by doing nothing pay for it and nobody else does. Whoever holds little goes on. It must never know what is
//! held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_session::Shortage;
use np_types::Time;

/// A connection of which the application holds no more than this, in bytes, always reads on; one that waits for its peer with
/// no more is never cut for that.
const FREE: usize = 64 << 10;
/// How soon a connection that has stopped looks again.
const AGAIN: Duration = Duration::from_millis(50);
/// How soon a connection that waits for its peer with more than that looks how the others fare.
const LOOKS: Duration = Duration::from_secs(1);
/// How often a connection that has stopped tells its peer that it lives: well within the usual heartbeat.
const SHOWS_LIFE: Duration = Duration::from_secs(5);

/// The memory of all connections of a server.
#[derive(Debug)]
pub(crate) struct Memory {
    /// `usize::MAX` for no limit.
    most: AtomicUsize,
    used: AtomicUsize,
    /// The part of it that only peers make free.
    waits: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(most: Option<usize>) -> Arc<Self> {
        let most = AtomicUsize::new(most.unwrap_or(usize::MAX));
        Arc::new(Self { most, used: AtomicUsize::new(0), waits: AtomicUsize::new(0) })
    }

    /// Sets how much there may be. What connections hold is counted as they next read.
    pub(crate) fn set(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Release);
    }

    /// What is held, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether what waits for peers is beyond its part.
    fn is_short(&self) -> bool {
        self.waits.load(Ordering::Acquire) > self.most.load(Ordering::Acquire) / 2
    }

    /// The share of one more connection.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { all: Some(Arc::clone(self)), ..Share::default() }
    }
}

/// What a connection holds, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holding {
    pub(crate) all: usize,
    /// What of it the application has and has not done with.
    pub(crate) taken: usize,
    /// What of it only the peer makes free.
    pub(crate) waits: usize,
    /// What the peer has moved of that, ever.
    pub(crate) moved: u64,
    /// Whether a message of the peer waits to be granted.
    pub(crate) asks: bool,
}

/// What one connection holds of it; nothing is counted where there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Share {
    all: Option<Arc<Memory>>,
    holding: Holding,
    /// Since when the connection does not read.
    since: Option<Time>,
    /// When the peer was told last that this side lives.
    shown: Time,
    shortage: Shortage,
    /// While memory is short and much waits for the peer: since when it is watched, how much waited, and had been moved.
    watched: Option<(Time, usize, u64)>,
}

impl Share {
    /// Whether there is a limit, or something is left to be taken back of what was counted while there was one.
    pub(crate) fn counts(&self) -> bool {
        let is_limited = |all: &Arc<Memory>| all.most.load(Ordering::Acquire) != usize::MAX;
        let is_held = self.holding.all > 0 || self.is_stopped() || self.shortage != Shortage::None;
        is_held || self.all.as_ref().is_some_and(is_limited)
    }

    /// Notes what the connection holds now; gives whether it may read on.
    pub(crate) fn note(&mut self, now: Time, holding: Holding) -> bool {
        let Some(all) = &self.all else {
            return true;
        };
        replace(&all.used, self.holding.all, holding.all);
        replace(&all.waits, self.holding.waits, holding.waits);
        self.holding = holding;
        let much = holding.waits > FREE;
        self.shortage = match (all.is_short(), much) {
            (false, _) => Shortage::None,
            (true, false) => Shortage::Grants,
            (true, true) => Shortage::Calls,
        };
        self.watched = match self.shortage {
            Shortage::Calls => self.watched.or(Some((now, holding.waits, holding.moved))),
            _ => None,
        };
        let reads = holding.taken <= FREE || all.used.load(Ordering::Acquire) <= all.most.load(Ordering::Acquire);
        if reads {
            self.since = None;
        } else if self.since.is_none() {
            (self.since, self.shown) = (Some(now), now);
        }
        reads
    }

    /// What the peer may not add, as noted last.
    pub(crate) const fn shortage(&self) -> Shortage {
        self.shortage
    }

    /// Whether the peer has kept memory that is short for half of `span`, and has moved less than half of it meanwhile.
    pub(crate) fn keeps(&mut self, now: Time, span: Duration) -> bool {
        let Some((since, waited, moved)) = self.watched else {
            return false;
        };
        // While this side does not read, the peer cannot move.
        if self.is_stopped() {
            self.watched = None;
            return false;
        }
        if now.since(since) < span / 2 {
            return false;
        }
        let Holding { waits, moved: by_now, .. } = self.holding;
        self.watched = Some((now, waits, by_now));
        by_now - moved < (waited / 2) as u64
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

    /// When to look again: soon where the connection does not read, or a message waits for memory.
    pub(crate) fn due(&self, now: Time) -> Option<Time> {
        let waits = self.holding.asks && self.shortage != Shortage::None;
        if self.is_stopped() || waits {
            return Some(now + AGAIN);
        }
        (self.all.is_some() && self.holding.waits > FREE).then(|| now + LOOKS)
    }

    /// Whether it has not read for as long as that.
    pub(crate) fn stopped_for(&self, now: Time, span: Duration) -> bool {
        self.since.is_some_and(|since| now.since(since) >= span)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.note(Time::ZERO, Holding::default());
    }
}

/// Counts `new` in place of `old`.
fn replace(count: &AtomicUsize, old: usize, new: usize) {
    if new >= old {
        count.fetch_add(new - old, Ordering::AcqRel);
    } else {
        count.fetch_sub(old - new, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::Time;

    use np_session::Shortage;

    use super::{FREE, Holding, Memory, Share};

    /// So much at all, and of that with the application.
    fn holds(all: usize, taken: usize) -> Holding {
        Holding { all, taken, ..Holding::default() }
    }

    /// So much that waits for the peer, and what it has moved.
    fn waits(waits: usize, moved: u64) -> Holding {
        Holding { all: waits, waits, moved, ..Holding::default() }
    }

    #[test]
    fn those_who_hold_much_stop_at_the_limit_and_go_on_below_it() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut one, mut other) = (memory.share(), memory.share());
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert!(one.note(at(0), holds(10 * FREE, 10 * FREE)) && one.due(at(0)).is_none());
        assert!(other.note(at(0), holds(FREE, FREE)), "a little is always free");
        assert!(!one.note(at(1), holds(10 * FREE, 10 * FREE)) && one.due(at(1)).is_some() && one.is_stopped());
        assert!(!other.note(at(1), holds(FREE + 1, FREE + 1)));
        assert!(other.note(at(1), holds(5 * FREE, FREE)), "the rest of messages makes room");
        assert!(!one.note(at(3), holds(10 * FREE, 10 * FREE)) && one.stopped_for(at(3), Duration::from_secs(2)));
        assert!(!one.stopped_for(at(3), Duration::from_secs(3)));
        drop(other);
        assert!(one.note(at(4), holds(10 * FREE, 10 * FREE)) && !one.stopped_for(at(9), Duration::ZERO));
        drop(one);
        assert!(memory.share().note(at(5), holds(10 * FREE, 10 * FREE)), "what is gone holds nothing");
        assert!(Share::default().note(at(0), holds(usize::MAX, usize::MAX)));
    }

    #[test]
    fn a_limit_that_changes_counts_for_those_who_are_there() {
        let memory = Memory::new(None);
        let mut one = memory.share();
        assert!(!one.counts(), "nothing is counted");
        memory.set(Some(FREE));
        assert!(one.counts() && !one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)));
        memory.set(Some(2 * FREE));
        assert!(one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)));
        memory.set(Some(FREE));
        assert!(!one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)));
        memory.set(None);
        assert!(one.counts() && one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)) && !one.is_stopped());
        assert!(one.counts() && one.note(Time::ZERO, holds(0, 0)) && !one.counts());
        memory.set(Some(FREE));
        let mut other = memory.share();
        assert!(one.note(Time::ZERO, waits(FREE, 0)) && other.note(Time::ZERO, waits(0, 0)));
        memory.set(None);
        assert!(other.counts(), "a message may wait for memory");
        assert!(other.note(Time::ZERO, waits(0, 0)) && other.shortage() == Shortage::None && !other.counts());
    }

    #[test]
    fn who_keeps_memory_that_is_short_and_does_not_move_it_is_told_apart() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut idle, mut busy, mut small) = (memory.share(), memory.share(), memory.share());
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let span = Duration::from_secs(20);
        for (share, much) in [(&mut idle, 2 * FREE), (&mut busy, 3 * FREE), (&mut small, FREE)] {
            assert!(share.note(at(0), waits(much, 0)));
        }
        assert!(!idle.keeps(at(60), span), "there is enough for all");
        assert_eq!(small.shortage(), Shortage::Grants);
        for (share, much) in [(&mut idle, 2 * FREE), (&mut busy, 3 * FREE)] {
            assert!(share.note(at(60), waits(much, 0)) && share.shortage() == Shortage::Calls);
            assert!(!share.keeps(at(69), span));
        }
        let half = (3 * FREE / 2) as u64;
        assert!(busy.note(at(70), waits(3 * FREE, half)) && !busy.keeps(at(70), span), "it has moved the half");
        assert!(idle.note(at(70), waits(2 * FREE, FREE as u64 - 1)) && idle.keeps(at(70), span));
        assert!(small.note(at(70), waits(FREE, 0)) && !small.keeps(at(1_000), span), "a little is nobody's concern");
        // Each span has its own count.
        assert!(busy.note(at(80), waits(3 * FREE, half + 1)) && busy.keeps(at(80), span));
        drop(idle);
        assert!(busy.note(at(81), waits(3 * FREE, half + 1)) && busy.shortage() == Shortage::None);
        assert!(!busy.keeps(at(1_000), span), "the memory is no longer short");
    }

    #[test]
    fn nobody_is_watched_who_is_not_read() {
        let memory = Memory::new(Some(FREE));
        let mut one = memory.share();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let both = Holding { all: 4 * FREE, taken: 2 * FREE, waits: 2 * FREE, ..Holding::default() };
        assert!(!one.note(at(0), both) && one.shortage() == Shortage::Calls);
        assert!(!one.keeps(at(100), Duration::from_secs(20)));
        assert!(one.note(at(100), waits(2 * FREE, 0)) && !one.keeps(at(105), Duration::from_secs(20)));
        assert!(one.keeps(at(110), Duration::from_secs(20)));
    }

    #[test]
    fn who_may_have_to_go_or_to_be_granted_looks_again() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut one, mut other) = (memory.share(), memory.share());
        let now = Time::ZERO;
        assert!(one.note(now, waits(FREE, 0)) && one.due(now).is_none());
        assert!(one.note(now, waits(FREE + 1, 0)) && one.due(now) == Some(now + super::LOOKS));
        assert!(other.note(now, waits(9 * FREE, 0)));
        assert!(one.note(now, Holding { asks: true, ..waits(0, 0) }) && one.due(now) == Some(now + super::AGAIN));
        assert!(one.note(now, waits(0, 0)) && one.due(now).is_none());
    }
}
