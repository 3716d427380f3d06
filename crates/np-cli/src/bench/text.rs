//! Reports for people: the list of percentiles, the histogram, the table of all runs. Must never measure anything.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::report::{Bucket, Latency, Percentile, Report, Run};
use crate::columns::{self, Column};
use crate::counted::counted;
use crate::output;
use crate::progress::show_bytes;
use crate::screen;
use crate::span::show_span;

/// The longest bar of the histogram.
const BAR: usize = 40;
/// The shortest, and what stands before it in its line.
const LEAST_BAR: usize = 8;
const BEFORE_BAR: usize = 30;
/// The table of all runs. What follows from another column goes first where the screen is narrow.
const SUMMARY: [Column; 8] = [
    Column::text(14).or_shortened(12),
    Column::figure(10),
    Column::figure(12).or_left_out(),
    Column::figure(9),
    Column::figure(9),
    Column::figure(10).or_left_out(),
    Column::figure(10).or_left_out(),
    Column::figure(8),
];

/// How text may look where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Bars of blocks, which a terminal shows in eighths of a character.
    blocks: bool,
    colour: bool,
    /// The columns of a line, where it has a bound.
    width: Option<usize>,
}

impl Style {
    /// As standard output takes it.
    pub(super) fn of_stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { blocks: is_terminal, colour: output::takes_colour(is_terminal), width: screen::width() }
    }

    const fn bold(self) -> (&'static str, &'static str) {
        if self.colour { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") }
    }

    /// A bar of so many parts of the longest.
    fn bar(self, calls: u64, most: u64) -> String {
        const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        let most = u128::from(most.max(1));
        let room = self.width.map_or(BAR, |width| width.saturating_sub(BEFORE_BAR).clamp(LEAST_BAR, BAR));
        let units = |per: usize| u128::from(calls) * (room * per) as u128;
        if !self.blocks {
            return "#".repeat(usize::try_from(units(1).div_ceil(most)).unwrap_or_default());
        }
        let eighths = usize::try_from(units(8).div_ceil(most)).unwrap_or_default();
        let rest = (eighths % 8).checked_sub(1).and_then(|at| EIGHTHS.get(at));
        "█".repeat(eighths / 8).chars().chain(rest.copied()).collect()
    }
}

/// One run.
pub(super) fn run(run: &Run, address: &str, style: Style) -> String {
    let figures = &run.figures;
    let mut text = title(run, style);
    let line = format!(
        "{address}: {} in {:.2} s: {} calls/s answered, {}/s each way{}",
        counted(figures.calls, "call", "calls"),
        figures.secs,
        figures.calls_per_second.unwrap_or_default(),
        show_bytes(run.bytes_per_second as u64),
        run.rate.map_or_else(String::new, |rate| format!(" (asked for: {rate} calls/s)"))
    );
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", screen::fit(&line, 2, style.width));
    text.push_str(&counts(run));
    text.push_str(&costs(run, style));
    text.push_str(&percentiles(&run.percentiles));
    text.push_str(&histogram(&run.histogram, style));
    let ends = [("first failure", &figures.first_error), ("the connection ended", &figures.ended)];
    for (what, why) in ends.iter().filter_map(|(what, why)| Some((what, why.as_ref()?))) {
        let _ = writeln!(text, "{}", screen::fit(&format!("  {what}: {why}"), 4, style.width));
    }
    text.push('\n');
    text
}

fn title(run: &Run, style: Style) -> String {
    let (bold, plain) = style.bold();
    let indent = run.workload.chars().count() + 2;
    let what = screen::fit(&format!("{:indent$}{}", "", run.description), indent, style.width);
    format!("{bold}{}{plain}  {}\n", run.workload, what.trim_start())
}

fn counts(run: &Run) -> String {
    let figures = &run.figures;
    let mut rows =
        vec![("answered", figures.answered), ("not processed", figures.not_processed), ("unknown", figures.unknown)];
    if figures.errors > 0 {
        rows.insert(1, ("by an error", figures.errors));
    }
    if let Some(missed) = run.missed.filter(|missed| *missed > 0) {
        rows.push(("due, not made", missed));
    }
    rows.iter().fold(String::new(), |mut text, (name, count)| {
        let _ = writeln!(text, "  {name:<14}{count:>12}");
        text
    })
}

fn costs(run: &Run, style: Style) -> String {
    let mut text = String::new();
    let cpu = run.cpu_us_per_call;
    for (side, figure) in [("client CPU", cpu.client), ("server CPU", cpu.server)] {
        if let Some(figure) = figure {
            let _ = writeln!(text, "  {side:<14}{figure:>9.2} µs a call");
        }
    }
    if let Some(memory) = run.memory {
        for (side, figure) in
            [("client memory", memory.client_kib_per_connection), ("server memory", memory.server_kib_per_connection)]
        {
            if let Some(figure) = figure {
                let _ = writeln!(text, "  {side:<14}{figure:>8.2} KiB a connection");
            }
        }
    }
    if let Some(why) = run.server_unknown {
        let line = format!("  server         not measured: {why}");
        let _ = writeln!(text, "{}", screen::fit(&line, 17, style.width));
    }
    text
}

fn percentiles(rows: &[Percentile]) -> String {
    let mut text = String::new();
    if !rows.is_empty() {
        let _ = writeln!(text, "  {:<10}{:>12}{:>14}", "percentile", "latency", "calls up to");
    }
    for Percentile { percentile, us, calls } in rows {
        let name = match percentile {
            0.0 => "min".to_owned(),
            100.0 => "max".to_owned(),
            percentile => format!("p{percentile}"),
        };
        let _ = writeln!(text, "  {name:<10}{:>12}{calls:>14}", micros(*us));
    }
    text
}

fn histogram(buckets: &[Bucket], style: Style) -> String {
    let most = buckets.iter().map(|bucket| bucket.calls).max().unwrap_or_default();
    buckets.iter().fold(String::new(), |mut text, Bucket { up_to_us, calls }| {
        let line = format!("  up to {:>10} {calls:>10} {}", micros(*up_to_us), style.bar(*calls, most));
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

fn micros(us: f64) -> String {
    show_span(Duration::from_secs_f64(us / 1e6))
}

/// The table of all runs, where there are several.
pub(super) fn summary(report: &Report, style: Style) -> String {
    if report.runs.len() < 2 {
        return String::new();
    }
    let names = ["workload", "calls/s", "bytes/s", "p50", "p99", "client µs", "server µs", "failed"];
    let mut rows = vec![names.map(str::to_owned)];
    rows.extend(report.runs.iter().map(summed));
    columns::table(SUMMARY, &rows, style.width)
}

fn summed(run: &Run) -> [String; 8] {
    let figures = &run.figures;
    let or_dash = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
    let at = |of: fn(&Latency) -> f64| {
        figures.latency_us.as_ref().map_or_else(|| "-".to_owned(), |latency| micros(of(latency)))
    };
    [
        run.workload.clone(),
        figures.calls_per_second.unwrap_or_default().to_string(),
        show_bytes(run.bytes_per_second as u64),
        at(|latency| latency.p50),
        at(|latency| latency.p99),
        or_dash(run.cpu_us_per_call.client),
        or_dash(run.cpu_us_per_call.server),
        (figures.errors + figures.not_processed + figures.unknown).to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Style, run};
    use crate::bench::report::tests;

    const PLAIN: Style = Style { blocks: false, colour: false, width: None };

    #[test]
    fn a_run_looks_like_this() {
        let run_of = tests::run("B", (1..=90).chain((0..9).map(|at| 100 + at * 10)).chain([900]));
        let expected = "\
B  1 connection, 128 in flight on each, 64 B there and back
tcp://a:1: 101 calls in 2.00 s: 50 calls/s answered, 3.1 KiB/s each way
  answered               100
  not processed            1
  unknown                  0
  client CPU      2000.00 µs a call
  server         not measured: it is somewhere else
  percentile     latency   calls up to
  min            1000 µs             1
  p50           50.00 ms            50
  p75           75.04 ms            75
  p90           90.05 ms            90
  p95          140.12 ms            95
  p99          180.09 ms            99
  max          900.20 ms           100
  up to    1.02 ms          1 ##
  up to    2.05 ms          1 ##
  up to    4.10 ms          2 ###
  up to    8.19 ms          4 #####
  up to   16.38 ms          8 ##########
  up to   32.77 ms         16 ####################
  up to   65.54 ms         33 ########################################
  up to  131.07 ms         29 ####################################
  up to  262.14 ms          5 #######
  up to  524.29 ms          0
  up to     1.05 s          1 ##
  first failure: unavailable: busy (not processed)

";
        assert_eq!(run(&run_of, "tcp://a:1", PLAIN), expected);
    }

    #[test]
    fn every_line_of_a_run_fits_a_narrow_screen() {
        let run_of = tests::run("B", [1, 2, 4, 4, 4].into_iter());
        let text = run(&run_of, "tcp://a:1", Style { width: Some(40), ..PLAIN });
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("\n                 somewhere else\n"), "{text}");
        assert!(text.contains(" (not\n    processed)\n"), "{text}");
    }

    #[test]
    fn a_terminal_gets_blocks_and_colour_only_where_it_is_wanted() {
        let run_of = tests::run("B", [1, 1, 1, 1, 1, 1, 1, 4].into_iter());
        let blocks = run(&run_of, "tcp://a:1", Style { blocks: true, ..PLAIN });
        let bars: Vec<&str> = blocks.lines().filter(|line| line.starts_with("  up to")).collect();
        let full = format!("  up to    1.02 ms          7 {}", "█".repeat(40));
        assert_eq!(bars, [&full, "  up to    2.05 ms          0", "  up to    4.10 ms          1 █████▊"]);
        assert!(!blocks.contains('\u{1b}'));
        let colour = run(&run_of, "tcp://a:1", Style { blocks: true, colour: true, ..PLAIN });
        assert!(colour.starts_with("\u{1b}[1mB\u{1b}[0m  "), "{colour}");
    }
}
