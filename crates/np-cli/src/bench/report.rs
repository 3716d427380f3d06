//! What measurements found, as JSON shows it; docs/BENCH.md tells what each field means. Must never measure anything.

use std::time::Duration;

use hdrhistogram::Histogram;
use np_facade::{ConnectionError, escape};
use serde::Serialize;
use serde_json::Value;

use super::machine::Machine;
use super::tally::{MAX_REASON, Tally};
use super::usage::Usage;
use super::workload::Workload;

/// The version of the schema: it rises when a field goes or changes its meaning.
const SCHEMA: u32 = 1;
/// The percentiles of a list; those above the last call are left out.
const PERCENTILES: [f64; 10] = [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999, 100.0];

/// All that the program found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    pub(super) machine: Machine,
    pub(super) address: String,
    #[serde(flatten)]
    totals: Figures,
    pub(super) runs: Vec<Run>,
}

impl Report {
    /// The report of some runs; its own figures are their sums, and those of the one run where it is one.
    pub(super) fn new(machine: Machine, address: &str, runs: Vec<Run>) -> Self {
        let totals = match runs.as_slice() {
            [one] => one.figures.clone(),
            all => all.iter().fold(Figures::default(), |mut sum, run| {
                sum.add(&run.figures);
                sum
            }),
        };
        Self { schema: SCHEMA, machine, address: address.to_owned(), totals, runs }
    }

    /// What there is to say beside the runs, where each of them was told as it ended.
    pub(super) fn without_runs(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value.as_object_mut().map(|fields| fields.remove("runs"));
        value
    }
}

/// What became of calls.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Figures {
    pub(super) body_bytes: Option<usize>,
    pub(super) concurrency: Option<u32>,
    pub(super) secs: f64,
    pub(super) calls: u64,
    pub(super) answered: u64,
    pub(super) errors: u64,
    pub(super) not_processed: u64,
    pub(super) unknown: u64,
    pub(super) calls_per_second: Option<f64>,
    pub(super) latency_us: Option<Latency>,
    pub(super) first_error: Option<String>,
    pub(super) ended: Option<String>,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.secs += other.secs;
        self.calls += other.calls;
        self.answered += other.answered;
        self.errors += other.errors;
        self.not_processed += other.not_processed;
        self.unknown += other.unknown;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
        self.ended = self.ended.take().or_else(|| other.ended.clone());
    }
}

/// What one workload found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    pub(super) workload: String,
    /// In words, for people.
    pub(super) description: String,
    #[serde(rename = "loop")]
    pub(super) kind: &'static str,
    pub(super) rate: Option<u32>,
    pub(super) missed: Option<u64>,
    pub(super) connections: u32,
    pub(super) in_flight: u32,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) bytes_per_second: f64,
    pub(super) percentiles: Vec<Percentile>,
    pub(super) histogram: Vec<Bucket>,
    pub(super) cpu_us_per_call: Cpu,
    pub(super) memory: Option<Memory>,
    /// Why figures of the server are missing.
    pub(super) server_unknown: Option<&'static str>,
}

/// Processor time for each answered call, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Cpu {
    pub(super) client: Option<f64>,
    pub(super) server: Option<f64>,
}

/// Memory for each connection that stood idle, in KiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Memory {
    pub(super) client_kib_per_connection: Option<f64>,
    pub(super) server_kib_per_connection: Option<f64>,
}

/// Latencies of the answered calls, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// A row of the list of percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentile {
    pub(super) percentile: f64,
    pub(super) us: f64,
    /// How many calls took no longer.
    pub(super) calls: u64,
}

/// A bar of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Bucket {
    pub(super) up_to_us: f64,
    pub(super) calls: u64,
}

/// What the client and the server had used, before or after.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) client: Usage,
    pub(super) server: Usage,
}

/// What is known of a measurement beside its tally.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) rate: Option<u32>,
    pub(super) missed: Option<u64>,
    pub(super) before: Used,
    pub(super) after: Used,
    /// Why a connection is over, where one is.
    pub(super) ended: Option<&'a ConnectionError>,
    pub(super) server_unknown: Option<&'static str>,
}

impl Run {
    /// The report of one measurement.
    pub(super) fn new(workload: &Workload, tally: &Tally, around: &Around<'_>) -> Self {
        let counts = tally.counts();
        let latencies = counts.latencies.as_ref();
        let figures = Figures {
            body_bytes: Some(workload.body),
            concurrency: Some(workload.callers()),
            secs: tally.took().as_secs_f64(),
            calls: tally.calls(),
            answered: counts.answered,
            errors: counts.errors,
            not_processed: counts.not_processed,
            unknown: counts.unknown,
            calls_per_second: Some(tally.rate()),
            latency_us: latencies.map(Latency::of),
            first_error: counts.first_error,
            ended: around.ended.map(|error| escape(&error.to_string(), MAX_REASON)),
        };
        Self {
            workload: workload.name.clone(),
            description: workload.describe(),
            kind: if around.rate.is_some() { "open" } else { "closed" },
            rate: around.rate,
            missed: around.missed,
            connections: workload.connections,
            in_flight: workload.in_flight,
            bytes_per_second: tally.rate() * workload.body as f64,
            percentiles: latencies.map(percentiles).unwrap_or_default(),
            histogram: latencies.map(buckets).unwrap_or_default(),
            cpu_us_per_call: Cpu::of(around, counts.answered),
            memory: None,
            server_unknown: around.server_unknown,
            figures,
        }
    }

    /// Adds what connections that stand idle take.
    pub(super) fn with_memory(self, before: Used, after: Used) -> Self {
        let answered = self.figures.answered;
        let grown = |before: Usage, after: Usage| {
            let bytes = after.resident?.saturating_sub(before.resident?);
            (answered > 0).then(|| round(bytes as f64 / 1024.0 / answered as f64))
        };
        let memory = Memory {
            client_kib_per_connection: grown(before.client, after.client),
            server_kib_per_connection: grown(before.server, after.server),
        };
        Self { memory: Some(memory), ..self }
    }
}

impl Cpu {
    fn of(around: &Around<'_>, answered: u64) -> Self {
        let per_call = |before: Usage, after: Usage| {
            let used = after.cpu?.saturating_sub(before.cpu?);
            (answered > 0).then(|| round(used.as_secs_f64() * 1e6 / answered as f64))
        };
        Self {
            client: per_call(around.before.client, around.after.client),
            server: per_call(around.before.server, around.after.server),
        }
    }
}

/// To a thousandth: more figures say nothing.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn micros(nanos: u64) -> f64 {
    round(Duration::from_nanos(nanos).as_secs_f64() * 1e6)
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| micros(latencies.value_at_quantile(quantile));
        Self {
            min: micros(latencies.min()),
            mean: round(latencies.mean() / 1e3),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: micros(latencies.max()),
        }
    }
}

fn percentiles(latencies: &Histogram<u64>) -> Vec<Percentile> {
    let count = latencies.len() as f64;
    // At least one call must lie above it; what 99.9 lacks of its own name must not take it away.
    let is_met = |percentile: &f64| *percentile == 100.0 || count * (100.0 - percentile) > 100.0 - 1e-6;
    let row = |percentile: f64| {
        let value = latencies.value_at_quantile(percentile / 100.0);
        let calls = latencies.count_between(0, value);
        Percentile { percentile, us: micros(value.min(latencies.max())), calls }
    };
    PERCENTILES.into_iter().filter(is_met).map(row).collect()
}

/// Spans that double, and the calls in each; those at both ends hold some.
fn buckets(latencies: &Histogram<u64>) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = latencies
        .iter_log(1_000, 2.0)
        .map(|step| Bucket { up_to_us: micros(step.value_iterated_to()), calls: step.count_since_last_iteration() })
        .collect();
    let first = all.iter().position(|bucket| bucket.calls > 0).unwrap_or_default();
    all.drain(..first);
    while all.last().is_some_and(|bucket| bucket.calls == 0) {
        all.pop();
    }
    all
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use np_facade::{CallError, Status};

    use super::{Around, Run, Usage, Used};
    use crate::bench::tally::Tally;
    use crate::bench::workload::{Choice, all_of, parse_name};

    /// A run whose calls took these milliseconds, and one more that was refused.
    pub(in crate::bench) fn run(name: &str, millis: impl Iterator<Item = u64>) -> Run {
        let tally = Tally::default();
        for (caller, millis) in millis.enumerate() {
            tally.begin();
            tally.end(caller, Duration::from_millis(millis), Ok(()));
        }
        tally.begin();
        tally.end(0, Duration::from_secs(60), Err(&CallError::not_processed(Status::Unavailable, "busy")));
        tally.stop(Duration::from_secs(2));
        let used = |millis, mib: u64| Usage { cpu: Some(Duration::from_millis(millis)), resident: Some(mib << 20) };
        let around = Around {
            rate: None,
            missed: None,
            before: Used { client: used(100, 1), server: Usage::default() },
            after: Used { client: used(300, 2), server: used(7, 2) },
            ended: None,
            server_unknown: Some("it is somewhere else"),
        };
        let names = [parse_name(name).unwrap()];
        let workloads = all_of(&names, Choice { concurrency: 4, idle: 8 }).unwrap();
        Run::new(&workloads[0], &tally, &around)
    }

    #[test]
    fn percentiles_and_bars_come_from_the_answered_calls() {
        let run = run("B", 1..=1_000);
        let latency = run.figures.latency_us.unwrap();
        let expected = [(latency.p50, 500.0), (latency.p90, 900.0), (latency.p99, 990.0), (latency.max, 1_000.0)];
        for (found, millis) in expected {
            assert!((found / 1e3 - millis).abs() < millis / 500.0, "{found} {millis}");
        }
        let percentiles: Vec<f64> = run.percentiles.iter().map(|row| row.percentile).collect();
        assert_eq!(percentiles, [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0], "what no call met is left out");
        assert_eq!(run.percentiles.last().unwrap().calls, 1_000);
        assert_eq!(run.histogram.iter().map(|bucket| bucket.calls).sum::<u64>(), 1_000);
        assert!(run.histogram[0].calls > 0 && run.histogram.last().unwrap().calls > 0);
        assert!((run.figures.calls_per_second.unwrap() - 500.0).abs() < 1e-9);
    }

    #[test]
    fn processor_time_and_memory_are_for_each_call_that_was_answered() {
        let run = run("F", 1..=10);
        assert_eq!(run.cpu_us_per_call.client, Some(20_000.0));
        assert_eq!(run.cpu_us_per_call.server, None, "what was not known before is not known");
        let used = |mib: u64| Usage { cpu: None, resident: Some(mib << 20) };
        let (before, after) = (Used::default(), Used { client: used(9), server: used(11) });
        let memory = run.with_memory(Used { client: used(4), ..before }, after).memory.unwrap();
        assert_eq!((memory.client_kib_per_connection, memory.server_kib_per_connection), (Some(512.0), None));
    }
}
