//! The figures of a server as Prometheus reads them: a recorder for the `metrics` facade, and its text. It must never
//! know what a figure means.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Upper bounds of the buckets of a histogram, in seconds: figures of np are times.
const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Every figure that was registered. Clones share it; adding to a figure takes no lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<BTreeMap<String, Family>>>);

#[derive(Debug, Default)]
struct Family {
    kind: &'static str,
    help: String,
    /// By their labels, as text.
    series: BTreeMap<String, Series>,
}

#[derive(Debug)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of a float.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

/// Values by their bucket; the last is for those above every bound.
#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl HistogramFn for Buckets {
    fn record(&self, seconds: f64) {
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // What is no time counts as none.
        self.nanos.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }
}

impl Figures {
    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &KeyName, kind: &'static str, help: &str) {
        let mut families = self.families();
        let family = families.entry(name.as_str().to_owned()).or_default();
        (family.kind, family.help) = (kind, help.to_owned());
    }

    fn register<T>(
        &self,
        key: &Key,
        kind: &'static str,
        fresh: Series,
        found: impl Fn(&Series) -> Option<T>,
    ) -> Option<T> {
        let mut families = self.families();
        let family = families.entry(key.name().to_owned()).or_default();
        family.kind = kind;
        found(family.series.entry(labels(key)).or_insert(fresh))
    }

    /// All of them in the text format of Prometheus, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for (name, family) in &*self.families() {
            if family.series.is_empty() {
                continue;
            }
            if !family.help.is_empty() {
                push(
                    &mut out,
                    format_args!("# HELP {name} {}", family.help.replace('\\', "\\\\").replace('\n', "\\n")),
                );
            }
            push(&mut out, format_args!("# TYPE {name} {}", family.kind));
            for (labels, series) in &family.series {
                series.write(&mut out, name, labels);
            }
        }
        out
    }
}

impl Series {
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        match self {
            Self::Counter(count) => {
                push(out, format_args!("{name}{} {}", braced(labels, ""), count.load(Ordering::Relaxed)));
            }
            Self::Gauge(bits) => {
                let value = f64::from_bits(bits.load(Ordering::Relaxed));
                push(out, format_args!("{name}{} {value}", braced(labels, "")));
            }
            Self::Histogram(buckets) => {
                let mut sum = 0;
                let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                for (bound, count) in bounds.zip(&buckets.counts) {
                    sum += count.load(Ordering::Relaxed);
                    let labels = braced(labels, &format!("le=\"{bound}\""));
                    push(out, format_args!("{name}_bucket{labels} {sum}"));
                }
                let seconds = buckets.nanos.load(Ordering::Relaxed) as f64 / 1e9;
                push(out, format_args!("{name}_sum{} {seconds}", braced(labels, "")));
                push(out, format_args!("{name}_count{} {sum}", braced(labels, "")));
            }
        }
    }
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

/// A figure's own labels and one more, in braces; nothing where there is neither.
fn braced(labels: &str, more: &str) -> String {
    match (labels.is_empty(), more.is_empty()) {
        (true, true) => String::new(),
        (false, false) => format!("{{{labels},{more}}}"),
        _ => format!("{{{labels}{more}}}"),
    }
}

fn labels(key: &Key) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels = key.labels().map(|label| format!("{}=\"{}\"", label.key(), escape(label.value())));
    labels.collect::<Vec<_>>().join(",")
}

impl Recorder for Figures {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, "counter", &description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, "gauge", &description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, "histogram", &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let found = |series: &Series| match series {
            Series::Counter(count) => Some(Counter::from_arc(Arc::clone(count))),
            _ => None,
        };
        self.register(key, "counter", Series::Counter(Arc::default()), found).unwrap_or_else(Counter::noop)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let found = |series: &Series| match series {
            Series::Gauge(bits) => Some(Gauge::from_arc(Arc::clone(bits))),
            _ => None,
        };
        self.register(key, "gauge", Series::Gauge(Arc::default()), found).unwrap_or_else(Gauge::noop)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let found = |series: &Series| match series {
            Series::Histogram(buckets) => Some(Histogram::from_arc(Arc::clone(buckets))),
            _ => None,
        };
        self.register(key, "histogram", Series::Histogram(Arc::default()), found).unwrap_or_else(Histogram::noop)
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let figures = Figures::default();
        metrics::with_local_recorder(&figures, || {
            metrics::describe_counter!("a_total", "What\nhappened");
            metrics::counter!("a_total", "way" => "in").increment(2);
            // The same figure, registered again.
            metrics::counter!("a_total", "way" => "in").increment(1);
            metrics::counter!("a_total", "way" => "a\"b\\c\n").increment(1);
            metrics::gauge!("b").increment(1.5);
            metrics::histogram!("c_seconds", "way" => "in").record(0.0004);
            metrics::histogram!("c_seconds", "way" => "in").record(2.0);
            metrics::histogram!("c_seconds", "way" => "in").record(99.0);
        });
        let text = figures.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "# HELP a_total What\\nhappened",
                "# TYPE a_total counter",
                "a_total{way=\"a\\\"b\\\\c\\n\"} 1",
                "a_total{way=\"in\"} 3",
            ]
        );
        assert_eq!(lines[4..6], ["# TYPE b gauge", "b 1.5"]);
        let has = |line: &str| assert!(lines.contains(&line), "{line}\n{text}");
        has("c_seconds_bucket{way=\"in\",le=\"0.00025\"} 0");
        has("c_seconds_bucket{way=\"in\",le=\"0.0005\"} 1");
        has("c_seconds_bucket{way=\"in\",le=\"2.5\"} 2");
        has("c_seconds_bucket{way=\"in\",le=\"+Inf\"} 3");
        has("c_seconds_sum{way=\"in\"} 101.0004");
        has("c_seconds_count{way=\"in\"} 3");
    }
}
