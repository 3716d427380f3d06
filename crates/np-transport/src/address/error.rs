//! Why a text is no address, shown with a caret under the character that is wrong.
//!
//! It must never hold a secret: keys pasted by mistake are masked before the text is kept.

use std::fmt;

use np_types::escape;

/// How many characters before and after the offending one are shown.
const WINDOW: usize = 100;

/// Why a text is no [`Address`](crate::Address), and where.
///
/// It keeps the text for [`explain`](Self::explain), with secret keys masked.
///
/// ```
/// use np_transport::Address;
/// let error = "tcp://localhost:99999".parse::<Address>().unwrap_err();
/// assert_eq!(error.at(), 16);
/// let lines = error.explain();
/// assert!(lines.contains("\n  tcp://localhost:99999\n                  ^"), "{lines}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    message: String,
    at: usize,
    /// The text around the fault, masked and escaped.
    shown: String,
    /// How many characters of `shown` stand before the fault.
    column: usize,
}

impl AddressError {
    pub(super) fn new(text: &str, at: usize, message: String) -> Self {
        let masked = masked(text);
        let fault = masked.iter().take_while(|(offset, _)| *offset < at).count();
        let start = fault.saturating_sub(WINDOW);
        let mut shown = String::from(if start > 0 { "…" } else { "" });
        let mut column = 0;
        for (index, (_, ch)) in masked.iter().enumerate().skip(start) {
            if index == fault {
                column = shown.chars().count();
            }
            if index > fault.saturating_add(WINDOW) {
                shown.push('…');
                break;
            }
            shown.push_str(&escape(ch.encode_utf8(&mut [0; 4]), 1));
        }
        if fault >= masked.len() {
            column = shown.chars().count();
        }
        Self { message, at, shown, column }
    }

    /// The byte offset of the offending character in the text; the text's length where something is missing at its end.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// What is wrong and what belongs there, without the text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Three lines: the message, the text, and a caret under the offending character. Ends without a line break.
    ///
    /// Safe for a terminal: secrets are masked, control characters escaped, texts above 200 characters cut.
    #[must_use]
    pub fn explain(&self) -> String {
        let pad = " ".repeat(self.column);
        format!("{}\n  {}\n  {pad}^", self.message, self.shown)
    }
}

impl fmt::Display for AddressError {
    /// One line: the message, the offset and the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, at, shown, .. } = self;
        write!(f, "{message} (at offset {at} of `{shown}`)")
    }
}

impl std::error::Error for AddressError {}

/// The characters with their offsets; those of a secret, or of what may be one, are stars.
fn masked(text: &str) -> Vec<(usize, char)> {
    // ASCII lower case keeps offsets: a bech32 text may be written in capitals.
    let lower = text.to_ascii_lowercase();
    let mut secret = Vec::new();
    for prefix in ["npsec1", "nppsk1", "npsign1"] {
        for (start, _) in lower.match_indices(prefix) {
            secret.push(start.saturating_add(prefix.len())..value_end(&lower, start));
        }
    }
    for (start, name) in lower.match_indices("key=") {
        let value = start.saturating_add(name.len());
        // What stands here and does not look public may be a secret with a typing error.
        let public = lower.get(value..).is_some_and(|v| v.starts_with("np1"));
        if !public {
            secret.push(value..value_end(&lower, value));
        }
    }
    text.char_indices()
        .map(|(at, ch)| {
            let hidden = secret.iter().any(|range| range.contains(&at));
            (at, if hidden { '*' } else { ch })
        })
        .collect()
}

fn value_end(text: &str, start: usize) -> usize {
    text.get(start..).and_then(|rest| rest.find(['&', ' '])).map_or(text.len(), |length| start.saturating_add(length))
}
