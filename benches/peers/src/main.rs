//! np beside its peers: the same work in turns, client and server in processes of their own.
//!
//! This program owns the comparison: the peers, the workloads, the rounds and the table. Nothing of np depends on it,
//! and nobody who builds np builds it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal: printing is what it is for")]

mod certificate;
mod document;
mod drive;
mod hand;
mod meter;
mod peer;
mod peers;
mod picture;
mod report;
mod rounds;
mod serve;
mod summary;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use workload::Workload;

/// What anything here may fail with: a sentence for the person in front of the terminal.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// np beside its peers.
#[derive(Debug, Parser)]
#[command(name = "np-peers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the comparison.
    Run(rounds::Options),
    /// One workload against one peer, once: prints a line of JSON.
    Drive {
        /// The peer.
        #[arg(long)]
        peer: String,
        /// The workload.
        #[arg(long, ignore_case = true)]
        workload: Workload,
        /// Seconds that are measured.
        #[arg(long, default_value_t = 2.0)]
        secs: f64,
        /// Connections of the workload F.
        #[arg(long, default_value_t = workload::IDLE)]
        idle: usize,
        /// The round, to be told again.
        #[arg(long, default_value_t = 1)]
        round: usize,
    },
    /// A few calls of each size to one peer: whether it works.
    Check {
        /// The peer.
        #[arg(long)]
        peer: String,
    },
    /// One peer's server, until its input ends; prints its place.
    Serve {
        /// The peer.
        #[arg(long)]
        peer: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("peers: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    // Peers that take no provider as an argument take the process's.
    let _ = rustls::crypto::CryptoProvider::install_default((*certificate::provider()).clone());
    meter::open_many()?;
    match command {
        Command::Run(options) => rounds::run(&options),
        Command::Drive { peer, workload, secs, idle, round } => {
            let span = Duration::try_from_secs_f64(secs)?;
            let report = drive::run(drive::Task { peer, workload, span, idle, round }).await?;
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
        Command::Check { peer } => drive::check(&peer).await,
        Command::Serve { peer } => serve::run(&peer).await,
    }
}
