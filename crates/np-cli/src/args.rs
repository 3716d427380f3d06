//! The top of the command line, and the arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use np_facade::KeyFileMode;

use crate::command::Command;
use crate::span::parse_bound;

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the other side answered with an error, or a row of the demo failed
    2  usage: arguments, addresses, keys, key files, an output that exists
    3  no connection, or it was lost
    4  authentication: refused, or closed before the server's first record
    5  a deadline passed after the connection was made, a silent handshake included
    6  a limit was reached
    7  this machine failed: a port in use, a disk that is full
  130  interrupted";

/// Secure messages and calls between services, with keys instead of a PKI.
#[derive(Debug, Parser)]
#[command(name = "np", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// How results are printed
    #[arg(short = 'o', long = "format", global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,

    /// Print results as JSON; the same as -o json
    #[arg(long, global = true)]
    json: bool,

    /// Log to stderr what happens; repeat for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json || self.format == Format::Json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, and for pipes
    Text,
    /// For programs
    Json,
}

/// Whether a key file's permissions matter.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct KeyMode {
    /// Accept a key file that others may read or replace
    #[arg(long)]
    danger_key_mode: bool,
}

impl KeyMode {
    /// The mode that the facade is told.
    pub(crate) const fn get(self) -> KeyFileMode {
        if self.danger_key_mode { KeyFileMode::DangerAny } else { KeyFileMode::Checked }
    }
}

/// What every command that connects takes.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Where the server is, as it printed it: tcp://127.0.0.1:9000?key=np1...
    #[arg(value_name = "ADDR")]
    pub(crate) address: String,

    /// The key file of this client; without it a fresh key pair is used
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,

    /// How long all of it may take: connecting, the handshake, the answer (250ms, 5s, 2m)
    #[arg(long, value_name = "TIME", value_parser = parse_bound, default_value = "5s")]
    pub(crate) timeout: Duration,

    /// How to trust a server whose address carries no key
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "danger_trust_anyone")]
    pub(crate) trust: Option<Trust>,

    /// Talk to whoever answers: nothing tells the server from an impostor
    #[arg(long)]
    pub(crate) danger_trust_anyone: bool,

    #[command(flatten)]
    pub(crate) key_mode: KeyMode,
}

/// Ways to trust a server beside the keys of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trust {
    /// Remember the key that is seen first (not supported in this build)
    FirstUse,
}
