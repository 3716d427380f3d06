//! Reading of small files, their comments, and paths in texts. Must never know what a file holds.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// What reading a bounded file gave.
pub(crate) enum Content {
    /// All of it; wiped when dropped.
    Text(Zeroizing<Vec<u8>>),
    /// It holds more than was asked for.
    TooLarge,
}

/// Reads at most `max` bytes, whatever the file's length claims to be.
pub(crate) fn read_bounded(file: &File, max: u64) -> io::Result<Content> {
    let known = file.metadata()?.len();
    if known > max {
        return Ok(Content::TooLarge);
    }
    // Room for everything at once where it is needed: a vector that grows leaves its old bytes behind unwiped.
    let room = if known == 0 { max } else { known };
    let room = usize::try_from(room).unwrap_or(0).saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > max {
        return Ok(Content::TooLarge);
    }
    Ok(Content::Text(bytes))
}

/// A path as text for a message. Kept as it is, to be copied into a command, unless it could move a cursor.
pub(crate) fn shown(path: &Path) -> String {
    harmless(&path.display().to_string())
}

/// A text of this side's own, kept as it is unless it could move a cursor.
pub(crate) fn harmless(text: &str) -> String {
    if text.chars().any(char::is_control) { np_types::escape(text, usize::MAX) } else { text.to_owned() }
}

/// A line up to its comment, which a `#` begins at the line's start or after white space.
pub(crate) fn without_comment(line: &str) -> &str {
    let starts = |at: usize| {
        let before = line.get(..at).unwrap_or_default();
        before.chars().next_back().is_none_or(char::is_whitespace)
    };
    let comment = line.match_indices('#').find(|(at, _)| starts(*at));
    comment.map_or(line, |(at, _)| line.get(..at).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::{Content, read_bounded, shown};

    #[test]
    fn a_file_is_read_up_to_its_bound_and_refused_past_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (length, fits) in [(0usize, true), (10, true), (11, false), (5_000, false)] {
            fs::write(&path, vec![b'x'; length]).unwrap();
            match read_bounded(&File::open(&path).unwrap(), 10).unwrap() {
                Content::Text(bytes) => assert!(fits && bytes.len() == length, "{length}"),
                Content::TooLarge => assert!(!fits, "{length}"),
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_never_ends_is_refused_though_its_length_is_zero() {
        let file = File::open("/dev/zero").unwrap();
        assert!(matches!(read_bounded(&file, 1_000).unwrap(), Content::TooLarge));
    }

    #[test]
    fn a_path_moves_no_cursor() {
        assert_eq!(shown(Path::new("a b/c.key")), "a b/c.key");
        assert_eq!(shown(Path::new("a\u{1b}[2J")), "a\\u{1b}[2J");
    }
}
