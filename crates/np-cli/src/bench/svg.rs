//! The plot of `--svg`: latency over percentile, a line for each run. Must never write a file.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Percentile, Report, Run};
use crate::span::show_span;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 500.0;
/// Where the plot is in the picture: the names of runs stand on its right.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 720.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 440.0;
/// Colours that can be told apart also by those who see red and green alike; they come again after the last.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f"];
/// The percentiles that have a line across.
const GRID: [f64; 6] = [0.0, 90.0, 99.0, 99.9, 99.99, 99.999];

/// The picture.
pub(super) fn plot(report: &Report) -> String {
    let points = || report.runs.iter().flat_map(points);
    let axes = Axes {
        nines: points().map(|(nines, _)| nines).fold(1.0, f64::max),
        least: points().map(|(_, us)| us.log10().floor()).fold(f64::INFINITY, f64::min),
        most: points().map(|(_, us)| us.log10().ceil()).fold(f64::NEG_INFINITY, f64::max),
    };
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    );
    text(&mut svg, (LEFT, 28.0), "start", &format!("np bench {}: latency by percentile", report.address));
    axes.draw(&mut svg);
    for (run, colour) in report.runs.iter().zip(COLOURS.iter().cycle()) {
        axes.line(&mut svg, run, colour);
    }
    legend(&mut svg, &report.runs);
    let machine = report.machine.text(None);
    for (at, line) in machine.lines().filter(|line| !line.is_empty()).enumerate() {
        text(&mut svg, (LEFT, BOTTOM + 36.0 + 15.0 * at as f64), "start", line);
    }
    svg.push_str("</svg>\n");
    svg
}

/// How many nines each percentile has (99 has two), and its latency; a percentile of 100 has no place on such an axis.
fn points(run: &Run) -> impl Iterator<Item = (f64, f64)> {
    let placed = run.percentiles.iter().filter(|row| row.percentile < 100.0);
    placed.map(|Percentile { percentile, us, .. }| (nines(*percentile), us.max(0.1)))
}

fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// From figures to places: nines across, the logarithm of microseconds up.
struct Axes {
    nines: f64,
    least: f64,
    most: f64,
}

impl Axes {
    fn x(&self, nines: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * nines / self.nines
    }

    fn y(&self, log: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (log - self.least) / (self.most - self.least).max(1.0)
    }

    fn draw(&self, svg: &mut String) {
        for percentile in GRID.into_iter().filter(|percentile| nines(*percentile) <= self.nines + 1e-9) {
            let x = self.x(nines(percentile));
            rule(svg, (x, TOP), (x, BOTTOM));
            text(svg, (x, BOTTOM + 16.0), "middle", &format!("{percentile} %"));
        }
        let mut log = self.least;
        while log.is_finite() && log <= self.most {
            let y = self.y(log);
            rule(svg, (LEFT, y), (RIGHT, y));
            text(svg, (LEFT - 6.0, y + 4.0), "end", &show_span(Duration::from_secs_f64(10f64.powf(log) / 1e6)));
            log += 1.0;
        }
    }

    fn line(&self, svg: &mut String, run: &Run, colour: &str) {
        let places: Vec<String> =
            points(run).map(|(nines, us)| format!("{:.1},{:.1}", self.x(nines), self.y(us.log10()))).collect();
        if !places.is_empty() {
            let places = places.join(" ");
            let _ =
                writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{places}\"/>");
        }
    }
}

fn legend(svg: &mut String, runs: &[Run]) {
    for ((at, run), colour) in runs.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let y = TOP + 18.0 * at as f64;
        let _ =
            writeln!(svg, "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>", RIGHT + 20.0, y);
        let rate = run.figures.calls_per_second.unwrap_or_default();
        text(svg, (RIGHT + 38.0, y + 10.0), "start", &format!("{}  {rate} /s", run.workload));
    }
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#d0d0d0\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

/// Words as XML takes them; characters that it cannot hold at all become a mark.
fn escaped(words: &str) -> String {
    words.chars().fold(String::new(), |mut out, ch| {
        match ch {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            ch if ch.is_control() || ch == '\u{fffe}' || ch == '\u{ffff}' => out.push('\u{fffd}'),
            ch => out.push(ch),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{escaped, plot};
    use crate::bench::machine::Machine;
    use crate::bench::report::{Report, tests};

    /// Every tag is closed in order, and no bare `&` or `<` stands in text or in values. Gives the names of the tags.
    fn elements(xml: &str) -> Vec<String> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        let mut rest = xml;
        while let Some((text, behind)) = rest.split_once('<') {
            entities(text);
            assert!(!open.is_empty() || text.trim().is_empty(), "text outside: {text}");
            let (tag, after) = behind.split_once('>').expect("a tag ends");
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let name: String = tag.chars().take_while(|ch| ch.is_ascii_alphanumeric()).collect();
            assert!(!name.is_empty() && !tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
            for value in tag.split('"').skip(1).step_by(2) {
                entities(value);
            }
            if !tag.ends_with('/') {
                open.push(name.clone());
            }
            all.push(name);
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
        all
    }

    fn entities(text: &str) {
        for part in text.split('&').skip(1) {
            let name = part.split_once(';').map(|(name, _)| name);
            assert!(matches!(name, Some("amp" | "lt" | "gt" | "quot")), "{part}");
        }
    }

    #[test]
    fn a_plot_is_well_formed_and_has_a_line_for_each_run_with_answers() {
        let runs =
            vec![tests::run("B", (0..1_000).map(|at| 2 + at % 990)), tests::run("D", 50..=60), tests::run("A", 0..0)];
        let svg = plot(&Report::new(Machine::sample(), "tcp://<a&b>\"\u{1b}:1", runs));
        let elements = elements(&svg);
        let count = |name| elements.iter().filter(|element| *element == name).count();
        assert_eq!((count("svg"), count("polyline")), (1, 2));
        // The grid: 0, 90, 99 and 99.9 %, and the decades of 1 ms to 1 s.
        assert_eq!(count("line"), 4 + 4, "{svg}");
        assert!(svg.contains("tcp://&lt;a&amp;b&gt;&quot;\u{fffd}:1"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_plot_of_nothing_is_well_formed() {
        let svg = plot(&Report::new(Machine::sample(), "mem:a", vec![tests::run("A", 0..0)]));
        assert!(elements(&svg).contains(&"svg".to_owned()) && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(escaped("a\0b"), "a\u{fffd}b");
    }
}
