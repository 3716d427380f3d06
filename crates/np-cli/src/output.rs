//! Where text goes: results to stdout, everything else to stderr, colour to terminals alone.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use np_facade::LogLevel;
use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::failure::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Results as JSON, or for people and pipes.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints one line at once: `text`, or `value` as JSON.
    pub(crate) fn line(self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        if self.json { self.json(value) } else { write(format!("{text}\n").as_bytes()) }
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text =
            serde_json::to_vec(value).map_err(|error| Failure::local(format!("cannot write JSON: {error}")))?;
        text.push(b'\n');
        write(&text)
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
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "np: {text}");
}

/// Whether a stream of this program takes colours.
pub(crate) fn takes_colour(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    is_terminal && !is_set("NO_COLOR") && !is_dumb
}

/// How much is logged, to change it while the program runs.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sends the log to stderr: nothing, and more with each `-v`; a server's configuration says more ([`set_level`]).
pub(crate) fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let (level, handle) = reload::Layer::new(level);
    // There is one log, which was set up once.
    let _ = LEVEL.set(handle);
    let ansi = takes_colour(io::stderr().is_terminal());
    tracing_subscriber::registry().with(level).with(fmt::layer().with_ansi(ansi).with_writer(io::stderr)).init();
}

/// Sets how much is logged from now on.
pub(crate) fn set_level(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    if let Some(handle) = LEVEL.get() {
        // It fails where the log is gone, and then there is nothing to set.
        let _ = handle.reload(level);
    }
}
