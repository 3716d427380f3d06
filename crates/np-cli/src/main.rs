//! The program np: keys, certificates, a server, calls and pings, and a demonstration that checks itself.
//!
//! This crate owns the words of the command line: arguments, output, exit codes. It must never know how a connection
//! works; it speaks through the facade.

mod admission;
mod args;
mod bench;
mod call;
mod cert;
mod cluster;
mod columns;
mod command;
mod compress;
mod config;
mod connect;
mod counted;
mod demo;
mod describe;
mod descriptors;
mod doctor;
mod failure;
mod figures;
mod files;
mod first_use;
mod follow;
mod health;
mod inherited;
mod inspect;
mod key;
mod key_file;
mod key_log;
mod keygen;
mod load;
mod logging;
mod manager;
mod monitor;
mod output;
mod pages;
mod ping;
mod progress;
mod receive;
mod refusal;
mod screen;
mod send;
mod serve;
mod served;
mod signals;
mod span;
mod status;
mod stop;
mod streaming;
mod tls;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use np_facade::LogFormat;

use crate::args::Cli;
use crate::command::{CertCommand, Command, ConfigCommand, KeyCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::signals::Signals;

fn main() -> ExitCode {
    let parsed = describe::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return failure::of_arguments(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::local(format!("cannot start: {error}; check the limits of this user")).report(),
    };
    let format = match &cli.command {
        // What its arguments do not say its file may.
        Command::Serve(command) => command.log.format(),
        _ => Some(LogFormat::Text),
    };
    if let Some(format) = format {
        logging::start(cli.verbose, format);
    }
    let ended = runtime.block_on(run(cli));
    // A thread that still waits for a pipe or for standard input must not keep the program alive.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let (output, verbose) = (Output::new(cli.format()), cli.verbose);
    let mut signals = Signals::new()?;
    // A server and a ping end by their own rules when they are interrupted; everything else ends at once.
    match cli.command {
        Command::Serve(command) => serve::run(command, verbose, output, signals).await,
        Command::Ping(command) => ping::run(command, output, signals).await,
        Command::Bench(command) => bench::run(command, output, signals).await,
        Command::Cluster(command) => cluster::run(command, output, signals).await,
        Command::Keygen(command) => keygen::run(&command, output),
        Command::Key(KeyCommand::Show(command)) => until(&mut signals, key::show(command, output)).await,
        Command::Cert(CertCommand::Dev(command)) => cert::dev(command, output, &mut signals).await,
        Command::Config(ConfigCommand::Check(command)) => config::check(&command, output),
        Command::Config(ConfigCommand::Print(command)) => config::print(&command, output),
        Command::Send(command) => until(&mut signals, send::run(command, output)).await,
        Command::Health(command) => until(&mut signals, health::run(command, output)).await,
        Command::Status(command) => until(&mut signals, status::run(command, output)).await,
        Command::Call(command) => until(&mut signals, call::run(command, output)).await,
        Command::Doctor(command) => until(&mut signals, doctor::run(command, output)).await,
        Command::Inspect(command) => until(&mut signals, inspect::run(command, output)).await,
        Command::Completions(command) => pages::completions(&command),
        Command::Man(command) => pages::manual(&command, output),
        Command::Demo(command) => until(&mut signals, demo::run(command, output)).await,
    }
}

async fn until(signals: &mut Signals, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        ended = work => ended,
        () = signals.next() => Err(signals::interrupted()),
    }
}
