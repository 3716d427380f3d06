//! What differs from run to run, taken out of a screen.

use crate::support::Folder;

/// Figures differ from run to run; what stands around them does not.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::new();
    for ch in text.chars() {
        match ch {
            '0'..='9' | '.' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

/// The same, of tables whose columns are as wide as their figures. A busy machine has times and rates in other units.
pub(super) fn squeezed(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().map(unit).collect::<Vec<_>>().join(" ");
    masked(text).lines().map(words).map(|line| format!("{line}\n")).collect()
}

fn unit(word: &str) -> String {
    let bare = word.trim_end_matches([',', ';', ')']);
    let behind = word.strip_prefix(bare).unwrap_or_default();
    let named = match bare {
        "µs" | "ms" | "s" => "TIME",
        "B/s" | "KiB/s" | "MiB/s" | "GiB/s" => "RATE",
        other => other,
    };
    format!("{named}{behind}")
}

/// What was printed about files of a folder, at ports of this machine, with keys made for it. Everything else stays.
pub(super) fn shown(text: &str, files: &Folder) -> String {
    let text = text.replace(files.arg("").trim_end_matches(['/', '\\']), "DIR");
    let text = text.replace("np.exe", "np").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let (mut out, mut word) = (String::new(), String::new());
    // The end of the text ends its last word.
    for ch in text.chars().map(Some).chain([None]) {
        match ch {
            Some(ch) if ch.is_ascii_alphanumeric() => word.push(ch),
            end => {
                let veiled = if end == Some('…') { cut(&word) } else { veiled(&word, &out) };
                out.push_str(&veiled);
                out.extend(end);
                word.clear();
            }
        }
    }
    out
}

/// What stands before the middle that was left out.
fn cut(word: &str) -> String {
    match word.strip_prefix("np1") {
        Some(rest) => format!("np1{}", "*".repeat(rest.len())),
        None if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => "*".repeat(word.len()),
        None => word.to_owned(),
    }
}

/// A word that stands behind others: a key, a digest, a port, or none of them.
fn veiled(word: &str, before: &str) -> String {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_cut = before.ends_with('…') && !word.is_empty();
    match word.split_once('1') {
        Some((kind, rest)) if kind.starts_with("np") && rest.len() >= 50 => format!("{kind}1KEY"),
        _ if is_cut => "*".repeat(word.len()),
        _ if word.len() >= 16 && is_hex(word) => "HEX".to_owned(),
        _ if before.ends_with("127.0.0.1:") && word.len() == 5 => "PORT".to_owned(),
        _ => word.to_owned(),
    }
}
