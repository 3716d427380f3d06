//! Failures as the user meets them: one line that says what failed, why and what to do next, and an exit code.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use np_facade::{AddressError, ConfigError, Error, ErrorKind};

use crate::key_file;

/// The exit code of a program that was interrupted.
const INTERRUPTED: u8 = 130;
/// The fewest characters behind a secret's prefix that are taken for a secret, and masked.
const SECRET_LENGTH: usize = 16;

/// Why the program ends without having done what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// One line: `<what failed>: <why>; <next step>`, and behind it the stable code, if there is one.
    line: String,
    /// Lines that point into an address.
    pointer: Option<String>,
    /// The stable code of the connection's end, where that is what failed.
    stable: Option<&'static str>,
}

impl Failure {
    /// A failure of a kind.
    pub(crate) fn new(kind: ErrorKind, line: impl Into<String>) -> Self {
        Self { code: kind.exit_code(), line: line.into(), pointer: None, stable: None }
    }

    /// An argument, a key or a file that cannot be used.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, line)
    }

    /// This machine did not do what it should.
    pub(crate) fn local(line: impl Into<String>) -> Self {
        Self::new(ErrorKind::Local, line)
    }

    /// The user, or the system, asked the program to end.
    pub(crate) fn interrupted(line: impl Into<String>) -> Self {
        Self { code: INTERRUPTED, line: line.into(), pointer: None, stable: None }
    }

    /// Adds the stable code of a connection's end: `NP-TRUNCATED` and the like.
    pub(crate) const fn coded(mut self, stable: &'static str) -> Self {
        self.stable = Some(stable);
        self
    }

    /// An address that is not one; the lines below point at the character.
    pub(crate) fn address(what: &str, error: &AddressError) -> Self {
        let explained = error.explain();
        let pointer = explained.split_once('\n').map(|(_, pointer)| pointer.to_owned());
        // The error shows the text with its secrets masked and its control characters escaped.
        let shown = pointer.as_deref().and_then(|pointer| pointer.lines().next()).unwrap_or_default().trim();
        let line = format!("{what} `{shown}`: {}; correct it where the caret points", error.message());
        Self { pointer, ..Self::usage(line) }
    }

    /// Settings that cannot be used; where there are several, each has a line below.
    pub(crate) fn config(error: &ConfigError) -> Self {
        const NEXT: &str = "`np config print --defaults` shows every setting";
        match error.problems() {
            [one] => Self::usage(format!("{one}; {NEXT}")),
            all => {
                let lines: Vec<String> = all.iter().map(|one| format!("  {}", one_line(&one.to_string()))).collect();
                let line = format!("configuration: {} mistakes, all of them below; {NEXT}", all.len());
                Self { pointer: Some(lines.join("\n")), ..Self::usage(line) }
            }
        }
    }

    /// The same failure, with words before it.
    pub(crate) fn prefixed(self, words: &str) -> Self {
        Self { line: format!("{words}{}", self.line), ..self }
    }

    /// The line, and those below it.
    pub(crate) fn text(&self) -> String {
        let below = self.pointer.as_deref().map(|pointer| format!("\n{pointer}")).unwrap_or_default();
        format!("{}{below}", one_line(&self.line))
    }

    /// What failed, and why.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Any failure of the facade, `what` being what was tried.
    pub(crate) fn of(what: &str, error: Error) -> Self {
        match error {
            Error::Address(error) => Self::address(what, &error),
            Error::KeyFile(error) => key_file::refused(error),
            Error::Config(error) => Self::config(&error),
            other => Self::new(other.kind(), format!("{what}: {other}")),
        }
    }

    /// Writes the failure to stderr and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let code = self.stable.map(|code| format!(" [{code}]")).unwrap_or_default();
        let mut text = format!("np: {}{code}\n", one_line(&self.line));
        if let Some(pointer) = &self.pointer {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{pointer}");
        }
        // Nobody is left to tell when stderr is gone.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

/// Reports what clap says about the arguments: help and version as they are, a mistake in one line.
pub(crate) fn of_arguments(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away has read enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = match said.as_slice() {
        // Without any argument clap shows its help in place of an error.
        _ if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".to_owned()
        }
        said => said.join(" ").trim_start_matches("error: ").to_owned(),
    };
    Failure::usage(format!("arguments: {line}; `np help` and `np help COMMAND` show what is taken")).report()
}

/// A line that moves no cursor and holds no secret key, whatever an argument or a peer put into it.
fn one_line(text: &str) -> String {
    let plain = text.chars().fold(String::new(), |mut line, ch| {
        match ch {
            '\n' => line.push(' '),
            ch if ch.is_control() => line.extend(ch.escape_default()),
            ch => line.push(ch),
        }
        line
    });
    mask_secrets(&plain)
}

/// Stars out what follows the prefix of a secret key.
fn mask_secrets(text: &str) -> String {
    // ASCII lower case keeps offsets: a key may be written in capitals.
    let lower = text.to_ascii_lowercase();
    let mut out = String::new();
    let mut done = 0;
    let starts = ["npsec1", "nppsk1", "npsign1"].iter().flat_map(|prefix| lower.match_indices(prefix));
    let mut starts: Vec<(usize, &str)> = starts.collect();
    starts.sort_unstable();
    for (start, prefix) in starts {
        let from = start.saturating_add(prefix.len());
        let secret = lower.get(from..).unwrap_or_default().bytes().take_while(u8::is_ascii_alphanumeric).count();
        if from < done || secret < SECRET_LENGTH {
            continue;
        }
        out.push_str(text.get(done..from).unwrap_or_default());
        out.push_str("***");
        done = from.saturating_add(secret);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use np_facade::SecretKey;

    use super::{mask_secrets, one_line};

    #[test]
    fn a_secret_never_reaches_a_line() {
        let secret = SecretKey::from_bytes([9; 32]).to_text();
        for text in [format!("key file {}: missing", *secret), format!("x{0}{0} {0}", *secret), secret.to_uppercase()] {
            let masked = mask_secrets(&text).to_lowercase();
            assert!(masked.contains("npsec1***"), "{masked}");
            assert!(!masked.contains(&secret[6..26]), "{masked}");
        }
        assert_eq!(mask_secrets("key file npsec1.key: ä missing"), "key file npsec1.key: ä missing");
    }

    #[test]
    fn a_line_is_one_and_moves_no_cursor() {
        assert_eq!(one_line("a\nb\u{1b}[2J\r"), "a b\\u{1b}[2J\\r");
    }
}
