//! Escaping of text that a peer chose, before it meets a terminal or a log.

use std::fmt::Write as _;
use std::path::Path;

/// The longest name that systems take.
const MAX_PATH: usize = 4_096;

/// Returns `text` with every control character, backslash and non-printing code point escaped, cut to `max` characters.
///
/// A peer's text may hold terminal escape sequences or line breaks that forge a log line; what this function returns
/// holds neither. Text that was cut ends in `…`.
///
/// ```
/// assert_eq!(np_types::escape("ok\u{1b}[2J\n", 80), "ok\\u{1b}[2J\\n");
/// assert_eq!(np_types::escape("abcdef", 3), "abc…");
/// ```
#[must_use]
pub fn escape(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (count, ch) in text.chars().enumerate() {
        if count == max {
            out.push('…');
            break;
        }
        push_escaped(&mut out, ch);
    }
    out
}

/// Returns the name of a file as [`escape`] does, for a message: cut to 4,096 characters. Where backslashes separate folders
/// each of them stands once, so that the name can be read and used; there alone a name may look like one with an escape.
///
/// ```
/// # use std::path::Path;
/// assert_eq!(np_types::escape_path(Path::new("keys/server\u{7}.key")), "keys/server\\u{7}.key");
/// ```
#[must_use]
pub fn escape_path(path: &Path) -> String {
    let text = escape(&path.to_string_lossy(), MAX_PATH);
    if std::path::MAIN_SEPARATOR == '\\' { text.replace(r"\\", r"\") } else { text }
}

fn push_escaped(out: &mut String, ch: char) {
    match ch {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\\' => out.push_str("\\\\"),
        ch if ch.is_control() || reorders_text(ch) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(ch));
        }
        ch => out.push(ch),
    }
}

/// Directional and zero-width marks make a line read differently from what it holds.
fn reorders_text(ch: char) -> bool {
    matches!(u32::from(ch), 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_that_moves_a_cursor_survives() {
        let nasty: String = (0u32..0x3000).filter_map(char::from_u32).collect();
        let out = escape(&nasty, usize::MAX);
        assert!(out.chars().all(|ch| !ch.is_control() && ch != '\u{202e}'));
    }
}
