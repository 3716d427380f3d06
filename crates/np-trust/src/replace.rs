//! Files that several processes change: one at a time, each version whole. Must never know what a file holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use fs4::{FileExt, TryLockError};

use crate::file::shown;

/// How long between two looks at a lock that another holds, or at a file that another reads on Windows.
const PAUSE: Duration = Duration::from_millis(5);

/// How many looks before the other is taken for stuck: 5 s, where a change takes milliseconds.
const LOOKS: u32 = 1_000;

/// The exclusive right to change a file, until dropped; the system takes it back when its holder dies.
///
/// What is locked is a file beside it, `NAME.lock`, that stays: the file itself is another one after each change.
#[derive(Debug)]
pub(crate) struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Turn {
    /// Makes the folder of `path` where it is missing (0700), and waits for the right to change the file.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        Self::wait_for(path, LOOKS)
    }

    fn wait_for(path: &Path, looks: u32) -> io::Result<Self> {
        make_folder(path)?;
        // Through a link to the file behind it, lest the link be replaced, and two names have two locks.
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            other => other?,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = private(&mut options).open(beside(&path, ".lock"))?;
        for _ in 0..looks {
            match FileExt::try_lock(&lock) {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        let lock = shown(&beside(&path, ".lock"));
        let text = format!("another process holds the lock {lock} and did not give it back in {:?}", PAUSE * looks);
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// Puts a new version (0600) in the place of the file: after a crash there is the old one or the new one, whole.
    pub(crate) fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = beside(&self.path, ".new");
        // Only the holder of the turn writes this file: what stands there is left from a crash.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = private(options.write(true).create_new(true)).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        rename(&new, &self.path)?;
        sync_folder(&self.path);
        Ok(())
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 1..LOOKS {
        match fs::rename(from, to) {
            // On Windows a file that somebody reads at this moment cannot be replaced.
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => sleep(PAUSE),
            other => return other,
        }
    }
    fs::rename(from, to)
}

/// Makes the new name last through a power failure. The file is replaced by now; a file system that cannot do more
/// than that is no reason to call it a failure.
fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::thread;

    use super::Turn;

    #[test]
    fn a_turn_is_one_processes_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let first = Turn::wait(&path).unwrap();
        let error = Turn::wait_for(&path, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("file.lock") && error.to_string().contains("10ms"), "{error}");
        thread::scope(|scope| {
            let second = scope.spawn(|| Turn::wait(&path).unwrap().replace(b"second"));
            first.replace(b"first").unwrap();
            drop(first);
            second.join().unwrap().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }
}
