//! `np cluster`: a node of a cluster, and questions to one. Must never know what a cluster keeps, nor how it tells it.

pub(crate) mod ask;
pub(crate) mod run;
mod table;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Output;
use crate::signals::{Signals, interrupted};

/// The commands about clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Run a node of a cluster, until a signal ends it
    Run(run::Run),
    /// Set a key of the node at an address
    Set(ask::Set),
    /// Print what each node has for a key, in lines of `node value`
    Get(ask::Get),
    /// Print the members, as the node at an address sees them
    Members(ask::Members),
    /// Print the members, and again whenever something about them changes
    Watch(ask::Members),
}

/// Runs one of them.
pub(crate) async fn run(command: ClusterCommand, output: Output, mut signals: Signals) -> Result<(), Failure> {
    match command {
        ClusterCommand::Run(command) => run::run(command, output, signals).await,
        ClusterCommand::Set(command) => ask::set(command, output, &mut signals).await,
        ClusterCommand::Get(command) => ask::get(command, output, &mut signals).await,
        ClusterCommand::Members(command) => ask::members(command, output, &mut signals).await,
        ClusterCommand::Watch(command) => ask::watch(command, output, &mut signals).await,
    }
}

/// Does work until it is done, or a signal comes.
async fn until<T>(signals: &mut Signals, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = signals.next() => Err(interrupted()),
    }
}
