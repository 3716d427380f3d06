//! The top of the command line, and the arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use np_facade::{KeyFileMode, Pattern};

use crate::command::Command;
use crate::span::parse_bound;
use crate::tls::ClientTls;

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the other side answered with an error, or a row of the demo or of the doctor failed
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
    /// How results are printed.
    pub(crate) const fn format(&self) -> Format {
        match self.format {
            Format::Text if self.json => Format::Json,
            format => format,
        }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, and for pipes
    Text,
    /// For programs: one value a line, lists as arrays
    Json,
    /// For programs that read along: of lists, each item is a line of its own
    Ndjson,
}

/// Whether a key file's permissions matter.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct KeyMode {
    /// Accept a key file that others may read or replace
    #[arg(long)]
    danger_key_mode: bool,
}

impl KeyMode {
    /// As this says, or as a configuration does.
    pub(crate) const fn or(self, danger_key_mode: bool) -> Self {
        Self { danger_key_mode: self.danger_key_mode || danger_key_mode }
    }

    /// The mode that the facade is told.
    pub(crate) const fn get(self) -> KeyFileMode {
        if self.danger_key_mode { KeyFileMode::DangerAny } else { KeyFileMode::Checked }
    }
}

/// What every command that connects takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArgs {
    /// Where the server is, as it printed it: tcp://127.0.0.1:9000?key=np1..., tls://127.0.0.1:9443?pin=sha256:...
    #[arg(value_name = "ADDR")]
    pub(crate) address: String,

    /// The key file of this client; without it a fresh key pair is used
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,

    /// The file of a pre-shared key that the server holds too; without ?key= it alone proves both sides
    #[arg(long, value_name = "FILE")]
    pub(crate) psk: Option<PathBuf>,

    /// By what name the server finds the pre-shared key; `np keygen --psk` printed the default; '' for the server to find
    /// it by this client's key
    #[arg(long, value_name = "ID", requires = "psk")]
    pub(crate) psk_id: Option<String>,

    /// The handshake: xx by default; with --psk xxpsk3, or nnpsk0 where the address has no ?key=
    #[arg(long, value_enum, value_name = "PATTERN", ignore_case = true)]
    pub(crate) pattern: Option<PatternName>,

    /// How long all of it may take: connecting, the handshake, the answer (250ms, 5s, 2m)
    #[arg(long, value_name = "TIME", value_parser = parse_bound, default_value = "5s")]
    pub(crate) timeout: Duration,

    /// How to trust a server whose address carries no key
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "danger_trust_anyone")]
    pub(crate) trust: Option<Trust>,

    /// Where --trust first-use keeps keys; known_peers in this user's np configuration folder by default
    #[arg(long, value_name = "FILE", requires = "trust")]
    pub(crate) known_peers: Option<PathBuf>,

    /// Talk to whoever answers: nothing tells the server from an impostor
    #[arg(long)]
    pub(crate) danger_trust_anyone: bool,

    /// In ?mode=local, and for pipe: the user that the server must run as (a uid, a SID); by default the one that runs this
    #[arg(long, value_name = "ID")]
    pub(crate) local_user: Option<String>,

    #[command(flatten)]
    pub(crate) key_mode: KeyMode,

    #[command(flatten)]
    pub(crate) tls: ClientTls,
}

/// Ways to trust a server beside the keys of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trust {
    /// Remember the key that is seen first, and refuse another from then on
    FirstUse,
}

/// The handshake patterns by the names that arguments take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PatternName {
    /// Both sides prove a key that the other learns on the way
    Xx,
    /// As xx, half a round trip shorter; needs ?key=
    Ik,
    /// The client shows no key; needs ?key=
    Nk,
    /// Both sides know the other's key before; the client's travels in clear; needs ?key=
    Kk,
    /// As xx, and both sides prove a pre-shared key
    Xxpsk3,
    /// As ik, and both sides prove a pre-shared key; needs ?key=
    Ikpsk2,
    /// Both sides prove a pre-shared key and nothing else
    Nnpsk0,
    /// Nobody proves anything: open to whoever stands in between
    DangerNn,
}

impl PatternName {
    /// The pattern that the facade is told.
    pub(crate) const fn get(self) -> Pattern {
        match self {
            Self::Xx => Pattern::XX,
            Self::Ik => Pattern::IK,
            Self::Nk => Pattern::NK,
            Self::Kk => Pattern::KK,
            Self::Xxpsk3 => Pattern::XXpsk3,
            Self::Ikpsk2 => Pattern::IKpsk2,
            Self::Nnpsk0 => Pattern::NNpsk0,
            Self::DangerNn => Pattern::DangerNN,
        }
    }
}
