//! A folder that gets all of several new files or none of them. Must never know what is in them.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use np_facade::{NewFileMode, write_new_file};

use crate::failure::Failure;
use crate::signals::interrupted;

/// Makes the folder where it is missing (0700), and writes the files into it. When one of them exists, cannot be written,
/// or the work is given up meanwhile, what was made until then is removed again.
pub(super) fn write(folder: &Path, files: &[(&Path, &str, NewFileMode)], given_up: &AtomicBool) -> Result<(), Failure> {
    for (path, ..) in files {
        refuse_existing(path)?;
    }
    let mut made = Unfinished::default();
    if make(folder)? {
        made.folder = Some(folder.to_owned());
    }
    for (path, text, mode) in files {
        write_new_file(path, text, *mode).map_err(|error| refused(path, &error))?;
        made.files.push((*path).to_owned());
        if given_up.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
    }
    made.keep();
    Ok(())
}

/// What goes away again when it is dropped.
#[derive(Debug, Default)]
struct Unfinished {
    folder: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl Unfinished {
    fn keep(mut self) {
        self.folder = None;
        self.files.clear();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // The failure that led here is the one to tell; that something cannot be removed either adds nothing to it.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A link to nowhere exists too.
fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(refused(path, &io::ErrorKind::AlreadyExists.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(path, &error)),
    }
}

/// Whether the folder is a new one.
fn make(folder: &Path) -> Result<bool, Failure> {
    let mut builder = DirBuilder::new();
    // One level alone: a mistyped path makes no tree.
    builder.recursive(false);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Ok(()) => Ok(true),
        Err(_) if folder.is_dir() => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(refused(folder, &io::ErrorKind::NotADirectory.into()))
        }
        Err(error) => Err(refused(folder, &error)),
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let path = np_facade::escape_path(path);
    match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "certificates: {path} exists and is never overwritten; choose another folder or move it away"
        )),
        io::ErrorKind::NotFound => {
            Failure::usage(format!("certificates: {path}: the folder above it does not exist; make it first"))
        }
        io::ErrorKind::NotADirectory => {
            Failure::usage(format!("certificates: {path}: a file stands in the place of a folder; name another folder"))
        }
        _ => Failure::local(format!(
            "certificates: {path} cannot be written: {error}; check the disk and who may write there"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use np_facade::NewFileMode::Shared;

    use super::write;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn work_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let (one, two) = (folder.join("one"), folder.join("two"));
        let files = [(one.as_path(), "1", Shared), (two.as_path(), "2", Shared)];
        write(&folder, &files, &AtomicBool::new(true)).unwrap_err();
        assert!(!folder.exists());
        write(&folder, &files, &AtomicBool::new(false)).unwrap();
        assert_eq!(names(&folder).len(), 2);
    }

    #[test]
    fn work_that_meets_a_file_half_way_leaves_nothing_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (one, taken) = (dir.path().join("one"), dir.path().join("none").join("..").join("one"));
        fs::create_dir(dir.path().join("none")).unwrap();
        // Under its second name the file appears after the look and before the write.
        let files = [(one.as_path(), "1", Shared), (taken.as_path(), "2", Shared)];
        write(dir.path(), &files, &AtomicBool::new(false)).unwrap_err();
        assert_eq!(names(dir.path()), ["none"]);
    }
}
