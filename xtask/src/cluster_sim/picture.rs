//! The picture: rounds and bytes over the number of nodes. Must never write a file.

use std::fmt::Write as _;

use super::Row;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 300.0;
/// The two plots, from left to right.
const PLOTS: [(f64, f64); 2] = [(70.0, 420.0), (530.0, 880.0)];

/// A line of a plot: name, colour, figure.
type Line = (&'static str, &'static str, fn(&Row) -> f64);

const ROUNDS: [Line; 2] = [
    ("rounds until all see all", "#0072b2", |row| row.joined_rounds),
    ("rounds until a key is everywhere", "#d55e00", |row| row.key_rounds),
];
const BYTES: [Line; 1] = [("KiB that a node sends in 1 s", "#009e73", |row| row.bytes / 1024.0)];

/// Draws it.
pub(super) fn draw(rows: &[Row]) -> String {
    let rows: Vec<Row> = rows.iter().filter(|row| row.minutes > 0.0).cloned().collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (span, lines) in PLOTS.into_iter().zip([&ROUNDS[..], &BYTES[..]]) {
        plot(&mut svg, span, &rows, lines);
    }
    svg.push_str("</svg>\n");
    svg
}

fn plot(svg: &mut String, (left, right): (f64, f64), rows: &[Row], lines: &[Line]) {
    let widest = rows.iter().map(|row| f64::from(row.nodes)).fold(1.0, f64::max);
    let most = lines.iter().flat_map(|(_, _, figure)| rows.iter().map(figure)).fold(0.1, f64::max);
    let x = |nodes: f64| left + (right - left) * nodes / widest;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / most;
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (value, at) = (most * part, y(most * part));
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#d0d0d0\"/>");
        text(svg, (left - 6.0, at + 4.0), "end", &format!("{value:.1}"));
    }
    for row in rows {
        text(svg, (x(f64::from(row.nodes)), BOTTOM + 18.0), "middle", &row.nodes.to_string());
    }
    text(svg, (f64::midpoint(left, right), BOTTOM + 40.0), "middle", "nodes");
    for ((name, colour, figure), at) in lines.iter().zip([20.0, 38.0]) {
        text_in(svg, (left, at), colour, name);
        let places: Vec<String> =
            rows.iter().map(|row| format!("{:.1},{:.1}", x(f64::from(row.nodes)), y(figure(row)))).collect();
        let places = places.join(" ");
        let _ = writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{places}\"/>");
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{words}</text>");
}

fn text_in(svg: &mut String, (x, y): (f64, f64), colour: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_and_every_size_is_drawn() {
        let row = |nodes| Row {
            nodes,
            minutes: 1.0,
            joined_rounds: 2.0,
            key_rounds: 1.0,
            bytes: 2048.0,
            messages: 9.0,
            false_failures: 0,
            detected: 5.0,
            model: super::super::Model {
                minutes: 1.0,
                messages: 9.0,
                false_failures: 0,
                detected: 5.0,
                longest_silence: 3.0,
            },
        };
        let svg = draw(&[row(10), row(200)]);
        assert_eq!(svg.matches("<polyline").count(), 3);
        for words in [">10<", ">200<", "rounds until all see all", "KiB that a node sends"] {
            assert!(svg.contains(words), "{words}");
        }
    }
}
