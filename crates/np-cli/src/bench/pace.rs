//! When calls are due: the next one after the last (closed loop), or at a rate whatever the server does (open loop).
//! Must never make a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long the thread that tells callers what is due sleeps at most: it ends this much after the calls do.
const NAP: Duration = Duration::from_millis(20);

/// When the calls of one measurement are due.
#[derive(Debug)]
pub(super) enum Pace {
    /// Whenever the one before has ended, until then.
    Closed(Instant),
    /// At a rate.
    Open(Schedule),
}

impl Pace {
    /// When the call was due that the caller is to make now; `None` once there are no more.
    pub(super) async fn next(&self) -> Option<Instant> {
        match self {
            Self::Closed(until) => Some(Instant::now()).filter(|now| now < until),
            Self::Open(schedule) => schedule.next().await,
        }
    }

    /// Whether a caller whose call was refused at once rests before the next, which would else take no time at all.
    pub(super) const fn rests(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// No more calls are made.
    pub(super) fn stop(&self) {
        if let Self::Open(schedule) = self {
            schedule.ready.close();
        }
    }

    /// Calls that were due and that nobody was free to make; `None` in a closed loop, where nothing is due.
    pub(super) fn missed(&self) -> Option<u64> {
        match self {
            Self::Closed(_) => None,
            Self::Open(schedule) => {
                let taken = schedule.taken.load(Ordering::Relaxed);
                Some(schedule.released.load(Ordering::Relaxed).saturating_sub(taken))
            }
        }
    }
}

/// Calls at a rate. A call that nobody is free to make stays due, and its latency counts from then: a server that stalls
/// is not asked less, and its stall is felt by every call that it kept waiting.
#[derive(Debug)]
pub(super) struct Schedule {
    started: Instant,
    until: Instant,
    /// Calls a second.
    rate: u32,
    /// Calls that became due, and of these the ones that were begun.
    released: AtomicU64,
    taken: AtomicU64,
    /// A permit for each that is due and not begun.
    ready: Semaphore,
}

impl Schedule {
    pub(super) const fn new(rate: u32, started: Instant, until: Instant) -> Self {
        let (released, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { started, until, rate, released, taken, ready: Semaphore::const_new(0) }
    }

    async fn next(&self) -> Option<Instant> {
        self.ready.acquire().await.ok()?.forget();
        Some(self.due(self.taken.fetch_add(1, Ordering::Relaxed)))
    }

    /// When the call of this number is due.
    fn due(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate.max(1));
        self.started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Tells callers of all that is due by now; gives when the next call is, and `None` once there is none.
    pub(super) fn release(&self, now: Instant) -> Option<Instant> {
        if self.ready.is_closed() {
            return None;
        }
        let last = self.until.checked_sub(Duration::from_nanos(1)).unwrap_or(self.started);
        let passed = now.min(last).saturating_duration_since(self.started);
        let due = passed.as_nanos() * u128::from(self.rate) / 1_000_000_000 + 1;
        // A day at the highest rate is far below.
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let before = self.released.fetch_max(due, Ordering::Relaxed);
        self.ready.add_permits(usize::try_from(due.saturating_sub(before)).unwrap_or_default());
        Some(self.due(due)).filter(|next| *next < self.until)
    }
}

/// Tells callers what is due from a thread of its own: timers of the runtime are a millisecond coarse, which would count
/// as latency.
pub(super) fn keep(pace: &Arc<Pace>) -> std::io::Result<()> {
    if let Pace::Closed(_) = **pace {
        return Ok(());
    }
    let pace = Arc::clone(pace);
    let work = move || {
        let Pace::Open(schedule) = &*pace else {
            return;
        };
        while let Some(next) = schedule.release(Instant::now()) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(NAP));
        }
    };
    std::thread::Builder::new().name("np-pace".to_owned()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Pace, Schedule};

    #[tokio::test(start_paused = true)]
    async fn calls_are_due_at_their_rate_however_late_they_are_told_of() {
        let started = Instant::now();
        let at = |millis| started + Duration::from_millis(millis);
        let pace = Pace::Open(Schedule::new(100, started, at(1_000)));
        let Pace::Open(schedule) = &pace else { panic!("{pace:?}") };
        assert_eq!(schedule.release(started), Some(at(10)));
        assert_eq!(pace.next().await, Some(started));
        assert_eq!(schedule.release(at(35)), Some(at(40)));
        for millis in [10, 20, 30] {
            assert_eq!(pace.next().await, Some(at(millis)));
        }
        assert_eq!((pace.missed(), schedule.release(at(5_000))), (Some(0), None));
        assert_eq!(pace.missed(), Some(96), "those of 40 ms to 1 s");
        pace.stop();
        assert_eq!((pace.next().await, schedule.release(at(50))), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_ends_with_its_time() {
        let pace = Pace::Closed(Instant::now() + Duration::from_secs(1));
        assert_eq!(pace.next().await, Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((pace.next().await, pace.missed()), (None, None));
    }
}
