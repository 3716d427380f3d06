//! Fuzz smoke: every target built with the nightly compiler and fed for a few seconds, and longer runs by hand.
//!
//! Owns how long and with which seeds; the targets themselves live in `fuzz/`. A machine without the tools is told
//! aloud what it lacks, and that is not a failure.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// How long each target runs in continuous integration: with the start of each, seventeen of them make under a minute. Longer
/// runs are made by hand.
const SECONDS: u32 = 2;

/// The smoke is built without the address sanitizer, which finds nothing where no code is unsafe, and doubles the build.
/// Campaigns have it, but those that ask for `--plain`.
const PLAIN: [&str; 2] = ["--sanitizer", "none"];

/// Targets that are about C, of which it says nothing that no crate here is unsafe: campaigns have the sanitizer for them
/// whatever they ask for.
const ABOUT_C: [&str; 1] = ["compress"];

/// With the sanitizer, C is compiled for it too. Without that only what C does by `malloc`, `memcpy` and the like is looked at.
const C_FLAGS: (&str, &str) = ("CFLAGS", "-fsanitize=address");

/// How the smoke is built.
const QUICK: [(&str, &str); 2] = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"), ("CARGO_PROFILE_RELEASE_DEBUG", "0")];

/// Targets whose rule is about less than a record: longer inputs are the same again, and slow.
const LONGEST: [(&str, u32); 11] = [
    ("address", 4_096),
    ("allow_list", 4_096),
    ("codec", 4_096),
    ("config", 2_048),
    ("handshake_flow", 4_096),
    ("key_text", 1_024),
    ("noise_handshake", 4_096),
    ("noise_vs_snow", 4_096),
    ("rekey", 512),
    ("session_ops", 512),
    ("traffic_open", 8_192),
];

/// The variable that asks for more seconds.
const VARIABLE: &str = "NP_FUZZ_SECONDS";

/// What to say where the tools are missing.
pub(crate) const MISSING: &str =
    "cargo-fuzz is not installed (cargo install cargo-fuzz; rustup toolchain install nightly)";

/// What the step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Smoke {
    /// Every target ran.
    Ran,
    /// The tools are missing, as was printed.
    Skipped,
}

/// Runs every target for two seconds, or as many as `NP_FUZZ_SECONDS` says, or says what is missing.
pub(crate) fn run(workspace: &Workspace) -> Result<Smoke, Failure> {
    if !tools_are_here() {
        println!("SKIPPED fuzz smoke: {MISSING}");
        return Ok(Smoke::Skipped);
    }
    let targets = targets(&workspace.root.join("fuzz/fuzz_targets"))?;
    let seconds = seconds(std::env::var(VARIABLE).ok().as_deref())?;
    smoke(&workspace.root, &with(true, vec!["build".to_owned()]))?;
    for target in &targets {
        println!("-- fuzz {target}, {seconds} s");
        smoke(&workspace.root, &with(true, arguments(&workspace.root, target, seconds)?))?;
    }
    println!("fuzz smoke: {} targets, {seconds} s each: {}", targets.len(), targets.join(", "));
    Ok(Smoke::Ran)
}

/// Whether a target is to be without a sanitizer in a campaign that asks for that, or does not.
pub(crate) fn is_plain(target: &str, asked: bool) -> bool {
    asked && !ABOUT_C.contains(&target)
}

/// A command of cargo-fuzz, without a sanitizer where it is to be plain.
pub(crate) fn with(plain: bool, mut arguments: Vec<String>) -> Vec<String> {
    if plain {
        arguments.splice(1..1, PLAIN.map(str::to_owned));
    }
    arguments
}

/// Whether cargo-fuzz and a nightly compiler are installed.
pub(crate) fn tools_are_here() -> bool {
    process::works("cargo", &["fuzz", "--version"])
        && process::works("rustup", &["run", "nightly", "rustc", "--version"])
}

/// The seconds that are asked for, or the usual ones.
fn seconds(asked: Option<&str>) -> Result<u32, Failure> {
    match asked.map(str::parse) {
        None => Ok(SECONDS),
        Some(Ok(seconds)) if seconds > 0 => Ok(seconds),
        Some(_) => Err(format!("{VARIABLE} must be a number of seconds, 1 or more").into()),
    }
}

/// Names of the targets: one per source file.
pub(crate) fn targets(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        return Err(format!("{} holds no targets", folder.display()).into());
    }
    names.sort();
    Ok(names)
}

/// What fuzzing finds goes to a folder that git ignores; the seeds that are committed are only read.
pub(crate) fn arguments(root: &Path, target: &str, seconds: u32) -> Result<Vec<String>, Failure> {
    let found = root.join("fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    let mut arguments = vec!["run".to_owned(), target.to_owned(), found.to_string_lossy().into_owned()];
    let seeds = root.join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        arguments.push(seeds.to_string_lossy().into_owned());
    }
    arguments.extend([
        "--".to_owned(),
        format!("-max_total_time={seconds}"),
        format!("-max_len={}", longest(target)),
        "-timeout=10".to_owned(),
        "-rss_limit_mb=2048".to_owned(),
        "-verbosity=0".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    Ok(arguments)
}

/// The longest input of a target: what its rule looks at, or more than the longest record.
fn longest(target: &str) -> u32 {
    let known = LONGEST.iter().find(|(name, _)| *name == target);
    known.map_or(70_000, |(_, bytes)| *bytes)
}

/// As [`fuzz`], built for a few seconds of running: what the build would optimise longer than that is not worth it.
fn smoke(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let mut command = command(root, arguments);
    command.envs(QUICK);
    process::succeed(command, &format!("cargo +nightly fuzz {}", arguments.join(" ")))
}

/// Runs cargo-fuzz to its end.
pub(crate) fn fuzz(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    process::succeed(command(root, arguments), &format!("cargo +nightly fuzz {}", arguments.join(" ")))
}

/// The command that starts cargo-fuzz with the nightly compiler.
pub(crate) fn command(root: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("rustup");
    // What cargo says of this program makes build scripts of others run again.
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command
        .args(["run", "nightly", "cargo", "fuzz"])
        .args(arguments)
        .env_remove("CARGO")
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH")
        .env_remove("RUSTUP_TOOLCHAIN")
        .current_dir(root);
    // Compilers of Windows have other words for it. Who sets the variable knows better.
    if cfg!(unix) && !arguments.iter().any(|word| word == PLAIN[0]) && std::env::var_os(C_FLAGS.0).is_none() {
        command.env(C_FLAGS.0, C_FLAGS.1);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_source_files_and_none_is_an_error() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        assert!(targets(folder.path()).is_err());
        for name in ["b.rs", "a.rs", "notes.md"] {
            fs::write(folder.path().join(name), "")?;
        }
        assert_eq!(targets(folder.path())?, ["a", "b"]);
        Ok(())
    }

    #[test]
    fn seeds_are_read_where_they_exist() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let without = arguments(folder.path(), "wire", 7)?;
        fs::create_dir_all(folder.path().join("fuzz/seeds/wire"))?;
        let with = arguments(folder.path(), "wire", 7)?;
        assert_eq!(with.len(), without.len() + 1);
        assert!(with.iter().any(|word| word.ends_with("seeds/wire")));
        assert!(with.contains(&"-max_total_time=7".to_owned()));
        assert!(with.contains(&"-max_len=70000".to_owned()));
        assert!(arguments(folder.path(), "rekey", 7)?.contains(&"-max_len=512".to_owned()));
        Ok(())
    }

    #[test]
    fn the_smoke_has_no_sanitizer_and_says_so_behind_the_command() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let words = with(true, arguments(folder.path(), "wire", 7)?);
        assert_eq!(words.get(..4).map(|words| words.join(" ")).as_deref(), Some("run --sanitizer none wire"));
        Ok(())
    }

    #[test]
    fn what_is_about_c_has_the_sanitizer_always_and_its_c_too() -> Result<(), Failure> {
        assert!(is_plain("codec", true) && !is_plain("codec", false) && !is_plain("compress", true));
        let folder = tempfile::tempdir()?;
        for plain in [false, true] {
            let words = with(plain, arguments(folder.path(), "compress", 7)?);
            let command = command(folder.path(), &words);
            let flags = command.get_envs().find(|(name, _)| *name == C_FLAGS.0).and_then(|(_, value)| value);
            let wanted = !plain && cfg!(unix) && std::env::var_os(C_FLAGS.0).is_none();
            assert_eq!(flags.is_some(), wanted, "{plain}");
        }
        Ok(())
    }

    #[test]
    fn more_seconds_are_asked_for_by_a_number() {
        assert_eq!(seconds(None).ok(), Some(SECONDS));
        assert_eq!(seconds(Some("300")).ok(), Some(300));
        for wrong in ["", "0", "long", "-1"] {
            assert!(seconds(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
