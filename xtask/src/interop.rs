//! The protocol against a second implementation: the one in Python under `tests/interop`, which was written from the
//! protocol's page alone.
//!
//! Owns what is installed for it and where; what is tried stands in `tests/interop`. A machine without Python or a way to
//! its packages is told aloud what it lacks, and that is not a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// The cases take some ten seconds; a peer that hangs is found by them.
const LIMIT: Duration = Duration::from_secs(180);

/// The whole workspace, and the examples too, so that nothing is compiled again with fewer features.
const BUILD: &[&str] =
    &["build", "--workspace", "--bins", "--examples", "--locked", "--message-format=json-render-diagnostics"];

/// What the cases are written for.
const OLD_ENOUGH: &str = "import sys; sys.exit(sys.version_info < (3, 9))";

/// Runs every case; false where this machine lacks what it takes, as was printed.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, Failure> {
    if cfg!(windows) {
        println!("SKIPPED interop: its cases end np by signals, which Windows does not have");
        return Ok(false);
    }
    let Some(python) = ["python3", "python"].into_iter().find(|name| process::works(name, &["-c", OLD_ENOUGH])) else {
        println!("SKIPPED interop: no Python of 3.9 or later is installed (https://www.python.org/downloads)");
        return Ok(false);
    };
    let folder = workspace.root.join("tests/interop");
    let Some(python) = prepare(python, &folder, &workspace.root.join("target/interop"))? else {
        println!(
            "SKIPPED interop: PyPI's `cryptography` is not installed and cannot be had (pip install cryptography)"
        );
        return Ok(false);
    };
    let built =
        Command::new(process::cargo()).args(BUILD).current_dir(&workspace.root).stderr(Stdio::inherit()).output()?;
    if !built.status.success() {
        return Err(format!("`{}` ended with {}", process::spell(BUILD, &[]), built.status).into());
    }
    let np = program(&String::from_utf8_lossy(&built.stdout)).ok_or("cargo built no program np")?;
    let mut cases = Command::new(python);
    cases.arg("-B").arg(folder.join("run.py")).env("NP_PROGRAM", np).current_dir(&workspace.root);
    let mut cases = cases.spawn()?;
    match process::wait(&mut cases, LIMIT)? {
        Some(status) if status.success() => Ok(true),
        Some(status) => Err(format!("tests/interop/run.py ended with {status}: a row says FAILED").into()),
        None => Err(format!("tests/interop/run.py ran longer than {} s", LIMIT.as_secs()).into()),
    }
}

/// A Python that has what the cases import: an environment of its own with the pinned packages, else the system's where
/// that has them.
fn prepare(python: &str, folder: &Path, home: &Path) -> Result<Option<PathBuf>, Failure> {
    let own = home.join("bin/python");
    let made = own.is_file() || process::works(python, &["-m", "venv", &home.to_string_lossy()]);
    if made && install(&own, folder, home, "requirements.txt")? {
        if !install(&own, folder, home, "compression.txt")? {
            println!("interop: PyPI's `lz4` and `zstandard` cannot be had: the cases of compression are skipped");
        }
        return Ok(Some(own));
    }
    let usable = process::works(python, &["-c", "import cryptography"]);
    if usable {
        println!("interop: PyPI cannot be reached: this system's own `cryptography` is used");
    }
    Ok(usable.then(|| python.into()))
}

/// Installs the packages of a list by their hashes, unless they were before.
fn install(python: &Path, folder: &Path, home: &Path, list: &str) -> Result<bool, Failure> {
    let (wanted, stamp) = (folder.join(list), home.join(list));
    let text = fs::read_to_string(&wanted)?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(true);
    }
    let list = wanted.to_string_lossy();
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let arguments = [&pip[..], &["--require-hashes", "--only-binary", ":all:", "-r", &list]].concat();
    let done = process::works(python, &arguments);
    if done {
        fs::write(stamp, text)?;
    }
    Ok(done)
}

/// The program np among cargo's messages.
fn program(messages: &str) -> Option<PathBuf> {
    let mut built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    built.find_map(|message| {
        let is_np = message.pointer("/target/kind/0")? == "bin" && message.pointer("/target/name")? == "np";
        is_np.then(|| message.get("executable")?.as_str().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let line = |kind: &str, name: &str| {
            serde_json::json!({"executable": format!("/t/{name}"), "target": {"kind": [kind], "name": name}})
                .to_string()
        };
        let messages = [line("bin", "xtask"), line("lib", "np"), "not json".to_owned(), line("bin", "np")];
        assert_eq!(program(&messages.join("\n")), Some(PathBuf::from("/t/np")));
        assert_eq!(program(&messages[..3].join("\n")), None);
    }

    #[test]
    fn what_is_installed_already_is_not_installed_again_and_what_cannot_be_is_told() -> Result<(), Failure> {
        let (folder, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
        fs::write(folder.path().join("list.txt"), "cryptography==1")?;
        let nowhere = Path::new("np-no-such-python");
        assert!(!install(nowhere, folder.path(), home.path(), "list.txt")?);
        fs::write(home.path().join("list.txt"), "cryptography==1")?;
        assert!(install(nowhere, folder.path(), home.path(), "list.txt")?);
        fs::write(folder.path().join("list.txt"), "cryptography==2")?;
        assert!(!install(nowhere, folder.path(), home.path(), "list.txt")?);
        Ok(())
    }

    /// Each package is pinned, and each of its files by a hash.
    #[test]
    fn the_lists_pin_every_package() -> Result<(), Failure> {
        let folder = Workspace::open()?.root.join("tests/interop");
        for (list, packages) in [
            ("requirements.txt", vec!["cffi", "cryptography", "pycparser"]),
            ("compression.txt", vec!["lz4", "zstandard"]),
        ] {
            let text = fs::read_to_string(folder.join(list))?;
            let named: Vec<_> = text.lines().filter_map(|line| Some(line.split_once("==")?.0)).collect();
            assert_eq!(named, packages);
            assert!(text.matches("--hash=sha256:").count() > packages.len());
        }
        Ok(())
    }
}
