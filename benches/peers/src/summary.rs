//! Medians, spread, and the ratio to the base within each round.

use std::fmt::Write as _;

use crate::peers::BASE;
use crate::report::Report;
use crate::workload::Workload;

/// What came of all rounds.
pub(crate) struct Summary {
    /// One per workload and peer, in the order in which they came.
    pub(crate) rows: Vec<Row>,
}

/// One peer in one workload.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The workload.
    pub(crate) workload: Workload,
    /// The peer.
    pub(crate) peer: String,
    /// Rounds, and how many of them were quiet.
    pub(crate) rounds: [usize; 2],
    /// The figure over the quiet rounds; over all of them where none was.
    pub(crate) figure: Middle,
    /// The figure over the base's of the same round, in rounds that were quiet for both, or in all of them.
    pub(crate) ratio: Option<Middle>,
    /// Middle of the rates.
    pub(crate) rate: f64,
    /// Middle of the middle latencies, in microseconds.
    pub(crate) p50_us: f64,
    /// Middle of KiB per connection after a call on each; of F alone.
    pub(crate) called_kib: Option<f64>,
}

/// A median, and how far the rounds spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Middle {
    /// The median.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
    /// How many.
    pub(crate) count: usize,
}

impl Middle {
    /// Of some figures; `None` where there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = figures.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let (least, most) = (*all.first()?, *all.last()?);
        let (low, high) = (all.get((all.len() - 1) / 2)?, all.get(all.len() / 2)?);
        Some(Self { median: f64::midpoint(*low, *high), least, most, count: all.len() })
    }
}

impl Summary {
    /// Of reports.
    pub(crate) fn of(reports: &[Report]) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for report in reports {
            let same = |row: &Row| row.workload == report.workload && row.peer == report.peer;
            if !rows.iter().any(same) {
                rows.extend(row(reports, report.workload, &report.peer));
            }
        }
        rows.sort_by_key(|row| row.workload);
        Self { rows }
    }

    /// The row of a peer in a workload.
    pub(crate) fn row(&self, workload: Workload, peer: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.workload == workload && row.peer == peer)
    }

    /// As a table for a terminal.
    pub(crate) fn terminal(&self) -> String {
        let mut text = String::new();
        let mut workload = None;
        for row in &self.rows {
            if workload.replace(row.workload) != Some(row.workload) {
                let _ = writeln!(text, "{} [{}]", row.workload.about(), row.workload.unit());
            }
            let ratio = row.ratio.map_or_else(String::new, |ratio| {
                format!("x {:.2} ({:.2} to {:.2}, {} rounds)", ratio.median, ratio.least, ratio.most, ratio.count)
            });
            let more = match row.called_kib {
                Some(kib) => format!("{kib:.1} KiB after a call on each"),
                None => format!(
                    "{:>8.0}/s, p50 {:>7.1} µs, {} of {} rounds quiet",
                    row.rate, row.p50_us, row.rounds[1], row.rounds[0]
                ),
            };
            let _ = writeln!(
                text,
                "  {:<18} {:>9.2} ({:.2} to {:.2})  {ratio:<36} {more}",
                row.peer, row.figure.median, row.figure.least, row.figure.most,
            );
        }
        text
    }
}

fn row(reports: &[Report], workload: Workload, peer: &str) -> Option<Row> {
    let of = |name: &str| -> Vec<&Report> {
        reports.iter().filter(|one| one.workload == workload && one.peer == name).collect()
    };
    let (all, base) = (of(peer), of(BASE));
    let quiet: Vec<&Report> = all.iter().copied().filter(|one| one.is_quiet()).collect();
    let counted = if quiet.is_empty() { &all } else { &quiet };
    let pairs: Vec<(&Report, &Report)> =
        all.iter().filter_map(|one| Some((*one, *base.iter().find(|base| base.round == one.round)?))).collect();
    let ratio = |(one, base): &(&Report, &Report)| one.figure() / base.figure();
    let quiet_pairs = pairs.iter().filter(|(one, base)| one.is_quiet() && base.is_quiet()).map(ratio);
    let median = |figure: &dyn Fn(&Report) -> f64| Some(Middle::of(counted.iter().map(|one| figure(one)))?.median);
    Some(Row {
        workload,
        peer: peer.to_owned(),
        rounds: [all.len(), quiet.len()],
        figure: Middle::of(counted.iter().map(|one| one.figure()))?,
        ratio: Middle::of(quiet_pairs).or_else(|| Middle::of(pairs.iter().map(ratio))),
        rate: median(&Report::rate)?,
        p50_us: median(&|one| one.p50_us)?,
        called_kib: Middle::of(all.iter().filter_map(|one| Some(one.idle_kib?[1]))).map(|middle| middle.median),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Disturbance;

    fn report(peer: &str, round: usize, micros: u64, steal: f64) -> Report {
        Report {
            peer: peer.to_owned(),
            workload: Workload::B,
            round,
            count: 1_000,
            seconds: 1.0,
            client_cpu_ns: micros * 600_000,
            server_cpu_ns: micros * 400_000,
            p50_us: 1.0,
            p99_us: 2.0,
            idle_kib: None,
            disturbance: Disturbance { steal, others: 0.0 },
        }
    }

    #[test]
    fn a_median_is_the_middle_and_of_an_even_count_between_two() {
        assert_eq!(Middle::of([3.0, 1.0, 2.0]), Some(Middle { median: 2.0, least: 1.0, most: 3.0, count: 3 }));
        assert_eq!(Middle::of([4.0, 2.0]).map(|middle| middle.median), Some(3.0));
        assert_eq!(Middle::of([]), None);
    }

    #[test]
    fn rounds_that_were_disturbed_for_either_are_left_out_of_the_ratio() {
        let reports = [
            report(BASE, 1, 10, 0.0),
            report("np", 1, 5, 0.0),
            report(BASE, 2, 10, 0.2),
            report("np", 2, 40, 0.0),
            report(BASE, 3, 10, 0.0),
            report("np", 3, 50, 0.051),
        ];
        let summary = Summary::of(&reports);
        let row = summary.row(Workload::B, "np").unwrap();
        assert_eq!(row.ratio, Middle::of([0.5]));
        assert_eq!((row.rounds, row.figure.count), ([3, 2], 2));
    }

    #[test]
    fn where_no_round_was_quiet_all_are_shown() {
        let reports = [report(BASE, 1, 10, 0.5), report("np", 1, 20, 0.5)];
        let summary = Summary::of(&reports);
        let row = summary.row(Workload::B, "np").unwrap();
        assert_eq!((row.ratio.unwrap().median, row.rounds), (2.0, [1, 0]));
    }
}
