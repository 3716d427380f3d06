//! Where the log goes and what it looks like: lines of text or of JSON on stderr.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use np_facade::{LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::output::takes_colour;

/// How a server logs.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct LogArgs {
    /// How the log on stderr is written, text by default; as JSON each line is an object, notes of np included
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,

    /// How much is logged; what the configuration says by default, which is warn without one, and -v is one step more each
    #[arg(long, value_enum, value_name = "LEVEL", conflicts_with = "verbose")]
    log_level: Option<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Nothing
    Off,
    /// What needs somebody
    Error,
    /// Refusals and limits that were reached, too
    Warn,
    /// Who comes and goes, too
    Info,
    /// A span for each connection and call, too
    Debug,
    /// Everything
    Trace,
}

impl LogArgs {
    /// How lines are written, where the arguments say it.
    pub(crate) fn format(self) -> Option<LogFormat> {
        self.log_format.map(|format| match format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        })
    }

    /// The level, where the arguments say one.
    pub(crate) fn level(self) -> Option<LogLevel> {
        self.log_level.map(|level| match level {
            Level::Off => LogLevel::Off,
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
            Level::Trace => LogLevel::Trace,
        })
    }
}

/// Whether notes are lines of the log.
static NOTES: AtomicBool = AtomicBool::new(false);

/// How much is logged, to change it while the program runs.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Begins to log: nothing, and more with each `-v`; a server's settings say more ([`set_level`]).
pub(crate) fn start(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let (level, handle) = reload::Layer::new(level);
    // There is one log, which was set up once.
    let _ = LEVEL.set(handle);
    let log = tracing_subscriber::registry().with(level);
    if format == LogFormat::Json {
        NOTES.store(true, Ordering::Relaxed);
        let lines = fmt::layer().json().flatten_event(true).with_span_list(false);
        log.with(lines.with_writer(io::stderr)).init();
    } else {
        let ansi = takes_colour(io::stderr().is_terminal());
        log.with(fmt::layer().with_ansi(ansi).with_writer(io::stderr)).init();
    }
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

/// Writes a note into the log, where notes belong there.
pub(crate) fn takes_note(text: &str) -> bool {
    let takes = NOTES.load(Ordering::Relaxed);
    if takes {
        tracing::warn!(target: "np::note", "{text}");
    }
    takes
}
