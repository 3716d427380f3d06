//! A copy of the tree, which cargo-mutants may change, and the tests that a mutant of each crate has to pass.
//!
//! Owns the commands of cargo-mutants; which mutants run, and what their outcomes come to, is `mutants`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::output;
use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// Tests of the mutant's own crate that run together, as cargo is told.
type Tests = &'static [&'static str];

/// For the mutants of a file or folder, first the tests that notice most of them, then more for what those missed. A
/// mutant that passes all of them is missed. Where two hold, the first does.
const STAGES: &[(&str, &[Tests])] = &[
    ("crates/np-cluster/src/engine/gate", &[&["--lib", "--", "engine::gate::"], &["--lib"]]),
    ("crates/np-cluster/", &[&["--lib", "--", "tests::keys::"], &["--lib"]]),
    ("crates/np-compress/", &[&["--lib", "--tests"]]),
    ("crates/np-dispatch/src/codec", &[&["--lib", "--features", "json,msgpack"]]),
    ("crates/np-dispatch/", &[&["--lib"], &["--tests"]]),
    ("crates/np-driver/src/half_open.rs", &[&["--lib"], DRIVER_REST]),
    (
        "crates/np-driver/src/memory.rs",
        &[&["--lib", "--", "memory::"], &["--test", "kept"], &["--lib", "--test", "slow"], DRIVER_REST],
    ),
    ("crates/np-driver/src/progress.rs", &[&["--lib"], &["--test", "slow"], DRIVER_REST]),
    (
        "crates/np-driver/src/accept/judge.rs",
        &[
            &["--lib", "--test", "handshakes", "--test", "refusals", "--test", "patterns", "--test", "sources"],
            DRIVER_REST,
        ],
    ),
    ("crates/np-driver/src/allowance.rs", &[&["--lib"], &["--test", "slow", "--test", "calls"], DRIVER_REST]),
    ("crates/np-driver/src/lifetime.rs", &[&["--lib", "--test", "lifetime"], DRIVER_REST]),
    ("crates/np-driver/src/call_limits.rs", &[&["--lib"], &["--test", "slow"], DRIVER_REST]),
    ("crates/np-driver/", &[&["--lib"], &["--test", "sources"], DRIVER_REST]),
    ("crates/np-noise/src/replay.rs", &[&["--lib", "--test", "replay"]]),
    (
        "crates/np-noise/",
        &[
            &["--features", NOISE, "--test", "handshake", "--test", "traffic"],
            &["--features", NOISE, "--lib", "--test", "vectors", "--test", "late_psk", "--test", "interop"],
        ],
    ),
    (
        "crates/np-session/src/handshake",
        &[
            &["--test", "session", "--", "early::", "handshake::", "misbehaviour::", "outer::", "patterns::"],
            &["--lib", "--test", "session"],
            SESSION_REST,
        ],
    ),
    (
        "crates/np-session/src/shortage.rs",
        &[&["--lib", "--test", "session", "--", "shortage::"], SESSION, SESSION_REST],
    ),
    (
        "crates/np-session/src/credit.rs",
        &[&["--lib", "--test", "session", "--", "credit::", "budgets::"], SESSION, SESSION_REST],
    ),
    (
        "crates/np-session/src/flood.rs",
        &[&["--lib", "--", "flood::"], &["--test", "session", "--", "flood::"], SESSION, SESSION_REST],
    ),
    (
        "crates/np-session/",
        &[
            &["--lib", "--test", "session", "--", "--skip", "calls::", "--skip", "growth::", "--skip", "pace::"],
            SESSION,
            SESSION_REST,
        ],
    ),
    (
        "crates/np-transport/src/tls",
        &[
            &["--lib", "--test", "tls", "--features", "dev-certificates"],
            &["--tests", "--features", "dev-certificates"],
        ],
    ),
    ("crates/np-trust/src/known.rs", &[&["--lib"]]),
    ("crates/np-trust/", &[&["--lib", "--", "--skip", "known::"], &["--lib"]]),
    ("crates/np-types/", &[&["--lib"]]),
    ("crates/np-wire/", &[&["--lib", "--tests"]]),
];
const DRIVER_REST: Tests = &["--test", "hostile", "--test", "handshakes", "--test", "attacks"];
const SESSION: Tests = &["--lib", "--test", "session"];
const SESSION_REST: Tests = &["--test", "attacks", "--test", "drain", "--test", "vectors", "--test", "simulation"];

/// Code that is not built cannot be changed: all that a test of the crate may switch on.
const NOISE: &str = "aws-lc,danger-null-crypto";

/// Seconds of processor time after which a test program hangs, which notices a mutant: a busy machine does not change them.
const PROCESSOR: &str = "60";
/// Seconds by the clock after which it does, if it waits for what never comes.
const TIMEOUT: &str = "240";

/// What makes a build short, where one function differs from the last one, and the simulation: all of its seeds would take
/// longer than `PROCESSOR` allows without a mutant already.
const VARIABLES: [(&str, &str); 2] = [("CARGO_INCREMENTAL", "1"), ("NP_SIM_SEEDS", "1000")];

/// A crate that is small, and whose tests take long where it is not optimised, as the workspace's profile has it.
const PROFILE: &str = "profile.dev.package.np-noise.opt-level=1";

/// The copy, with its builds beside it.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
}

impl Tree {
    /// Brings the copy up to the files that git knows of, those not yet added among them.
    pub(super) fn copy(workspace: &Workspace) -> Result<Self, Failure> {
        let folder = workspace.root.join("target/assure-mutants");
        let to = folder.join("tree");
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&workspace.root);
        let names = output(git, "git ls-files")?;
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            same(&workspace.root.join(name), &to.join(name))?;
        }
        Ok(Self { folder })
    }

    /// Lets cargo-mutants run mutants that the same tests hold for, and gives how each ended.
    pub(super) fn test(&self, names: &[&String]) -> Result<BTreeMap<String, String>, Failure> {
        let mut outcomes = BTreeMap::new();
        for stage in names.first().map_or(&[][..], |name| stages(name)) {
            let left: Vec<&String> = names.iter().copied().filter(|name| is_open(&outcomes, name)).collect();
            if !left.is_empty() {
                match self.stage(stage, &left) {
                    Ok(found) => outcomes.extend(found),
                    Err(error) if outcomes.is_empty() => return Err(error),
                    // What the tests before found is kept.
                    Err(error) => println!("   {error}"),
                }
            }
        }
        Ok(outcomes)
    }

    fn stage(&self, tests: Tests, names: &[&String]) -> Result<BTreeMap<String, String>, Failure> {
        println!("   {} mutants by {}", names.len(), tests.join(" "));
        let results = self.folder.join("mutants.out");
        if results.is_dir() {
            fs::remove_dir_all(&results)?;
        }
        let mut command = self.command(tests, names)?;
        // What a mutant leaves unnoticed is no failure of the command; the outcomes tell.
        let status = command.status().map_err(|error| format!("cargo mutants does not start: {error}"))?;
        let mut outcomes = BTreeMap::new();
        for outcome in ["caught", "missed", "timeout", "unviable"] {
            let text = fs::read_to_string(results.join(format!("{outcome}.txt"))).unwrap_or_default();
            let ours = text.lines().filter(|line| names.iter().any(|name| *name == line));
            outcomes.extend(ours.map(|name| (name.to_owned(), outcome.to_owned())));
        }
        if outcomes.is_empty() {
            Err(format!("cargo mutants ended with {status} and no outcome").into())
        } else {
            Ok(outcomes)
        }
    }

    /// The command that runs mutants by tests, its outcomes in files of their own.
    fn command(&self, tests: Tests, names: &[&String]) -> Result<Command, Failure> {
        let mut command = Command::new(process::cargo());
        command.args(["mutants", "--in-place", "--no-shuffle", "--colors=never", "--jobserver=false"]);
        command.args(["--timeout", TIMEOUT]).arg("--output").arg(&self.folder);
        // Files too: what names a mutant does not hold for deleted fields, all of which run then.
        let files: BTreeSet<&str> = names.iter().filter_map(|name| name.split(':').next()).collect();
        command.args(files.iter().flat_map(|file| ["--file", file]));
        command.args(names.iter().flat_map(|name| ["--re".to_owned(), format!("^{}$", escaped(name))]));
        command.args(self.profile()?.iter().flat_map(|setting| ["--config", setting]).map(to_cargo));
        let (targets, filters) = parted(tests);
        command.args(targets.iter().copied().map(to_cargo)).args(["--", "--locked"]).args(filters).envs(VARIABLES);
        if cfg!(target_os = "linux") && process::works("prlimit", &["--version"]) {
            for system in ["X86_64", "AARCH64"] {
                let runner = format!("CARGO_TARGET_{system}_UNKNOWN_LINUX_GNU_RUNNER");
                command.env(runner, format!("prlimit --cpu={PROCESSOR}"));
            }
        }
        command.env("CARGO_TARGET_DIR", self.folder.join("build")).current_dir(self.folder.join("tree"));
        Ok(command)
    }

    /// Settings of cargo. Nobody asks for the line at which a mutant failed in our crates; those of others are built as they
    /// always are.
    fn profile(&self) -> Result<Vec<String>, Failure> {
        let mut settings = vec![PROFILE.to_owned()];
        for entry in fs::read_dir(self.folder.join("tree/crates"))? {
            settings.push(format!("profile.dev.package.{}.debug=0", entry?.file_name().to_string_lossy()));
        }
        settings.sort();
        Ok(settings)
    }
}

/// An argument for cargo itself, both when it builds and when it runs.
fn to_cargo(argument: &str) -> String {
    format!("--cargo-arg={argument}")
}

/// Which tests there are, and which of them run: a build that is not told builds all of the crate.
fn parted(tests: Tests) -> (Tests, Tests) {
    tests.split_at(tests.iter().position(|word| *word == "--").unwrap_or(tests.len()))
}

/// The tests of a mutant, or none for one of a crate that is not in the table.
fn stages(name: &str) -> &'static [Tests] {
    STAGES.iter().find(|(place, _)| name.starts_with(place)).map_or(&[], |(_, stages)| stages)
}

/// Whether the same tests hold for two mutants.
pub(super) fn is_alike(one: &str, other: &str) -> bool {
    let place = |name: &str| STAGES.iter().position(|(place, _)| name.starts_with(place));
    place(one) == place(other)
}

/// Whether a mutant still needs a test that notices it.
fn is_open(outcomes: &BTreeMap<String, String>, name: &str) -> bool {
    outcomes.get(name).is_none_or(|outcome| outcome == "missed")
}

/// Writes a file where it differs from its copy: a file that is the same keeps its time, and is not built again.
fn same(from: &Path, to: &Path) -> Result<(), Failure> {
    let Ok(bytes) = fs::read(from) else {
        // Removed since, or a link to nothing.
        return Ok(());
    };
    if fs::read(to).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(to, bytes)?)
}

/// A name as a regular expression that means it alone.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if "\\.+*?()|[]{}^$".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_have_the_tests_of_their_file_or_their_crate() {
        let [replay, cipher, session] = ["np-noise/src/replay", "np-noise/src/cipher", "np-session/src/flood"]
            .map(|place| format!("crates/{place}.rs:1:1: a"));
        assert_eq!(stages(&replay).len(), 1);
        assert_eq!((stages(&cipher).len(), stages("crates/np-cli/src/main.rs:1:1: a").len()), (2, 0));
        assert!(is_alike(&replay, &replay) && !is_alike(&replay, &cipher) && !is_alike(&cipher, &session));
    }

    #[test]
    fn builds_are_told_which_tests_and_runs_which_of_them() {
        assert_eq!(parted(&["--lib", "--", "flood::"]), (&["--lib"][..], &["--", "flood::"][..]));
        assert_eq!(parted(SESSION), (SESSION, &[][..]));
        for (place, stages) in STAGES {
            assert!(stages.iter().all(|tests| !parted(tests).0.is_empty()), "{place}: would build all of the crate");
        }
    }

    #[test]
    fn names_are_escaped() {
        let name = "replay.rs:12:5: replace Window::add -> Option<[u8; 2]> with None";
        assert_eq!(escaped(name), r"replay\.rs:12:5: replace Window::add -> Option<\[u8; 2\]> with None");
    }

    #[test]
    fn what_the_first_tests_caught_does_not_run_again() {
        let outcomes = [("a", "caught"), ("b", "missed"), ("c", "timeout"), ("d", "unviable")];
        let outcomes = outcomes.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).into();
        let open = ["a", "b", "c", "d", "e"].map(|name| is_open(&outcomes, name));
        assert_eq!(open, [false, true, false, false, true]);
    }

    #[test]
    fn the_copy_follows_what_changed_and_leaves_the_rest() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let (from, to) = (folder.path().join("a.rs"), folder.path().join("copy/deep/a.rs"));
        fs::write(&from, "one")?;
        same(&from, &to)?;
        let written = fs::metadata(&to)?.modified()?;
        same(&from, &to)?;
        assert_eq!(fs::metadata(&to)?.modified()?, written);
        fs::write(&from, "two")?;
        same(&from, &to)?;
        assert_eq!(fs::read_to_string(&to)?, "two");
        same(&folder.path().join("gone.rs"), &to)
    }
}
