//! Miri over the core: what its tests do to memory that no test would notice.
//!
//! The crates forbid `unsafe`; this looks at what they call. A part of the tests that takes minutes, by the provider in
//! Rust alone.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::plain::passed_tests;
use super::{Shard, nightly, output};
use crate::Failure;
use crate::evidence::{self, Section};
use crate::process;
use crate::workspace::Workspace;

/// Each crate, the filters of its tests, and those that are left out: too slow, or about files and other processes.
const RUNS: &[(&str, &[&str], &[&str])] = &[
    ("np-types", &[], &[]),
    ("np-wire", &[], &[]),
    ("np-noise", &["cipher", "replay", "symmetric", "error"], &[]),
    ("np-session", &["credit", "ids", "pace", "flood", "schedule", "sender", "receiver", "assembly", "methods"], &[]),
];

/// Tests may read files and ask for time; those by cases make few of them.
const VARIABLES: [(&str, &str); 2] = [("MIRIFLAGS", "-Zmiri-disable-isolation"), ("PROPTEST_CASES", "4")];

/// Runs the tests, and writes how many passed.
pub(super) fn run(workspace: &Workspace, _: Shard) -> Result<(), Failure> {
    if !process::works("rustup", &["run", "nightly", "cargo", "miri", "--version"]) {
        println!(
            "SKIPPED miri: it is not installed (rustup toolchain install nightly; \
             rustup component add miri rust-src --toolchain nightly)"
        );
        return Ok(());
    }
    let (mut text, mut rows, mut sum) =
        ("| crate | tests of | passed | seconds |\n|---|---|---|---|\n".to_owned(), Vec::new(), 0);
    for (name, filters, without) in RUNS {
        let (command, spelled) = command(workspace, name, filters, without);
        println!("   {spelled}");
        let begun = Instant::now();
        let passed = passed_tests(&output(command, &spelled)?);
        if passed == 0 {
            return Err(format!("`{spelled}` ran no test").into());
        }
        let (seconds, of) =
            (begun.elapsed().as_secs(), if filters.is_empty() { "all".into() } else { filters.join(", ") });
        sum += passed;
        rows.push(json!({ "crate": name, "passed": passed, "seconds": seconds, "tests": of, "without": without }));
        text.push_str(&format!("| `{name}` | {of} | {passed} | {seconds} |\n"));
    }
    evidence::write(
        workspace,
        &Section {
            name: "miri",
            command: "cargo xtask assure --only miri",
            result: format!("{sum} tests passed, and miri found nothing"),
            figures: Value::Array(rows),
            text,
        },
    )
}

fn command(workspace: &Workspace, name: &str, filters: &[&str], without: &[&str]) -> (Command, String) {
    let mut arguments = vec!["miri", "test", "--locked", "-p", name, "--lib", "--"];
    arguments.extend(filters);
    arguments.extend(without.iter().flat_map(|test| ["--skip", test]));
    let mut command = nightly();
    command
        .args(&arguments)
        .envs(VARIABLES)
        .env("CARGO_TARGET_DIR", workspace.root.join("target/assure-miri"))
        .current_dir(&workspace.root);
    (command, process::spell(&arguments, &VARIABLES).replacen("cargo ", "cargo +nightly ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_typed() {
        let workspace = Workspace { root: "/np".into(), packages: Vec::new() };
        let (_, spelled) = command(&workspace, "np-wire", &["decode"], &["slow"]);
        let wanted = "MIRIFLAGS='-Zmiri-disable-isolation' PROPTEST_CASES='4' cargo +nightly miri test --locked \
                      -p np-wire --lib -- decode --skip slow";
        assert_eq!(spelled, wanted);
    }
}
