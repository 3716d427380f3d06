//! What the connections of a server hold together, and which of them stop reading at its limit.
//!
//! Credit bounds each connection by itself; this bounds all of them, by two rules. What applications have and have not done
//! with they make free: at the limit those connections are not read whose applications hold much. All the rest, what is
//! half-way in and what is on its way out, only the peer makes free, by moving on: it may come to half of the limit, and what
//! is beyond that stops nobody. Then no large message is granted, who holds its part or more gets no call taken, and who
//! holds half a part or more is cut if it does not move that: those who hold less have half of that half together at most. It
//! must never know what is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_session::Shortage;
use np_types::Time;

/// A connection of which the application holds no more than this, in bytes, always reads on.
const FREE: usize = 64 << 10;
/// How soon a connection that has stopped, or keeps a message waiting, looks again; later the longer that lasts.
const AGAIN: Duration = Duration::from_millis(50);
/// How soon it does at the latest, and a connection that waits for its peer with half a part or more looks how the others fare.
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
    /// How many connections there are.
    shares: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(most: Option<usize>) -> Arc<Self> {
        let most = AtomicUsize::new(most.unwrap_or(usize::MAX));
        Arc::new(Self { most, used: AtomicUsize::new(0), waits: AtomicUsize::new(0), shares: AtomicUsize::new(0) })
    }

    /// Sets how much there may be. What connections hold is counted as they next read.
    pub(crate) fn set(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Release);
    }

    /// What is held, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How much more may wait for peers, before it is too much.
    fn spare(&self) -> usize {
        let half = self.most.load(Ordering::Acquire) / 2;
        half.saturating_sub(self.waits.load(Ordering::Acquire))
    }

    /// Whether what counts comes to more than there may be. What waits for peers beyond the half does not count: who has to
    /// move that, is watched for it, and nobody else is to pay.
    fn is_full(&self) -> bool {
        let most = self.most.load(Ordering::Acquire);
        let beyond = self.waits.load(Ordering::Acquire).saturating_sub(most / 2);
        self.used.load(Ordering::Acquire).saturating_sub(beyond) > most
    }

    /// The part of a connection of what may wait for peers, and no more than is little in any case; never nothing, which
    /// everybody would hold.
    fn part(&self) -> usize {
        (self.most.load(Ordering::Acquire) / 2 / self.shares.load(Ordering::Relaxed).max(1)).clamp(1, FREE)
    }

    fn has_limit(&self) -> bool {
        self.most.load(Ordering::Acquire) != usize::MAX
    }

    /// The share of one more connection. Nothing large is to be granted before it has been noted for the first time.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        self.shares.fetch_add(1, Ordering::Relaxed);
        Share { all: Some(Arc::clone(self)), limited: true, shortage: Shortage::Grants, ..Share::default() }
    }
}

/// What a connection holds, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holding {
    pub(crate) all: usize,
    /// What of it the application has and has not done with.
    pub(crate) taken: usize,
    /// What the peer has moved of the rest, ever.
    pub(crate) moved: u64,
    /// Whether a message of the peer waits to be granted.
    pub(crate) asks: bool,
    /// What of the rest was read, and is no whole record yet: that has a time of its own.
    pub(crate) unread: usize,
    /// How much the peer could move now, at most: applications may have what it would need for more.
    pub(crate) movable: u64,
}

impl Holding {
    /// What only the peer makes free: all that the application does not have.
    const fn waits(&self) -> usize {
        self.all.saturating_sub(self.taken)
    }

    /// What of it counts as kept.
    const fn kept(&self) -> usize {
        self.waits().saturating_sub(self.unread)
    }

    /// Whether applications are in the way of half of it.
    const fn is_stuck(&self) -> bool {
        self.movable < self.kept().div_ceil(2) as u64
    }
}

/// The time of a connection that keeps half its part or more.
#[derive(Debug, Clone, Copy)]
struct Watch {
    since: Time,
    /// What was kept then, and had been moved.
    waited: usize,
    moved: u64,
    /// For how long of it the peer could not move, and since when it cannot.
    excused: Duration,
    stuck: Option<Time>,
}

impl Watch {
    const fn new(now: Time, holding: &Holding) -> Self {
        Self { since: now, waited: holding.kept(), moved: holding.moved, excused: Duration::ZERO, stuck: None }
    }

    /// Whether half of what waited has moved since.
    fn is_over(&self, moved: u64) -> bool {
        moved.saturating_sub(self.moved) >= self.waited.div_ceil(2) as u64
    }

    /// Stops its time while the peer is stuck.
    fn note(&mut self, now: Time, stuck: bool) {
        if let Some(since) = self.stuck.take() {
            self.excused += now.since(since);
        }
        self.stuck = stuck.then_some(now);
    }

    /// For how long it could have moved. Applications that are in its way for longer than `most` excuse it for no more.
    fn lasts(&self, now: Time, most: Duration) -> Duration {
        let stuck = self.stuck.map_or(Duration::ZERO, |since| now.since(since));
        now.since(self.since).saturating_sub((self.excused + stuck).min(most))
    }
}

/// What one connection holds of it; nothing is counted where there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Share {
    all: Option<Arc<Memory>>,
    /// Whether there was a limit when this was noted last.
    limited: bool,
    holding: Holding,
    /// Since when the connection does not read.
    since: Option<Time>,
    /// When the peer was told last that this side lives.
    shown: Time,
    shortage: Shortage,
    /// Since when a message waits for memory.
    asked: Option<Time>,
    /// While half a part or more waits for the peer.
    watched: Option<Watch>,
}

impl Share {
    /// Whether there is a limit, or was one when this was noted last: then it is noted once more, and the session told.
    pub(crate) fn counts(&self) -> bool {
        self.limited || self.all.as_ref().is_some_and(|all| all.has_limit())
    }

    /// Notes what the connection holds now; gives whether it may read on.
    pub(crate) fn note(&mut self, now: Time, holding: Holding) -> bool {
        let Some(all) = &self.all else {
            return true;
        };
        self.limited = all.has_limit();
        let holding = if self.limited { holding } else { Holding::default() };
        replace(&all.used, self.holding.all, holding.all);
        replace(&all.waits, self.holding.waits(), holding.waits());
        self.holding = holding;
        let reads = holding.taken <= FREE || !all.is_full();
        if reads {
            self.since = None;
        } else if self.since.is_none() {
            (self.since, self.shown) = (Some(now), now);
        }
        let (kept, part) = (holding.kept(), all.part());
        self.shortage = match (all.spare(), kept >= part) {
            (1.., _) => Shortage::None,
            (0, false) => Shortage::Grants,
            (0, true) => Shortage::Calls,
        };
        let asks = holding.asks && self.shortage != Shortage::None;
        self.asked = asks.then(|| self.asked.unwrap_or(now));
        self.watch(now, kept >= part.div_ceil(2));
        reads
    }

    /// Begins to watch whoever has half its part or more, or begins anew once half of what it kept has moved. It is watched long
    /// before it pays: or who has nearly a part would never be, nor who has it but for a moment.
    fn watch(&mut self, now: Time, much: bool) {
        // What this side does not read, or has given no credit for, the peer cannot move.
        let stuck = self.is_stopped() || self.holding.is_stuck();
        self.watched = much.then(|| {
            let goes_on = self.watched.filter(|watch| !watch.is_over(self.holding.moved));
            let mut watch = goes_on.unwrap_or_else(|| Watch::new(now, &self.holding));
            watch.note(now, stuck);
            watch
        });
    }

    /// What the peer may not add, as noted last.
    pub(crate) const fn shortage(&self) -> Shortage {
        self.shortage
    }

    /// For how many bytes large messages may be granted before this is noted again.
    pub(crate) fn spare(&self) -> u64 {
        self.all.as_ref().filter(|_| self.limited).map_or(u64::MAX, |all| all.spare() as u64)
    }

    /// Whether memory is short, and the peer has kept half its part of it or more for half of `span` without moving half of
    /// that, `span` at most not counted in which it could not.
    pub(crate) fn keeps(&self, now: Time, span: Duration) -> bool {
        let is_late = self.watched.is_some_and(|watch| watch.lasts(now, span) >= span / 2);
        is_late && self.shortage != Shortage::None
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

    /// When to look again: soon where the connection has just stopped reading, or a message begun to wait for memory.
    pub(crate) fn due(&self, now: Time) -> Option<Time> {
        let soon = self.since.or(self.asked).map(|since| now.since(since).clamp(AGAIN, LOOKS));
        soon.or_else(|| self.watched.map(|_| LOOKS)).map(|after| now + after)
    }

    /// Whether it has not read for as long as that.
    pub(crate) fn stopped_for(&self, now: Time, span: Duration) -> bool {
        self.since.is_some_and(|since| now.since(since) >= span)
    }
}

/// What is left of a [`Share`] of which nothing is held.
#[derive(Debug)]
pub(crate) struct RestingShare {
    all: Option<Arc<Memory>>,
    limited: bool,
    shortage: Shortage,
}

impl Share {
    /// Whether nothing is held, or waited for.
    pub(crate) const fn may_rest(&self) -> bool {
        self.holding.all == 0 && self.since.is_none() && self.asked.is_none() && self.watched.is_none()
    }

    pub(crate) fn put_to_rest(mut self) -> RestingShare {
        RestingShare { all: self.all.take(), limited: self.limited, shortage: self.shortage }
    }
}

impl RestingShare {
    pub(crate) fn wake(mut self) -> Share {
        self.share()
    }

    fn share(&mut self) -> Share {
        Share { all: self.all.take(), limited: self.limited, shortage: self.shortage, ..Share::default() }
    }
}

impl Drop for RestingShare {
    fn drop(&mut self) {
        drop(self.share());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.note(Time::ZERO, Holding::default());
        if let Some(all) = &self.all {
            all.shares.fetch_sub(1, Ordering::Relaxed);
        }
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

    use np_session::Shortage;
    use np_types::Time;

    use super::{FREE, Holding, Memory, Share};

    /// So much at all, and of that with the application.
    fn holds(all: usize, taken: usize) -> Holding {
        Holding { all, taken, movable: u64::MAX, ..Holding::default() }
    }

    /// So much that waits for the peer, and what it has moved.
    fn waits(waits: usize, moved: u64) -> Holding {
        Holding { all: waits, moved, movable: u64::MAX, ..Holding::default() }
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
    fn a_share_that_rests_is_one_of_those_among_whom_memory_is_parted() {
        let memory = Memory::new(Some(8 * 100));
        let (mut one, mut other) = (memory.share(), memory.share());
        one.note(Time::ZERO, holds(0, 0));
        other.note(Time::ZERO, holds(1, 1));
        assert!(one.may_rest() && !other.may_rest(), "what is held is not forgotten");
        let (shortage, resting) = (one.shortage(), one.put_to_rest());
        assert_eq!(memory.part(), 200, "a half for both");
        let one = resting.wake();
        assert!(one.counts() && one.shortage() == shortage && memory.part() == 200);
        drop(one.put_to_rest());
        assert_eq!(memory.part(), 400, "it is gone");
    }

    #[test]
    fn a_limit_that_changes_counts_for_those_who_are_there() {
        let memory = Memory::new(None);
        let mut one = memory.share();
        assert!(one.counts() && one.note(Time::ZERO, holds(FREE, FREE)) && one.shortage() == Shortage::None);
        assert!(!one.counts() && memory.held() == 0, "nothing is counted");
        memory.set(Some(FREE));
        assert!(one.counts() && !one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)));
        memory.set(Some(2 * FREE));
        assert!(one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)));
        memory.set(Some(FREE));
        assert!(!one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)));
        memory.set(None);
        assert!(one.counts() && one.note(Time::ZERO, holds(2 * FREE, 2 * FREE)) && !one.is_stopped());
        assert!(!one.counts() && memory.held() == 0);
        memory.set(Some(FREE));
        let mut other = memory.share();
        assert!(one.note(Time::ZERO, waits(FREE, 0)) && other.note(Time::ZERO, waits(0, 0)));
        memory.set(None);
        assert!(other.counts(), "a message may wait for memory");
        assert!(other.note(Time::ZERO, waits(0, 0)) && other.shortage() == Shortage::None && !other.counts());
        // Whoever holds nothing is told all the same: what was left to grant is no limit any more.
        memory.set(Some(FREE));
        assert!(other.note(Time::ZERO, holds(0, 0)) && other.spare() < u64::MAX);
        memory.set(None);
        assert!(other.counts() && other.note(Time::ZERO, holds(0, 0)));
        assert!(other.spare() == u64::MAX && !other.counts());
        let late = memory.share();
        assert!(late.counts(), "its session waits to be told");
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    const SPAN: Duration = Duration::from_secs(20);

    #[test]
    fn who_keeps_memory_that_is_short_and_does_not_move_it_is_told_apart() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut idle, mut busy, mut small) = (memory.share(), memory.share(), memory.share());
        let half = (3 * FREE / 2) as u64;
        assert!(idle.note(at(0), waits(2 * FREE, 0)) && busy.note(at(0), waits(2 * FREE, 0)));
        let little = FREE / 2 - 1;
        assert!(small.note(at(0), waits(little, 0)) && small.shortage() == Shortage::None);
        assert!(!idle.keeps(at(60), SPAN), "there is enough for all");
        // A little more, and it is short: who has done nothing until then is late already.
        assert!(busy.note(at(60), waits(3 * FREE, FREE as u64)) && busy.shortage() == Shortage::Calls);
        assert!(idle.note(at(60), waits(2 * FREE, FREE as u64 - 1)) && idle.keeps(at(60), SPAN));
        assert!(!busy.keeps(at(69), SPAN), "it has moved half of what it had");
        assert!(busy.note(at(69), waits(3 * FREE, FREE as u64 + half)) && !busy.keeps(at(78), SPAN));
        assert!(busy.keeps(at(79), SPAN), "and nothing since");
        assert!(small.note(at(79), waits(little, 0)) && small.shortage() == Shortage::Grants);
        assert!(!small.keeps(at(1_000), SPAN), "half a part is nobody's concern");
        drop(idle);
        assert!(busy.note(at(81), waits(3 * FREE, FREE as u64 + half)) && busy.shortage() == Shortage::None);
        assert!(!busy.keeps(at(1_000), SPAN), "the memory is no longer short");
    }

    /// Or thousands of connections could keep it for ever, each a little.
    #[test]
    fn of_those_who_keep_all_together_somebody_keeps_a_part() {
        let memory = Memory::new(Some(4 * FREE));
        let mut all: Vec<Share> = (0..32).map(|_| memory.share()).collect();
        for share in &mut all {
            assert!(
                share.note(at(0), waits(FREE / 32 - 1, 0)) && share.due(at(0)).is_none(),
                "each less than half its part"
            );
        }
        // The half is passed by no byte, and nobody has more than another.
        for share in &mut all {
            assert!(share.note(at(0), waits(FREE / 16, 0)));
        }
        for share in &mut all {
            assert!(share.note(at(0), waits(FREE / 16, 0)) && share.keeps(at(10), SPAN), "each its part");
        }
        let mut more = memory.share();
        assert!(more.note(at(0), waits(FREE / 8, 0)) && more.keeps(at(10), SPAN));
        for share in &mut all {
            assert!(share.note(at(1), waits(FREE / 16, 0)) && share.keeps(at(11), SPAN), "parts are smaller by now");
        }
        drop(more);
        drop(all);
        assert_eq!(memory.part(), FREE);
    }

    /// Or its peer would take this side for dead.
    #[test]
    fn who_is_not_read_is_told_every_five_seconds_that_this_side_lives() {
        let memory = Memory::new(Some(FREE));
        let mut one = memory.share();
        assert!(one.note(at(9), holds(FREE, FREE)) && !one.shows_life(at(60)));
        assert!(!one.note(at(60), holds(2 * FREE, 2 * FREE)));
        let shown = [60, 64, 65, 69, 70, 76, 80, 81].map(|second| one.shows_life(at(second)));
        assert_eq!(shown, [false, false, true, false, true, true, false, true]);
    }

    /// However much peers keep, and by however many connections after each other.
    #[test]
    fn what_peers_keep_beyond_the_half_stops_nobody() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut peer, mut one) = (memory.share(), memory.share());
        assert!(peer.note(at(0), waits(20 * FREE, 0)) && one.note(at(0), holds(5 * FREE, 5 * FREE)));
        assert!(!one.note(at(0), holds(5 * FREE + 1, 5 * FREE + 1)), "the other half is there for applications");
        drop(peer);
        assert!(one.note(at(0), holds(10 * FREE, 10 * FREE)));
    }

    #[test]
    fn half_a_record_is_nobodys_part() {
        let memory = Memory::new(Some(2 * FREE));
        let mut one = memory.share();
        let half = Holding { unread: FREE / 2 + 1, ..waits(FREE, 0) };
        assert!(one.note(at(0), half) && one.shortage() == Shortage::Grants && one.due(at(0)).is_none());
        let half = Holding { unread: FREE / 2, ..waits(FREE, 0) };
        assert!(one.note(at(0), half) && one.shortage() == Shortage::Grants && one.keeps(at(10), SPAN));
        assert!(one.note(at(0), waits(FREE, 0)) && one.shortage() == Shortage::Calls);
    }

    /// Nor does it help that others go, for as long as what is kept is more than half a part.
    #[test]
    fn who_has_less_than_a_part_for_a_moment_is_watched_on() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut one, _other) = (memory.share(), memory.share());
        for (second, kept) in [(0, 6 * FREE), (5, FREE / 2), (9, 6 * FREE)] {
            assert!(one.note(at(second), waits(kept, 0)) && !one.keeps(at(second), SPAN));
        }
        assert!(one.keeps(at(10), SPAN));
        assert!(one.note(at(10), waits(FREE / 2 - 1, 0)) && one.note(at(10), waits(6 * FREE, 0)));
        assert!(!one.keeps(at(19), SPAN) && one.keeps(at(20), SPAN), "little is forgiven");
    }

    #[test]
    fn a_pause_in_the_shortage_gives_nobody_more_time() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut idle, mut other) = (memory.share(), memory.share());
        for (second, more) in [(0, 3 * FREE), (5, 0), (9, 3 * FREE)] {
            assert!(other.note(at(second), waits(more, 0)));
            assert!(idle.note(at(second), waits(4 * FREE, 0)) && !idle.keeps(at(second), SPAN));
        }
        assert!(idle.keeps(at(10), SPAN));
    }

    /// Ten seconds count, whatever stands between them.
    #[test]
    fn the_time_of_who_cannot_move_stands_still() {
        let unread = Holding { all: 4 * FREE, taken: 2 * FREE, ..waits(0, 0) };
        let starved = Holding { movable: FREE as u64 - 1, ..waits(2 * FREE, 0) };
        for stuck in [unread, starved] {
            let memory = Memory::new(Some(FREE));
            let mut one = memory.share();
            for (second, holding) in [(0, waits(2 * FREE, 0)), (4, stuck), (9, stuck), (12, waits(2 * FREE, 0))] {
                one.note(at(second), holding);
                assert!(one.shortage() == Shortage::Calls && !one.keeps(at(second + 3), SPAN), "{second}");
            }
            assert!(!one.keeps(at(17), SPAN) && one.keeps(at(18), SPAN));
            one.note(at(14), Holding { movable: FREE as u64, ..waits(2 * FREE, 0) });
            assert!(!one.keeps(at(17), SPAN) && one.keeps(at(18), SPAN), "half of it is enough");
            one.note(at(17), stuck);
            assert!(!one.keeps(at(28), SPAN), "20 seconds are excused");
            assert!(one.keeps(at(30), SPAN), "and no more");
            one.note(at(31), Holding { moved: FREE as u64, ..stuck });
            assert!(!one.keeps(at(60), SPAN) && one.keeps(at(61), SPAN), "but it has moved half");
        }
    }

    #[test]
    fn nothing_is_nobodys_part() {
        let memory = Memory::new(Some(0));
        let mut one = memory.share();
        assert!(one.note(at(0), waits(0, 0)) && one.shortage() == Shortage::Grants && one.due(at(0)).is_none());
        assert!(one.note(at(0), waits(1, 0)) && one.shortage() == Shortage::Calls);
        assert!(one.note(at(9), waits(1, 0)) && one.keeps(at(10), SPAN), "of one byte a half is one");
    }

    #[test]
    fn who_may_have_to_go_or_to_be_granted_looks_again() {
        let memory = Memory::new(Some(10 * FREE));
        let (mut one, mut other) = (memory.share(), memory.share());
        assert_eq!((one.shortage(), one.spare()), (Shortage::Grants, 5 * FREE as u64), "not noted yet");
        assert!(one.note(at(0), waits(FREE / 2 - 1, 0)) && one.due(at(0)).is_none());
        assert_eq!((one.shortage(), one.spare()), (Shortage::None, 9 * FREE as u64 / 2 + 1));
        assert!(one.note(at(0), waits(FREE / 2, 0)) && one.due(at(0)) == Some(at(0) + super::LOOKS));
        assert!(other.note(at(0), waits(9 * FREE, 0)) && other.spare() == 0);
        // The longer it waits, the less often it looks.
        let asks = Holding { asks: true, ..waits(0, 0) };
        let mut now = at(1);
        for millis in [50, 50, 100, 200, 400, 800, 1_000, 1_000] {
            assert!(one.note(now, asks) && one.due(now) == Some(now + Duration::from_millis(millis)), "{millis}");
            now = now + Duration::from_millis(millis);
        }
        assert!(one.note(now, waits(0, 0)) && one.due(now).is_none());
        assert!(one.note(now, asks) && one.due(now) == Some(now + super::AGAIN));
    }
}
