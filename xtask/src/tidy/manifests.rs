//! Rules about `Cargo.toml`: lints and versions come from the workspace, and no crate lifts a lint that the README
//! promises.

use super::{Finding, budget};
use crate::source::{Source, Token};
use crate::workspace::File;

/// What the README promises of all code but tests, as lints of the workspace; warnings are refused by clippy's step.
const REFUSED: [(&str, &str); 8] = [
    ("rust", "unsafe_code"),
    ("clippy", "expect_used"),
    ("clippy", "indexing_slicing"),
    ("clippy", "panic"),
    ("clippy", "todo"),
    ("clippy", "unimplemented"),
    ("clippy", "unreachable"),
    ("clippy", "unwrap_used"),
];

/// Names under which some of them can be lifted together.
const GROUPS: [&str; 2] = ["restriction", "warnings"];
/// Where one of them is lifted all the same: a wrong index of a constant does not compile.
const LIFTED: (&str, &str) = ("crates/np-types/src/method.rs", "indexing_slicing");
/// A kit for tests, linked into no program.
const TEST_KIT: &str = "crates/np-testkit/";

/// Checks the manifest of the workspace and that of every member, and published sources; whatever is a workspace of
/// its own, as fuzzing and the peers of the benchmarks are, is left alone.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let root = files.iter().filter(|file| file.path == "Cargo.toml").flat_map(check_root);
    let members = files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml") && !file.text.lines().any(|line| line == "[workspace]"))
        .flat_map(check_one);
    root.chain(members).chain(lifted(files)).collect()
}

/// Lints that a crate lifts outside of its tests.
fn lifted(files: &[File]) -> Vec<Finding> {
    let published = files.iter().filter(|file| {
        let source = file.path.starts_with("crates/") && file.path.contains("/src/") && file.extension() == "rs";
        source && !file.path.starts_with(TEST_KIT)
    });
    let read: Vec<_> = published.map(|file| (file, Source::read(&file.text))).collect();
    let tests = budget::test_files(&read);
    let mut findings = Vec::new();
    for (file, source) in read.iter().filter(|(file, _)| !budget::is_test(&file.path) && !tests.contains(&file.path)) {
        for (line, lint) in lifts(&source.production().tokens) {
            if (file.path.as_str(), lint) != LIFTED {
                let message = format!("lifts `{lint}`, which the README promises of all code but tests");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// The lines in which attributes lift one of the lints, and which.
fn lifts<'a>(tokens: &[Token<'a>]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let [before, word, open, inside @ ..] = tokens.get(at..).unwrap_or_default() else { continue };
        // A method of such a name stands behind a dot, and lifts nothing.
        if before.text == "." || !matches!(word.text, "allow" | "expect") || open.text != "(" {
            continue;
        }
        // The list of an attribute has no brackets inside.
        let is_lint = |name| GROUPS.contains(&name) || REFUSED.iter().any(|(_, lint)| *lint == name);
        let names = inside.iter().take_while(|one| one.text != ")").filter(|one| is_lint(one.text));
        found.extend(names.map(|one| (one.line, one.text)));
    }
    found
}

fn check_root(file: &File) -> Vec<Finding> {
    let entries = entries(&file.text);
    let refuses = |(tool, lint): &(&str, &str)| {
        let levels = if *tool == "rust" { &["\"forbid\""][..] } else { &["\"warn\"", "\"deny\"", "\"forbid\""] };
        let section = format!("workspace.lints.{tool}");
        entries.iter().any(|one| one.section == section && one.key == *lint && levels.contains(&one.value.as_str()))
    };
    let missing = REFUSED.iter().filter(|lint| !refuses(lint));
    missing
        .map(|(tool, lint)| {
            let message = format!("does not refuse `{lint}`: write it into `[workspace.lints.{tool}]`");
            Finding::new(&file.path, 1, message)
        })
        .collect()
}

fn check_one(file: &File) -> Vec<Finding> {
    let entries = entries(&file.text);
    let mut findings = Vec::new();
    let lints =
        entries.iter().any(|entry| entry.section == "lints" && entry.key == "workspace" && entry.value == "true");
    if !lints {
        let message = "takes up no lints: write `[lints]` and `workspace = true`";
        findings.push(Finding::new(&file.path, 1, message));
    }
    for entry in entries.iter().filter(|entry| !entry.is_shared(&entries)) {
        findings.push(Finding::new(
            &file.path,
            entry.line,
            format!(
                "`{}` is not taken from the workspace: declare it there once, write `workspace = true` here",
                entry.key
            ),
        ));
    }
    findings
}

/// One `key = value` of a manifest, or the head of a table of its own.
struct Entry {
    line: usize,
    section: String,
    key: String,
    value: String,
}

impl Entry {
    /// False for a dependency that names its own version, path or source.
    fn is_shared(&self, all: &[Self]) -> bool {
        let mut parts = self.section.split('.');
        let table = parts.next_back().unwrap_or_default();
        let is_table = |name: &str| name == "dependencies" || name.ends_with("-dependencies");
        if is_table(table) {
            let value = self.value.replace(' ', "");
            return (self.key.ends_with(".workspace") && value == "true") || value.contains("workspace=true");
        }
        // `[dependencies.name]`: the key that matters stands in the same section.
        if parts.next_back().is_some_and(is_table) {
            return all
                .iter()
                .any(|other| other.section == self.section && other.key == "workspace" && other.value == "true");
        }
        true
    }
}

/// The entries of a manifest; a value that runs over several lines is joined.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut open = 0_usize;
    for (at, raw) in text.lines().enumerate() {
        let line = raw.split(" #").next().unwrap_or_default().trim();
        let change = |sign: char| line.matches(sign).count();
        if open > 0 {
            if let Some(entry) = entries.last_mut() {
                entry.value.push_str(line);
            }
        } else if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            continue;
        } else if let Some((key, value)) = line.split_once('=') {
            entries.push(Entry {
                line: at + 1,
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
        open = (open + change('[') + change('{')).saturating_sub(change(']') + change('}'));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[package]\nname = \"a\"\nversion = \"1\"\n[lints]\nworkspace = true\n";

    fn found(rest: &str) -> Vec<usize> {
        let text = format!("{LINTS}{rest}");
        let findings = check(&[File::new("crates/np-a/Cargo.toml", &text)]);
        findings.into_iter().map(|one| one.line).collect()
    }

    #[test]
    fn a_member_without_the_lints_is_found() {
        let text = "[package]\nname = \"a\"\n";
        assert_eq!(check(&[File::new("crates/np-a/Cargo.toml", text)]).len(), 1);
        let apart = format!("{text}\n[workspace]\n[dependencies]\nbytes = \"1\"\n");
        assert_eq!(check(&[File::new("benches/peers/Cargo.toml", &apart)]), []);
        assert_eq!(found(""), [0; 0]);
    }

    #[test]
    fn a_workspace_without_one_of_its_lints_is_found() {
        let lints = |left_out: &str| {
            let mut text = String::new();
            for (tool, lint) in REFUSED.iter().filter(|(_, lint)| *lint != left_out) {
                let level = if *tool == "rust" { "forbid" } else { "warn" };
                text.push_str(&format!("[workspace.lints.{tool}]\n{lint} = \"{level}\"\n"));
            }
            text
        };
        let found = |text: &str| check(&[File::new("Cargo.toml", text)]).len();
        assert_eq!((found(&lints("")), found("[workspace]\n")), (0, REFUSED.len()));
        for (_, lint) in REFUSED {
            assert_eq!(found(&lints(lint)), 1, "{lint}");
        }
        assert_eq!(found(&lints("").replace("forbid", "warn")), 1, "what is forbidden cannot be allowed in one place");
        assert_eq!(found(&lints("").replace("\"warn\"", "\"allow\"")), REFUSED.len() - 1);
    }

    #[test]
    fn a_lint_that_is_lifted_outside_of_tests_is_found() {
        let found = |path: &str, text: &str| -> Vec<usize> {
            check(&[File::new(path, text)]).into_iter().map(|one| one.line).collect()
        };
        let lifted = "//! D.\n#![allow(\n    clippy::unwrap_used,\n    reason = \"x\"\n)]\n";
        assert_eq!(found("crates/np-a/src/lib.rs", lifted), [3]);
        assert_eq!(found("crates/np-a/src/lib.rs", "#[expect(unsafe_code, reason = \"x\")]\nfn f() {}\n"), [1]);
        assert_eq!(found("crates/np-a/src/lib.rs", &format!("#[cfg(test)]\nmod tests {{\n{lifted}}}\n")), [0; 0]);
        assert_eq!(found("crates/np-a/src/lib.rs", "#[allow(dead_code)]\nfn f() { x.expect(panic) }\n"), [0; 0]);
        assert_eq!(found("crates/np-a/src/lib.rs", "#![cfg_attr(unix, allow(clippy::panic))]\n"), [1]);
        assert_eq!(found("crates/np-a/src/lib.rs", "//! D.\n#![allow(clippy::restriction)]\n"), [2]);
        assert_eq!(found("crates/np-testkit/src/lib.rs", lifted), [0; 0]);
        assert_eq!(found("crates/np-a/tests/a.rs", lifted), [0; 0]);
        let (path, lint) = LIFTED;
        assert_eq!(found(path, &format!("#[allow(clippy::{lint})]\n")), [0; 0]);
    }

    #[test]
    fn a_dependency_with_a_version_of_its_own_is_found() {
        assert_eq!(found("[dependencies]\nbytes = \"1\"\n"), [7]);
        assert_eq!(found("[dev-dependencies]\nx = { path = \"../x\" }\n"), [7]);
        assert_eq!(found("[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n"), [7]);
        assert_eq!(found("[dependencies.bytes]\nversion = \"1\"\n"), [7]);
    }

    #[test]
    fn dependencies_of_the_workspace_pass() {
        let text = "[dependencies]\nbytes.workspace = true # bodies\ntokio = { workspace = true, features = [\n    \"rt\",\n] }\n\n[dependencies.serde]\nworkspace = true\nfeatures = [\"rc\"]\n\n[features]\nfast = [\"bytes\"]\n";
        assert_eq!(found(text), [0; 0]);
    }
}
