//! How far the tests reach, and what they miss: coverage, mutants, miri, timing, residue, each a step that writes its
//! figures to docs/ASSURANCE.md.
//!
//! Owns the arguments and the order; a step that lacks a tool says so and leaves its figures as they were, and the next one runs.

mod coverage;
mod lcov;
mod miri;
mod mutants;
pub(crate) mod plain;
mod tree;
mod wilson;

use std::process::Command;

use crate::Failure;
use crate::workspace::Workspace;

/// The steps, in order.
const STEPS: [(&str, Step); 5] = [
    ("coverage", coverage::run),
    ("residue", plain::residue),
    ("timing", plain::timing),
    ("miri", miri::run),
    ("mutants", mutants::run),
];

/// A step: what it is given and whether its goals were met.
type Step = fn(&Workspace, Shard) -> Result<(), Failure>;

/// A part of the mutants: number `k` of `n`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which part.
    pub(crate) k: usize,
    /// Of how many.
    pub(crate) n: usize,
}

/// Runs the step that is named, or all.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let (only, shard) = wanted(arguments)?;
    let mut failed = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        println!("\n== assure {name}");
        if let Err(error) = step(workspace, shard) {
            println!("{name}: {error}");
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not as it should be: {}", failed.join(", ")).into()) }
}

fn wanted(arguments: &[String]) -> Result<(Option<&str>, Shard), Failure> {
    let names = STEPS.map(|(name, _)| name).join("|");
    let usage = || format!("usage: cargo xtask assure [--only {names}] [--shard K/N], K from 0 below N");
    let (mut only, mut shard) = (None, Shard { k: 0, n: 1 });
    for pair in arguments.chunks(2) {
        match pair {
            [name, step] if name == "--only" && STEPS.iter().any(|(other, _)| other == step) => {
                only = Some(step.as_str())
            }
            [name, text] if name == "--shard" => shard = part(text).ok_or_else(usage)?,
            _ => return Err(usage().into()),
        }
    }
    Ok((only, shard))
}

fn part(text: &str) -> Option<Shard> {
    let (k, n) = text.split_once('/')?;
    let shard = Shard { k: k.parse().ok()?, n: n.parse().ok()? };
    (shard.k < shard.n).then_some(shard)
}

/// Cargo of the nightly compiler, whatever cargo runs this program.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// A command's output, where it ended well.
pub(crate) fn output(mut command: Command, spelled: &str) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("`{spelled}` does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = told.lines().rev().take(20).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!("`{spelled}` ended with {}\n{}", output.status, last.join("\n")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Option<String>, Shard), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        wanted(&words).map(|(only, shard)| (only.map(str::to_owned), shard)).map_err(|error| error.to_string())
    }

    #[test]
    fn steps_and_shards_are_read_and_everything_else_is_refused() {
        assert_eq!(read(&[]), Ok((None, Shard { k: 0, n: 1 })));
        let wanted = (Some("mutants".to_owned()), Shard { k: 3, n: 8 });
        assert_eq!(read(&["--only", "mutants", "--shard", "3/8"]), Ok(wanted));
        for wrong in [&["--only"][..], &["--only", "all"], &["--shard", "8/8"], &["--shard", "1"], &["miri"]] {
            assert!(read(wrong).is_err_and(|error| error.contains("usage")), "{wrong:?}");
        }
    }
}
