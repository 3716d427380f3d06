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

/// Tests of a crate that miri runs.
struct Run {
    package: &'static str,
    /// Which of its programs of tests.
    tests: &'static [&'static str],
    /// Parts of their names, or all.
    only: &'static [&'static str],
    /// Those left out, with the reason, which stands on the page.
    without: &'static [&'static str],
    why: &'static str,
}

const RUNS: &[Run] = &[
    Run {
        package: "np-types",
        tests: &["--lib"],
        only: &[],
        without: &["every_single"],
        why: "every typing error of a key",
    },
    Run {
        package: "np-wire",
        tests: &["--lib", "--test", "wire"],
        only: &[],
        without: &["canonical", "heads_of", "page", "round_trip"],
        why: "thousands of cases each, and the reading of a page",
    },
    Run { package: "np-compress", tests: &["--lib"], only: &[], without: &[], why: "" },
    Run {
        package: "np-noise",
        tests: &["--test", "traffic", "--test", "replay"],
        only: &["counter", "rekey", "reordered", "dead", "remembers"],
        without: &["traffic_keys"],
        why: "full tables and many handshakes",
    },
    Run { package: "np-dispatch", tests: &["--lib"], only: &["codec", "once"], without: &[], why: "" },
    Run {
        package: "np-session",
        tests: &["--lib"],
        only: &["credit::tests", "flood::tests", "growth::tests", "pace::tests", "receiver::tests", "seldom::tests"],
        without: &[],
        why: "handshakes of keys, ciphers to their limits and whole tables take minutes each",
    },
];

/// Tests may read files and ask for time; those by cases make few of them.
const VARIABLES: [(&str, &str); 2] = [("MIRIFLAGS", "-Zmiri-disable-isolation"), ("PROPTEST_CASES", "4")];

/// What the C of a dev-dependency is built with: it is never called here.
const C_CODE: &str = "profile.dev.package.aws-lc-sys.opt-level=0";

/// Runs the tests of the crates of a shard, and writes how many passed; what the others came to stands as it was.
pub(super) fn run(workspace: &Workspace, shard: Shard) -> Result<(), Failure> {
    if !process::works("rustup", &["run", "nightly", "cargo", "miri", "--version"]) {
        println!(
            "SKIPPED miri: it is not installed (rustup toolchain install nightly; \
             rustup component add miri rust-src --toolchain nightly)"
        );
        return Ok(());
    }
    let mut rows: Vec<Value> = RUNS.iter().map(|_| Value::Null).collect();
    if let Value::Array(known) = evidence::read(workspace, "miri")? {
        for (run, row) in RUNS.iter().zip(&mut rows) {
            *row = known.iter().find(|known| run.is(known)).cloned().unwrap_or_default();
        }
    }
    if shard.k >= RUNS.len() {
        println!("   none of the {} crates of miri are in this shard", RUNS.len());
    }
    for (at, run) in RUNS.iter().enumerate().skip(shard.k).step_by(shard.n) {
        // What ran before counts no more, should this run fail.
        put(workspace, &mut rows, at, Value::Null)?;
        put(workspace, &mut rows, at, run.row(workspace)?)?;
    }
    Ok(())
}

fn put(workspace: &Workspace, rows: &mut [Value], at: usize, row: Value) -> Result<(), Failure> {
    if let Some(place) = rows.get_mut(at) {
        *place = row;
    }
    write(workspace, rows)
}

fn write(workspace: &Workspace, rows: &[Value]) -> Result<(), Failure> {
    let rows: Vec<&Value> = rows.iter().filter(|row| row.is_object()).collect();
    let mut text = "| crate | tests | passed | seconds | on | commit |\n|---|---|---|---|---|---|\n".to_owned();
    for row in &rows {
        let cell = |name: &str| row.get(name).map_or_else(String::new, |cell| cell.to_string().replace('"', ""));
        let [package, tests, passed, seconds] = ["crate", "tests", "passed", "seconds"].map(cell);
        let [date, commit] = ["date", "commit"].map(cell);
        text.push_str(&format!("| `{package}` | {tests} | {passed} | {seconds} | {date} | {commit} |\n"));
    }
    let sum: u64 = rows.iter().filter_map(|row| row.get("passed")?.as_u64()).sum();
    evidence::write(
        workspace,
        &Section {
            name: "miri",
            command: "cargo xtask assure --only miri",
            result: format!("{sum} tests of {} of {} crates passed, and miri found nothing", rows.len(), RUNS.len()),
            figures: json!(rows),
            text,
        },
    )
}

impl Run {
    /// Whether a stored row tells of these tests.
    fn is(&self, row: &Value) -> bool {
        row.get("crate") == Some(&self.package.into()) && row.get("tests") == Some(&self.told().into())
    }

    fn row(&self, workspace: &Workspace) -> Result<Value, Failure> {
        let (command, spelled) = command(workspace, self);
        println!("   {spelled}");
        let begun = Instant::now();
        let passed = passed_tests(&output(command, &spelled)?);
        if passed == 0 {
            return Err(format!("`{spelled}` ran no test").into());
        }
        let (seconds, tests) = (begun.elapsed().as_secs(), self.told());
        let (date, commit) = (evidence::today(), evidence::commit(workspace));
        Ok(json!({
            "crate": self.package, "passed": passed, "seconds": seconds, "tests": tests, "date": date, "commit": commit
        }))
    }

    /// The tests in words: which, and what was left out for which reason.
    fn told(&self) -> String {
        let mut text = if self.only.is_empty() { "all".into() } else { format!("of {}", self.only.join(", ")) };
        if !self.without.is_empty() {
            text.push_str(&format!("; without {}", self.without.join(", ")));
        }
        if !self.why.is_empty() {
            text.push_str(&format!("; {}", self.why));
        }
        text
    }
}

fn command(workspace: &Workspace, run: &Run) -> (Command, String) {
    let mut arguments = vec!["miri", "test", "--locked", "--config", C_CODE, "-p", run.package];
    arguments.extend(run.tests);
    arguments.push("--");
    arguments.extend(run.only);
    arguments.extend(run.without.iter().flat_map(|test| ["--skip", test]));
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
    fn the_command_can_be_typed_and_the_page_tells_what_is_left_out() {
        let workspace = Workspace { root: "/np".into(), packages: Vec::new() };
        let (tests, only, without) = (&["--lib"], &["decode", "split"], &["slow"]);
        let run = Run { package: "np-wire", tests, only, without, why: "too slow" };
        let (_, spelled) = command(&workspace, &run);
        let wanted = format!(
            "MIRIFLAGS='-Zmiri-disable-isolation' PROPTEST_CASES='4' cargo +nightly miri test --locked --config {C_CODE} \
             -p np-wire --lib -- decode split --skip slow"
        );
        assert_eq!(spelled, wanted);
        assert_eq!(run.told(), "of decode, split; without slow; too slow");
        let row = |package: &str, tests: &str| run.is(&json!({ "crate": package, "tests": tests, "passed": 1 }));
        assert!(row("np-wire", &run.told()));
        assert!(!row("np-wire", "all") && !row("np-types", &run.told()), "other tests are not these");
    }
}
