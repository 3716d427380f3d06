//! Continuous integration: every check in order, the time of each, and a table at the end.
//!
//! Owns the list of steps. The flags of the compiler are the same in all of them, so nothing is compiled twice for one
//! purpose. The first failure ends the run and names the command that repeats it.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::fuzz::{self, Smoke};
use crate::process;
use crate::workspace::Workspace;
use crate::{assure, examples, interop, layers, tidy};

/// One step: its name and its work.
struct Step {
    name: &'static str,
    work: Work,
}

/// What a step does.
enum Work {
    /// Cargo commands, each with its variables.
    Cargo(&'static [Cargo]),
    /// A check of this program.
    Own(fn(&Workspace) -> Result<(), Failure>),
    /// A check that may be skipped for want of a tool; the text is what to type to repeat it.
    Optional(fn(&Workspace) -> Result<Outcome, Failure>),
}

/// A cargo command: arguments and variables.
struct Cargo {
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const fn cargo(arguments: &'static [&'static str]) -> Cargo {
    Cargo { arguments, variables: &[] }
}

/// The pages of what a feature adds that no other crate of ours turns on.
const DOC_OF_FEATURE: &[&str] = &[
    "doc",
    "-p",
    "np-facade",
    "-p",
    "np-driver",
    "--features",
    "np-facade/opentelemetry",
    "--no-deps",
    "--locked",
    "--document-private-items",
];

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        work: Work::Cargo(&[
            cargo(&["fmt", "--all", "--", "--check"]),
            cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"]),
            cargo(&["fmt", "--manifest-path", "benches/peers/Cargo.toml", "--", "--check"]),
        ]),
    },
    Step { name: "layers", work: Work::Own(layers::run) },
    Step { name: "tidy", work: Work::Own(tidy::run) },
    Step {
        name: "clippy",
        work: Work::Cargo(&[
            // With what no other crate of ours turns on.
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--features",
                "np-facade/opentelemetry",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]),
            // What the features bring must not be needed.
            cargo(&["clippy", "-p", "np-facade", "--no-default-features", "--locked", "--", "-D", "warnings"]),
        ]),
    },
    Step {
        name: "tests",
        work: Work::Cargo(&[
            // This program turns on the simulation of np-cluster, so that its tests are among them.
            cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--locked"]),
            // Of the workspace too: one package alone has fewer features, and all would be compiled again.
            cargo(&[
                "test",
                "--workspace",
                "--features",
                "np-facade/opentelemetry",
                "--test",
                "opentelemetry",
                "--locked",
            ]),
        ]),
    },
    Step { name: "evidence", work: Work::Own(evidence) },
    Step {
        name: "doc-tests",
        work: Work::Cargo(&[cargo(&[
            "test",
            "--workspace",
            "--features",
            "np-facade/opentelemetry",
            "--doc",
            "--locked",
        ])]),
    },
    Step {
        name: "docs",
        work: Work::Cargo(&[
            Cargo {
                arguments: &["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"],
                variables: &[("RUSTDOCFLAGS", "-D warnings")],
            },
            Cargo { arguments: DOC_OF_FEATURE, variables: &[("RUSTDOCFLAGS", "-D warnings")] },
        ]),
    },
    Step { name: "examples", work: Work::Own(examples::run) },
    Step {
        name: "interop",
        work: Work::Optional(|workspace| Ok(if interop::run(workspace)? { Outcome::Passed } else { Outcome::Skipped })),
    },
    Step { name: "dissector", work: Work::Optional(dissector) },
    Step {
        name: "fuzz-smoke",
        work: Work::Optional(|workspace| {
            Ok(match fuzz::run(workspace)? {
                Smoke::Ran => Outcome::Passed,
                Smoke::Skipped => Outcome::Skipped,
            })
        }),
    },
    Step {
        name: "package",
        // Whether the packages build on their own is asked before a release: docs/RELEASING.md.
        work: Work::Cargo(&[cargo(&["package", "--workspace", "--no-verify", "--allow-dirty", "--locked"])]),
    },
    Step { name: "deny", work: Work::Optional(deny) },
];

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped,
    Failed,
    NotRun,
}

impl Outcome {
    const fn text(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Skipped => "SKIPPED",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
        }
    }
}

/// The names of the steps, in order.
pub(crate) fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs the steps with these names, or all, and prints the table.
pub(crate) fn run(workspace: &Workspace, wanted: &[String]) -> Result<(), Failure> {
    let steps = select(wanted)?;
    let started = Instant::now();
    let mut rows: Vec<(&str, Outcome, Duration)> = Vec::new();
    let mut failure = None;
    for (at, step) in steps.iter().enumerate() {
        if failure.is_some() {
            rows.push((step.name, Outcome::NotRun, Duration::ZERO));
            continue;
        }
        println!("\n== [{}/{}] {}: {}", at + 1, steps.len(), step.name, step.repeat());
        let begun = Instant::now();
        let outcome = step.run(workspace).unwrap_or_else(|error| {
            failure = Some((step, error));
            Outcome::Failed
        });
        let elapsed = begun.elapsed();
        println!("== {}: {}, {}", step.name, outcome.text(), seconds(elapsed));
        rows.push((step.name, outcome, elapsed));
    }
    if rows.iter().any(|(name, outcome, _)| *name == "tests" && *outcome == Outcome::Passed) {
        let shell = |question: &str| process::works("sh", &["-c", question]);
        not_tested(shell).iter().for_each(|line| println!("\n{line}"));
    }
    println!("\n{}", table(&rows, started.elapsed()));
    match failure {
        None => Ok(()),
        Some((step, error)) => {
            Err(format!("step `{}` failed: {error}\nrepeat it with: {}", step.name, step.repeat()).into())
        }
    }
}

fn select(wanted: &[String]) -> Result<Vec<&'static Step>, Failure> {
    for name in wanted {
        if !STEPS.iter().any(|step| step.name == name) {
            return Err(format!("no step `{name}`; there are {}", step_names().join(", ")).into());
        }
    }
    Ok(STEPS.iter().filter(|step| wanted.is_empty() || wanted.iter().any(|name| name == step.name)).collect())
}

impl Step {
    fn run(&self, workspace: &Workspace) -> Result<Outcome, Failure> {
        match &self.work {
            Work::Cargo(commands) => {
                for command in *commands {
                    process::run_cargo(&workspace.root, command.arguments, command.variables)?;
                }
                Ok(Outcome::Passed)
            }
            Work::Own(check) => check(workspace).map(|()| Outcome::Passed),
            Work::Optional(check) => check(workspace),
        }
    }

    /// What to type to run this step again.
    fn repeat(&self) -> String {
        match &self.work {
            Work::Cargo(commands) => commands
                .iter()
                .map(|command| process::spell(command.arguments, command.variables))
                .collect::<Vec<_>>()
                .join(" && "),
            Work::Own(_) | Work::Optional(_) => format!("cargo xtask ci {}", self.name),
        }
    }
}

/// Tests whose figures are worth reading: how many vectors passed by pattern, how many mutations were
/// refused, and how many seeds were simulated.
///
/// Of the whole workspace, as the step before has compiled them: one package alone has fewer features.
const EVIDENCE: &[(&str, &[&str])] = &[
    ("np-noise", &["--test", "vectors", "--locked", "--", "--nocapture"]),
    ("np-noise", &["--lib", "--locked", "wycheproof", "--", "--nocapture"]),
    ("np-session", &["--test", "attacks", "--locked", "million", "--", "--nocapture"]),
    ("np-session", &["--test", "simulation", "--locked", "every_seed", "--", "--nocapture"]),
];

/// Runs those tests again with their figures shown.
fn evidence(workspace: &Workspace) -> Result<(), Failure> {
    for (_, arguments) in EVIDENCE {
        process::run_cargo(&workspace.root, &[&["test", "--workspace"], *arguments].concat(), &[])?;
    }
    if std::env::var_os("EXTRA_VECTORS").is_none() {
        println!("SKIPPED extra vectors: EXTRA_VECTORS names no folder of them");
    }
    Ok(())
}

/// The dissector for Wireshark by tshark, beside `np inspect`. Its tests pass without tshark, so that it is asked for here.
///
/// Of the whole workspace, as the tests were compiled.
fn dissector(workspace: &Workspace) -> Result<Outcome, Failure> {
    let has = process::works("tshark", &["--version"]);
    if let Some(skipped) = lacks(has, "dissector: tshark is not installed (https://www.wireshark.org/download.html)") {
        return Ok(skipped);
    }
    let arguments = ["test", "--workspace", "--test", "cli", "--locked", "dissector::"];
    let mut command = Command::new(process::cargo());
    command.args(arguments).current_dir(&workspace.root);
    let text = assure::output(command, &process::spell(&arguments, &[]))?;
    print!("{text}");
    if assure::plain::passed_tests(&text) == 0 {
        return Err("no test of the dissector ran".into());
    }
    Ok(Outcome::Passed)
}

/// Licences, duplicates and sources of the dependencies.
fn deny(workspace: &Workspace) -> Result<Outcome, Failure> {
    let has = process::works("cargo", &["deny", "--version"]);
    if let Some(skipped) = lacks(has, "deny: cargo-deny is not installed (cargo install cargo-deny --locked)") {
        return Ok(skipped);
    }
    let arguments = ["deny", "check", "licenses", "bans", "sources"];
    process::run_cargo(&workspace.root, &arguments, &[])?;
    Ok(Outcome::Passed)
}

/// How a step ends that lacks its tool, which is said aloud.
fn lacks(has: bool, told: &str) -> Option<Outcome> {
    if has {
        return None;
    }
    println!("SKIPPED {told}");
    Some(Outcome::Skipped)
}

/// What single tests need, how a shell finds out, and what is not tested without. They pass where it is not there, and
/// cargo shows no word of a test that passed. Of files, as many as np-driver's `tests/hostile.rs` asks for.
const INSIDE: &[(&str, &str)] = &[
    ("openssl version", "another implementation of TLS, and certificates by it: openssl is not installed"),
    (
        "test \"$(uname)\" = Linux && { test \"$(ulimit -Hn)\" = unlimited || test \"$(ulimit -Hn)\" -ge 10200; }",
        "ten thousand peers at once: this is not Linux, or this process may open fewer files (`ulimit -Hn`)",
    ),
    (
        "test \"$(uname)\" = Linux && test \"$(id -u)\" = 0",
        "sockets and key files of another user: only root of Linux can have them",
    ),
    ("test \"$(id -u)\" != 0", "folders that may not be written to: root may write everywhere"),
    ("test -e /proc/net/if_inet6 || test \"$(uname)\" != Linux", "IPv6 alone: there is no IPv6 here"),
];

/// The tests that pass here without having looked at anything.
fn not_tested(works: impl Fn(&str) -> bool) -> Vec<String> {
    if !works("true") {
        return vec![
            "SKIPPED inside of tests: what single tests lack cannot be asked here, for want of `sh`".to_owned(),
        ];
    }
    let lacking = INSIDE.iter().filter(|(question, _)| !works(question));
    lacking.map(|(_, what)| format!("SKIPPED inside of tests: {what}")).collect()
}

fn table(rows: &[(&str, Outcome, Duration)], total: Duration) -> String {
    let mut text = format!("{:<12} {:<8} {:>9}\n", "step", "result", "time");
    for (name, outcome, elapsed) in rows {
        text.push_str(&format!("{name:<12} {:<8} {:>9}\n", outcome.text(), seconds(*elapsed)));
    }
    let failed = rows.iter().any(|(_, outcome, _)| *outcome == Outcome::Failed);
    let verdict = if failed { "FAILED" } else { "ok" };
    text.push_str(&format!("{:<12} {verdict:<8} {:>9}", "all", seconds(total)));
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Result<Vec<&'static str>, String> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let steps = select(&wanted).map_err(|error| error.to_string())?;
        Ok(steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn all_steps_run_unless_some_are_named_and_the_order_stays() -> Result<(), String> {
        assert_eq!(names(&[])?, step_names());
        assert_eq!(names(&["docs", "fmt"])?, ["fmt", "docs"]);
        assert!(names(&["fnt"]).is_err_and(|error| error.contains("no step `fnt`")));
        Ok(())
    }

    #[test]
    fn the_table_says_what_failed_and_what_did_not_run() {
        let text = table(
            &[
                ("fmt", Outcome::Passed, Duration::from_millis(1500)),
                ("clippy", Outcome::Failed, Duration::from_secs(2)),
                ("tests", Outcome::NotRun, Duration::ZERO),
                ("deny", Outcome::Skipped, Duration::ZERO),
            ],
            Duration::from_secs(4),
        );
        for row in
            ["fmt          ok           1.5 s", "clippy       FAILED", "tests        not run", "deny         SKIPPED"]
        {
            assert!(text.contains(row), "{text}");
        }
        assert!(text.lines().last().is_some_and(|last| last.contains("all") && last.contains("FAILED")));
    }

    #[test]
    fn a_step_without_its_tool_is_skipped_and_tests_that_lack_something_are_told() {
        assert_eq!((lacks(true, "deny"), lacks(false, "deny")), (None, Some(Outcome::Skipped)));
        assert_eq!(not_tested(|_| true), [""; 0]);
        let told = not_tested(|question| !question.starts_with("openssl"));
        assert!(matches!(&told[..], [line] if line.contains("openssl is not installed")), "{told:?}");
        assert_eq!(not_tested(|question| question == "true").len(), INSIDE.len());
        assert!(matches!(&not_tested(|_| false)[..], [line] if line.contains("`sh`")));
    }

    #[test]
    fn every_step_says_how_to_repeat_it() {
        for step in STEPS {
            assert!(step.repeat().starts_with("cargo ") || step.repeat().contains(" cargo "));
        }
        let clippy = STEPS.iter().find(|step| step.name == "clippy").map(Step::repeat);
        let wanted =
            "cargo clippy --workspace --all-targets --features np-facade/opentelemetry --locked -- -D warnings";
        assert!(clippy.is_some_and(|all| all.split(" && ").next() == Some(wanted)));
    }

    #[test]
    fn the_evidence_comes_from_tests_that_show_their_figures() -> Result<(), Failure> {
        let root = Workspace::open()?.root;
        for (package, arguments) in EVIDENCE {
            assert!(arguments.ends_with(&["--", "--nocapture"]), "{arguments:?}");
            let named = arguments.iter().skip_while(|word| **word != "--test").nth(1);
            let test = named.copied().unwrap_or("wycheproof");
            let places = ["src/crypto/{}.rs", "tests/{}.rs", "tests/{}/mutations.rs"];
            let paths = places.map(|place| root.join("crates").join(package).join(place.replace("{}", test)));
            let text =
                paths.iter().find_map(|path| std::fs::read_to_string(path).ok()).ok_or("the test is not there")?;
            assert!(text.contains("println!"), "{test} shows nothing");
        }
        assert!(step_names().contains(&"evidence"));
        Ok(())
    }

    #[test]
    fn a_step_that_fails_ends_the_run() -> Result<(), Failure> {
        let workspace = Workspace { root: tempfile::tempdir()?.path().to_path_buf(), packages: Vec::new() };
        let failed = run(&workspace, &["layers".to_owned(), "examples".to_owned()]);
        assert!(failed.is_err_and(|error| error.to_string().contains("step `layers` failed")));
        Ok(())
    }
}
