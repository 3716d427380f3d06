//! Pictures of the documents, as SVG under `docs/pictures`: screens of the program, and the rooms.
//!
//! Owns how a line looks; what stands in the texts is the stored output of the program, and no word is added to it.

mod rooms;

use std::fs;

use crate::Failure;
use crate::workspace::{File, Workspace};

/// Where the texts are, and where their pictures go.
const FOLDER: &str = "docs/pictures/";

/// The screens that tests hold, of which the documents show these.
const SCREENS: &str = "crates/np-cli/tests/screens/";
const SHOWN: [&str; 2] = ["doctor", "inspect-opened"];

/// The width of a letter and the height of a line, in pixels.
const LETTER: f64 = 7.25;
const LINE: usize = 18;
/// Around the text.
const MARGIN: usize = 16;
/// Above the text, where a window has its buttons.
const TITLE: usize = 30;

/// Draws every picture anew.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    for (path, picture) in drawn(workspace, &workspace.files()?) {
        let place = workspace.root.join(&path);
        let changed = fs::read_to_string(&place).ok().as_deref() != Some(picture.as_str());
        fs::write(&place, &picture)?;
        println!("{} {path}", if changed { "written  " } else { "unchanged" });
    }
    Ok(())
}

/// The path of each picture, and what belongs there.
pub(crate) fn drawn(workspace: &Workspace, files: &[File]) -> Vec<(String, String)> {
    let named = |folder| {
        let name = move |file: &'_ File| Some(file.path.strip_prefix(folder)?.strip_suffix(".txt")?.to_owned());
        files.iter().filter_map(move |file| Some((name(file)?, file)))
    };
    let shown = named(SCREENS).filter(|(name, _)| SHOWN.contains(&name.as_str()));
    let screens = named(FOLDER).chain(shown).map(|(name, file)| (draw(&name, &file.text), name));
    let rooms = (rooms::draw(&workspace.packages), "rooms".to_owned());
    screens.chain([rooms]).map(|(picture, name)| (format!("{FOLDER}{name}.svg"), picture)).collect()
}

fn draw(name: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let width = (longest as f64 * LETTER) as usize + 2 * MARGIN;
    let height = TITLE + lines.len() * LINE + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#161b22\"/>\n",
        escaped(&format!("the output of {name}"))
    );
    for (at, colour) in ["#f85149", "#d29922", "#3fb950"].iter().enumerate() {
        svg.push_str(&format!("<circle cx=\"{}\" cy=\"15\" r=\"5\" fill=\"{colour}\"/>\n", MARGIN + 4 + at * 18));
    }
    svg.push_str(
        "<g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"12\" \
         fill=\"#c9d1d9\">\n",
    );
    for (at, line) in lines.iter().enumerate() {
        draw_line(&mut svg, line, TITLE + (at + 1) * LINE - 5);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// A line; what stands behind two blanks has a place of its own, so that columns stay where they are in any font.
fn draw_line(svg: &mut String, line: &str, y: usize) {
    let style = style(line);
    for (column, part) in parts(line) {
        let x = MARGIN as f64 + column as f64 * LETTER;
        let colour = if column < 10 { style } else { "" };
        svg.push_str(&format!("<text x=\"{x:.1}\" y=\"{y}\"{colour}>{}</text>\n", escaped(part)));
    }
}

/// How the first columns of a line look: a prompt and its command, the mark of a row, the names of the columns.
fn style(line: &str) -> &'static str {
    match line.chars().next() {
        Some('$') => " fill=\"#58a6ff\"",
        Some('✓') => " fill=\"#3fb950\"",
        Some('✗') => " fill=\"#f85149\"",
        Some(' ') => " fill=\"#8b949e\"",
        _ => "",
    }
}

/// The parts of a line between two or more blanks, each with its column; a mark at the start is one of them.
fn parts(line: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut rest, mut column) = (line, 0);
    while !rest.is_empty() {
        let blank = rest.len() - rest.trim_start_matches(' ').len();
        column += blank;
        rest = rest.get(blank..).unwrap_or_default();
        let mark = rest.chars().next().filter(|first| "✓✗".contains(*first)).map(char::len_utf8);
        let end = mark.or_else(|| rest.find("  ")).unwrap_or(rest.len());
        let (part, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !part.is_empty() {
            parts.push((column, part));
        }
        column += part.chars().count();
        rest = after;
    }
    parts
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_where_they_are_and_nothing_is_lost() {
        assert_eq!(parts("✓ ok      calls  tcp"), [(0, "✓"), (2, "ok"), (10, "calls"), (17, "tcp")]);
        assert_eq!(parts("  result  item"), [(2, "result"), (10, "item")]);
        assert_eq!(parts("$ np demo"), [(0, "$ np demo")]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn a_picture_holds_the_text_and_no_mark_up_of_it() {
        let svg = draw("np", "$ a <b> & \"c\"\n✓ ok\n");
        assert!(svg.contains("$ a &lt;b&gt; &amp; &quot;c&quot;"), "{svg}");
        assert!(svg.contains("fill=\"#3fb950\">ok<"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 3);
    }

    /// The picture of the README is of a run with figures, and its rows are those that the tests of the program hold.
    #[test]
    fn the_picture_of_the_demo_has_the_rows_of_the_demo() -> Result<(), Failure> {
        let files = Workspace::open()?.files()?;
        let rows = |path: &str| -> Vec<String> {
            let text = files.iter().find(|file| file.path == path).map(|file| file.text.as_str()).unwrap_or_default();
            let rows = text.lines().filter(|line| line.starts_with('✓'));
            let figures = |part: &str| part.replace(|letter: char| letter == '#' || letter.is_ascii_digit(), "");
            rows.map(|row| parts(row).iter().take(4).map(|(_, part)| figures(part)).collect::<Vec<_>>().join(" "))
                .collect()
        };
        let stored = rows("docs/pictures/demo.txt");
        assert!(stored.len() > 20);
        assert_eq!(stored, rows("crates/np-cli/tests/screens/demo.txt"));
        Ok(())
    }

    #[test]
    fn the_pictures_of_the_documents_are_what_the_command_draws() -> Result<(), Failure> {
        let workspace = Workspace::open()?;
        let files = workspace.files()?;
        let drawn = drawn(&workspace, &files);
        assert_eq!(drawn.len(), 2 + SHOWN.len());
        for (path, picture) in drawn {
            let stored = files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
            assert!(stored == Some(picture.as_str()), "{path} is old: cargo xtask pictures");
        }
        Ok(())
    }
}
