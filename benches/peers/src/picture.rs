//! The ratios as bars, in a picture of its own.

use std::fmt::Write as _;

use crate::peers::{self, BASE};
use crate::summary::{Row, Summary};
use crate::workload::Workload;

/// Where the names end and the bars begin.
const LEFT: usize = 150;

/// What a ratio of 1 is long.
const ONE: f64 = 120.0;

/// Where bars are cut off: what is further away says so in figures.
const MOST: f64 = 4.0;

const ROW: usize = 18;
const HEAD: usize = 34;
const WIDTH: usize = 760;

/// Draws it.
pub(crate) fn svg(summary: &Summary) -> String {
    let mut body = String::new();
    let mut y = 10;
    for workload in Workload::ALL {
        let rows: Vec<&Row> = peers::ALL.iter().filter_map(|about| summary.row(workload, about.name)).collect();
        if !rows.is_empty() {
            draw_workload(&mut body, workload, &rows, &mut y);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{y}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn draw_workload(body: &mut String, workload: Workload, rows: &[&Row], y: &mut usize) {
    let title = format!("{} [{}; {BASE} = 1, shorter is better]", workload.about(), workload.unit());
    text(body, 10, *y + 16, "start", "bold", &title);
    *y += HEAD - 8;
    let top = *y;
    for row in rows {
        draw_row(body, row, *y);
        *y += ROW;
    }
    let line = LEFT as f64 + ONE;
    let _ = writeln!(body, "<path d=\"M{line:.0} {top}V{y}\" stroke=\"#555555\" stroke-dasharray=\"3 3\"/>");
    *y += 12;
}

fn draw_row(body: &mut String, row: &Row, y: usize) {
    text(body, LEFT - 8, y + 13, "end", "normal", &row.peer);
    let ratio = row.ratio.map_or(0.0, |ratio| ratio.median);
    let long = ratio.min(MOST) * ONE;
    let colour = match row.peer.as_str() {
        BASE => "#777777",
        name if name.starts_with("np") => "#1f6feb",
        _ => "#b6bec9",
    };
    let _ = writeln!(
        body,
        "<rect x=\"{LEFT}\" y=\"{}\" width=\"{long:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        y + 2,
        ROW - 4
    );
    let cut = if ratio > MOST { " →" } else { "" };
    let label = format!("{ratio:.2}{cut}  ({:.2})", row.figure.median);
    text(body, LEFT + long as usize + 6, y + 13, "start", "normal", &label);
}

fn text(body: &mut String, x: usize, y: usize, anchor: &str, weight: &str, words: &str) {
    let _ = writeln!(
        body,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\" fill=\"#111111\">{}</text>",
        words.replace('&', "&amp;").replace('<', "&lt;")
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Middle;

    #[test]
    fn a_bar_is_as_long_as_its_ratio_and_cut_off_where_it_is_too_long() {
        let row = |peer: &str, ratio| {
            let ratio = Middle::of([ratio]);
            let figure = Middle::of([2.0]).unwrap();
            Row {
                workload: Workload::B,
                peer: peer.to_owned(),
                rounds: [1, 1],
                figure,
                ratio,
                rate: 1.0,
                p50_us: 1.0,
                called_kib: None,
            }
        };
        let drawn = svg(&Summary { rows: vec![row("np", 0.5), row("tonic", 30.0)] });
        assert!(drawn.contains("width=\"60.0\""), "{drawn}");
        assert!(drawn.contains("width=\"480.0\"") && drawn.contains("30.00 →"), "{drawn}");
    }
}
