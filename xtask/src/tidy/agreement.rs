//! Facts that have to stand in two places agree: the oldest Rust that must work, the systems that the workflows build for
//! and what they ask there, the list of fuzz targets, and the times on the protocol's page.

use super::Finding;
use crate::source::is_word;
use crate::workspace::File;

const WORKFLOW: &str = ".github/workflows/ci.yml";
const RELEASE: &str = ".github/workflows/release.yml";
const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";
const FUZZ_TARGETS: &str = "fuzz/fuzz_targets/";
const PROTOCOL: &str = "docs/PROTOCOL.md";
const SAMPLE: &str = "docs/np.sample.toml";
/// What the README says that the workflows ask for: the command, and where.
const SYSTEMS: [(&str, &str, &[&str]); 2] = [
    (WORKFLOW, "run: cargo xtask ci", &["ubuntu-latest", "macos-latest", "windows-latest"]),
    (
        RELEASE,
        "/release/np demo",
        &["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"],
    ),
];

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
    for (path, command, systems) in SYSTEMS {
        if let Some(file) = find(path) {
            findings.extend(asked(file, command, systems));
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
    if let (Some(page), Some(sample)) = (find(PROTOCOL), find(SAMPLE)) {
        findings.extend(timers(page, sample));
    }
    findings
}

/// What a workflow does not ask for.
fn asked(workflow: &File, command: &str, systems: &[&str]) -> Vec<Finding> {
    let matrix = matrix(&workflow.text);
    let runs = workflow.text.lines().map(str::trim).any(|line| !line.starts_with('#') && line.ends_with(command));
    let missing = systems.iter().filter(|system| !matrix.contains(system)).copied();
    let missing = missing.chain((!runs).then_some(command));
    missing
        .map(|what| {
            let message = format!("does not ask for `{what}`, and the README says that it does");
            Finding::new(&workflow.path, 1, message)
        })
        .collect()
}

/// The words of the lines of a workflow that list what its jobs run on or build for.
fn matrix(workflow: &str) -> Vec<&str> {
    let lists = workflow.lines().map(str::trim).filter(|line| line.starts_with("os:") || line.starts_with("- { os:"));
    lists.flat_map(|line| line.split([' ', ',', '[', ']'])).collect()
}

/// The defaults of the table of timers against the generated sample of a configuration.
fn timers(page: &File, sample: &File) -> Vec<Finding> {
    let section = page.text.lines().enumerate().skip_while(|(_, line)| *line != "## Timers").skip(1);
    let rows = section.take_while(|(_, line)| !line.starts_with('#')).filter(|(_, line)| line.starts_with("| "));
    let mut findings = Vec::new();
    for (at, row) in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, _, _, default, settings, ..] = cells[..] else { continue };
        for setting in settings.split('`').skip(1).step_by(2) {
            if default_of(&sample.text, setting) != Some(default) {
                let message = format!("says that {setting} is {default}, and docs/np.sample.toml does not");
                findings.push(Finding::new(PROTOCOL, at + 1, message));
            }
        }
    }
    findings
}

/// What the sample gives for `table.name`.
fn default_of<'a>(sample: &'a str, setting: &str) -> Option<&'a str> {
    let (table, name) = setting.split_once('.')?;
    let inside = sample.lines().skip_while(|line| *line != format!("[{table}]")).skip(1);
    let mut lines = inside.take_while(|line| !line.starts_with('['));
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).map(|value| value.trim_matches('"'))
}

fn oldest_rust(manifest: &File) -> Option<&str> {
    let line = manifest.text.lines().find(|line| line.starts_with("rust-version"))?;
    line.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: &str = "  os: [ubuntu-latest, macos-latest, windows-latest]\n- run: cargo xtask ci\n";

    fn found(manifest: &str, workflow: &str, fuzz: &str) -> Vec<String> {
        let files = [
            File::new("Cargo.toml", manifest),
            File::new(WORKFLOW, &format!("{MATRIX}{workflow}")),
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

    #[test]
    fn a_system_that_left_a_workflow_is_found() {
        let found = |path: &str, text: &str| check(&[File::new(path, text)]).len();
        assert_eq!(found(WORKFLOW, MATRIX), 0);
        assert_eq!(found(WORKFLOW, &MATRIX.replace("macos-latest, ", "")), 1);
        assert_eq!(found(WORKFLOW, &MATRIX.replace("- run", "# run")), 1);
        assert_eq!(found(WORKFLOW, "  if: matrix.os == 'macos-latest'\n"), 4);
        let builds = |targets: &[&str]| {
            let target = |target| format!("- {{ os: ubuntu-22.04, target: {target} }}\n");
            targets.iter().map(target).collect::<String>() + "run: target/x/release/np demo\n"
        };
        let [_, (_, _, targets)] = SYSTEMS;
        assert_eq!(found(RELEASE, &builds(targets)), 0);
        assert_eq!(found(RELEASE, &builds(&targets[1..])), 1);
    }

    #[test]
    fn a_time_that_is_not_the_default_is_found() {
        let page = "## Timers\n\n| timer | at | from | to | default | setting | then |\n|---|---|---|---|---|---|---|\n\
                    | drain | server | | | 10s | `server.drain`, `client.drain` | c |\n## More\n";
        let sample = |client: &str| format!("[server]\ndrain = \"10s\"\n[client]\ndrain = \"{client}\"\n");
        let found = |client: &str| {
            check(&[File::new(PROTOCOL, page), File::new(SAMPLE, &sample(client))])
                .into_iter()
                .map(|one| (one.line, one.message))
                .collect::<Vec<_>>()
        };
        assert_eq!(found("10s"), []);
        let message = "says that client.drain is 10s, and docs/np.sample.toml does not".to_owned();
        assert_eq!(found("1m"), [(5, message)]);
    }
}
