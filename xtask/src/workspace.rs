//! The workspace as cargo and the file system tell it: packages, their edges, the files that count.
//!
//! Owns reading; judging what was read belongs to `layers` and `tidy`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Failure;
use crate::process;

/// Folders whose contents are built, fetched or found by fuzzing; nothing in them is the project's.
const SKIPPED: &[&str] = &[".git", "target", "artifacts", "corpus", "coverage"];

/// The project's root, its packages and its files.
pub(crate) struct Workspace {
    /// The folder of the workspace manifest.
    pub(crate) root: PathBuf,
    /// The members, in cargo's order.
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// Reads the workspace that this program is a member of.
    pub(crate) fn open() -> Result<Self, Failure> {
        let root = env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .and_then(|folder| folder.parent().map(Path::to_path_buf))
            .ok_or("run it as `cargo xtask`: the variable CARGO_MANIFEST_DIR is not set")?;
        let output = Command::new(process::cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&root)
            .output()?;
        if !output.status.success() {
            return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let packages = read_packages(&serde_json::from_slice(&output.stdout)?)?;
        Ok(Self { root, packages })
    }

    /// Every text file of the project, sorted.
    pub(crate) fn files(&self) -> Result<Vec<File>, Failure> {
        let mut paths = Vec::new();
        collect(&self.root, &mut paths)?;
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            // What is not UTF-8 is data (captures, seeds of fuzzing), and no rule speaks about it.
            if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(&self.root).unwrap_or(&path);
                files.push(File::new(&slashed(relative), &text));
            }
        }
        Ok(files)
    }
}

/// One member of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// What its manifest depends on.
    pub(crate) dependencies: Vec<Dependency>,
    /// Names of its programs, examples and benchmarks.
    pub(crate) targets: Vec<String>,
}

/// One entry of a dependency table.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// The package it names.
    pub(crate) name: String,
    /// The table it stands in.
    pub(crate) kind: Kind,
    /// The version asked for; `*` where none is written.
    pub(crate) requirement: String,
    /// Whether it is a folder of this project.
    pub(crate) local: bool,
}

/// Which dependency table an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[dependencies]`
    Normal,
    /// `[build-dependencies]`
    Build,
    /// `[dev-dependencies]`
    Dev,
}

/// One text file: its path relative to the root, with slashes, and its text with line feeds alone.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// The path.
    pub(crate) path: String,
    /// The text.
    pub(crate) text: String,
}

impl File {
    /// A file; carriage returns of a Windows checkout are taken out.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.replace("\r\n", "\n") }
    }

    /// The part of the name behind its last dot, or nothing.
    pub(crate) fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

fn read_packages(metadata: &Value) -> Result<Vec<Package>, Failure> {
    let list = metadata.get("packages").and_then(Value::as_array).ok_or("cargo metadata lists no packages")?;
    list.iter().map(read_package).collect()
}

fn read_package(value: &Value) -> Result<Package, Failure> {
    let name = string(value, "name")?;
    let dependencies = list(value, "dependencies");
    let targets = list(value, "targets");
    Ok(Package {
        dependencies: dependencies.map(read_dependency).collect::<Result<_, _>>()?,
        targets: targets.map(|target| string(target, "name")).collect::<Result<_, _>>()?,
        name,
    })
}

fn read_dependency(value: &Value) -> Result<Dependency, Failure> {
    Ok(Dependency {
        name: string(value, "name")?,
        kind: match value.get("kind").and_then(Value::as_str) {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        },
        requirement: string(value, "req")?,
        local: value.get("path").is_some_and(Value::is_string),
    })
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn string(value: &Value, key: &str) -> Result<String, Failure> {
    value
        .get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| format!("cargo metadata has no text under `{key}`").into())
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        // In a linked work tree `.git` is a file.
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_their_edges() -> Result<(), Failure> {
        let metadata = serde_json::json!({"packages": [{
            "name": "np-a",
            "targets": [{"name": "np_a"}],
            "dependencies": [
                {"name": "np-b", "kind": null, "req": "*", "path": "/p/crates/np-b"},
                {"name": "tokio", "kind": "dev", "req": "^1.0"},
            ],
        }]});
        let packages = read_packages(&metadata)?;
        let package = packages.first().ok_or("none")?;
        assert_eq!(package.targets, ["np_a"]);
        let edges: Vec<_> =
            package.dependencies.iter().map(|edge| (edge.name.as_str(), edge.kind, edge.local)).collect();
        assert_eq!(edges, [("np-b", Kind::Normal, true), ("tokio", Kind::Dev, false)]);
        Ok(())
    }

    #[test]
    fn built_folders_are_not_walked() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("target"))?;
        fs::write(folder.path().join("target/built.rs"), "")?;
        fs::write(folder.path().join("kept.rs"), "")?;
        fs::write(folder.path().join(".git"), "gitdir: elsewhere")?;
        let mut paths = Vec::new();
        collect(folder.path(), &mut paths)?;
        assert_eq!(paths, [folder.path().join("kept.rs")]);
        Ok(())
    }

    #[test]
    fn a_windows_checkout_reads_the_same() {
        assert_eq!(File::new("a.rs", "x\r\ny\r\n").text, "x\ny\n");
        assert_eq!(File::new("a/b.c/Makefile", "").extension(), "");
    }
}
