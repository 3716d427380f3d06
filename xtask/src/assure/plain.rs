//! Steps that are one program each: the search for what keys leave in memory, and the test for leaks by time.

use std::process::Command;

use serde_json::json;

use super::{Shard, output};
use crate::Failure;
use crate::evidence::{self, Section};
use crate::process;
use crate::workspace::Workspace;

const RESIDUE: [&[&str]; 2] = [
    &["test", "--locked", "-p", "np-noise", "--features", "aws-lc", "--test", "residue"],
    &["test", "--locked", "-p", "np-facade", "--test", "residue"],
];
const TIMING: &[&str] =
    &["run", "--release", "--locked", "-p", "np-noise", "--features", "aws-lc", "--example", "timing"];

/// A t value above this is a leak, by the usual rule; on a machine that is not quiet it is a reason to look again.
const SUSPICIOUS: f64 = 4.5;

/// Runs the tests that look through their own memory.
pub(super) fn residue(workspace: &Workspace, _: Shard) -> Result<(), Failure> {
    if !cfg!(target_os = "linux") {
        println!("SKIPPED residue: this system does not show a process its memory as a file; run it on Linux");
        return Ok(());
    }
    let mut passed = 0;
    for arguments in RESIDUE {
        passed += passed_tests(&cargo(workspace, arguments)?);
    }
    let text = RESIDUE.map(|arguments| format!("- `{}`\n", process::spell(arguments, &[]))).concat();
    evidence::write(
        workspace,
        &Section {
            name: "residue",
            command: "cargo xtask assure --only residue",
            result: format!("{passed} tests passed: no secret that was looked for is left"),
            figures: json!({ "passed": passed }),
            text,
        },
    )
}

/// Runs the comparison of times, and stores what it prints.
pub(super) fn timing(workspace: &Workspace, _: Shard) -> Result<(), Failure> {
    let text = cargo(workspace, TIMING)?;
    let rows: Vec<(String, f64)> = text.lines().filter_map(row).collect();
    if rows.is_empty() {
        return Err(format!("`{}` printed no figures", process::spell(TIMING, &[])).into());
    }
    let (control, rest): (Vec<_>, Vec<_>) = rows.iter().partition(|(name, _)| name.starts_with("control"));
    let worst = |rows: &[&(String, f64)]| rows.iter().map(|(_, t)| t.abs()).fold(0.0, f64::max);
    let (worst, seen) = (worst(&rest), worst(&control));
    let mut table = "| what is compared | t |\n|---|---|\n".to_owned();
    rows.iter().for_each(|(name, t)| table.push_str(&format!("| {name} | {t:.2} |\n")));
    let figures: serde_json::Map<_, _> = rows.iter().map(|(name, t)| (name.clone(), json!(t))).collect();
    let verdict = if worst < SUSPICIOUS { "nothing leaks that it could see" } else { "look again on a quiet machine" };
    evidence::write(
        workspace,
        &Section {
            name: "timing",
            command: "cargo xtask assure --only timing",
            result: format!("the largest |t| is {worst:.2}, and {seen:.0} where a leak was built in; {verdict}"),
            figures: json!(figures),
            text: table,
        },
    )
}

/// A line of the program: `timing | name | t`.
fn row(line: &str) -> Option<(String, f64)> {
    let mut parts = line.strip_prefix("timing | ")?.split(" | ");
    Some((parts.next()?.to_owned(), parts.next()?.trim().parse().ok()?))
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(process::cargo());
    command.args(arguments).current_dir(&workspace.root);
    let text = output(command, &process::spell(arguments, &[]))?;
    println!("{text}");
    Ok(text)
}

/// The tests that passed, over all of `test result: ok. 3 passed; ...`.
pub(crate) fn passed_tests(text: &str) -> u64 {
    let counts =
        text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u64>().ok());
    counts.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_counts_are_read_from_what_is_printed() {
        assert_eq!(row("timing | a tag | -1.25"), Some(("a tag".to_owned(), -1.25)));
        assert_eq!(row("warming up"), None);
        let text = "test result: ok. 3 passed; 0 failed\nx\ntest result: ok. 12 passed; 0 failed\n";
        assert_eq!(passed_tests(text), 15);
        assert_eq!(passed_tests("test result: FAILED. 3 passed"), 0);
    }
}
