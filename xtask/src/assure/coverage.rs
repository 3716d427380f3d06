//! Lines and branches of the crates that meet a peer's bytes: how much of them the tests run.
//!
//! Owns the commands of the compiler and of llvm, and the goals; what counts is `lcov`'s.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::lcov::{Ran, Share, add_branches, add_lines, tests_begin};
use super::{Shard, nightly, output};
use crate::Failure;
use crate::evidence::{self, Section};
use crate::process;
use crate::workspace::Workspace;

/// The crates, and whose tests run them: their own, and the replay of all fuzzing seeds.
const CRATES: [&str; 4] = ["np-wire", "np-noise", "np-compress", "np-session"];
const TESTS: &[&str] = &[
    "test",
    "--no-run",
    "--locked",
    "-p",
    "np-wire",
    "-p",
    "np-noise",
    "-p",
    "np-compress",
    "-p",
    "np-session",
    "-p",
    "np-testkit",
    "--lib",
    "--tests",
];

/// Counting makes the simulation slow; what it reaches at all it reaches with these seeds.
const SEEDS: (&str, &str) = ("NP_SIM_SEEDS", "500");
/// A test that starts itself again to look through its memory, and is a step of its own.
const LEFT_OUT: &str = "residue";

/// The goals, in percent.
const LINES: f64 = 95.0;
const BRANCHES: f64 = 90.0;

const FLAGS: &str = "-C instrument-coverage -Z coverage-options=branch";
const COMMAND: &str = "cargo xtask assure --only coverage";

/// Measures and writes both shares.
pub(super) fn run(workspace: &Workspace, _: Shard) -> Result<(), Failure> {
    let Some(tools) = tools() else {
        println!(
            "SKIPPED coverage: llvm-cov of the nightly compiler is not installed \
             (rustup toolchain install nightly; rustup component add llvm-tools --toolchain nightly)"
        );
        return Ok(());
    };
    let folder = workspace.root.join("target/assure-coverage");
    let profiles = folder.join("profiles");
    if profiles.is_dir() {
        fs::remove_dir_all(&profiles)?;
    }
    fs::create_dir_all(&profiles)?;
    let programs = build(workspace, &folder)?;
    for (package, program) in &programs {
        println!("   {}", program.file_name().unwrap_or_default().to_string_lossy());
        let mut test = Command::new(program);
        // A test reads its crate's folder by name, as under cargo.
        test.current_dir(package).env(SEEDS.0, SEEDS.1).env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"));
        test.stdout(Stdio::null());
        process::succeed(test, &program.display().to_string())?;
    }
    let files = export(workspace, &tools, &folder, &programs)?;
    report(workspace, &files)
}

/// The folder of llvm-profdata and llvm-cov.
fn tools() -> Option<PathBuf> {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "rustc", "--print", "target-libdir"]).env_remove("RUSTUP_TOOLCHAIN");
    let libraries = output(command, "rustc --print target-libdir").ok()?;
    let folder = Path::new(libraries.trim()).parent()?.join("bin");
    folder.join(format!("llvm-cov{}", std::env::consts::EXE_SUFFIX)).is_file().then_some(folder)
}

/// Builds the tests, and gives each with the folder of its package.
fn build(workspace: &Workspace, folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let mut command = nightly();
    command
        .args(TESTS)
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_TARGET_DIR", folder)
        .env("RUSTFLAGS", FLAGS)
        // Build scripts are instrumented too, and write here.
        .env("LLVM_PROFILE_FILE", folder.join("build-%p-%m.profraw"))
        .current_dir(&workspace.root)
        .stderr(Stdio::inherit());
    let text = output(command, &format!("RUSTFLAGS='{FLAGS}' cargo +nightly {}", TESTS.join(" ")))?;
    Ok(text.lines().filter_map(program).collect())
}

/// The test that a line of cargo's output is about, and the folder of its package.
fn program(line: &str) -> Option<(PathBuf, PathBuf)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let tests = value.get("profile")?.get("test")?.as_bool()?;
    let folder = Path::new(value.get("manifest_path")?.as_str()?).parent()?.to_owned();
    let program = PathBuf::from(value.get("executable")?.as_str()?);
    let left_out = value.get("target")?.get("name")?.as_str()? == LEFT_OUT;
    (tests && !left_out).then_some((folder, program))
}

/// What ran of each file of the crates.
fn export(
    workspace: &Workspace,
    tools: &Path,
    folder: &Path,
    programs: &[(PathBuf, PathBuf)],
) -> Result<BTreeMap<String, Ran>, Failure> {
    let merged = folder.join("all.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge.args(["merge", "-sparse", "-o"]).arg(&merged).arg(folder.join("profiles"));
    output(merge, "llvm-profdata merge")?;
    let mut files = BTreeMap::new();
    for form in ["lcov", "text"] {
        let mut command = Command::new(tools.join("llvm-cov"));
        command.args(["export", "-format", form, "-instr-profile"]).arg(&merged);
        if form == "text" {
            command.arg("-skip-functions");
        }
        command.args(programs.iter().flat_map(|(_, program)| [Path::new("-object"), program.as_path()]));
        command.args(["-sources"]).args(CRATES.map(|name| workspace.root.join("crates").join(name).join("src")));
        let text = output(command, &format!("llvm-cov export -format {form}"))?;
        match form {
            "lcov" => add_lines(&mut files, &text),
            _ => add_branches(&mut files, &serde_json::from_str(&text)?),
        }
    }
    let mut counted = BTreeMap::new();
    for (name, mut ran) in files {
        let path = Path::new(&name);
        let Ok(short) = path.strip_prefix(&workspace.root) else { continue };
        let short = short.to_string_lossy().replace('\\', "/");
        if !is_counted(&short) {
            continue;
        }
        if let Some(line) = tests_begin(&fs::read_to_string(path)?) {
            ran.before(line);
        }
        counted.insert(short, ran);
    }
    Ok(counted)
}

/// Whether a file belongs to one of the crates and is no test.
fn is_counted(path: &str) -> bool {
    let ours = CRATES.iter().any(|name| path.starts_with(&format!("crates/{name}/src/")));
    let file = path.rsplit('/').next().unwrap_or_default();
    // `wycheproof.rs` holds the vectors' tests.
    ours && !path.contains("/tests/") && !file.ends_with("tests.rs") && file != "wycheproof.rs"
}

fn report(workspace: &Workspace, files: &BTreeMap<String, Ran>) -> Result<(), Failure> {
    let (mut rows, mut below, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for name in CRATES {
        let of_crate = files.iter().filter(|(path, _)| path.starts_with(&format!("crates/{name}/")));
        let (lines, branches) = of_crate.fold((Share::default(), Share::default()), |(lines, branches), (_, ran)| {
            (lines.and(ran.lines()), branches.and(ran.branches()))
        });
        rows.push(json!({
            "crate": name,
            "lines": lines.all, "lines_run": lines.ran,
            "branch_ways": branches.all, "branch_ways_run": branches.ran,
        }));
        if lines.percent() < LINES || branches.percent() < BRANCHES {
            below.push(name);
        }
        sums.push((name, lines, branches));
    }
    let all = sums.iter().fold((Share::default(), Share::default()), |(lines, branches), (_, one, other)| {
        (lines.and(*one), branches.and(*other))
    });
    let goal = if below.is_empty() {
        "both goals are met in each crate".into()
    } else {
        format!("below a goal: {}", below.join(", "))
    };
    evidence::write(
        workspace,
        &Section {
            name: "coverage",
            command: COMMAND,
            result: format!("{:.1} % of lines and {:.1} % of branches; {goal}", all.0.percent(), all.1.percent()),
            figures: json!({ "crates": rows, "files": file_figures(files) }),
            text: table(&sums, files),
        },
    )?;
    if below.is_empty() {
        Ok(())
    } else {
        Err(format!("below {LINES} % of lines or {BRANCHES} % of branches: {}", below.join(", ")).into())
    }
}

fn file_figures(files: &BTreeMap<String, Ran>) -> Value {
    let figures = files.iter().map(|(path, ran)| {
        let (lines, branches) = ran.missed();
        let figures = json!({
            "lines_percent": tenths(ran.lines().percent()),
            "branches_percent": tenths(ran.branches().percent()),
            "lines_that_did_not_run": lines,
            "lines_with_a_branch_that_went_one_way": branches,
        });
        (path.clone(), figures)
    });
    Value::Object(figures.collect())
}

fn table(sums: &[(&str, Share, Share)], files: &BTreeMap<String, Ran>) -> String {
    let mut text = "| crate | lines | branches |\n|---|---|---|\n".to_owned();
    for (name, lines, branches) in sums {
        text.push_str(&format!("| `{name}` | {} | {} |\n", shown(*lines), shown(*branches)));
    }
    let mut low: Vec<_> = files.iter().filter(|(_, ran)| ran.lines().percent() < LINES).collect();
    low.sort_by(|(_, one), (_, other)| one.lines().percent().total_cmp(&other.lines().percent()));
    if !low.is_empty() {
        text.push_str("\n| file below the goal | lines | branches |\n|---|---|---|\n");
    }
    for (path, ran) in low {
        text.push_str(&format!("| `{path}` | {} | {} |\n", shown(ran.lines()), shown(ran.branches())));
    }
    text
}

fn shown(share: Share) -> String {
    format!("{:.1} % of {}", share.percent(), share.all)
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_the_crates_counts_and_tests_and_others_do_not() {
        for path in ["crates/np-wire/src/decode.rs", "crates/np-session/src/handshake/server.rs"] {
            assert!(is_counted(path), "{path}");
        }
        for path in [
            "crates/np-types/src/key.rs",
            "crates/np-noise/tests/vectors.rs",
            "crates/np-noise/src/crypto/tests.rs",
            "crates/np-noise/src/crypto/wycheproof.rs",
        ] {
            assert!(!is_counted(path), "{path}");
        }
    }

    #[test]
    fn tests_are_read_from_what_cargo_prints() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/np/crates/np-wire/Cargo.toml","target":{"name":"wire"},"profile":{"test":true},"executable":"/np/target/debug/deps/wire-1"}"#;
        assert_eq!(program(line), Some(("/np/crates/np-wire".into(), "/np/target/debug/deps/wire-1".into())));
        assert_eq!(program(&line.replace("\"test\":true", "\"test\":false")), None);
        assert_eq!(program(&line.replace("\"wire\"", "\"residue\"")), None);
        assert_eq!(program("warning"), None);
    }

    #[test]
    fn the_table_tells_each_crate_and_the_files_below_the_goal() {
        let mut files = BTreeMap::new();
        add_lines(&mut files, "SF:crates/np-wire/src/decode.rs\nDA:1,5\nDA:2,0\nend_of_record\n");
        let ran = files.get("crates/np-wire/src/decode.rs").map(Ran::lines).unwrap_or_default();
        let text = table(&[("np-wire", ran, Share::default())], &files);
        assert!(text.contains("| `np-wire` | 50.0 % of 2 | 100.0 % of 0 |"), "{text}");
        assert!(text.contains("| `crates/np-wire/src/decode.rs` | 50.0 % of 2 |"), "{text}");
    }
}
