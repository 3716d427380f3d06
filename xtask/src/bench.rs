//! Benchmarks that are more than `cargo bench`: np beside its peers, and what can be counted instead of timed.
//!
//! Owns the arguments, and how a benchmark is built to be run by another program. The comparison with peers is the program
//! in `benches/peers`, a workspace of its own that nothing else builds.

mod guard;
mod syscalls;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// The manifest of the peers' workspace.
const PEERS: &str = "benches/peers/Cargo.toml";

/// What `--write` stands for: the document with the table, and the picture beside it.
const WRITE: [&str; 4] = ["--document", "docs/PERFORMANCE.md", "--svg", "docs/peers.svg"];

/// Runs the benchmark that comes first, with the arguments behind it.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let (which, rest) = arguments.split_first().ok_or_else(usage)?;
    match which.as_str() {
        "peers" => process::run_cargo(&workspace.root, &peers(rest), &[]),
        "guard" => guard::run(workspace, rest),
        "syscalls" => syscalls::run(workspace, rest),
        _ => Err(usage()),
    }
}

fn usage() -> Failure {
    "usage: cargo xtask bench peers [--rounds N] [--secs S] [--workloads A,B] [--peers np,snow] [--json FILE] \
     [--quick | --write], or bench guard [--write] [SCENARIO ...], or bench syscalls [--calls N]"
        .into()
}

/// Builds the benchmark `path` as `cargo bench` does, and tells where its program is.
fn build_path(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let arguments = ["bench", "--no-run", "--locked", "-p", "np-benches", "--bench", "path"];
    let mut command = Command::new(process::cargo());
    command.args(arguments).arg("--message-format=json-render-diagnostics").current_dir(&workspace.root);
    let spelled = process::spell(&arguments, &[]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("`{spelled}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{spelled}` ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().rev().find_map(executable).ok_or_else(|| format!("`{spelled}` names no program").into())
}

/// The program that a line of cargo's output is about.
fn executable(line: &str) -> Option<PathBuf> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("executable")?.as_str().map(PathBuf::from)
}

/// The command of cargo that builds and runs the comparison.
fn peers(arguments: &[String]) -> Vec<&str> {
    let mut all = vec!["run", "--release", "--locked", "--manifest-path", PEERS, "--", "run"];
    for argument in arguments {
        match argument.as_str() {
            "--write" => all.extend(WRITE),
            other => all.push(other),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_what_cargo_prints() {
        let line = r#"{"reason":"compiler-artifact","executable":"/target/release/deps/path-1"}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/target/release/deps/path-1")));
        for line in [r#"{"reason":"compiler-artifact","executable":null}"#, r#"{"reason":"build-finished"}"#, "warning"]
        {
            assert_eq!(executable(line), None, "{line}");
        }
    }

    #[test]
    fn write_names_the_document_and_the_picture_and_the_rest_is_handed_on() -> Result<(), Failure> {
        let arguments = ["--rounds", "3", "--write"].map(str::to_owned);
        let command = peers(&arguments);
        let (_, behind) = command.split_at(7);
        assert_eq!(behind, ["--rounds", "3", "--document", "docs/PERFORMANCE.md", "--svg", "docs/peers.svg"]);
        let workspace = Workspace { root: tempfile::tempdir()?.path().to_path_buf(), packages: Vec::new() };
        let wrong = run(&workspace, &["guards".to_owned()]);
        assert!(wrong.is_err_and(|error| error.to_string().contains("usage")));
        Ok(())
    }
}
