//! Any text as an allow list: what is allowed stands in it, the order of its lines does not matter, and an error is one
//! short line that can be shown. Owns this rule alone; it must never open a file.

use np_trust::AllowList;
use np_types::PublicKey;

/// Gives whether the bytes are a list that allows somebody.
pub(crate) fn target(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match AllowList::parse(text) {
        Ok(list) => {
            let keys: Vec<PublicKey> = text.lines().filter_map(first_key).collect();
            assert!(list.len() <= keys.len(), "{} keys out of {}", list.len(), keys.len());
            let allowed = keys.iter().filter(|key| list.contains(key)).count();
            assert!(allowed >= list.len(), "a key is allowed that stands nowhere");
            let lines: Vec<&str> = text.lines().rev().collect();
            let reversed = AllowList::parse(&lines.join("\n")).expect("lines in another order are a list too");
            assert_eq!(reversed.len(), list.len());
            assert!(keys.iter().all(|key| list.contains(key) == reversed.contains(key)));
            !list.is_empty()
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.is_empty() && shown.len() < 1_024, "{} bytes about an error", shown.len());
            assert!(!shown.chars().any(char::is_control), "a control character reaches the terminal: {shown:?}");
            false
        }
    }
}

/// The key at a line's start, if there is one.
fn first_key(line: &str) -> Option<PublicKey> {
    line.split_whitespace().next()?.parse().ok()
}
