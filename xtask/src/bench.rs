//! Benchmarks that are more than `cargo bench`: np beside its peers.
//!
//! Owns the arguments alone; the work is the program in `benches/peers`, a workspace of its own that nothing else builds.

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// The manifest of the peers' workspace.
const PEERS: &str = "benches/peers/Cargo.toml";

/// What `--write` stands for: the document with the table, and the picture beside it.
const WRITE: [&str; 4] = ["--document", "docs/PERFORMANCE.md", "--svg", "docs/peers.svg"];

/// Runs the benchmark that comes first, with the arguments behind it.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    match arguments.split_first() {
        Some((which, rest)) if which == "peers" => process::run_cargo(&workspace.root, &peers(rest), &[]),
        _ => Err("usage: cargo xtask bench peers [--rounds N] [--secs S] [--workloads A,B] [--peers np,snow] \
                  [--json FILE] [--quick | --write]"
            .into()),
    }
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
