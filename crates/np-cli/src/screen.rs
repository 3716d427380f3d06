//! How wide the screen is, and lines that fit it. Must never know what a line says.

use std::io;

use terminal_size::{Height, Width};

/// The narrowest screen that is written for; on a narrower one the terminal breaks lines itself.
const NARROWEST: usize = 40;

/// The columns of the screen that stdout is: what COLUMNS says, else what the terminal does. None where it is no terminal:
/// whoever reads a pipe wants whole lines.
pub(crate) fn width() -> Option<usize> {
    columns(|| terminal_size::terminal_size_of(io::stdout()))
}

/// The same of stderr, where lines stand that take each other's place.
pub(crate) fn width_of_stderr() -> Option<usize> {
    columns(|| terminal_size::terminal_size_of(io::stderr()))
}

fn columns(seen: impl FnOnce() -> Option<(Width, Height)>) -> Option<usize> {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || seen().map(|(width, _)| usize::from(width.0));
    told.or_else(seen).filter(|columns| *columns > 0).map(|columns: usize| columns.max(NARROWEST))
}

/// A line that takes the place of the one before: what is done in words and as a bar, and what else there is to say. The bar
/// is as long as there is room, since a line that goes on in the next one cannot be replaced.
pub(crate) fn with_bar(before: &str, share: f64, after: &str, width: Option<usize>) -> String {
    const LONGEST: usize = 24;
    const SHORTEST: usize = 4;
    // Its brackets, and the spaces around them.
    let others = before.chars().count() + after.chars().count() + 4;
    let length = width.map_or(LONGEST, |width| width.saturating_sub(others).min(LONGEST));
    if length < SHORTEST {
        return format!("{before} {after}");
    }
    let full = (share * length as f64) as usize;
    let bar: String = (0..length).map(|at| if at < full { '#' } else { '.' }).collect();
    format!("{before} [{bar}] {after}")
}

/// Breaks what stands behind the first `indent` columns of a line at spaces, so that no line is longer than `width`. The
/// lines that follow begin under it. A word that is too long for a line gets one of its own, and is not broken: it may be
/// something to copy.
pub(crate) fn fit(line: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| line.chars().count() > *width && *width > indent) else {
        return line.to_owned();
    };
    let (head, rest) = line.char_indices().nth(indent).map_or((line, ""), |(at, _)| line.split_at(at));
    let mut out = head.to_owned();
    let mut used = indent;
    for word in rest.split(' ') {
        let length = word.chars().count();
        if used > indent && used + 1 + length > width {
            out = format!("{}\n{:indent$}", out.trim_end(), "");
            used = indent;
        } else if used > indent {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{fit, with_bar};

    #[test]
    fn a_line_that_is_too_long_goes_on_under_its_last_column() {
        let line = "name   one two three four";
        assert_eq!(fit(line, 7, None), line);
        assert_eq!(fit(line, 7, Some(25)), line);
        assert_eq!(fit(line, 7, Some(24)), "name   one two three\n       four");
        assert_eq!(fit(line, 7, Some(14)), "name   one two\n       three\n       four");
    }

    #[test]
    fn a_bar_is_as_long_as_there_is_room() {
        let bar = |width| with_bar("half", 0.5, "of it", width);
        assert_eq!(bar(None), "half [############............] of it");
        assert_eq!(bar(Some(37)), bar(None));
        assert_eq!(bar(Some(36)), "half [###########............] of it");
        assert_eq!(bar(Some(17)), "half [##..] of it");
        assert_eq!(bar(Some(16)), "half of it");
    }

    #[test]
    fn a_word_without_room_is_kept_whole() {
        assert_eq!(fit("ab cdefghijkl m", 3, Some(8)), "ab cdefghijkl\n   m");
        // There is no room behind the indent at all: the terminal breaks the line.
        assert_eq!(fit("abcdefgh ij", 9, Some(5)), "abcdefgh ij");
        assert_eq!(fit("ä ö ü ß", 2, Some(5)), "ä ö ü\n  ß");
    }
}
