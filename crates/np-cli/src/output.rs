//! Where text goes: results to stdout, everything else to stderr, colour to terminals alone.

use std::io::{self, Write as _};
use std::sync::Once;

use np_facade::checks_mode;
use serde::Serialize;

use crate::args::Format;
use crate::failure::Failure;
use crate::logging;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Results in a format.
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether results are JSON, a line each or all in one.
    pub(crate) const fn is_json(self) -> bool {
        !matches!(self.format, Format::Text)
    }

    /// Whether the items of a list are a line of JSON each.
    pub(crate) const fn is_ndjson(self) -> bool {
        matches!(self.format, Format::Ndjson)
    }

    /// Prints one line at once: `text`, or `value` as JSON.
    pub(crate) fn line(self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        if self.is_json() { self.json(value) } else { write(format!("{text}\n").as_bytes()) }
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text =
            serde_json::to_vec(value).map_err(|error| Failure::local(format!("cannot write JSON: {error}")))?;
        text.push(b'\n');
        write(&text)
    }

    /// Prints a list: as one array, or a line for each item.
    pub(crate) fn list<T: Serialize>(self, items: &[T]) -> Result<(), Failure> {
        if self.is_ndjson() { items.iter().try_for_each(|item| self.json(item)) } else { self.json(&items) }
    }
}

/// Writes bytes to stdout, now. A reader that went away is no failure: it has read what it wanted.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::local(format!("cannot write to stdout: {error}; check the disk that it leads to")))
        }
        _ => Ok(()),
    }
}

/// Tells the user something that is neither a result nor a failure.
pub(crate) fn note(text: &str) {
    if logging::takes_note(text) {
        return;
    }
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "np: {text}");
}

/// Tells once in a run that key files are not looked at as they are elsewhere, where that is so.
pub(crate) fn note_unchecked_modes() {
    static TOLD: Once = Once::new();
    if !checks_mode() {
        TOLD.call_once(|| note("note: permissions of key files are not checked on this system; see to them yourself"));
    }
}

/// Whether a stream of this program takes colours: NO_COLOR goes before CLICOLOR_FORCE, and both before what the terminal is.
pub(crate) fn takes_colour(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let is_forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    !is_set("NO_COLOR") && (is_forced || (is_terminal && !is_dumb))
}
