//! What the help of each command says at length: the description beside its arguments. In the list of commands a line of
//! `command.rs` stands for it, and would in the command's own help too. Must never know what a command does.

use clap::{Args, Command, CommandFactory as _};

use crate::args::Cli;
use crate::cluster::{ask, run};
use crate::{bench, call, cert, config, demo, doctor, health, inspect, key, keygen, pages, ping, send, serve, status};

/// The whole command line, each command with its description.
pub(crate) fn command() -> Command {
    let np = Cli::command();
    let np = at_length::<keygen::Keygen>(np, &["keygen"]);
    let np = at_length::<key::Show>(np, &["key", "show"]);
    let np = at_length::<cert::Dev>(np, &["cert", "dev"]);
    let np = at_length::<config::Check>(np, &["config", "check"]);
    let np = at_length::<config::Print>(np, &["config", "print"]);
    let np = at_length::<serve::Serve>(np, &["serve"]);
    let np = at_length::<call::CallCommand>(np, &["call"]);
    let np = at_length::<send::Send>(np, &["send"]);
    let np = at_length::<ping::Ping>(np, &["ping"]);
    let np = at_length::<health::HealthCommand>(np, &["health"]);
    let np = at_length::<status::StatusCommand>(np, &["status"]);
    let np = at_length::<run::Run>(np, &["cluster", "run"]);
    let np = at_length::<ask::Set>(np, &["cluster", "set"]);
    let np = at_length::<ask::Get>(np, &["cluster", "get"]);
    let np = at_length::<ask::Members>(np, &["cluster", "members"]);
    let np = at_length::<ask::Members>(np, &["cluster", "watch"]);
    let np = at_length::<bench::Bench>(np, &["bench"]);
    let np = at_length::<demo::Demo>(np, &["demo"]);
    let np = at_length::<doctor::Doctor>(np, &["doctor"]);
    let np = at_length::<inspect::Inspect>(np, &["inspect"]);
    let np = at_length::<pages::Completions>(np, &["completions"]);
    at_length::<pages::Manual>(np, &["man"])
}

/// Gives the command of these words the description of its arguments.
fn at_length<T: Args>(command: Command, words: &[&str]) -> Command {
    let Some((first, rest)) = words.split_first() else {
        let described = T::augment_args(Command::new("described"));
        let text = described.get_long_about().or_else(|| described.get_about()).cloned();
        return match text {
            Some(text) => command.long_about(text),
            None => command,
        };
    };
    command.mut_subcommand(first, |command| at_length::<T>(command, rest))
}

#[cfg(test)]
mod tests {
    use super::command;

    /// Every command that does something, without those that only hold others.
    fn leaves(command: &clap::Command, found: &mut Vec<clap::Command>) {
        if command.get_subcommands().next().is_none() {
            found.push(command.clone());
        }
        command.get_subcommands().for_each(|command| leaves(command, found));
    }

    #[test]
    fn every_command_is_described() {
        let mut all = Vec::new();
        leaves(&command(), &mut all);
        assert!(all.len() >= 17);
        for command in all {
            let (name, about) = (command.get_name(), command.get_about());
            assert!(about.is_some(), "{name}");
            assert!(command.get_long_about().is_some(), "{name}: give it a line in describe.rs");
        }
    }
}
