//! What became of the calls of a measurement. Must never make a call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use np_facade::{CallError, Outcome, escape};

/// Figures of a latency that are kept: one part in a thousand.
const FIGURES: u8 = 3;
/// Parts in which callers count, so that they do not wait for each other.
const PARTS: usize = 8;
/// Characters of what a server says that are shown.
pub(super) const MAX_REASON: usize = 512;

/// The counts, shared by all callers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: AtomicU64,
    parts: [Mutex<Counts>; PARTS],
    stopped: OnceLock<Stopped>,
}

/// How long calls were made, and how many of them were answered in that time.
#[derive(Debug, Clone, Copy, Default)]
struct Stopped {
    took: Duration,
    answered: u64,
}

/// What became of calls that have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) answered: u64,
    /// Those of the answered that were answered by an error.
    pub(super) errors: u64,
    pub(super) not_processed: u64,
    pub(super) unknown: u64,
    pub(super) first_error: Option<String>,
    /// Nanoseconds of the calls with an answer; none before the first.
    pub(super) latencies: Option<Histogram<u64>>,
}

impl Tally {
    /// A call begins.
    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call of this caller has ended.
    pub(super) fn end(&self, caller: usize, latency: Duration, ended: Result<(), &CallError>) {
        if let Some(part) = self.parts.get(caller % PARTS) {
            // A panic under the lock leaves counts that are counts still.
            part.lock().unwrap_or_else(PoisonError::into_inner).end(latency, ended);
        }
    }

    /// No more calls are made.
    pub(super) fn stop(&self, took: Duration) {
        let answered = self.counts().answered;
        self.stopped.get_or_init(|| Stopped { took, answered });
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// Calls that were begun.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// What became of all calls so far.
    pub(super) fn counts(&self) -> Counts {
        self.parts.iter().fold(Counts::default(), |mut all, part| {
            all.add(&part.lock().unwrap_or_else(PoisonError::into_inner));
            all
        })
    }

    /// How long calls were made.
    pub(super) fn took(&self) -> Duration {
        self.stopped.get().copied().unwrap_or_default().took
    }

    /// Calls that were answered while calls were made, a second.
    pub(super) fn rate(&self) -> f64 {
        let Stopped { took, answered } = self.stopped.get().copied().unwrap_or_default();
        let secs = took.as_secs_f64();
        if secs > 0.0 { (answered as f64 / secs).round() } else { 0.0 }
    }
}

impl Counts {
    fn end(&mut self, latency: Duration, ended: Result<(), &CallError>) {
        if let Err(error) = ended
            && self.first_error.is_none()
        {
            self.first_error = Some(escape(&error.to_string(), MAX_REASON));
        }
        match ended.map_err(|error| error.outcome) {
            Ok(()) => self.answer(latency),
            Err(Outcome::Answered) => {
                self.errors += 1;
                self.answer(latency);
            }
            Err(Outcome::NotProcessed) => self.not_processed += 1,
            Err(_) => self.unknown += 1,
        }
    }

    fn answer(&mut self, latency: Duration) {
        self.answered += 1;
        if self.latencies.is_none() {
            // It fails for more than five figures alone.
            self.latencies = Histogram::new(FIGURES).ok();
        }
        if let Some(latencies) = &mut self.latencies {
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            // A histogram that resizes takes any value that there is memory for, and an hour is little.
            let _ = latencies.record(nanos);
        }
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.not_processed += other.not_processed;
        self.unknown += other.unknown;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        match (&mut self.latencies, &other.latencies) {
            // One that resizes takes what another of the same figures holds.
            (Some(all), Some(more)) => drop(all.add(more)),
            (all @ None, Some(more)) => *all = Some(more.clone()),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_facade::{CallError, Status};

    use super::Tally;

    #[test]
    fn every_call_is_counted_once_by_what_became_of_it() {
        let tally = Tally::default();
        let failures = [
            CallError::answered(Status::Failed, "no\u{1b}[2J"),
            CallError::not_processed(Status::Unavailable, "busy"),
            CallError::unknown(Status::Unavailable, "lost"),
        ];
        for (caller, failure) in [None, failures.first(), failures.get(1), failures.get(2)].into_iter().enumerate() {
            tally.begin();
            tally.end(caller, Duration::from_millis(1), failure.map_or(Ok(()), Err));
        }
        tally.stop(Duration::from_secs(2));
        tally.end(0, Duration::from_millis(1), Ok(()));
        let counts = tally.counts();
        assert_eq!((tally.calls(), counts.answered, counts.errors), (4, 3, 1));
        assert_eq!((counts.not_processed, counts.unknown), (1, 1));
        assert!((tally.rate() - 1.0).abs() < 1e-9, "what came after the end is no rate");
        assert!(!counts.first_error.unwrap().contains('\u{1b}'), "what a server says moves no cursor");
    }

    #[test]
    fn latencies_are_those_of_answered_calls_of_all_callers() {
        let tally = Tally::default();
        let refused = CallError::not_processed(Status::Unavailable, "busy");
        tally.end(0, Duration::from_secs(60), Err(&refused));
        (1..=100).for_each(|at| tally.end(at, Duration::from_millis(at as u64), Ok(())));
        let latencies = tally.counts().latencies.unwrap();
        assert_eq!(latencies.len(), 100);
        for (quantile, millis) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = latencies.value_at_quantile(quantile) as f64 / 1e6;
            assert!((found - millis).abs() < millis / 500.0, "{found} {millis}");
        }
    }
}
