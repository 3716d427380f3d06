//! What the project stands on and what stands on it: the lowest versions that the manifests ask for, and the public API of
//! the last release.
//!
//! Owns how both are asked for; it says `SKIPPED` and why where a tool is missing, and never fails for that.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::process;
use crate::workspace::{File, Workspace};

/// Where the copy with the lowest versions is made and built.
const COPY: &str = "target/minimal-versions";

/// Builds a copy of the project in which each direct dependency has the lowest version that its manifest allows.
pub(crate) fn minimal_versions(workspace: &Workspace) -> Result<(), Failure> {
    if !process::works("cargo", &["+nightly", "--version"]) {
        println!("SKIPPED minimal-versions: there is no nightly cargo (rustup toolchain install nightly)");
        return Ok(());
    }
    let copy = workspace.root.join(COPY);
    copy_to(&workspace.files()?, &copy)?;
    let mut update = Command::new("cargo");
    update.args(["+nightly", "update", "-Z", "direct-minimal-versions"]).current_dir(&copy);
    // This program runs under a toolchain of its own, which would win over `+nightly`.
    update.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    process::succeed(update, "cargo +nightly update -Z direct-minimal-versions")?;
    let target = copy.join("target");
    let variables = [("CARGO_TARGET_DIR", &*target.to_string_lossy())];
    process::run_cargo(&copy, &["check", "--workspace", "--locked"], &variables)?;
    println!("minimal-versions: every crate builds with the lowest versions that its manifest allows");
    Ok(())
}

/// Writes the files that cargo needs, and no lock file: the versions are chosen anew.
fn copy_to(files: &[File], folder: &Path) -> Result<(), Failure> {
    for file in files.iter().filter(|file| file.path != "Cargo.lock") {
        let path = folder.join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(&path, &file.text)?;
    }
    let lock = folder.join("Cargo.lock");
    if lock.exists() { fs::remove_file(lock).map_err(Into::into) } else { Ok(()) }
}

/// Compares the public API of every crate with that of the last release, and fails where the version promises more.
pub(crate) fn semver(workspace: &Workspace) -> Result<(), Failure> {
    if !process::works("cargo", &["semver-checks", "--version"]) {
        println!("SKIPPED semver: cargo-semver-checks is not installed (cargo install cargo-semver-checks --locked)");
        return Ok(());
    }
    let Some(release) = newest(&earlier_tags(&workspace.root)?) else {
        println!("SKIPPED semver: there is no tag v* of a release to compare with");
        return Ok(());
    };
    println!("semver: against {release}");
    process::run_cargo(&workspace.root, &["semver-checks", "--workspace", "--baseline-rev", &release], &[])
}

/// The tags of releases before this commit: its own would be compared with itself.
fn earlier_tags(root: &Path) -> Result<String, Failure> {
    let arguments = ["tag", "--list", "v*", "--no-contains", "HEAD"];
    let tags = Command::new("git").args(arguments).current_dir(root).output()?;
    Ok(String::from_utf8_lossy(&tags.stdout).into_owned())
}

/// The tag with the highest version; tags of other forms, and of what comes before a release, are none.
fn newest(tags: &str) -> Option<String> {
    let read = |tag: &str| -> Option<[u64; 3]> {
        let numbers: Vec<u64> =
            tag.strip_prefix('v')?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    };
    tags.lines().filter_map(|tag| Some((read(tag)?, tag))).max().map(|(_, tag)| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_that_of_the_highest_version() {
        assert_eq!(newest("v0.9.0\nv0.10.0\nv0.10.0-rc.1\nvendor\nv1\n"), Some("v0.10.0".to_owned()));
        assert_eq!(newest(""), None);
    }

    #[test]
    fn the_tag_of_a_release_is_not_compared_with_itself() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let git = |arguments: &[&str]| {
            let settings = ["-c", "user.name=np", "-c", "user.email=np@example.org", "-c", "tag.gpgSign=false"];
            Command::new("git").args(settings).args(arguments).current_dir(folder.path()).output()
        };
        git(&["init", "--quiet"])?;
        for tag in ["v0.1.0", "v0.2.0"] {
            git(&["commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", tag])?;
            git(&["tag", tag])?;
        }
        assert_eq!(earlier_tags(folder.path())?.trim(), "v0.1.0");
        Ok(())
    }

    #[test]
    fn a_copy_has_every_file_but_the_lock_file() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("Cargo.lock"), "old")?;
        let files = [File::new("Cargo.lock", "new"), File::new("a/b.rs", "//! B.\n")];
        copy_to(&files, folder.path())?;
        assert!(!folder.path().join("Cargo.lock").exists());
        assert_eq!(fs::read_to_string(folder.path().join("a/b.rs"))?, "//! B.\n");
        Ok(())
    }
}
