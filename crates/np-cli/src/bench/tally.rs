//! What became of the calls of a measurement, and how it is shown. Must never make a call.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use np_facade::{CallError, ConnectionError, Outcome, escape};
use serde::Serialize;
use tokio::time::Instant;

use crate::span::show_span;

/// Figures of a latency that are kept: one part in a thousand.
const FIGURES: u8 = 3;
/// The longest bar of the histogram.
const BAR: u64 = 40;
/// Characters of the reason why a connection ended that are shown.
const MAX_REASON: usize = 512;

/// The counts, shared by all callers.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    answered: u64,
    errors: u64,
    not_processed: u64,
    unknown: u64,
    first_error: Option<String>,
    /// How long calls were made; none while they are.
    took: Option<Duration>,
    /// Nanoseconds of the calls with an answer; none before the first.
    latencies: Option<Histogram<u64>>,
}

impl Tally {
    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        // A panic under the lock leaves counts that are counts still.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A call begins.
    pub(super) fn begin(&self) -> Instant {
        self.with(|counts| counts.calls += 1);
        Instant::now()
    }

    /// A call has ended.
    pub(super) fn end(&self, begun: Instant, ended: Result<(), &CallError>) {
        let latency = begun.elapsed();
        self.with(|counts| counts.end(latency, ended));
    }

    /// No more calls are made.
    pub(super) fn stop(&self, took: Duration) {
        self.with(|counts| counts.took = Some(took));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.with(|counts| counts.took.is_some())
    }

    /// The figures. `ended` is why the connection is over, where it is.
    pub(super) fn report(
        &self,
        address: &str,
        body_bytes: usize,
        concurrency: u32,
        ended: Option<&ConnectionError>,
    ) -> Report {
        self.with(|counts| Report {
            address: address.to_owned(),
            body_bytes,
            concurrency,
            secs: counts.took.unwrap_or_default().as_secs_f64(),
            calls: counts.calls,
            answered: counts.answered,
            errors: counts.errors,
            not_processed: counts.not_processed,
            unknown: counts.unknown,
            calls_per_second: rate(counts.answered, counts.took),
            latency_us: Latency::of(counts.latencies.as_ref()),
            first_error: counts.first_error.take(),
            ended: ended.map(|error| escape(&error.to_string(), MAX_REASON)),
            buckets: counts.latencies.as_ref().map(buckets).unwrap_or_default(),
        })
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
}

fn rate(answered: u64, took: Option<Duration>) -> f64 {
    let secs = took.unwrap_or_default().as_secs_f64();
    // Counts are far below what a double holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let answered = answered as f64;
    if secs > 0.0 { (answered / secs).round() } else { 0.0 }
}

/// What a measurement found, as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    address: String,
    body_bytes: usize,
    concurrency: u32,
    /// How long calls were made.
    secs: f64,
    calls: u64,
    answered: u64,
    /// Those of the answered that were answered by an error.
    errors: u64,
    not_processed: u64,
    unknown: u64,
    calls_per_second: f64,
    latency_us: Option<Latency>,
    first_error: Option<String>,
    ended: Option<String>,
    /// From, up to, how many; for people.
    #[serde(skip)]
    buckets: Vec<(u64, u64)>,
}

/// Latencies of the answered calls, in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Latency {
    fn of(latencies: Option<&Histogram<u64>>) -> Option<Self> {
        let latencies = latencies?;
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        let at = |quantile| micros(latencies.value_at_quantile(quantile));
        Some(Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: micros(latencies.max()) })
    }
}

/// The upper ends of spans that double, in nanoseconds, and the calls in each; those at both ends hold some.
fn buckets(latencies: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = latencies
        .iter_log(1_000, 2.0)
        .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
        .collect();
    let first = all.iter().position(|(_, count)| *count > 0).unwrap_or_default();
    all.drain(..first);
    while all.last().is_some_and(|(_, count)| *count == 0) {
        all.pop();
    }
    all
}

impl Report {
    /// The figures for people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}: {} calls of {} bytes in {:.2} s, {} at once: {} calls/s answered",
            self.address, self.calls, self.body_bytes, self.secs, self.concurrency, self.calls_per_second
        );
        let counts = [("answered", self.answered), ("not processed", self.not_processed), ("unknown", self.unknown)];
        for (name, count) in counts {
            let _ = writeln!(text, "  {name:<14}{count:>12}");
        }
        if self.errors > 0 {
            let _ = writeln!(text, "  by an error   {:>12}", self.errors);
        }
        if let Some(latency) = &self.latency_us {
            let rows = [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max)];
            for (name, micros) in rows {
                let _ = writeln!(text, "  {name:<14}{:>12}", show_span(Duration::from_secs_f64(micros / 1e6)));
            }
        }
        let most = self.buckets.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
        for (end, count) in &self.buckets {
            let bar = usize::try_from((count * BAR).div_ceil(most)).unwrap_or_default();
            let line = format!("  up to {:>10} {count:>10} {}", show_span(Duration::from_nanos(*end)), "#".repeat(bar));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if let Some(error) = &self.first_error {
            let _ = writeln!(text, "  first failure: {error}");
        }
        if let Some(ended) = &self.ended {
            let _ = writeln!(text, "  the connection ended: {ended}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_facade::{CallError, Status};
    use tokio::time::Instant;

    use super::{Counts, Tally};

    #[test]
    fn every_call_is_counted_once_by_what_became_of_it() {
        let tally = Tally::default();
        let failures = [
            CallError::answered(Status::Failed, "no\u{1b}[2J"),
            CallError::not_processed(Status::Unavailable, "busy"),
            CallError::unknown(Status::Unavailable, "lost"),
        ];
        for failure in [None, failures.first(), failures.get(1), failures.get(2)] {
            tally.begin();
            tally.end(Instant::now(), failure.map_or(Ok(()), Err));
        }
        tally.stop(Duration::from_secs(2));
        let report = tally.report("tcp://a:1", 64, 1, None);
        assert_eq!((report.calls, report.answered, report.errors), (4, 2, 1));
        assert_eq!((report.not_processed, report.unknown), (1, 1));
        assert!((report.calls_per_second - 1.0).abs() < 1e-9);
        assert!(!report.table().contains('\u{1b}'), "what a server says moves no cursor");
    }

    #[test]
    fn percentiles_and_bars_come_from_the_answered_calls() {
        let mut counts = Counts::default();
        let refused = CallError::not_processed(Status::Unavailable, "busy");
        counts.end(Duration::from_secs(60), Err(&refused));
        (1..=100).for_each(|millis| counts.end(Duration::from_millis(millis), Ok(())));
        let report = Tally(counts.into()).report("tcp://a:1", 64, 1, None);
        let latency = report.latency_us.as_ref().unwrap();
        for (found, millis) in [(latency.p50, 50.0), (latency.p90, 90.0), (latency.p99, 99.0), (latency.max, 100.0)] {
            assert!((found / 1e3 - millis).abs() < millis / 500.0, "{found} {millis}");
        }
        assert_eq!(report.buckets.iter().map(|(_, count)| count).sum::<u64>(), 100);
        assert!(report.table().lines().any(|line| line.starts_with("  up to") && line.ends_with('#')));
    }
}
