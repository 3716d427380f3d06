//! `--compare`: two reports side by side, as ratios. Must never measure anything.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use np_facade::escape;
use serde_json::{Map, Value, json};

use super::tally::MAX_REASON;
use crate::columns::{self, Column};
use crate::failure::Failure;

/// The most bytes of a report that are read.
const MAX_REPORT: u64 = 16 << 20;
/// What is compared: its name, where it stands in a run, and whether more of it is better.
const COMPARED: [(&str, &str, bool); 8] = [
    ("calls_per_second", "/calls_per_second", true),
    ("bytes_per_second", "/bytes_per_second", true),
    ("p50_us", "/latency_us/p50", false),
    ("p99_us", "/latency_us/p99", false),
    ("client_cpu_us", "/cpu_us_per_call/client", false),
    ("server_cpu_us", "/cpu_us_per_call/server", false),
    ("client_kib", "/memory/client_kib_per_connection", false),
    ("server_kib", "/memory/server_kib_per_connection", false),
];

/// Where they stand in the table. The ratio says most, and is never left out.
const COLUMNS: [Column; 6] = [
    Column::text(12).or_shortened(12),
    Column::text(18),
    Column::figure(14).or_left_out(),
    Column::figure(14).or_left_out(),
    Column::figure(7),
    Column::text(0),
];

/// A report that was read.
pub(super) struct Read(Value);

impl Read {
    /// Reads a file that `--json` wrote.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let shown = np_facade::escape_path(path);
        let refused = |why: String| {
            Failure::usage(format!("--compare {shown}: {why}; name two files that `np bench ... --json` wrote"))
        };
        let mut text = String::new();
        let file = File::open(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
        let read = file.take(MAX_REPORT + 1).read_to_string(&mut text);
        let read = read.map_err(|error| refused(format!("cannot be read: {error}")))?;
        if read as u64 > MAX_REPORT {
            return Err(refused(format!("holds more than {} MiB, the limit of a report", MAX_REPORT >> 20)));
        }
        Self::parse(&text).map_err(|why| refused(why.to_owned()))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_str(text).map_err(|_| "is no JSON")?;
        match (value.get("schema").and_then(Value::as_u64), value.get("runs")) {
            (Some(1), Some(Value::Array(_))) => Ok(Self(value)),
            (Some(_), Some(_)) => Err("has a schema that this np does not know"),
            _ => Err("is no report of np bench"),
        }
    }

    fn runs(&self) -> impl Iterator<Item = (&str, &Value)> {
        let runs = self.0.get("runs").and_then(Value::as_array).into_iter().flatten();
        runs.filter_map(|run| Some((run.get("workload")?.as_str()?, run)))
    }
}

/// One figure of one workload in both.
#[derive(Debug, PartialEq)]
struct Row {
    workload: String,
    figure: &'static str,
    more_is_better: bool,
    a: f64,
    b: f64,
}

impl Row {
    /// How many times `a` is in `b`; none where that says nothing.
    fn ratio(&self) -> Option<f64> {
        (self.a > 0.0).then(|| (self.b / self.a * 1e3).round() / 1e3)
    }

    fn cells(&self) -> [String; 6] {
        let ratio = self.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        let (a, b) = (format!("{:.2}", self.a), format!("{:.2}", self.b));
        [self.workload.clone(), self.figure.to_owned(), a, b, ratio, self.verdict().to_owned()]
    }

    fn verdict(&self) -> &'static str {
        // Differences below a tenth count as none.
        match self.ratio() {
            Some(ratio) if ratio > 1.1 => {
                if self.more_is_better {
                    "better"
                } else {
                    "worse"
                }
            }
            Some(ratio) if ratio < 0.9 => {
                if self.more_is_better {
                    "worse"
                } else {
                    "better"
                }
            }
            _ => "",
        }
    }
}

/// Every figure that both reports have.
pub(super) struct Comparison(Vec<Row>);

impl Comparison {
    /// Of two reports, which must have a workload in common.
    pub(super) fn new(a: &Read, b: &Read) -> Result<Self, Failure> {
        let mut rows = Vec::new();
        for (workload, run) in a.runs() {
            let Some((_, other)) = b.runs().find(|(name, _)| *name == workload) else {
                continue;
            };
            rows.extend(COMPARED.iter().filter_map(|(figure, place, more_is_better)| {
                let of = |run: &Value| run.pointer(place).and_then(Value::as_f64);
                let (a, b) = (of(run)?, of(other)?);
                let workload = escape(workload, MAX_REASON);
                Some(Row { workload, figure, more_is_better: *more_is_better, a, b })
            }));
        }
        if rows.is_empty() {
            return Err(Failure::usage(
                "--compare: no workload is in both files; measure the same --workload twice, with --json",
            ));
        }
        Ok(Self(rows))
    }

    /// For people.
    pub(super) fn table(&self, width: Option<usize>) -> String {
        let mut rows = vec![["workload", "figure", "a", "b", "b / a", ""].map(str::to_owned)];
        rows.extend(self.0.iter().map(Row::cells));
        columns::table(COLUMNS, &rows, width)
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        let mut workloads = Map::new();
        for row in &self.0 {
            let figures = workloads.entry(row.workload.clone()).or_insert_with(|| json!({}));
            if let Value::Object(figures) = figures {
                figures.insert(row.figure.to_owned(), json!({ "a": row.a, "b": row.b, "ratio": row.ratio() }));
            }
        }
        json!({ "compared": workloads })
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Read};

    fn read(runs: &str) -> Read {
        Read::parse(&format!("{{\"schema\": 1, \"runs\": [{runs}]}}")).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn a_table_holds_the_ratio_of_what_both_have() {
        let a = read(
            r#"{"workload": "A", "calls_per_second": 1000.0, "latency_us": {"p50": 50.0, "p99": 80.0}},
               {"workload": "B", "calls_per_second": 7.0},
               {"workload": "gone", "calls_per_second": 1.0}"#,
        );
        let b = read(
            r#"{"workload": "B", "calls_per_second": 7.5, "latency_us": null},
               {"workload": "A", "calls_per_second": 500.0, "latency_us": {"p50": 25.0, "p99": 0.0},
                "cpu_us_per_call": {"client": 3.0}}"#,
        );
        let comparison = Comparison::new(&a, &b).unwrap();
        let expected = "\
workload      figure                           a               b    b / a
A             calls_per_second           1000.00          500.00    0.500  worse
A             p50_us                       50.00           25.00    0.500  better
A             p99_us                       80.00            0.00    0.000  better
B             calls_per_second              7.00            7.50    1.071
";
        assert_eq!(comparison.table(None), expected);
        assert_eq!(comparison.value()["compared"]["A"]["p50_us"]["ratio"], 0.5);
        assert!(Comparison::new(&a, &read("")).is_err_and(|failure| failure.line().contains("no workload is in both")));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for (text, why) in [
            ("nonsense", "no JSON"),
            ("{}", "no report"),
            ("{\"schema\": 1}", "no report"),
            ("{\"schema\": 2, \"runs\": []}", "a schema that this np does not know"),
        ] {
            assert!(Read::parse(text).is_err_and(|error| error.contains(why)), "{text}");
        }
    }
}
