//! The program np: keys, a server, calls and pings, and a demonstration that checks itself.
//!
//! This crate owns the words of the command line: arguments, output, exit codes. It must never know how a connection
//! works; it speaks through the facade.

mod args;
mod call;
mod command;
mod connect;
mod demo;
mod failure;
mod key;
mod keygen;
mod output;
mod ping;
mod serve;
mod span;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::command::{Command, KeyCommand};
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::of_arguments(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::local(format!("cannot start: {error}; check the limits of this user")).report(),
    };
    output::log_to_stderr(cli.verbose, matches!(cli.command, Command::Serve(_)));
    let ended = runtime.block_on(run(cli));
    // A thread that still waits for standard input must not keep the program alive.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(cli.is_json());
    // A server ends by its own rules when it is interrupted; everything else ends at once.
    if let Command::Serve(command) = cli.command {
        return serve::run(command, output).await;
    }
    tokio::select! {
        ended = run_to_end(cli.command, output) => ended,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted("interrupted: stopped before the end")),
    }
}

async fn run_to_end(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Keygen(command) => keygen::run(&command, output),
        Command::Key(KeyCommand::Show(command)) => key::show(&command, output),
        Command::Serve(command) => serve::run(command, output).await,
        Command::Call(command) => call::run(command, output).await,
        Command::Ping(command) => ping::run(command, output).await,
        Command::Demo(command) => demo::run(command, output).await,
    }
}
