//! Facts that have to stand in two places agree: the oldest Rust that must work, and the list of fuzz targets.

use super::Finding;
use crate::source::is_word;
use crate::workspace::File;

const WORKFLOW: &str = ".github/workflows/ci.yml";
const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";
const FUZZ_TARGETS: &str = "fuzz/fuzz_targets/";

/// Holds the second place of each fact against the first.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let mut findings = Vec::new();
    if let (Some(version), Some(workflow)) = (find("Cargo.toml").and_then(oldest_rust), find(WORKFLOW)) {
        let quoted = workflow.text.contains(&format!("\"{version}\""));
        if !quoted {
            let message = format!("tests no Rust \"{version}\", which Cargo.toml promises as the oldest");
            findings.push(Finding::new(WORKFLOW, 1, message));
        }
    }
    let targets = files.iter().filter_map(|file| file.path.strip_prefix(FUZZ_TARGETS)?.strip_suffix(".rs"));
    for target in targets {
        for path in [WORKFLOW, FUZZ_MANIFEST] {
            let named = |file: &File| file.text.split(|c| !is_word(c)).any(|word| word == target);
            if find(path).is_some_and(|file| !named(file)) {
                let message = format!("does not name the fuzz target `{target}`");
                findings.push(Finding::new(path, 1, message));
            }
        }
    }
    findings
}

fn oldest_rust(manifest: &File) -> Option<&str> {
    let line = manifest.text.lines().find(|line| line.starts_with("rust-version"))?;
    line.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str, workflow: &str, fuzz: &str) -> Vec<String> {
        let files = [
            File::new("Cargo.toml", manifest),
            File::new(WORKFLOW, workflow),
            File::new(FUZZ_MANIFEST, fuzz),
            File::new("fuzz/fuzz_targets/wire.rs", "//! D.\n"),
        ];
        check(&files).into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn facts_that_disagree_are_found() {
        let (manifest, fuzz) = ("rust-version = \"1.88\"\n", "path = \"fuzz_targets/wire.rs\"\n");
        assert_eq!(found(manifest, "\"1.88\" [wire]\n", fuzz), [""; 0]);
        assert_eq!(found(manifest, "\"1.89\" [wire]\n", fuzz), [WORKFLOW]);
        assert_eq!(found(manifest, "\"1.88\" [wires]\n", fuzz), [WORKFLOW]);
        assert_eq!(found(manifest, "\"1.88\" [wire]\n", "\n"), [FUZZ_MANIFEST]);
    }
}
